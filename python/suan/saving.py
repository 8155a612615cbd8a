"""save and load: nested dicts, lists and tuples of tensors, numbers and strings in one safetensors file.

The tree and the checksums live in the file's metadata; nothing in a file is ever executed. A file is
written beside its place, synced and renamed, so that a crash leaves the old one whole. Plain safetensors
files load as a flat dict. json and zlib are imported when used: they would double the time of `import suan`.
"""

import math
import os

from . import _c
from .kinds import Size

Tensor = _c.Tensor

_NAMES = {
    "bool": "BOOL", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "int8": "I8",
    "int16": "I16", "int32": "I32", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32",
    "float64": "F64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}
_DTYPES = {v: getattr(_c, k) for k, v in _NAMES.items()}
_MAX_HEADER = 100_000_000
_MAX_DEPTH = 200
_CHUNK = 1 << 24


# ---- the tree ----------------------------------------------------------------------------------------


class _Packer:
    def __init__(self):
        self.tensors = {}
        self._known = {}

    def pack(self, value, path, depth=0):
        if depth > _MAX_DEPTH:
            raise ValueError(f"[save] nested too deeply: expected at most {_MAX_DEPTH} levels, got more")
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else {"f": repr(value)}
        if isinstance(value, Tensor):
            return {"t": self._name(value, path)}
        if isinstance(value, dict):
            items = []
            for k, v in value.items():
                if not isinstance(k, (str, int, float, bool, type(None))):
                    raise TypeError(f"[save] wrong key type at '{path}': expected str, int, float, bool or "
                                    f"None, got {type(k).__name__}")
                items.append([self.pack(k, path, depth + 1), self.pack(v, f"{path}.{k}" if path else str(k), depth + 1)])
            return {"d": items}
        if isinstance(value, (list, tuple)):
            kind = "l" if isinstance(value, list) else "u"
            return {kind: [self.pack(v, f"{path}.{i}" if path else str(i), depth + 1) for i, v in enumerate(value)]}
        if isinstance(value, _c.dtype):
            return {"y": value.name}
        if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
            if value.dtype.name not in _NAMES:
                raise TypeError(f"[save] cannot save '{path}': expected an array of numbers, got one of {value.dtype}")
            # An array comes back as one; a NumPy number as a number.
            return {"n": self._name(_c.tensor_from_data(value, None), path)} if hasattr(value, "__len__") else value.item()
        raise TypeError(f"[save] cannot save '{path}': expected tensors, numbers, strings, None, dicts, lists "
                        f"or tuples, got {type(value).__name__}")

    def _name(self, t, path):
        """One entry for each distinct tensor, however often it appears."""
        key = (_c.address(t), tuple(t.shape), t.stride(), t.dtype.name) if t.numel() else id(t)
        name = self._known.get(key)
        if name is None:
            name = path or "tensor"
            while name in self.tensors or name == "__metadata__":
                name += "_"
            self.tensors[name] = t.detach()
            self._known[key] = name
        return name


def _unpack(node, tensors, depth=0):
    if depth > _MAX_DEPTH:
        raise ValueError(f"[load] nested too deeply: expected at most {_MAX_DEPTH} levels, got more")
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    if isinstance(node, dict) and len(node) == 1:
        (kind, value), = node.items()
        if kind == "t" and value in tensors:
            return tensors[value]
        if kind == "n" and value in tensors:
            at = tensors[value]
            return at.numpy() if isinstance(at, Tensor) else at
        if kind == "f" and value in ("inf", "-inf", "nan"):
            return float(value)
        if kind == "y" and value in _NAMES:
            return getattr(_c, value)
        if kind in ("l", "u") and isinstance(value, list):
            items = [_unpack(v, tensors, depth + 1) for v in value]
            return items if kind == "l" else tuple(items)
        if kind == "d" and isinstance(value, list) and all(isinstance(v, list) and len(v) == 2 for v in value):
            return {_unpack(k, tensors, depth + 1): _unpack(v, tensors, depth + 1) for k, v in value}
    raise ValueError(f"[load] damaged tree: expected a known node, got {str(node)[:60]!r}")


# ---- writing -------------------------------------------------------------------------------------------


def _crc(view):
    import zlib

    crc = 0
    for at in range(0, len(view), _CHUNK):
        crc = zlib.crc32(view[at:at + _CHUNK], crc)
    return crc


def _header_crc(entries, metadata):
    import json
    import zlib

    kept = {k: v for k, v in metadata.items() if k != "suan.header_crc32"}
    return zlib.crc32(json.dumps([entries, kept], sort_keys=True).encode())


def save(obj, path):
    """Writes nested dicts, lists and tuples of tensors, NumPy arrays, numbers, strings and None to a path, atomically, or
    to a binary file object."""
    import json

    packer = _Packer()
    tree = packer.pack(obj, "")
    entries, sums, order, at = {}, {}, [], 0
    for name, t in packer.tensors.items():
        if t.dtype.name not in _NAMES:
            raise TypeError(f"[save] dtype not supported for '{name}': expected one that safetensors has, got {t.dtype}")
        t = t.contiguous()
        view = _c.memory_view(t)
        view = view[:t.nbytes]
        entries[name] = {"dtype": _NAMES[t.dtype.name], "shape": list(t.shape), "data_offsets": [at, at + len(view)]}
        sums[name] = _crc(view)
        order.append((t, view))
        at += len(view)
    metadata = {"format": "suan", "suan.version": "1", "suan.tree": json.dumps(tree),
                "suan.crc32": json.dumps(sums)}
    metadata["suan.header_crc32"] = str(_header_crc(entries, metadata))
    header = json.dumps({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-len(header) % 8)
    parts = [len(header).to_bytes(8, "little"), header] + [v for _, v in order]
    if hasattr(path, "write"):
        _write(path, parts)
    else:
        _write_atomically(os.fspath(path), parts)


def _write(f, parts):
    for part in parts:
        for at in range(0, len(part), _CHUNK):
            f.write(part[at:at + _CHUNK])


def _write_atomically(path, parts):
    folder = os.path.dirname(os.path.abspath(path))
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            _write(f, parts)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as e:
        raise OSError(e.errno, f"[save] cannot write: expected '{path}' to be writable, got {e.strerror}") from e
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # a folder that cannot be opened cannot be synced; the file itself is safe
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- reading -------------------------------------------------------------------------------------------


def _bad(path, text):
    return ValueError(f"[load] damaged file '{path}': {text}")


def _no_duplicates(pairs):
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("duplicate name")
    return out


def _read_header(f, path):
    import json

    size = f.seek(0, os.SEEK_END)
    f.seek(0)
    prefix = f.read(8)
    if len(prefix) < 8:
        raise _bad(path, f"expected at least 8 bytes, got {len(prefix)}")
    length = int.from_bytes(prefix, "little")
    if prefix[:2] == b"\x80\x02" and length > _MAX_HEADER:
        raise ValueError(f"[load] '{path}' is in the format of torch.save before PyTorch 1.6: expected its zip format, "
                         "got a bare pickle (save it again with a newer PyTorch)")
    if length > _MAX_HEADER or 8 + length > size:
        raise _bad(path, f"expected a header within {min(size - 8, _MAX_HEADER)} bytes, got {length}")
    try:
        header = json.loads(f.read(length).decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as e:
        raise _bad(path, f"expected a JSON header, got {e}") from None
    if not isinstance(header, dict):
        raise _bad(path, f"expected a JSON object, got {type(header).__name__}")
    return header, 8 + length, size


def _check_entries(entries, room, path):
    """Every entry inside the file, none overlapping, no byte unaccounted for."""
    spans = []
    for name, e in entries.items():
        ok = (isinstance(e, dict) and e.get("dtype") in _DTYPES and isinstance(e.get("shape"), list)
              and isinstance(e.get("data_offsets"), list) and len(e["data_offsets"]) == 2
              and all(type(v) is int and v >= 0 for v in e["shape"] + e["data_offsets"]))
        if not ok:
            raise _bad(path, f"expected dtype, shape and data_offsets for '{name}', got {str(e)[:80]}")
        if len(e["shape"]) > 8:
            raise _bad(path, f"expected at most 8 dimensions for '{name}', got {len(e['shape'])}")
        begin, end = e["data_offsets"]
        need = _DTYPES[e["dtype"]].itemsize * math.prod(e["shape"])
        if end - begin != need or end > room:
            raise _bad(path, f"expected {need} bytes within {room} for '{name}', got {begin} to {end}")
        spans.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(spans):
        if begin != at:
            raise _bad(path, f"expected '{name}' at byte {at}, got {begin} (a gap or an overlap)")
        at = end
    if at != room:
        raise _bad(path, f"expected {at} bytes of data, got {room}")


def _read_tensor(f, start, e, path, name):
    t = _c.ops.full(_c.literal(0, _DTYPES[e["dtype"]]), Size(e["shape"]))
    view = _c.memory_view(t)[:t.nbytes]
    f.seek(start + e["data_offsets"][0])
    got = 0
    while got < len(view):
        n = f.readinto(view[got:])
        if not n:
            raise _bad(path, f"expected {len(view)} bytes for '{name}', got {got}")
        got += n
    return t, view


def _open(path):
    """A file that is there, or an OSError that says what was expected."""
    try:
        return open(path, "rb")
    except OSError as e:
        raise type(e)(e.errno, f"[load] cannot open: expected a readable file '{path}', got {e.strerror}") from None


def _contents(f, path):
    """What a file's header says, checked: (entries by name, where their data begins, checksums by name, tree). A plain
    safetensors file has neither checksums nor a tree: {} and None."""
    import json

    header, start, size = _read_header(f, path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _bad(path, "expected metadata of strings, got something else")
    _check_entries(header, size - start, path)
    if metadata.get("format") != "suan" and "suan.tree" not in metadata:
        return header, start, {}, None
    if metadata.get("suan.version") != "1":
        raise _bad(path, f"expected version 1, got {metadata.get('suan.version')!r}")
    if metadata.get("suan.header_crc32") != str(_header_crc(header, metadata)):
        raise _bad(path, "expected the header's checksum to match, got another")
    try:
        return header, start, json.loads(metadata["suan.crc32"]), [json.loads(metadata["suan.tree"])]
    except (KeyError, ValueError, RecursionError):
        raise _bad(path, "expected a tree and checksums, got unreadable metadata") from None


def load(path, map_location=None, *, weights_only=True, mmap=None):
    """Reads what save wrote, checksums verified; a plain safetensors file, as a flat dict; or what torch.save wrote, as
    far as it holds tensors, numbers, strings and containers of these. From a path or a binary file object that can
    seek. Nothing in a file is ever executed, whatever weights_only says; mmap is accepted and not needed."""
    if map_location is not None:
        _c.check_device(str(map_location))
    if hasattr(path, "seek"):
        return _load(path, getattr(path, "name", "a file object"))
    path = os.fspath(path)
    with _open(path) as f:
        return _load(f, path)


def _load(f, path):
    f.seek(0)
    start = f.read(8)
    if start[:4] == b"PK\x03\x04" and any(start[4:]):   # a zip file; else the length of a safetensors header
        from .torch_files import read

        return read(f, path)
    entries, start, sums, tree = _contents(f, path)
    tensors = {}
    for name, e in entries.items():
        tensors[name], view = _read_tensor(f, start, e, path, name)
        if tree and sums.get(name) != _crc(view):
            raise _bad(path, f"expected the checksum of '{name}' to match, got another")
    return _unpack(tree[0], tensors) if tree else tensors


def _values(data, dtype):
    """Bytes of a tensor as a NumPy array: floating point as float64, what NumPy lacks decoded by hand."""
    import numpy

    if dtype == "bfloat16":
        return (numpy.frombuffer(data, "uint16").astype("uint32") << 16).view("float32").astype("float64")
    if dtype == "float8_e5m2":  # float16's upper half
        return (numpy.frombuffer(data, "uint8").astype("uint16") << 8).view("float16").astype("float64")
    if dtype == "float8_e4m3fn":  # 4 bits of exponent, 3 of mantissa; no infinities
        code = numpy.arange(256)
        exponent, mantissa = (code >> 3) & 15, code & 7
        table = numpy.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10))
        table[(code & 127) == 127] = numpy.nan
        return numpy.where(code > 127, -table, table)[numpy.frombuffer(data, "uint8")]
    values = numpy.frombuffer(data, dtype)
    return values.astype("float64") if values.dtype.kind == "f" else values


class Named(str):
    """A tensor's name, where the tensor would be."""


def scan(path):
    """The tensors of a file without loading them: (an iterator, the tree or None).

    The iterator gives (name, dtype, shape, pieces), pieces another iterator over the tensor's values as NumPy arrays of
    at most 16 MiB of the file, float64 for floating point. It must be used up before the next tensor is asked for;
    then a checksum that the file has is verified. Tensors stand in the tree as their names. Errors: as load."""
    path = os.fspath(path)
    f = _open(path)
    try:
        entries, start, sums, tree = _contents(f, path)
    except BaseException:
        f.close()
        raise

    def pieces(name, e):
        import zlib

        dtype, crc = _DTYPES[e["dtype"]], 0
        begin, end = e["data_offsets"]
        f.seek(start + begin)
        for at in range(begin, end, _CHUNK):
            data = f.read(min(_CHUNK, end - at))
            if len(data) != min(_CHUNK, end - at):
                raise _bad(path, f"expected {end - begin} bytes for '{name}', got {at - begin + len(data)}")
            crc = zlib.crc32(data, crc)
            yield _values(data, dtype.name)
        if tree and sums.get(name) != crc:
            raise _bad(path, f"expected the checksum of '{name}' to match, got another")

    def tensors():
        with f:
            for name, e in entries.items():
                yield name, _DTYPES[e["dtype"]], e["shape"], pieces(name, e)

    return tensors(), _unpack(tree[0], {name: Named(name) for name in entries}) if tree else None
