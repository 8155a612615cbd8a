"""suan.onnx.simplify: an ONNX file with less in it that computes the same. What constants and sizes alone decide is
asked of the engine; everything else is rewriting of the file's own messages, which are kept as they are where nothing
changes."""

import dataclasses
import math
import os
import pathlib
import tempfile
import time

import numpy

from .. import _c
from . import proto
from .proto import every, first
from .model_file import LARGEST_MESSAGE, Message, ModelFile, Node, made, port, with_shape
from .session import Session, _to_numpy


#: Not computed: the file would grow, or runtimes would no longer see a quantised weight.
_KEPT = {"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"}
#: Two of these are not one.
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
#: Of one input with the type of the output they change nothing.
_LAYOUTS = {"Cast", "Expand", "Flatten", "Reshape", "Squeeze", "Unsqueeze"}
_OF_ONE = {"Concat", "Max", "Mean", "Min", "Sum"}


@dataclasses.dataclass
class Report:
    """What :func:`simplify` did.

    Attributes:
        nodes_before, nodes_after: of the main graph.
        operators_before, operators_after: {operator: count}.
        bytes_before, bytes_after: of the files, weights beside them included.
        rewrites: {what: how often}.
        open_inputs: inputs whose sizes are not fixed: what follows from sizes was then left as it is.
        checked: engines that gave equal outputs for both files ("onnx.checker" when it accepted the result).
        apart: the greatest difference |a - b| / (1 + |b|) seen.
    """

    nodes_before: int = 0
    nodes_after: int = 0
    operators_before: dict = dataclasses.field(default_factory=dict)
    operators_after: dict = dataclasses.field(default_factory=dict)
    bytes_before: int = 0
    bytes_after: int = 0
    rewrites: dict = dataclasses.field(default_factory=dict)
    open_inputs: list = dataclasses.field(default_factory=list)
    checked: list = dataclasses.field(default_factory=list)
    apart: float = 0.0


# ---- sizes -----------------------------------------------------------------------------------------------------------


def _fix_inputs(model, shapes, sizes):
    """Gives inputs the sizes asked for; those of one name are one."""
    sizes, used = dict(sizes or {}), set()
    for name, shape in (shapes or {}).items():
        message = model.inputs.get(name.encode())
        if message is None:
            known = [n.decode() for n in model.inputs]
            raise ValueError(f"[simplify] no input '{name}': expected one of {known}")
        elem, dims = port(message)
        if elem is None:
            raise ValueError(f"[simplify] input '{name}' has no sizes: expected a tensor, got another kind of value")
        if dims is not None and (len(dims) != len(shape) or any(isinstance(d, int) and d != s for d, s in zip(dims, shape))):
            raise ValueError(f"[simplify] sizes of input '{name}' do not fit: expected {dims}, got {list(shape)}")
        for d, s in zip(dims or (), shape):
            if isinstance(d, str) and sizes.setdefault(d, s) != s:
                raise ValueError(f"[simplify] sizes of '{d}' differ: expected {sizes[d]}, got {s} in input '{name}'")
            used.update([d] if isinstance(d, str) else [])
        model.inputs[name.encode()] = with_shape(message, elem, shape)
    for table in (model.inputs, model.outputs, model.infos):
        for name, message in table.items():
            elem, dims = port(message)
            if dims is None or not any(isinstance(d, str) and d in sizes for d in dims):
                continue
            used.update(d for d in dims if d in sizes and table is model.inputs)
            table[name] = with_shape(message, elem, [sizes.get(d, d) if isinstance(d, str) else d for d in dims])
    if unknown := set(sizes) - used:
        raise ValueError(f"[simplify] no dimension '{min(unknown)}': expected a name that an input's dimensions have")


# ---- rewrites --------------------------------------------------------------------------------------------------------


def _decided(model):
    """({name: array} that constants and sizes decide, whether all sizes are fixed). Also finds the types of values."""
    kept = [o for n in model.nodes for o in n.outputs if o and o not in model.outputs]   # all, or they are let go
    if model.weight_bytes() < LARGEST_MESSAGE:
        session = Session(model.whole(kept))
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "model.onnx"
            model.write(file, kept)
            session = Session(file)
    types = [(p.dtype, p.shape) for p in session.inputs]
    fixed = all(p.kind == "tensor" and p.shape is not None and all(isinstance(d, int) for d in p.shape) for p in session.inputs)
    known, typed = session._session.values(types if fixed else None)
    model.types = {name: (str(dtype).removeprefix("suan."), tuple(shape)) for name, (dtype, shape) in typed.items()}
    arrays = {}
    for name, value in known.items():
        if not isinstance(value, _c.Tensor):
            continue
        dtype = str(value.dtype).removeprefix("suan.")
        model.types[name] = (dtype, tuple(value.shape))
        if dtype in proto.ELEM_TYPES:
            arrays[name] = value
    return arrays, fixed


