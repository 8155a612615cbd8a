"""suan.onnx.export: a call recorded as a graph, each op translated by the table in translations.py, and the result
written as an ONNX file. Nothing but the engine is needed."""

import contextlib
import inspect
import itertools
import math
import os

import suan

from .. import _c

suan.compile  # the function takes its name before the module's import would
from ..compile import CompiledFunction, _flatten, _unflatten  # noqa: E402
from . import proto  # noqa: E402
from .sizes import MOST_SYMBOLS, N_SAMPLES, Size, formula, linear, sample_sizes  # noqa: E402
from .translations import NOT_EXPORTED, TABLE, WHOLE, NotExportable  # noqa: E402

#: Operator set versions that can be written, each with the version of the file format it came with.
OPSETS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13}
DEFAULT_OPSET = 20
#: A file's messages hold less than 2 GiB; larger models keep their weights in a second file.
LARGEST_MESSAGE = (1 << 31) - (1 << 20)


@contextlib.contextmanager
def _in_eval_mode(fn):
    modules = [(m, m.training) for m in fn.modules()] if hasattr(fn, "modules") else []
    for m, _ in modules:
        m.training = False
    try:
        yield
    finally:
        for m, training in modules:
            m.training = training


class _Call:
    """What a row of the table sees of one node."""

    def __init__(self, writer, op, attrs, inputs, outputs):
        self.writer, self.op, self.attrs, self._in, self._out = writer, op, attrs, inputs, outputs
        self.opset = writer.opset

    def seen_as(self, dtype, wide):
        """The same node with the inputs of one dtype in another."""
        return _WideCall(self, dtype, wide)

    def has(self, i):
        return i < len(self._in) and self._in[i] is not None

    def x(self, i=0):
        """Name of an input, "" when it is left out."""
        return self.writer.name_of(self._in[i]) if self.has(i) else ""

    def xs(self, start=0):
        return [self.x(i) for i in range(start, len(self._in))]

    def n_in(self):
        return len(self._in)

    def shape(self, i=0):
        return self.writer.shape(self._in[i])

    def dtype(self, i=0):
        return self.writer.dtype(self._in[i])

    def out_shape(self, k=0):
        return self.writer.shape(self._out[k])

    def out_dtype(self, k=0):
        return self.writer.dtype(self._out[k])

    def used(self, k):
        return self._out[k] in self.writer.needed

    def made_by(self, i, op):
        """The node that makes an input, if it is of that op, else None."""
        node = self.writer.makers.get(self._in[i])
        if node is None or self.writer.records[0]["nodes"][node][0] != op:
            return None
        _, _, inputs, outputs = self.writer.records[0]["nodes"][node]
        return self.beside(op, self.writer.attrs(node), inputs, outputs)

    def beside(self, op, attrs, inputs, outputs):
        return _Call(self.writer, op, attrs, inputs, outputs)

    def readers(self, k):
        """(op, attributes) of the nodes that read an output; ("", {}) when the graph gives it."""
        nodes, value = self.writer.records[0]["nodes"], self._out[k]
        found = [(nodes[i][0], self.writer.attrs(i)) for i in self.writer.live if value in nodes[i][2]]
        return found + [("", {})] * (value in self.writer.records[0]["outputs"])

    def emit(self, op, *inputs, n_out=1, **attributes):
        """One ONNX node; the name of its output, or a tuple of n_out names."""
        return self.writer.emit(op, inputs, n_out, attributes)

    def scalar(self, value, dtype=None):
        """A 0-d constant."""
        return self.writer.scalar(value, dtype or self.dtype())

    def ints(self, values):
        """A 1-d int64 value of numbers and Sizes."""
        return self.writer.ints(values, self._in)

    def axis(self, i=0, attr="dim"):
        a = self.attrs[attr]
        return a + len(self.shape(i)) if a < 0 else a

    def static(self, values, what):
        """Numbers that the file holds as attributes or as data."""
        for v in values if isinstance(values, (list, tuple)) else [values]:
            if isinstance(v, Size):
                raise NotExportable(f"{what} changes with a dynamic size ({v} at the sizes tried), and ONNX takes a number")
        return values

    def cast(self, name, dtype):
        return self.emit("Cast", name, to=_elem_type(dtype))


