"""The page of an ONNX model."""

import math
import struct

import numpy

from ..onnx import proto
from ..onnx.model_file import ModelFile, Node, integers, port, signed
from ..onnx.proto import every, first
from ..onnx.session import Session
from . import memory
from .graph import Item, section
from .style import cards, escape, joined, kind_of, number, page, size, table

_ELEM = {elem: name for name, elem in proto.ELEM_TYPES.items()} | {8: "string", 17: "float8_e4m3fn", 19: "float8_e5m2", 21: "uint4",
                                                                  22: "int4", 23: "float4_e2m1fn"}


def attribute_text(message):
    """An AttributeProto in words."""
    kind = first(message, 20, 0)
    if kind == 1:
        return f"{struct.unpack('<f', bytes(first(message, 2, bytes(4))))[0]:g}"
    if kind == 2:
        return str(signed(first(message, 3, 0)))
    if kind == 3:
        return repr(bytes(first(message, 4)).decode(errors="replace"))[:200]
    if kind == 4:
        t = first(message, 5)
        return f"a tensor {_ELEM.get(first(t, 2, 0), '?')} {_dims(integers(t, 1))}"
    if kind in (5, 10):
        graphs = every(message, 6) + every(message, 11)
        return ", ".join(f"a graph of {len(every(g, 1))} nodes" for g in graphs)
    if kind == 6:
        packed = b"".join(bytes(v) for v in every(message, 7))
        values = struct.unpack(f"<{len(packed) // 4}f", packed)
        return _list([f"{v:g}" for v in values])
    if kind == 7:
        return _list([str(v) for v in integers(message, 8)])
    if kind == 8:
        return _list([repr(bytes(s).decode(errors="replace")) for s in every(message, 9)])
    return "of another kind"


def _list(words, most=32):
    return "[" + ", ".join(words[:most]) + (f", … {len(words)} in all]" if len(words) > most else "]")


def _dims(dims):
    return "×".join(str(d) for d in dims) if dims else "scalar"


def _shape_text(shape):
    return "of any shape" if shape is None else _dims(["?" if d is None else d for d in shape])


def _value_text(array):
    """A decided value: its type, and its content when that is short."""
    array = numpy.asarray(array)
    text = f"{array.dtype.name} {_dims(array.shape)}"
    return text + (f" = {numpy.array2string(array, separator=', ', threshold=16)}" if array.size <= 16 else "")


def _weights(model):
    """(name, dtype, dims, bytes in memory) of initializers, the largest first."""
    rows = []
    for name, t in model.tensors.items():
        elem, dims = first(t.message, 2, 0), integers(t.message, 1)
        dtype = _ELEM.get(elem, f"type {elem}")
        width = {"float64": 8, "int64": 8, "uint64": 8, "float32": 4, "int32": 4, "uint32": 4, "float16": 2, "bfloat16": 2,
                 "int16": 2, "uint16": 2}.get(dtype, 1)
        rows.append((name.decode(errors="replace"), dtype, dims, math.prod(dims) * width))
    return sorted(rows, key=lambda r: -r[3])


def _plan(session, sizes):
    """(types of a call or None, the plan's facts or None, why there is none)."""
    types = []
    for p in session.inputs:
        if p.kind != "tensor" or p.shape is None:
            what = "no tensor: such a model runs node by node" if p.kind != "tensor" else "of no declared shape"
            return None, None, f"Not planned here: input '{p.name}' is {what}"
        types.append((p.dtype, [d if isinstance(d, int) else sizes.get(d, 1) for d in p.shape]))
    try:
        return types, session._session.plan(types), ""
    except RuntimeError as error:
        return types, None, f"Node by node, without a plan: {_plain(error)}"
    except (MemoryError, ValueError, TypeError, IndexError) as error:
        return types, None, f"Not with these sizes: {_plain(error)}"


def _plain(error):
    """Without the Python line that asked: it is this file's caller."""
    return str(error).rsplit(" (at ", 1)[0]


def _values(session, types, planned):
    """What is known before a call; with sizes that do not fit, what constants alone decide."""
    try:
        return session._session.values(types)
    except (MemoryError, ValueError, TypeError, IndexError):
        if planned:
            raise
        return session._session.values(None)