def _fold(model, known, limit):
    """Nodes whose results are known leave, unless a result is large and larger than what it is made of."""
    stored = {name: t.bytes for name, t in model.tensors.items()}
    left, folded = [], {}
    for node in model.nodes:
        outputs = [o for o in node.outputs if o]
        made_of = sum(stored.get(name, 0) for name in {n for n in node.inputs if n})
        size = sum(math.prod(model.types[o][1]) * known[o].dtype.itemsize for o in outputs if o in known)
        fits = size <= max(limit, made_of) or node.is_onnx("Constant")
        done = node.is_onnx("Identity") and node.inputs[0] in model.tensors and node.outputs[0] in model.outputs
        if outputs and all(o in known for o in outputs) and fits and node.op not in _KEPT and not node.graphs and not done:
            for o in outputs:
                folded[o] = known[o]
                stored[o] = math.prod(model.types[o][1]) * known[o].dtype.itemsize
            continue
        for o in outputs:
            stored[o] = made_of if o in known else 0
        left.append(node)
    if not folded:
        return 0
    model.note("computed", len(model.nodes) - len(left))
    constants = sum(n.is_onnx("Constant") for n in model.nodes) - sum(n.is_onnx("Constant") for n in left)
    model.note("constants made weights", constants)
    model.rewrites["computed"] -= constants
    model.nodes = left
    read = {*model.captured(), *(n for node in left for n in node.inputs)}
    for name, value in folded.items():
        if name in model.outputs:   # a result that is always the same
            weight = model.fresh(name + b"_value")
            model.set_tensor(weight, _to_numpy(value))
            model.nodes.insert(0, made("Identity", [weight], [name]))
        elif name in read:
            model.set_tensor(name, _to_numpy(value))
    return len(folded)


def _changes_nothing(model, node, known):
    if not node.domain == "" or len([o for o in node.outputs if o]) != 1 or not node.inputs or not node.inputs[0]:
        return False
    a, b = model.types.get(node.inputs[0]), model.types.get(node.outputs[0])
    if node.op == "Identity":
        return True
    if node.op == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else b""
        off = training in known and not bool(_to_numpy(known[training]).any()) if training else True
        return off and (model.opset >= 12 or model.opset >= 7 or node.integer(b"is_test", 0) == 1)
    if node.op == "Transpose":
        perm = node.ints(b"perm")
        return perm is not None and perm == sorted(perm) or a is not None and len(a[1]) <= 1
    if node.op in _OF_ONE:
        return len(node.inputs) == 1
    return node.op in _LAYOUTS and a is not None and a == b


def _drop_identities(model, known):
    """Readers of such a node's result read its input."""
    captured, gone = model.captured(), []
    readers, makers = model.readers(), {o: n for n in model.nodes for o in n.outputs}
    for node in model.nodes:
        if not _changes_nothing(model, node, known):
            continue
        source, result = node.inputs[0], node.outputs[0]
        if result in captured:
            continue
        if result in model.outputs:
            # The maker of the source makes the output; its other readers read that.
            maker = makers.get(source)
            if maker is None or maker.graphs or source in model.outputs or source in captured:
                continue
            maker.outputs[maker.outputs.index(source)] = result
            makers[result] = maker
            source, result = result, source
        for reader in readers.pop(result, ()):
            if reader is node:
                continue
            reader.inputs = [source if n == result else n for n in reader.inputs]
            readers.setdefault(source, []).append(reader)
        gone.append(node)
    gone = {id(n) for n in gone}
    model.nodes = [n for n in model.nodes if id(n) not in gone]
    model.note("identities", len(gone))
    return len(gone)


