"""suan.onnx.module: an ONNX model as an nn.Module, to be trained further and saved again."""

import collections
import copy
import mmap
import os

import numpy

from .. import _c
from ..generator import default_generator
from ..nn import Module, Parameter
from .rewrite import locations, rewrite
from .session import NodeArg, _to_engine


class ImportedModule(Module):
    """A model from a file as a module; see suan.onnx.module. Its tree of sub-modules follows the dots in the names of the
    file's tensors; a part that is taken (by a method, say) gets an underscore. `inputs` and `outputs` are those of the
    file, `file_names` gives the file's name of each parameter and buffer."""

    def __init__(self, source, train=None):
        super().__init__()
        is_data = isinstance(source, (bytes, bytearray, memoryview))
        self._source = bytes(source) if is_data else os.path.abspath(os.fspath(source))
        self._model = _c.OnnxTrainable(self._source)
        # Held open: saving may replace what stands at these paths.
        self._bytes = self._source if is_data else _mapped(self._source)
        folder = "" if is_data else os.path.dirname(self._source)
        self._files = {name: _mapped(os.path.join(folder, name)) for name in locations(self._bytes)}
        self.inputs = [NodeArg(*port) for port in self._model.inputs()]
        self.outputs = [NodeArg(*port) for port in self._model.outputs()]
        self.file_names = {}
        found = self._model.initializers()
        times = collections.Counter(name for name, _, _, _ in found)
        # Branches may use a name twice.
        found = [(name if times[name] == 1 else place + name, place, *rest) for name, place, *rest in found]
        self._places, opened, self._train = [], [], None if train is None else list(train)
        train = {name for name, _, _, role in found if role == "weight"} if train is None else self._check(found, self._train)
        for i, (name, place, value, role) in enumerate(found):
            if name in train or role == "statistics":
                opened.append(i)
                self._place(name, value, name in train, (place, name.removeprefix(place)))
        self._model.open(opened)
        self.eval()

    @staticmethod
    def _check(found, names):
        floating = {n for n, _, v, _ in found if isinstance(v, _c.Tensor) and v.dtype.is_floating_point and v.element_size() > 1}
        for name in names:
            if name not in floating:
                raise ValueError(f"[onnx.module] cannot train {name!r}: expected floating tensors that the file holds, such as "
                                 f"{sorted(floating)[:4]}, got another name")
        return set(names)

    def _place(self, name, value, trained, key):
        module, parts, path = self, name.split("."), []
        if not all(parts):
            parts = [name.replace(".", "_")]
        for k, part in enumerate(parts):
            leaf = k == len(parts) - 1
            while hasattr(module, part) and (leaf or part not in module._modules):
                part += "_"
            path.append(part)
            if not leaf:
                if part not in module._modules:
                    module.add_module(part, Module())
                module = module._modules[part]
        own = value.clone()   # the file's bytes stay as they are
        if trained:
            module.register_parameter(part, Parameter(own))
        else:
            module.register_buffer(part, own)
        self.file_names[".".join(path)] = name
        self._places.append((module, part, value, key))

    def _weights(self):
        return [module._parameters[part] if part in module._parameters else module._buffers[part]
                for module, part, _, _ in self._places]

    def forward(self, *args, **named):
        values = list(args)
        for port in self.inputs[len(values) :]:
            values.append(named.pop(port.name, None))
        if named:
            raise ValueError(f"[onnx.module] unknown input: expected one of {[p.name for p in self.inputs]}, got {sorted(named)}")
        # Arrays are copied: what the backward pass reads has to stay as it was.
        values = [_to_engine(numpy.array(v) if isinstance(v, numpy.ndarray) else v) for v in values]
        out = self._model.run(values, self._weights(), default_generator.state if self.training else None)
        return out[0] if len(out) == 1 else tuple(out)

    def save(self, path):
        """Writes the model with the tensors as they are now, and everything else as the file it came from has it: the names
        of inputs and outputs, versions, metadata. Tensors that did not change keep their bytes; without external data, a
        module that did not change gives the same file. Tensors that lay outside the file are written to path + ".data".
        Files appear whole or not at all; the path may be the one that the model came from.

        Raises TypeError where a tensor is no longer of the file's dtype and shape.
        """
        changed = {}
        for (_, _, old, key), new in zip(self._places, self._weights()):
            if new is None or new.dtype != old.dtype or new.shape != old.shape:
                found = "None" if new is None else f"{new.dtype.name} {list(new.shape)}"
                raise TypeError(f"[onnx.module] {key[1]!r} does not fit the file: expected {old.dtype.name} {list(old.shape)}, "
                                f"got {found}")
            raw = _c.to_bytes(new.detach().contiguous())
            if raw != _c.to_bytes(old.contiguous()):
                changed[key] = raw
        rewrite(self._bytes, self._files, os.fspath(path), changed)

    def __deepcopy__(self, memo):
        new = ImportedModule(self._source, self._train)
        for (m, part, _, _), mine in zip(new._places, self._weights()):
            theirs = m._parameters[part] if part in m._parameters else m._buffers[part]
            if mine.requires_grad != theirs.requires_grad:
                theirs.requires_grad_(mine.requires_grad)
        new.load_state_dict(copy.deepcopy(dict(self.state_dict()), memo))
        return new.train(self.training)


def _mapped(path):
    with open(path, "rb") as f:
        if not os.fstat(f.fileno()).st_size:
            return b""   # which cannot be mapped
        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)


def module(source, train=None):
    """The model in a file (with external data beside it) as an nn.Module whose forward takes the file's inputs, by position
    or by name, as tensors or arrays, and gives its outputs: one, or a tuple. Operators run as those of any other module,
    one by one; suan.compile makes a plan of them. It begins in evaluation mode.

    Args:
        source: path of a model, or its bytes.
        train: names of the file's tensors that become parameters. Left out: all floating ones (float16 or wider) of one
            dimension or more that operators compute with, initializers and, of more than one number, Constants; but none
            that is read as a setting (sizes, bounds, exponents) or belongs to quantised integers.

    Running statistics of BatchNormalization are buffers and stay as they are, also in training mode. Dropout nodes
    drop in training mode and pass their input on in evaluation mode.

    Errors: those of suan.onnx.Session; ValueError for an unknown name. A call raises TypeError where a gradient would have
    to pass an operator that has none (QuantizeLinear, say), naming the node.
    """
    return ImportedModule(source, train)