def model_page(path, sizes=None):
    """HTML of an ONNX file: what it takes and gives, weights, operators, the plan of a call and the graph.

    Args:
        sizes: {dimension name: size} for that call; those not named are 1.
    """
    sizes = dict(sizes or {})
    session = Session(path, name_nodes=True)
    named = {d for p in session.inputs for d in p.shape or () if isinstance(d, str)}
    if unknown := set(sizes) - named:
        raise ValueError(f"[inspect] no dimension '{min(unknown)}': expected one of {sorted(named)}")
    model, meta = ModelFile(path), session.metadata
    weights = _weights(model)
    types, plan, why = _plan(session, sizes)
    known, typed = _values(session, types, plan is not None)
    text = {n.decode(errors="replace"): f"{str(d).removeprefix('suan.')} {_dims(s)}" for n, (d, s) in typed.items()}
    for name, array in known.items():
        if name not in model.tensors and hasattr(array, "numpy"):
            text[name.decode(errors="replace")] = _decided(array)
    for name, dtype, dims, _ in weights:
        text[name] = f"{dtype} {_dims(dims)}, a weight"
    for name, message in (*model.infos.items(), *model.outputs.items(), *model.inputs.items()):
        elem, dims = port(message)
        if elem is not None and name.decode(errors="replace") not in text:
            text[name.decode(errors="replace")] = f"{_ELEM.get(elem, elem)} {_shape_text(dims)}"
    flops = sum(n[6] for n in plan["nodes"]) if plan else 0
    ran = _where_it_ran(plan)
    items = _items(model.nodes, set(model.tensors), known, ran, plan)
    outputs = [n.decode(errors="replace") for n in model.outputs]
    body = cards([(number(sum(math.prod(r[2]) for r in weights)).strip(), "parameters"), (size(sum(r[3] for r in weights)), "weights"),
                  *([(size(plan["arena_bytes"]), "arena of a call"), (size(plan["output_bytes"]), "outputs of a call"),
                     (f"{number(flops)}FLOP", "of a call")] if plan else []),
                  (len(model.nodes), "nodes"), (", ".join(f"{d or 'ai.onnx'} {v}" for d, v in meta["opsets"].items()), "opset")])
    body += "<h2>Inputs and outputs</h2>" + table(
        ("", "name", "type", "sizes", "bytes in this call"),
        [(what, p.name, p.type, _shape_text(p.shape), _call_bytes(types[i]) if types and what == "input" else "")
         for what, ports in (("input", session.inputs), ("output", session.outputs)) for i, p in enumerate(ports)], 4)
    body += _placement(session, model, plan, why, types, sizes, known)
    if plan:
        body += memory.plan_section(plan, "Memory of a call, as planned")
    body += "<h2>Operators</h2>" + _bars(session.operators)
    if weights:
        body += "<h2>Weights</h2>" + table(("name", "dtype", "sizes", "bytes", "share"), [
            (n, d, _dims(s), size(b), f"{b / max(1, sum(r[3] for r in weights)):.1%}") for n, d, s, b in weights], 3, 12)
    body += "<h2>Graph</h2>" + section(items, outputs, text) + _inner_graphs(model)
    about = [f"{size(model.bytes_before)}", f"made by {meta['producer'] or 'an unnamed program'} {meta['producer_version']}".strip(),
             f"ir version {meta['ir_version']}"] + [f"{k}: {v}" for k, v in list(meta["custom"].items())[:6]]
    return page(str(path).rsplit("/", 1)[-1], "; ".join(about), body)


def _call_bytes(pair):
    dtype, shape = pair
    return f"{_dims(shape)}: {size(math.prod(shape) * dtype.itemsize)}"


def _decided(tensor):
    if tensor.numel() <= 16 and not str(tensor.dtype).endswith(("bfloat16", "e4m3fn", "e5m2")):
        return "known: " + _value_text(tensor.numpy())
    return f"known: {str(tensor.dtype).removeprefix('suan.')} {_dims(tuple(tensor.shape))}"


def _where_it_ran(plan):
    """{name of a node of the file: [(op of the plan, its parts)]}"""
    ran = {}
    for op, parts, _, line, _, _, _, view in plan["nodes"] if plan else ():
        text = op + (f" ({joined(parts)})" if parts else "") + (", only another view" if view else "")
        for at in dict.fromkeys([line, *(inner for _, inner in parts)]):
            ran.setdefault(at, []).append(text)
    return ran


def _items(nodes, weights, known=(), ran=None, plan=None):
    constants = {o for n in nodes if n.is_onnx("Constant") for o in n.outputs}
    return [_item(n, weights, constants, known, ran or {}, plan) for n in nodes if not n.is_onnx("Constant")]


def _inner_graphs(model, most=16):
    """The graphs that nodes own (branches, bodies of loops), one below the other."""
    out, todo, count = "", [(n, "") for n in model.nodes], 0
    while todo:
        node, inside = todo.pop(0)
        label = inside + (node.name.decode(errors="replace") or node.op)
        for key, attribute in node.attributes.items():
            for g in every(attribute, 6) + every(attribute, 11):
                nodes = [Node(m) for m in every(g, 1)]
                todo += [(n, label + " / ") for n in nodes]
                count += 1
                if count > most:
                    continue
                weights = {bytes(first(m, 8)) for m in every(g, 5)}
                results = [bytes(first(m, 1)).decode(errors="replace") for m in every(g, 12)]
                out += (f"<h3>{escape(label)}: {escape(key.decode(errors='replace'))}</h3>"
                        + section(_items(nodes, weights), results, {}, f"s{count}_"))
    return out + (f"<p>{count - most} more graphs inside of these are not shown.</p>" if count > most else "")