def _merge(model):
    """Equal nodes with equal inputs become one; so do equal weights."""
    captured, renamed, seen, left = model.captured(), {}, {}, []
    content = {}
    for name, t in model.tensors.items():
        same = name if t.content is None else content.setdefault(t.content, name)
        if same != name and name not in captured:
            renamed[name] = same
    weights = len(renamed)
    for node in model.nodes:
        node.inputs = [renamed.get(n, n) for n in node.inputs]
        if node.graphs or node.op in _RANDOM or "Dropout" in node.op or node.domain not in ("", "ai.onnx.ml", "com.microsoft"):
            left.append(node)
            continue
        key = (node.domain, node.op, tuple(node.inputs), len(node.outputs), tuple(bool(o) for o in node.outputs),
               frozenset(bytes(a) for a in node.attributes.values()))
        same = seen.setdefault(key, node)
        if same is node or any(o in model.outputs or o in captured for o in node.outputs):
            left.append(node)
            continue
        renamed.update(zip(node.outputs, same.outputs))
    merged = len(model.nodes) - len(left)
    model.nodes = left
    model.note("equal nodes", merged)
    model.note("equal weights", weights)
    return merged + weights


def _drop_dead(model):
    """Nodes and weights that nothing needs."""
    needed, left = {*model.outputs, *model.captured()}, []
    for node in reversed(model.nodes):
        if not any(o in needed for o in node.outputs if o):
            continue
        needed.update(node.inputs)
        left.append(node)
    dead = len(model.nodes) - len(left)
    model.nodes = left[::-1]
    unused = [name for name in model.tensors if name not in needed]
    for name in unused:
        del model.tensors[name]
    model.note("nodes without a reader", dead)
    return dead + len(unused)


