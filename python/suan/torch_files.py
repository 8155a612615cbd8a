"""Reads what torch.save writes (the zip format of PyTorch 1.6 on), as data: tensors, numbers, strings and containers of
these. Nothing in a file is executed: its pickle may name only the few callables below, which are Suan's own."""

import collections
import os
import pickle
import struct
import zipfile

from . import _c
from .kinds import Size, device

_STORAGES = {
    "BFloat16Storage": _c.bfloat16, "BoolStorage": _c.bool, "ByteStorage": _c.uint8, "CharStorage": _c.int8,
    "DoubleStorage": _c.float64, "FloatStorage": _c.float32, "HalfStorage": _c.float16, "IntStorage": _c.int32,
    "LongStorage": _c.int64, "ShortStorage": _c.int16, "UntypedStorage": None,
}
_DTYPES = ("bfloat16", "bool", "float16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "int16", "int32",
           "int64", "int8", "uint16", "uint32", "uint64", "uint8")


class _Kind:
    """A class of storages, named in the pickle; without a dtype, of bytes."""

    def __init__(self, dtype):
        self.dtype = dtype


# The reader in Python: the one in C makes room for any memo number that a file names.
class _Reader(pickle._Unpickler):
    def __init__(self, data, archive, folder, room, path):
        super().__init__(data)
        self._archive, self._folder, self._room, self._path = archive, folder, room, path
        self._storages = {}
        self._globals = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            # Functions: a pickle may set attributes of what it names.
            ("torch", "Size"): lambda *sizes: Size(*sizes),
            ("torch", "device"): lambda *names: device(*names),
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v3"): self._tensor_of,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            **{("torch", name): _Kind(dtype) for name, dtype in _STORAGES.items()},
            ("torch.storage", "UntypedStorage"): _Kind(None),
            **{("torch", name): getattr(_c, name) for name in _DTYPES},
        }

    def bad(self, text):
        return ValueError(f"[load] damaged file '{self._path}': {text}")

    def find_class(self, module, name):
        found = self._globals.get((module, name))
        if found is None:
            raise TypeError(f"[load] cannot read '{self._path}': expected tensors, numbers, strings and containers of "
                            f"these, got an object of {module}.{name} (nothing in a file is executed; save a "
                            "state_dict)")
        return found

    def persistent_load(self, key):
        """The storage's elements as a tensor of one dimension; (name, bytes) of one without a dtype."""
        try:
            tag, kind, name, _, count = key
            known = tag == "storage" and isinstance(kind, _Kind) and isinstance(name, str) and type(count) is int
        except (TypeError, ValueError):
            known = False
        if not known:
            raise self.bad(f"expected the name of a storage, got {str(key)[:80]}")
        return (name, count) if kind.dtype is None else self._storage(name, count, kind.dtype)

    def _storage(self, name, count, dtype):
        if name in self._storages:
            t = self._storages[name]
            if t.dtype != dtype or t.numel() != count:
                raise self.bad(f"expected {count} elements of {dtype} in storage '{name}', got {t.numel()} of "
                               f"{t.dtype}")
            return t
        try:
            entry = self._archive.getinfo(f"{self._folder}/data/{name}")
        except KeyError:
            raise self.bad(f"expected storage '{name}', got none") from None
        need = count * dtype.itemsize
        self._room -= need
        if count < 0 or entry.file_size != need or entry.compress_type != zipfile.ZIP_STORED or self._room < 0:
            raise self.bad(f"expected {need} plain bytes for storage '{name}' within the file, got "
                           f"{entry.file_size}")
        t = _c.ops.full(_c.literal(0, dtype), Size((count,)))
        view = _c.memory_view(t)[:t.nbytes]
        got = 0
        with self._archive.open(entry) as f:
            while got < need:
                n = f.readinto(view[got:got + (1 << 24)])
                if not n:
                    raise self.bad(f"expected {need} bytes for storage '{name}', got {got}")
                got += n
        self._storages[name] = t
        return t

    def _tensor(self, storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
        t = self._view(storage, offset, size, stride)
        return t.requires_grad_() if requires_grad is True else t

    def _tensor_of(self, storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
        if not isinstance(dtype, _c.dtype) or not isinstance(storage, tuple) or len(storage) != 2:
            raise self.bad(f"expected a storage of bytes and a dtype, got {str((storage, dtype))[:80]}")
        name, size_in_bytes = storage
        elements = self._storage(name, size_in_bytes // dtype.itemsize, dtype)
        return self._tensor(elements, offset, size, stride, requires_grad)

    def _parameter(self, data, requires_grad=True, hooks=None):
        from .nn import Parameter

        if not isinstance(data, _c.Tensor):
            raise self.bad(f"expected a parameter's tensor, got {type(data).__name__}")
        return Parameter(data.detach(), requires_grad=requires_grad is True)

    def _view(self, storage, offset, size, stride):
        whole = isinstance(storage, _c.Tensor) and all(
            isinstance(v, tuple) and all(type(n) is int and n >= 0 for n in v) for v in (size, stride, (offset,)))
        if not whole or len(size) != len(stride) or len(size) > 8:
            raise self.bad(f"expected sizes and strides of a tensor, got {str((offset, size, stride))[:80]}")
        empty = 0 in size
        last = offset + sum((n - 1) * s for n, s in zip(size, stride))
        if offset > storage.numel() or not empty and last >= storage.numel():
            raise self.bad(f"expected a tensor within {storage.numel()} elements, got {tuple(size)} with strides "
                           f"{tuple(stride)} from {offset}")
        if empty:
            return storage[:0].reshape(size)
        return storage.as_strided(size, stride, offset)


def read(f, path):
    """What torch.save wrote into the open file `f`. Tensors that shared a storage share it again. ValueError: damaged.
    TypeError: it holds objects of other classes, the first of which is named."""
    room = f.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(f) as archive:
            return _read(archive, room, path)
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, NotImplementedError, AttributeError, IndexError,
            KeyError, UnicodeDecodeError, RuntimeError, OverflowError, MemoryError, struct.error) as error:
        raise ValueError(f"[load] damaged file '{path}': expected what torch.save writes, got {error}") from None


def _read(archive, room, path):
    names = archive.namelist()
    pickles = [n for n in names if n.endswith("/data.pkl") and n.count("/") == 1]
    if len(pickles) != 1:
        raise ValueError(f"[load] damaged file '{path}': expected data.pkl in one folder, got {len(pickles)} (a "
                         "TorchScript program, or no file of torch.save)")
    folder = pickles[0].split("/")[0]
    order = f"{folder}/byteorder"
    if order in names and (archive.getinfo(order).file_size > 64 or archive.read(order) != b"little"):
        raise ValueError(f"[load] damaged file '{path}': expected little-endian numbers, got others")
    entry = archive.getinfo(pickles[0])
    if entry.file_size > room:
        raise ValueError(f"[load] damaged file '{path}': expected a pickle within {room} bytes, got {entry.file_size}")
    with archive.open(entry) as data:
        return _Reader(data, archive, folder, room, path).load()
