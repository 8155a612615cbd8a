"""Sessions: an ONNX model as a Python callable, and in the shape of ONNX Runtime's class."""

import os

import numpy

from .. import _c
from ..kinds import NARROW


class NodeArg:
    """A declared input or output: name, type ("tensor(float)"), shape (numbers, names or None)."""

    def __init__(self, name, kind, dtype, shape):
        self.name, self.kind, self.dtype, self.shape = name, kind, dtype, shape

    @property
    def type(self):
        if self.kind != "tensor":
            return "tensor(string)" if self.kind == "strings" else self.kind
        name = str(self.dtype).removeprefix("suan.")
        return f"tensor({ {'float32': 'float', 'float64': 'double'}.get(name, name) })"

    def __repr__(self):
        return f"NodeArg(name={self.name!r}, type={self.type!r}, shape={self.shape})"


def _to_engine(value):
    if value is None or isinstance(value, (_c.Tensor, dict)):
        return value
    if isinstance(value, (list, tuple)):
        return [_to_engine(item) for item in value]
    array = numpy.asarray(value)
    if array.dtype.kind in "OUS":
        texts = [t if isinstance(t, bytes) else str(t).encode() for t in array.ravel().tolist()]
        return (array.shape, texts)
    return _c.tensor_from_data(array)


def _to_numpy(value):
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, list):
        return [_to_numpy(item) for item in value]
    if isinstance(value, tuple):
        shape, texts = value
        array = numpy.empty(len(texts), dtype=object)
        array[:] = [t.decode(errors="surrogateescape") for t in texts]
        return array.reshape(shape)
    if value.dtype is _c.bfloat16 or value.dtype in NARROW:
        import ml_dtypes  # noqa: F401: numpy() gives its types from now on
    return numpy.asarray(value.numpy())


def _open(source, max_plans, exact):
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _c.OnnxSession(bytes(source), max_plans, exact)
    return _c.OnnxSession(os.fspath(source), max_plans, exact)


class Session:
    """A loaded model. Calling it takes tensors (or NumPy arrays) in the order of `inputs`, or by
    name, and gives one value or a tuple in the order of `outputs`. Plans for `max_plans` sets of
    shapes are kept. Any number of threads may call one session. `exact=True` forbids what changes bits:
    batch norms are then not folded into the weights of the convolutions before them.

    Errors: OSError (the file), ValueError (no valid model, shapes), TypeError (operators or types
    that are not supported, naming the first)."""

    def __init__(self, source, max_plans=16, exact=False):
        self._session = _open(source, max_plans, exact)
        self.inputs = [NodeArg(*port) for port in self._session.inputs()]
        self.outputs = [NodeArg(*port) for port in self._session.outputs()]

    def __call__(self, *args, **named):
        out = self._session.run([_to_engine(v) for v in self._ordered(args, named)])
        return out[0] if len(out) == 1 else tuple(out)

    def _ordered(self, args, named):
        values = list(args)
        for port in self.inputs[len(values) :]:
            values.append(named.pop(port.name, None))
        if named:
            raise ValueError(f"[onnx] unknown input: expected one of {[p.name for p in self.inputs]}, got {sorted(named)}")
        return values

    @property
    def operators(self):
        """Operator names and how often each occurs."""
        return self._session.operators()

    @property
    def stats(self):
        """Counts: plans kept, times the model was translated, shapes laid out from a program with open sizes,
        calls replayed and stepped; bytes of weights."""
        return self._session.stats()

    def describe(self):
        """Versions, inputs, outputs, weights and operators as text."""
        return self._session.describe()


def load(path, max_plans=16, exact=False):
    """The model in a file (with external data beside it), ready to be called; see Session."""
    return Session(path, max_plans, exact)


class InferenceSession:
    """A model with ONNX Runtime's calls: get_inputs, get_outputs and run(names, feed) over NumPy
    arrays. The source is a path or the model's bytes."""

    def __init__(self, path_or_bytes, sess_options=None, providers=None, exact=False):
        if providers and "CPUExecutionProvider" not in providers:
            raise ValueError(f"[onnx] unknown providers: expected CPUExecutionProvider, got {providers}")
        self._model = Session(path_or_bytes, exact=exact)

    def get_inputs(self):
        return self._model.inputs

    def get_outputs(self):
        return self._model.outputs

    def get_providers(self):
        return ["CPUExecutionProvider"]

    def run(self, output_names, input_feed, run_options=None):
        """Values of the named outputs (all when None) as NumPy arrays."""
        model = self._model
        values = [_to_engine(v) for v in model._ordered((), dict(input_feed))]
        out = dict(zip([p.name for p in model.outputs], map(_to_numpy, model._session.run(values))))
        missing = [name for name in output_names or () if name not in out]
        if missing:
            raise ValueError(f"[onnx] unknown output: expected one of {list(out)}, got {missing}")
        return [out[name] for name in (output_names or out)]


def supported_ops():
    """(domain, operator, first version) of every operator that can be imported."""
    return _c.onnx_supported_ops()