def _fold_norms(model, known):
    """A batch norm goes into the weights of the convolution before it; computed in float64, which rounds elsewhere."""
    readers, captured = model.readers(), model.captured()
    makers = {o: n for n in model.nodes for o in n.outputs}
    folded = set()
    for norm in model.nodes:
        if not norm.is_onnx("BatchNormalization") or len([o for o in norm.outputs if o]) != 1 or len(norm.inputs) != 5:
            continue
        source = norm.inputs[0]
        conv = makers.get(source)
        inference = norm.integer(b"training_mode", 0) == 0 and norm.integer(b"spatial", 1) == 1
        if model.opset < 7:
            inference = inference and norm.integer(b"is_test", 0) == 1
        if (not inference or conv is None or id(conv) in folded or not conv.is_onnx("Conv", "ConvTranspose")
                or len(readers.get(source, ())) != 1 or source in captured or source in model.outputs):
            continue
        bias = conv.inputs[2] if len(conv.inputs) > 2 else b""
        names = [conv.inputs[1], *norm.inputs[1:], *([bias] if bias else [])]
        if not all(n in known and n in model.tensors for n in names):
            continue
        weight, scale, shift, mean, variance, *had = (_to_numpy(known[n]) for n in names)
        if weight.dtype.kind != "f" or weight.ndim < 3:
            continue
        group = conv.integer(b"group", 1)
        wide = [v.astype("f8") for v in (scale, shift, mean, variance)]
        by = wide[0] / numpy.sqrt(wide[3] + norm.real(b"epsilon", 1e-5))
        if conv.op == "Conv":
            made = weight.astype("f8") * by.reshape(-1, *[1] * (weight.ndim - 1))
        else:   # [in, out / group, ...]
            parts = numpy.split(weight.astype("f8"), group)
            by_part = [b.reshape(1, -1, *[1] * (weight.ndim - 2)) for b in numpy.split(by, group)]
            made = numpy.concatenate([p * b for p, b in zip(parts, by_part)])
        moved = wide[1] + ((had[0].astype("f8") if had else 0) - wide[2]) * by
        if not (numpy.isfinite(made).all() and numpy.isfinite(moved).all()):
            continue
        names = [model.fresh(norm.outputs[0] + end) for end in (b"_weight", b"_bias")]
        for name, value in zip(names, (made, moved)):
            model.set_tensor(name, value.astype(weight.dtype))
        conv.inputs = [conv.inputs[0], *names]
        conv.outputs = list(norm.outputs)
        folded.update((id(norm), id(conv)))
    model.nodes = [n for n in model.nodes if not (n.is_onnx("BatchNormalization") and id(n) in folded)]
    model.note("batch norms", len(folded) // 2)
    return len(folded)


def _inline_branches(model, known):
    """An If whose condition is known becomes the nodes of its branch."""
    left, inlined = [], 0
    for node in model.nodes:
        branch = None
        if node.is_onnx("If") and node.inputs[0] in known:
            a = node.attributes.get(b"then_branch" if bool(_to_numpy(known[node.inputs[0]]).all()) else b"else_branch")
            branch = None if a is None else first(a, 6)
        if branch is None or not len(branch):
            left.append(node)
            continue
        inside = [Node(m) for m in every(branch, 1)]
        if any(n.graphs for n in inside) or every(branch, 15):
            left.append(node)
            continue
        own = [bytes(first(m, 8)) for m in every(branch, 5)] + [o for n in inside for o in n.outputs if o]
        names = {}
        for name in own:
            names[name] = model.fresh(name)
            model.given.add(names[name])
        for m in every(branch, 5):
            model._add_tensor(b"".join([*(bytes(raw) for number, _, raw in Message(m).fields if number != 8),
                                        *proto.data(8, names[bytes(first(m, 8))])]))
        for n in inside:
            n.inputs, n.outputs = ([names.get(name, name) for name in part] for part in (n.inputs, n.outputs))
        ends = [bytes(first(m, 1)) for m in every(branch, 12)]
        left += inside + [made("Identity", [names.get(e, e)], [o]) for e, o in zip(ends, node.outputs) if o]
        inlined += 1
    model.nodes = left
    model.note("branches", inlined)
    return inlined


def _write_types(model):
    """Sizes found, into the file."""
    for name, (dtype, shape) in model.types.items():
        elem = proto.ELEM_TYPES.get(dtype)
        if elem is None:
            continue
        if name in model.outputs:
            model.outputs[name] = with_shape(model.outputs[name], elem, shape)
        elif name not in model.inputs:
            model.infos[name] = with_shape(b"".join(proto.data(1, name)), elem, shape)


def _count(nodes):
    counts = {}
    for n in nodes:
        name = f"{n.domain}.{n.op}" if n.domain else n.op
        counts[name] = counts.get(name, 0) + 1
    return counts


def simplify(source, path, *, shapes=None, sizes=None, exact=False, fold_limit=1 << 20, seconds=60.0, check=None):
    """Writes an ONNX file that computes what another one does, with fewer nodes.

    What constants alone decide is computed, and, where all sizes are fixed, what sizes decide; branches whose condition
    is then known become their nodes; identities, equal nodes, equal weights and what nothing reads leave; batch norms go
    into the convolutions before them. Names of inputs and outputs, opsets, functions, texts and metadata stay. Weights
    that the file also lists as inputs count as constants. Sub-graphs of loops, and quantised weights, stay as they are.

    Args:
        source, path: files; path may be source. Weights beside the file are taken in, unless 2 GiB or more come
            together: then they lie in path + ".data".
        shapes: {input name: sizes}. sizes: {dimension name: size}. Both become part of the file.
        exact: True leaves batch norms where they are, which keeps every bit.
        fold_limit: bytes of a computed value, unless what it is made of takes as many.
        seconds: no new round of rewriting begins after them.
        check: called as check(new file, report) before it gets its name; what it raises ends the call, and nothing
            is written.

    Returns:
        A :class:`Report`.

    Raises:
        ValueError: no valid model, or sizes that do not fit. TypeError: an operator that is not supported.
    """
    source, path = pathlib.Path(source), pathlib.Path(path)
    began = time.monotonic()
    Session(source)   # refuses what is no valid model
    model = ModelFile(source)
    report = Report(len(model.nodes), 0, _count(model.nodes), {}, model.bytes_before)
    _fix_inputs(model, shapes, sizes)
    fixed = False
    for _ in range(16):
        known, fixed = _decided(model)
        changed = _inline_branches(model, known)
        again = changed > 0
        for _ in range(16):
            done = _drop_identities(model, known) + _fold(model, known, fold_limit) + _merge(model)
            done += 0 if exact else _fold_norms(model, known)
            done += _drop_dead(model)
            if not done:
                break
            changed += done
        if not again or time.monotonic() - began > seconds:
            break
    if fixed:
        _write_types(model)
    report.open_inputs = [] if fixed else [n.decode() for n, m in model.inputs.items()
                                           if (dims := port(m)[1]) is None or not all(isinstance(d, int) for d in dims)]
    report.nodes_after, report.operators_after = len(model.nodes), _count(model.nodes)
    report.rewrites = {k: v for k, v in model.rewrites.items() if v}
    # Written apart, so that the file appears whole and checked, or not at all.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = pathlib.Path(folder) / path.name
        model.write(part)
        if check is not None:
            check(part, report)
        written = sorted(part.parent.iterdir(), reverse=True)   # weights first
        report.bytes_after = sum(p.stat().st_size for p in written)
        for file in written:
            os.replace(file, path.with_name(file.name))
    return report