def _item(node, weight_names, constants, known, ran, plan):
    name = node.name.decode(errors="replace")
    details = [(key.decode(errors="replace"), attribute_text(a)) for key, a in sorted(node.attributes.items())]
    weights = [n.decode(errors="replace") for n in node.inputs if n in weight_names]
    if weights:
        details.append(("Weights", "\n".join(f"{w}" for w in weights)))
    outputs = [o for o in node.outputs if o]
    if outputs and all(o in known for o in outputs):
        details.append(("Runs as", "nothing: computed before a call"))
    elif plan:
        details.append(("Runs as", "\n".join(ran.get(name, ())) or "part of a neighbour, or nothing"))
    op = f"{node.domain}.{node.op}" if node.domain else node.op
    kernel = node.ints(b"kernel_shape")
    note = "×".join(map(str, kernel)) if kernel else ""
    strides = node.ints(b"strides")
    if kernel and strides and any(s != 1 for s in strides):
        note += f" /{strides[0]}"
    decode = lambda names: [n.decode(errors="replace") for n in names]  # noqa: E731
    return Item(op, note, kind_of(node.op), decode(n for n in node.inputs if n not in weight_names and n not in constants),
                decode(node.outputs), details, name)


def _placement(session, model, plan, why, types, sizes, known):
    out = "<h2>How it runs</h2>"
    if types:
        shapes = ", ".join(f"{p.name} {_dims(t[1])}" for p, t in zip(session.inputs, types))
        out += f"<p>A call with {escape(shapes)}" + (" (dimensions without a size given are 1)" if len(sizes) < len(
            {d for p in session.inputs for d in p.shape or () if isinstance(d, str)}) else "") + ".</p>"
    if plan is None:
        if why:
            return out + f"<p>{escape(why)}</p>"
        return out + "<p>Nothing runs: constants and sizes decide all outputs.</p>"
    counts = {}
    for op, parts, _, _, _, _, flops, view in plan["nodes"]:
        row = counts.setdefault((op, joined(parts), view), [0, 0.0])
        row[0] += 1
        row[1] += flops
    steps = len(plan["steps"])
    decided = sum(1 for n in model.nodes if n.outputs and all(o in known for o in n.outputs if o) and not n.is_onnx("Constant"))
    constants = sum(n.is_onnx("Constant") for n in model.nodes)
    slow = sum(1 for s in plan["steps"] if s[1])
    out += (f"<p>One plan of {steps} steps. Of {len(model.nodes)} nodes in the file, {constants} are constants and {decided} are "
            f"computed before a call; passes made {len(plan['nodes'])} nodes of the rest, "
            f"{sum(1 for n in plan['nodes'] if n[7])} of them views that cost nothing, and the planner added "
            f"{sum(1 for s in plan['steps'] if s[0] < 0)} copies. {slow} steps run by an op's definition, without a kernel of "
            f"their own. Weights as the plan packs them: {size(plan['constant_bytes'])}.</p>")
    total = sum(c[1] for c in counts.values()) or 1
    rows = [(op + (" (view)" if view else ""), parts, n, number(f) if f else "", f"{f / total:.1%}" if f else "")
            for (op, parts, view), (n, f) in sorted(counts.items(), key=lambda c: (-c[1][1], -c[1][0]))]
    return out + table(("op of the plan", "what is joined in it", "nodes", "FLOP", "share"), rows, 2, 14)


def _bars(counts):
    rows = sorted(counts.items(), key=lambda c: -c[1])
    most = rows[0][1] if rows else 1
    out = []
    for i, (op, n) in enumerate(rows):
        x, y = (i % 3) * 330, (i // 3) * 20
        out.append(f'<g class="node {kind_of(op)}"><rect x="{x + 150}" y="{y + 3}" width="{max(2, 130 * n / most):.1f}" height="13" '
                   f'rx="2"/></g><text x="{x + 142}" y="{y + 14}" text-anchor="end">{escape(op if len(op) < 24 else op[:23] + "…")}</text>'
                   f'<text x="{x + 156 + max(2, 130 * n / most):.1f}" y="{y + 14}">{n}</text>')
    return f'<svg class="chart" viewBox="0 0 1000 {20 * math.ceil(len(rows) / 3) + 4}">{"".join(out)}</svg>'
