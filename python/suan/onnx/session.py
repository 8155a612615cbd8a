"""Sessions: an ONNX model as a Python callable."""

import os

import numpy

from .. import _c
from ..kinds import NARROW


class NodeArg:
    """A declared input or output: name, type ("tensor(float)"), shape (numbers, names or None)."""

    def __init__(self, name, kind, dtype, shape, type):
        self.name, self.kind, self.dtype, self.shape, self.type = name, kind, dtype, shape, type

    def __repr__(self):
        return f"NodeArg(name={self.name!r}, type={self.type!r}, shape={self.shape})"


def _to_engine(value):
    if type(value) is numpy.ndarray and value.dtype.kind not in "OUS":
        return value   # read in place
    if value is None or isinstance(value, (_c.Tensor, dict)):
        return value
    if isinstance(value, (list, tuple)):
        return [_to_engine(item) for item in value]
    array = numpy.asarray(value)
    if array.dtype.kind in "OUS":
        texts = [t if isinstance(t, bytes) else str(t).encode() for t in array.ravel().tolist()]
        return (array.shape, texts)
    return array


def _from_list(value, port):
    """Nested lists of numbers or texts as an array of the input's type; lists for sequences stay."""
    if port.kind not in ("tensor", "strings"):
        return value
    try:
        if port.kind == "strings":
            return numpy.array(value, dtype=object)
        if port.dtype in _AS_BITS:
            import ml_dtypes

            return numpy.array(value, dtype=getattr(ml_dtypes, port.dtype.name))
        return numpy.array(value, dtype=port.dtype.name)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"[onnx] input '{port.name}' is no array: expected nested lists that fit {port.type}, got {error}") from None


_AS_BITS = frozenset((_c.bfloat16, *NARROW))


def _to_numpy(value):
    if type(value) is _c.Tensor and value.dtype not in _AS_BITS:
        return numpy.asarray(_c.ArrayView(value))
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, list):
        return [_to_numpy(item) for item in value]
    if isinstance(value, tuple):
        shape, texts = value
        array = numpy.empty(len(texts), dtype=object)
        array[:] = [t.decode(errors="surrogateescape") for t in texts]
        return array.reshape(shape)
    import ml_dtypes  # noqa: F401: numpy() gives its types from now on

    return numpy.asarray(value.numpy())