class _WideCall(_Call):
    def __init__(self, call, dtype, wide):
        super().__init__(call.writer, call.op, call.attrs, call._in, call._out)
        self._narrow, self._wide = dtype, wide

    def beside(self, op, attrs, inputs, outputs):
        return _WideCall(super().beside(op, attrs, inputs, outputs), self._narrow, self._wide)

    def x(self, i=0):
        name = super().x(i)
        return self.cast(name, self._wide) if name and super().dtype(i) == self._narrow else name

    def dtype(self, i=0):
        return self._wide if super().dtype(i) == self._narrow else super().dtype(i)


class _Writer:
    def __init__(self, records, symbols, opset):
        # Recordings of one function at the sizes of its symbols; values are numbered alike in all.
        self.records = [r.describe() for r in records]
        self.recorded = records[0]
        self.opset = opset
        self.symbols = symbols              # [(name, sizes by recording)]
        self.names, self.nodes, self.initializers = {}, [], {}
        self.constants, self.counts, self.sized = {}, {}, {}
        self.taken = set()                  # names
        self.shapes = {}                    # value -> dims as int or Size
        self.numbers = {}                   # constant -> Size
        self.known = {}                     # Size -> (name, axis) of a value made before
        self.check_alike()
        self.find_needed()

    # ---- the recordings -------------------------------------------------------------------------

    def refuse(self, problem, node=None):
        where = f" ({self.recorded.source(node)})" if node is not None else ""
        symbols = ", ".join(repr(name) for name, _ in self.symbols)
        raise ValueError(f"[onnx.export] {problem}{where}: expected one program for all sizes of {symbols}, got others at "
                         f"{[list(s) for s in zip(*(sizes for _, sizes in self.symbols))]}")

    def check_alike(self):
        first = self.records[0]
        for r in self.records[1:]:
            for i, (a, b) in enumerate(zip(first["nodes"], r["nodes"])):
                if a[0] != b[0] or a[2] != b[2] or a[3] != b[3] or a[1].keys() != b[1].keys():
                    self.refuse("what the function does depends on a size", i)
            if len(r["nodes"]) != len(first["nodes"]) or r["outputs"] != first["outputs"]:
                self.refuse("what the function does depends on a size", min(len(r["nodes"]), len(first["nodes"])) - 1)
            kept = list(zip(first["inputs"][-len(first["captured"]) :], first["captured"], r["captured"]))
            kept += [(v, t, r["constants"].get(v, t)) for v, t in first["constants"].items()]
            differs = [v for v, a, b in kept if not _equal(a, b) and not self.is_number(v)]
            if differs or len(r["captured"]) != len(first["captured"]) or r["constants"].keys() != first["constants"].keys():
                reader = next((i for i, n in enumerate(first["nodes"]) if set(n[2]).intersection(differs)), None)
                self.refuse("a number or a tensor from outside depends on a size", reader)

    def is_number(self, value):
        """Notes a 0-d constant that is a whole number computed from sizes."""
        found = [r["constants"].get(value) for r in self.records]
        if any(t is None or t.numel() != 1 or t.dim() for t in found):
            return False
        numbers = [t.item() for t in found]
        if isinstance(numbers[0], bool) or not all(math.isfinite(v) and v == math.floor(v) for v in numbers):
            return False
        self.numbers[value] = Size.of(int(v) for v in numbers)
        return True

    def find_needed(self):
        self.needed = set(self.records[0]["outputs"])
        self.live = []
        for i in reversed(range(len(self.records[0]["nodes"]))):
            _, _, inputs, outputs = self.records[0]["nodes"][i]
            if self.needed.intersection(outputs):
                self.live.append(i)
                self.needed.update(v for v in inputs if v is not None)
        self.live.reverse()
        self.makers = {v: i for i in self.live for v in self.records[0]["nodes"][i][3]}

    def shape(self, value):
        if value not in self.shapes:
            shapes = [r["values"][value][1] for r in self.records]
            if any(len(s) != len(shapes[0]) for s in shapes):
                self.refuse("a tensor's number of dimensions depends on a size")
            self.shapes[value] = [Size.of(d) for d in zip(*shapes)]
        return self.shapes[value]

    def dtype(self, value):
        return self.records[0]["values"][value][0].name

    def attrs(self, i):
        out = {}
        for key in self.records[0]["nodes"][i][1]:
            found = [r["nodes"][i][1][key] for r in self.records]
            if all(f == found[0] for f in found):
                out[key] = found[0]
            elif isinstance(found[0], list) and all(len(f) == len(found[0]) for f in found):
                out[key] = [Size.of(v) for v in zip(*found)]
            elif isinstance(found[0], (int, float)) and all(f == math.floor(f) for f in found):
                out[key] = Size.of(int(f) for f in found)
            else:
                self.refuse(f"attribute '{key}' of {self.records[0]['nodes'][i][0]} depends on a size", i)
        return out

    # ---- what is written ------------------------------------------------------------------------

    def fresh(self, stem, n_out=1):
        """A name that nothing has, nor its outputs name_0, name_1, ... where there are several."""
        while True:
            n = self.counts[stem] = self.counts.get(stem, -1) + 1
            name = f"{stem}_{n}" if n else stem
            new = {name, *(f"{name}_{k}" for k in range(n_out if n_out > 1 else 0))}
            if self.taken.isdisjoint(new):
                self.taken |= new
                return name

    def name_of(self, value):
        if value not in self.names:  # a number computed from sizes, which are there now
            self.names[value] = self.scalar(self.numbers[value], self.dtype(value))
        return self.names[value]

    def emit(self, op, inputs, n_out, attributes):
        name = self.fresh(op, n_out)
        outs = [name if n_out == 1 else f"{name}_{k}" for k in range(n_out)]
        inputs = list(inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        self.nodes.append((op, inputs, outs, name, attributes))
        return outs[0] if n_out == 1 else tuple(outs)

    def initializer(self, tensor, name=None):
        key = None
        if name is None:
            key = (tensor.dtype, tuple(tensor.shape), _bytes(tensor)) if tensor.numel() <= 64 else None
            if key in self.constants:
                return self.constants[key]
            name = self.fresh("constant")
        self.initializers[name] = tensor
        if key is not None:
            self.constants[key] = name
        return name

    def array(self, values, dtype, shape):
        return self.initializer(_c.tensor_from_data(values, dtype=getattr(_c, dtype)).reshape(list(shape)))

    def scalar(self, value, dtype):
        if isinstance(value, Size):
            at = self.emit("Squeeze", (self.ints([value], ()),), 1, {})
            return at if dtype == "int64" else self.emit("Cast", (at,), 1, {"to": _elem_type(dtype)})
        return self.array(value, dtype, ())

    def ints(self, values, inputs):
        parts = []
        for v in values:
            if isinstance(v, Size):
                parts.append(self.size(v, inputs))
            elif parts and isinstance(parts[-1], list):
                parts[-1].append(v)
            else:
                parts.append([v])
        names = [self.array(p, "int64", (len(p),)) if isinstance(p, list) else p for p in parts or [[]]]
        return names[0] if len(names) == 1 else self.emit("Concat", names, 1, {"axis": 0})

    def size(self, size, inputs):
        """A 1-d int64 value of one element, computed from shapes when the graph runs."""
        if size in self.sized:
            return self.sized[size]
        sizes = [s for _, s in self.symbols]
        dims = [(v, axis) for v in inputs if v is not None for axis in range(len(self.shape(v)))]
        if size in self.known:
            found = self.dim_of(*self.known[size])
        elif product := next(((v, a, b) for v, a in dims for b in range(a + 2, len(self.shape(v)) + 1)
                              if math.prod(self.shape(v)[a:b], start=1) == size), None):
            v, a, b = product
            shape = self.emit("Shape", (self.names[v],), 1, {"start": a, "end": b})
            found = self.reduce_prod(shape)
        elif follows := formula(size.values, sizes):
            factors, scale, shift = follows
            found = self.dim_of(*self.known[Size(sizes[factors[0]])])
            for f in factors[1:]:
                found = self.emit("Mul", (found, self.dim_of(*self.known[Size(sizes[f])])), 1, {})
            found = self.scaled(found, scale, shift)
        elif pair := next((p for p in itertools.combinations_with_replacement(self.known, 2) if p[0] * p[1] == size), None):
            found = self.emit("Mul", [self.dim_of(*self.known[d]) for d in pair], 1, {})
        elif follows := next(((at, fit) for base, at in self.known.items() if (fit := linear(size.values, base.values))), None):
            found = self.scaled(self.dim_of(*follows[0]), *follows[1])
        else:
            raise NotExportable(f"the number {size} (at the sizes tried) follows no formula of the dynamic sizes")
        self.sized[size] = found
        return found

    def dim_of(self, value, axis):
        key = (value, axis)
        if key not in self.sized:
            self.sized[key] = self.emit("Shape", (value,), 1, {"start": axis, "end": axis + 1})
        return self.sized[key]

    def scaled(self, name, scale, shift):
        if scale != 1:
            name = self.emit("Mul", (name, self.array([scale], "int64", (1,))), 1, {})
        return self.emit("Add", (name, self.array([shift], "int64", (1,))), 1, {}) if shift else name

    def reduce_prod(self, shape):
        if self.opset >= 18:
            return self.emit("ReduceProd", (shape, self.array([0], "int64", (1,))), 1, {"keepdims": 1})
        return self.emit("ReduceProd", (shape,), 1, {"axes": [0], "keepdims": 1})

    # ---- the whole ------------------------------------------------------------------------------

    def translate(self, input_names, names_of_tensors):
        first = self.records[0]
        for value, name in zip(first["inputs"], input_names):
            self.names[value] = name
            self.remember(value)
        for value, t in zip(first["inputs"][len(first["inputs"]) - len(first["captured"]) :], first["captured"]):
            if value in self.needed:
                name = names_of_tensors.get(_identity(t))
                self.names[value] = self.initializer(t, name or self.fresh("captured"))
        for value, t in first["constants"].items():
            if value in self.needed and value not in self.numbers:
                self.names[value] = self.initializer(t)
        for i in self.live:
            op, _, inputs, outputs = first["nodes"][i]
            if op not in TABLE:
                why = NOT_EXPORTED.get(op, "it has no translation")
                raise NotImplementedError(f"[onnx.export] {op} cannot be exported: {why} ({self.recorded.source(i)})")
            try:
                made = TABLE[op](_Call(self, op, self.attrs(i), inputs, outputs))
            except NotExportable as e:
                raise NotImplementedError(f"[onnx.export] {op} cannot be exported: {e} ({self.recorded.source(i)})") from None
            for value, name in zip(outputs, made if isinstance(made, tuple) else (made,)):
                self.names[value] = name
                if name:
                    self.remember(value)

    def remember(self, value):
        for axis, d in enumerate(self.shape(value)):
            if isinstance(d, Size):
                self.known.setdefault(d, (self.names[value], axis))

    def outputs(self, names):
        """Gives the results their names."""
        rename = {}
        taken = set(self.initializers) | {self.names[v] for v in self.records[0]["inputs"] if v in self.names}
        made_here = {o for n in self.nodes for o in n[2]}
        others = (made_here | taken) - {self.name_of(v) for v in self.records[0]["outputs"]}
        for value, name in zip(self.records[0]["outputs"], names):
            at = self.name_of(value)
            if at in made_here and at not in rename and name not in others:
                rename[at] = name
            elif name in others:
                raise ValueError(f"[onnx.export] name is taken: expected a new one for an output, got {name!r}")
            else:
                self.nodes.append(("Identity", [at], [name], self.fresh("Identity"), {}))
        self.nodes = [(op, [rename.get(i, i) for i in ins], [rename.get(o, o) for o in outs], name, attributes)
                      for op, ins, outs, name, attributes in self.nodes]

    def prune(self):
        """Drops what a row made superfluous by saying more in one node."""
        read, kept = {self.name_of(v) for v in self.records[0]["outputs"]}, []
        for n in reversed(self.nodes):
            if read.intersection(n[2]):
                kept.append(n)
                read.update(n[1])
        self.nodes = kept[::-1]

    def write(self, path, input_names, output_names):
        first = self.records[0]
        dims = lambda v: [d if not isinstance(d, Size) else self.symbol_name(d) for d in self.shape(v)]  # noqa: E731
        elem = lambda v: _elem_type(self.dtype(v))  # noqa: E731
        read = {i for n in self.nodes for i in n[1]}
        weights = {n: t for n, t in self.initializers.items() if n in read}
        graph = [proto.node(*n[:2], n[2], n[3], n[4]) for n in self.nodes] + [proto.text(2, "suan")]
        graph += [proto.value_info(11, n, elem(v), dims(v)) for v, n in zip(first["inputs"], input_names)]
        graph += [proto.value_info(12, n, elem(v), dims(v)) for v, n in zip(first["outputs"], output_names)]
        _write_model(path, graph, weights, self.opset)

    def symbol_name(self, size):
        return next((name for name, sizes in self.symbols if sizes == size.values), None)


def _bytes(t):
    return _c.to_bytes(t.contiguous())


def _equal(a, b):
    alike = a.dtype == b.dtype and a.shape == b.shape
    return a is b or alike and (_c.address(a) == _c.address(b) or _bytes(a) == _bytes(b))


def _identity(t):
    return (_c.address(t), t.dtype, tuple(t.shape))


def _write_model(path, graph, weights, opset):
    inline = sum(t.numel() * t.element_size() for t in weights.values()) + sum(map(len, graph)) < LARGEST_MESSAGE
    beside, offset = os.fspath(path) + ".data", 0
    parts = list(graph)
    with contextlib.ExitStack() as stack:
        out = None if inline else stack.enter_context(open(beside, "wb"))
        for name, t in weights.items():
            raw, elem = _bytes(t), _elem_type(t.dtype.name)
            if inline:
                parts += proto.tensor(5, name, elem, t.shape, raw)
                continue
            parts += proto.tensor(5, name, elem, t.shape, raw, (os.path.basename(beside), offset))
            out.write(raw)
            out.write(bytes(-len(raw) % 64))  # so that a reader can map them in place
            offset += len(raw) + -len(raw) % 64
    head = [proto.integer(1, OPSETS[opset]), proto.text(2, "suan"), proto.text(3, suan.__version__),
            proto.message(8, [proto.integer(2, opset)])]
    with open(path, "wb") as f:
        f.writelines(head)
        f.writelines(proto.data(7, *parts))


def _elem_type(dtype):
    if dtype not in proto.ELEM_TYPES:
        raise NotImplementedError(f"[onnx.export] dtype cannot be exported: expected one of {', '.join(proto.ELEM_TYPES)}, got {dtype}")
    return proto.ELEM_TYPES[dtype]


def _argument_names(fn, args, kwargs):
    """One per tensor among the arguments: the parameter's name, numbered where it holds several."""
    try:
        parameters = inspect.signature(getattr(fn, "forward", fn)).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        parameters = {"input": args, **kwargs}
    names = {}
    for name, value in parameters.items():
        leaves = []
        _flatten(value, leaves)
        for k, t in enumerate(leaves):
            names.setdefault(id(t), name if len(leaves) == 1 else f"{name}_{k}")
    leaves = []
    _flatten((args, kwargs), leaves)
    return [names[id(t)] for t in leaves]


def _choose_names(given, found, what):
    if given is None:
        return found
    given = list(given)
    if len(given) != len(found) or len(set(given)) != len(given) or not all(isinstance(n, str) and n for n in given):
        raise ValueError(f"[onnx.export] wrong {what}_names: expected {len(found)} different names, got {given}")
    return given


def _find_symbols(dynamic_shapes, names, leaves):
    """{(input, axis): symbol's index} and [(name, the example's size)]."""
    at, symbols = {}, []
    for name, axes in (dynamic_shapes or {}).items():
        if name not in names:
            raise ValueError(f"[onnx.export] unknown input in dynamic_shapes: expected one of {names}, got {name!r}")
        shape = leaves[names.index(name)].shape
        for axis, symbol in axes.items():
            if not isinstance(axis, int) or not -len(shape) <= axis < len(shape) or not isinstance(symbol, str) or not symbol:
                raise ValueError(f"[onnx.export] wrong dynamic_shapes of {name!r}: expected a name by axis of {len(shape)} "
                                 f"dimensions, got {axes}")
            axis %= len(shape)
            index = next((i for i, (known, _) in enumerate(symbols) if known == symbol), len(symbols))
            if index == len(symbols):
                symbols.append((symbol, shape[axis]))
            elif symbols[index][1] != shape[axis]:
                raise ValueError(f"[onnx.export] sizes of {symbol!r} differ: expected {symbols[index][1]} in dimension {axis} "
                                 f"of {name!r}, got {shape[axis]}")
            at[names.index(name), axis] = index
    if len(symbols) > MOST_SYMBOLS:
        raise ValueError(f"[onnx.export] too many dynamic sizes: expected at most {MOST_SYMBOLS}, got {[s for s, _ in symbols]}")
    return at, symbols


def _record(call, leaves, at, symbols, opset):
    """Recordings with the sizes they were made at."""
    whole = [op for op, since in WHOLE.items() if opset >= since]
    if not symbols:
        return [_c.record(call, leaves, [list(t.shape) for t in leaves], whole)], []
    problem = None
    for sizes in sample_sizes([size for _, size in symbols]):
        try:
            records = []
            for k in range(N_SAMPLES):
                shapes = [list(t.shape) for t in leaves]
                for (leaf, axis), symbol in at.items():
                    shapes[leaf][axis] = sizes[symbol][k]
                records.append(_c.record(call, leaves, shapes, whole))
            return records, [(name, sizes[i]) for i, (name, _) in enumerate(symbols)]
        except (ValueError, RuntimeError, IndexError, TypeError) as e:
            problem = problem or (dict(zip((n for n, _ in symbols), (s[k] for s in sizes))), e)
    raise ValueError(f"[onnx.export] function does not run at other sizes: expected it to at {problem[0]}, got {problem[1]}") \
        from problem[1]


def export(fn, args, path, *, kwargs=None, input_names=None, output_names=None, dynamic_shapes=None,
           opset_version=DEFAULT_OPSET):
    """Writes what ``fn(*args, **kwargs)`` computes as an ONNX file.

    The call is recorded, not run; a module is recorded in evaluation mode. Parameters and buffers become
    initializers under their names, and other tensors that the function reads under names of their own.

    Args:
        fn: a module, a function, or either compiled. Its arguments and results are tensors in nested tuples, lists and
            dicts; other arguments are constants of the file. Python decisions are taken as they fall in this call.
        args: a tensor or the tuple of arguments; only dtypes and shapes matter.
        path: where to write. Models of 2 GiB and more keep their weights in ``path + ".data"``.
        kwargs: arguments by name.
        input_names: one per tensor among the arguments; the parameters' names when left out.
        output_names: one per tensor in the result; "output", or "output_0" and so on, when left out.
        dynamic_shapes: ``{"input": {axis: "name"}}``: sizes left open, those of one name equal; at most 4 names. The
            call is recorded at four values of each (all above 1).
        opset_version: 17 to 26.

    Raises:
        NotImplementedError: an op with no ONNX equivalent, naming the line that used it.
        ValueError: wrong names or versions; a function that does something else at other sizes, naming the line.
        RuntimeError: a function that writes to tensors from outside.
    """
    if opset_version not in OPSETS:
        raise ValueError(f"[onnx.export] wrong opset_version: expected {min(OPSETS)} to {max(OPSETS)}, got {opset_version}")
    if isinstance(fn, CompiledFunction):
        fn = fn._fn
    args, kwargs = args if isinstance(args, tuple) else (args,), dict(kwargs or {})
    leaves, n_results = [], []
    tree = _flatten((args, kwargs), leaves)
    if len({_identity(t) for t in leaves}) != len(leaves):  # one storage would be one input
        leaves = [t.clone() for t in leaves]
    a, k = _unflatten(tree, leaves)
    input_names = _choose_names(input_names, _argument_names(fn, a, k), "input")
    at, symbols = _find_symbols(dynamic_shapes, input_names, leaves)

    def call(inputs):
        a, k = _unflatten(tree, inputs)
        results = []
        _flatten(fn(*a, **k), results)
        n_results.append(len(results))
        return results

    with _in_eval_mode(fn):
        records, symbols = _record(call, leaves, at, symbols, opset_version)
    n = n_results[0]
    output_names = _choose_names(output_names, ["output"] if n == 1 else [f"output_{i}" for i in range(n)], "output")
    names_of_tensors = {}
    for table in ("named_parameters", "named_buffers"):
        for name, t in getattr(fn, table)() if hasattr(fn, table) else ():
            names_of_tensors.setdefault(_identity(t), name)
    writer = _Writer(records, symbols, opset_version)
    writer.taken.update(input_names, output_names, names_of_tensors.values())
    writer.translate(input_names, names_of_tensors)
    writer.prune()
    writer.outputs(output_names)
    writer.write(path, input_names, output_names)
