"""How tensors print: torch's layout, four digits, large tensors shortened."""

import math

_options = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}


def set_printoptions(precision=None, threshold=None, edgeitems=None, linewidth=None, sci_mode=None):
    """Sets how tensors print."""
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options.update({k: v for k, v in given.items() if v is not None})
    _options["sci_mode"] = sci_mode


def _shortened(values, depth, shape, edge):
    """Nested lists with None where elements are left out."""
    if depth == len(shape):
        return values
    if shape[depth] > 2 * edge:
        values = values[:edge] + [None] + values[-edge:]
    return [v if v is None else _shortened(v, depth + 1, shape, edge) for v in values]


def _leaves(values, out):
    if isinstance(values, list):
        for v in values:
            _leaves(v, out)
    elif values is not None:
        out.append(values)
    return out


def _float_format(numbers):
    finite = [abs(v) for v in numbers if math.isfinite(v) and v != 0]
    precision = _options["precision"]
    if not finite:
        return lambda v: f"{v:.0f}." if math.isfinite(v) else str(v)
    low, high = min(finite), max(finite)
    whole = all(v == int(v) for v in finite)
    scientific = high / low > 1000 or high > 1e8 or low < 1e-4 if not whole else high > 1e8
    if _options["sci_mode"] is not None:
        scientific = _options["sci_mode"]
    if scientific:
        return lambda v: f"{v:.{precision}e}" if math.isfinite(v) else str(v)
    if whole:
        return lambda v: f"{v:.0f}." if math.isfinite(v) else str(v)
    return lambda v: f"{v:.{precision}f}" if math.isfinite(v) else str(v)


def _complex_format(numbers):
    part = [_float_format([v.real for v in numbers]), _float_format([v.imag for v in numbers])]
    return lambda v: f"{part[0](v.real)}{'' if math.copysign(1, v.imag) < 0 else '+'}{part[1](v.imag)}j"


def _body(values, show, width, indent):
    if not isinstance(values, list):
        return show(values).rjust(width)
    if not any(isinstance(v, list) for v in values):
        items = ["..." if v is None else show(v).rjust(width) for v in values]
        per_line = max(1, (_options["linewidth"] - indent) // (width + 2))
        lines = [", ".join(items[i:i + per_line]) for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    depth = 0
    inner = next(v for v in values if isinstance(v, list))
    while isinstance(inner, list):
        inner = next((v for v in inner if v is not None), None) if inner else None
        depth += 1
    parts = ["..." if v is None else _body(v, show, width, indent + 1) for v in values]
    return "[" + (",\n" + "\n" * (depth - 1) + " " * (indent + 1)).join(parts) + "]"


def tensor_text(t, default_dtype):
    """The text of repr(t)."""
    value = t.detach()
    shape = tuple(value.shape)
    if value.numel() == 0:
        body = "[]"
    else:
        edge = _options["edgeitems"]
        if value.numel() > _options["threshold"]:
            for axis, n in enumerate(shape):  # only what is shown is read
                if n > 2 * edge + 1:
                    ends = [value.narrow(axis, 0, edge + 1), value.narrow(axis, n - edge, edge)]
                    value = _cat(ends, axis)
            values = _shortened(value.tolist(), 0, shape, edge)
        else:
            values = value.tolist()
        numbers = _leaves(values, [])
        if value.dtype.is_complex:
            show = _complex_format(numbers)
        else:
            show = _float_format(numbers) if value.dtype.is_floating_point else str
        width = max(len(show(v)) for v in numbers) if shape else 0
        body = _body(values, show, width, len("tensor("))
    notes = []
    if t.numel() == 0 and len(shape) != 1:
        notes.append(f"size={shape}")
    plain = {"int64", "bool"} if t.numel() else set()
    if t.dtype is not default_dtype and t.dtype.name not in plain:
        notes.append(f"dtype=suan.{t.dtype.name}")
    if t.grad_fn is not None:
        notes.append(f"grad_fn={t.grad_fn.split(' at ')[0].rstrip('>')}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    return "tensor(" + ", ".join([body] + notes) + ")"


def _cat(parts, axis):
    from . import _c

    return _c.ops.cat(parts, axis)