class Session:
    """A loaded model. Calling it takes tensors (or NumPy arrays) in the order of `inputs`, or by
    name, and gives one value or a tuple in the order of `outputs`. Any number of threads may call one session.
    `defaults` are initializers that the file lists as inputs too: a call may give others, by name.

    Args:
        source: path of a model, or its bytes.
        max_plans: sets of shapes whose plans are kept.
        exact: forbids what changes bits: batch norms are then not folded into the weights of the convolutions
            before them, 3×3 convolutions not computed by Winograd's tiles nor large products by Strassen's algorithm, and
            chains of plain operators not made attention, norms or activations; quantised graphs are computed in real values.
        precision: "float32", or "bf16": matrix products and attention of float32 values then read
            bfloat16 and add up in float32. A call that runs node by node (data decides, or an input is no tensor) is
            then refused with TypeError.
        threads: that work on one call, its caller included; None for as many as suan.get_num_threads().
        memory_limit: bytes that one call may take for its values and outputs; known before it starts unless data decides.
        sizes: {dimension name: size}; the model then has these sizes only.
        sizes_by_denotation: the same by denotation, such as "DATA_BATCH".
        log: called as log(severity, message): 1 for facts (loaded, planned), 2 for warnings. None for silence.
        initializers: {name: tensor or array}: taken instead of the file's initializers, of the same type and shape. Their
            memory is read in place: it must not be written while the session lives.
        prepacked: path of a file of packed weights: the first session writes it, once it has planned a call (a call that
            packs something new takes longer by the writing); sessions that find it map it, so that they need not pack
            and processes share the memory. It serves this model, this version of Suan and this kind of processor: where
            one does not fit it is written anew, with a warning. See docs/onnx.md.
        prepacked_read_only: the file is never written; ValueError where it does not fit, OSError where there is none.
        name_nodes: suan.profiler then shows the model's nodes by name. The names are kept until the process ends.

    Errors: OSError (the file), ValueError (no valid model, shapes, damaged prepacked weights), TypeError (operators or types
    that are not supported, naming the first), suan.OutOfMemoryError (past memory_limit), TimeoutError,
    suan.CancelledError."""

    def __init__(self, source, max_plans=16, exact=False, *, precision="float32", threads=None, memory_limit=None,
                 sizes=None, sizes_by_denotation=None, initializers=None, log=None, name_nodes=False,
                 prepacked=None, prepacked_read_only=False):
        if precision not in ("float32", "bf16"):
            raise ValueError(f"[onnx] unknown precision: expected 'float32' or 'bf16', got {precision!r}")
        options = {
            "max_plans": max_plans, "exact": bool(exact), "bf16": precision == "bf16", "threads": threads or 0,
            "memory_limit": memory_limit or 0, "sizes": dict(sizes or {}),
            "sizes_by_denotation": dict(sizes_by_denotation or {}), "log": log, "name_nodes": bool(name_nodes),
            "prepacked": os.fspath(prepacked) if prepacked is not None else "", "prepacked_read_only": bool(prepacked_read_only),
            "initializers": {name: _to_engine(value) for name, value in (initializers or {}).items()},
        }
        data = isinstance(source, (bytes, bytearray, memoryview))
        self._session = _c.OnnxSession(bytes(source) if data else os.fspath(source), options)
        self.inputs = [NodeArg(*port) for port in self._session.inputs()]
        self.outputs = [NodeArg(*port) for port in self._session.outputs()]
        self.defaults = [NodeArg(*port) for port in self._session.defaults()]

    def __call__(self, *args, **named):
        out = self._session.run([_to_engine(v) for v in self._ordered(args, named)])
        return out[0] if len(out) == 1 else tuple(out)

    def run(self, feed, *, into=None, timeout=None, cancel=None):
        """All outputs as a list of tensors.

        Args:
            feed: values by name, or a list in the order of `inputs`.
            into: {output name: contiguous tensor or writable array of the result's type and shape}; the result is
                written there. If the call fails its content is undefined.
            timeout: seconds after which TimeoutError is raised; None or 0 for no limit.
            cancel: a suan.onnx.CancelFlag; once its `set` is true, suan.CancelledError is raised.
        """
        values = self._ordered((), dict(feed)) if isinstance(feed, dict) else list(feed)
        places = None
        if into:
            unknown = [name for name in into if name not in [p.name for p in self.outputs]]
            if unknown:
                raise ValueError(f"[onnx] unknown output: expected one of {[p.name for p in self.outputs]}, got {unknown}")
            places = [into.get(p.name) for p in self.outputs]
        return self._session.run([_to_engine(v) for v in values], places, timeout or 0.0, cancel)

    def _ordered(self, args, named):
        values = list(args)
        for port in self.inputs[len(values) :]:
            values.append(named.pop(port.name, None))
        if named:
            values += [named.pop(port.name, None) for port in self.defaults]
        if named:
            known = [p.name for p in self.inputs + self.defaults]
            raise ValueError(f"[onnx] unknown input: expected one of {known}, got {sorted(named)}")
        if list in map(type, values):
            ports = self.inputs + self.defaults
            values = [_from_list(v, p) if type(v) is list else v for v, p in zip(values, ports)]
        return values

    def stream(self, state, initial=None, sizes=None):
        """A Stream: calls that carry state from one to the next. state: {input name: output name}."""
        from .stream import Stream

        return Stream(self, state, initial, sizes)

    def memory(self, shapes=None):
        """What a call with inputs of these shapes takes, in bytes, before it is made: {"arena", "outputs", "weights"};
        weights (as they are packed) are shared by all calls.

        Args:
            shapes: {input name: shape}; inputs whose declared shape has numbers only may be left out. A name and a
                number ({"batch": 8}) sets that dimension of all inputs.

        Raises:
            suan.StateError: shapes within the model depend on data. suan.OutOfMemoryError: past memory_limit.
        """
        shapes = dict(shapes or {})
        named = {k: v for k, v in shapes.items() if isinstance(v, int)}
        types = []
        for port in self.inputs:
            shape = shapes.get(port.name, port.shape)
            if shape is None or isinstance(shape, int):
                raise ValueError(f"[onnx] no shape for input '{port.name}': expected one, got {shape}")
            shape = [named.get(d, d) for d in shape]
            if not all(isinstance(d, int) for d in shape):
                raise ValueError(f"[onnx] open shape of input '{port.name}': expected numbers, got {shape}")
            types.append((port.dtype, shape))
        return self._session.memory(types)

    def peak_memory(self, shapes=None):
        """The bytes that a call takes beyond inputs and weights, known before it is made; see memory()."""
        need = self.memory(shapes)
        return need["arena"] + need["outputs"]

    def trim(self):
        """Gives working memory back to the system; later calls take it anew. Plans and packed weights stay."""
        self._session.trim()

    @property
    def operators(self):
        """Operator names and how often each occurs."""
        return self._session.operators()

    @property
    def metadata(self):
        """What the file says about itself: versions, opsets, producer, names, descriptions, custom texts."""
        return self._session.metadata()

    @property
    def stats(self):
        """Counts: plans kept, times the model was translated, shapes laid out from a program with open sizes,
        calls replayed and stepped; bytes of weights."""
        return self._session.stats()

    def describe(self):
        """Versions, inputs, outputs, weights and operators as text."""
        return self._session.describe()


def load(path, max_plans=16, exact=False, **options):
    """The model in a file (with external data beside it), ready to be called; see Session."""
    return Session(path, max_plans, exact, **options)


def supported_ops():
    """(domain, operator, first version) of every operator that can be imported."""
    return _c.onnx_supported_ops()
