"""The table of suan.onnx.export: for each op, how ONNX says it. A row takes the node (see export._Call) and gives the
name of its result, or a tuple of names, one per output; None for an output that nobody reads."""

import math

import numpy as np

from .sizes import Size


class NotExportable(Exception):
    """Why this node has no ONNX equivalent."""


_FLOATS = ("float16", "bfloat16", "float32", "float64")
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
_LONGEST = (1 << 63) - 1
# Types that ReduceMax, Max and their like take in every operator set and runtime.
_COMPARABLE = ("float16", "float32", "float64", "int32", "int64", "uint32", "uint64", "bfloat16")


def _same(op, **attributes):
    return lambda c: c.emit(op, *c.xs(), **attributes)


def _identity(c):
    return c.x()


def _through(wide, row):
    """Dtypes that ONNX's operator lacks, in some version or most runtimes, go through wider ones."""

    def wrapped(c):
        dtype = c.dtype()
        if dtype not in wide:
            return row(c)
        made = row(c.seen_as(dtype, wide[dtype]))
        back = lambda k, m: c.cast(m, dtype) if m and c.out_dtype(k) == dtype else m  # noqa: E731
        return tuple(back(k, m) for k, m in enumerate(made)) if isinstance(made, tuple) else back(0, made)

    return wrapped


_BFLOAT16 = {"bfloat16": "float32"}
_HALVES = {"float16": "float32", **_BFLOAT16}
_NARROW = dict.fromkeys(("int8", "uint8", "int16", "uint16"), "int32")  # which keeps their bits


# ---- element by element --------------------------------------------------------------------------


def _as_bool(c, i):
    return c.x(i) if c.dtype(i) == "bool" else c.cast(c.x(i), "bool")


def _logical(op):
    return lambda c: c.emit(op, *(_as_bool(c, i) for i in range(c.n_in())))


def _widened(op, result_bool=False, types=_COMPARABLE):
    """Types that the operator lacks go through int32, which holds all their values."""

    def row(c):
        if c.dtype() in types:
            return c.emit(op, *c.xs())
        out = c.emit(op, *(c.cast(x, "int32") for x in c.xs()))
        return out if result_bool else c.cast(out, c.dtype())

    return row


def _bitwise(op, logical):
    def row(c):
        if c.dtype() == "bool":
            return c.emit(logical, *c.xs())
        if c.opset < 18:
            raise NotExportable("operators on bits came with opset 18")
        return c.emit(op, *c.xs())

    return row


def _shift(direction):
    def row(c):
        if c.dtype() not in _UNSIGNED:
            raise NotExportable(f"ONNX shifts unsigned integers only, not {c.dtype()}")
        width = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}[c.dtype()]
        wide = c.dtype() if c.dtype() != "uint16" else "uint32"
        x, y = (n if wide == c.dtype() else c.cast(n, wide) for n in c.xs())
        inside = c.emit("Less", y, c.scalar(width, wide))
        zero = c.scalar(0, wide)
        out = c.emit("BitShift", x, c.emit("Where", inside, y, zero), direction=direction)
        out = c.emit("Where", inside, out, zero)
        return out if wide == c.dtype() else c.cast(out, c.dtype())

    return row


def _neg(c):
    return c.emit("Sub", c.scalar(0), c.x()) if c.dtype() in _UNSIGNED else c.emit("Neg", c.x())


def _trunc(c):
    x = c.x()
    return c.emit("Where", c.emit("Less", x, c.scalar(0)), c.emit("Ceil", x), c.emit("Floor", x))


def _expm1(c):
    # 2 sinh(x / 2) exp(x / 2): exact near 0, where exp(x) - 1 cancels.
    half = c.emit("Mul", c.x(), c.scalar(0.5))
    return c.emit("Mul", c.scalar(2), c.emit("Mul", c.emit("Sinh", half), c.emit("Exp", half)))


def _log1p(c):
    # log(u) x / (u - 1) with u = 1 + x as rounded: Kahan's way to be exact near 0.
    x, one = c.x(), c.scalar(1)
    u = c.emit("Add", x, one)
    log, d = c.emit("Log", u), c.emit("Sub", u, one)
    near = c.emit("Equal", d, c.scalar(0))
    ratio = c.emit("Div", x, c.emit("Where", near, one, d))
    return c.emit("Where", near, x, c.emit("Where", c.emit("Equal", u, x), log, c.emit("Mul", log, ratio)))


def _log_to(base):
    return lambda c: c.emit("Div", c.emit("Log", c.x()), c.scalar(math.log(base)))


def _gelu(approximate):
    def row(c):
        x = c.x()
        if c.opset >= 20:
            return c.emit("Gelu", x, approximate=approximate)
        if approximate == "none":
            inner = c.emit("Erf", c.emit("Mul", x, c.scalar(math.sqrt(0.5))))
        else:
            cube = c.emit("Mul", x, c.emit("Mul", x, x))
            inner = c.emit("Add", x, c.emit("Mul", c.scalar(0.044715), cube))
            inner = c.emit("Tanh", c.emit("Mul", c.scalar(math.sqrt(2 / math.pi)), inner))
        return c.emit("Mul", c.emit("Mul", x, c.scalar(0.5)), c.emit("Add", inner, c.scalar(1)))

    return row


def _safe_divisor(c):
    """An integer divisor with 1 for 0, by which runtimes may trap; and where it was 0."""
    y = c.x(1)
    zero = c.emit("Equal", y, c.scalar(0))
    return c.emit("Where", zero, c.scalar(1), y), zero


def _floor_divide(c):
    if c.dtype() in _FLOATS:
        return c.emit("Floor", c.emit("Div", *c.xs()))
    y, zero = _safe_divisor(c)
    out = c.emit("Div", c.emit("Sub", c.x(), c.emit("Mod", c.x(), y)), y)
    return c.emit("Where", zero, c.scalar(0), out)


def _remainder(c):
    if c.dtype() in _FLOATS:
        return c.emit("Sub", c.x(), c.emit("Mul", c.x(1), c.emit("Floor", c.emit("Div", *c.xs()))))
    y, zero = _safe_divisor(c)
    return c.emit("Where", zero, c.scalar(0), c.emit("Mod", c.x(), y))


def _fmod(c):
    if c.dtype() in _FLOATS:
        return c.emit("Mod", *c.xs(), fmod=1)
    y, zero = _safe_divisor(c)
    return c.emit("Where", zero, c.scalar(0), c.emit("Mod", c.x(), y, fmod=1))


def _atan2(c):
    y, x = c.xs()
    zero, pi = c.scalar(0), c.scalar(math.pi)
    up = c.emit("GreaterOrEqual", y, zero)
    turned = c.emit("Where", up, pi, c.emit("Neg", pi))
    at = c.emit("Atan", c.emit("Div", y, x))
    behind = c.emit("Where", c.emit("Less", x, zero), c.emit("Add", at, turned), at)
    # Both 0: 0, where the quotient is no number.
    none = c.emit("And", c.emit("Equal", x, zero), c.emit("Equal", y, zero))
    return c.emit("Where", none, zero, behind)


def _pow(c):
    if c.dtype() == "uint64":
        raise NotExportable("ONNX has no powers of uint64")
    return c.emit("Pow", *c.xs())


def _clamp(c):
    out = c.x()
    if c.has(1):
        out = _pick("Max", c, out, c.x(1))
    return _pick("Min", c, out, c.x(2)) if c.has(2) else out


def _pick(op, c, x, y):
    if c.dtype() in _COMPARABLE:
        return c.emit(op, x, y)
    return c.cast(c.emit(op, c.cast(x, "int32"), c.cast(y, "int32")), c.dtype())


def _extreme(op, logical):
    return lambda c: c.emit(logical, *c.xs()) if c.dtype() == "bool" else _pick(op, c, *c.xs())


def _cast(c):
    return c.x() if c.dtype() == c.attrs["to"].name else c.cast(c.x(), c.attrs["to"].name)


def _infinite(c):
    return c.emit("Equal", c.emit("Abs", c.x()), c.scalar(math.inf))


# ---- reductions ----------------------------------------------------------------------------------


def _reduce(c, op, x, axes, keepdim):
    """ReduceX, whose axes became an input in opset 18 (ReduceSum's in 13)."""
    keep = int(keepdim)
    if c.opset >= 18 or op == "ReduceSum":
        return c.emit(op, x, c.ints(axes) if axes else "", keepdims=keep)
    return c.emit(op, x, axes=axes or None, keepdims=keep)


def _axes(c):
    return [a + len(c.shape()) if a < 0 else a for a in c.attrs["dim"]] or list(range(len(c.shape())))


def _reduction(op):
    def row(c):
        x = c.x() if c.dtype() == c.out_dtype() else c.cast(c.x(), c.out_dtype())
        return _reduce(c, op, x, _axes(c), c.attrs["keepdim"]) if c.shape() else x

    return row


def _reduce_extreme(c, op, axes, keepdim):
    if not c.shape():
        return c.x()
    if c.dtype() in _COMPARABLE:
        return _reduce(c, op, c.x(), axes, keepdim)
    return c.cast(_reduce(c, op, c.cast(c.x(), "int32"), axes, keepdim), c.dtype())


def _extreme_over(op):
    return lambda c: _reduce_extreme(c, op, _axes(c), c.attrs["keepdim"])


def _arg(op):
    def row(c):
        x = c.x() if c.dtype() not in ("bool", "uint16", "int16") else c.cast(c.x(), "int32")
        if c.attrs["dim"] is None or not c.shape():
            out = c.emit(op, c.emit("Reshape", x, c.ints([-1])), axis=0, keepdims=0)
            return c.emit("Reshape", out, c.ints(c.out_shape())) if c.out_shape() else out
        return c.emit(op, x, axis=c.axis(), keepdims=int(c.attrs["keepdim"]))

    return row


def _extreme_dim(reduce, arg):
    index = _arg(arg)

    def row(c):
        values = _reduce_extreme(c, reduce, [c.axis()] if c.shape() else [], c.attrs["keepdim"])
        return values, index(c) if c.used(1) else None

    return row


def _any(c):
    x = c.cast(_as_bool(c, 0), "int64")
    return c.emit("Greater", _reduce(c, "ReduceSum", x, _axes(c), c.attrs["keepdim"]), c.scalar(0, "int64"))


def _all(c):
    x = c.cast(c.emit("Not", _as_bool(c, 0)), "int64")
    return c.emit("Equal", _reduce(c, "ReduceSum", x, _axes(c), c.attrs["keepdim"]), c.scalar(0, "int64"))


def _variance(c, x, axes, correction, keepdim, dtype):
    """The mean, kept, and the variance."""
    n = Size.of([1])
    for a in axes:
        n = n * c.shape()[a]
    mean = _reduce(c, "ReduceMean", x, axes, True)
    d = c.emit("Sub", x, mean)
    total = _reduce(c, "ReduceSum", c.emit("Mul", d, d), axes, keepdim)
    less = n - correction
    if not isinstance(less, Size):
        less = max(less, 0)
    return mean, c.emit("Div", total, c.emit("Cast", c.scalar(less, "int64"), to=_elem(dtype)))


def _elem(dtype):
    from .proto import ELEM_TYPES

    return ELEM_TYPES[dtype]


def _wide(c, i=0):
    """An input in the dtype that the engine computes statistics in."""
    return c.x(i) if c.dtype(i) in ("float32", "float64") else c.cast(c.x(i), "float32")


def _wide_dtype(c):
    return "float64" if c.dtype() == "float64" else "float32"


def _narrow(c, x):
    return x if c.dtype() in ("float32", "float64") else c.cast(x, c.dtype())


def _var(c):
    return _narrow(c, _variance(c, _wide(c), _axes(c), c.attrs["correction"], c.attrs["keepdim"], _wide_dtype(c))[1])


def _cumsum(c):
    x = c.x() if c.dtype() == c.out_dtype() else c.cast(c.x(), c.out_dtype())
    return c.emit("CumSum", x, c.scalar(c.axis(), "int64")) if c.shape() else x


def _topk(c):
    attributes = dict(n_out=2, largest=int(c.attrs["largest"]), sorted=int(c.attrs["sorted"]))
    if c.shape():
        return c.emit("TopK", c.x(), c.ints([c.attrs["k"]]), axis=c.axis(), **attributes)
    made = c.emit("TopK", c.emit("Reshape", c.x(), c.ints([1])), c.ints([1]), axis=0, **attributes)
    return tuple(c.emit("Reshape", m, c.ints([])) for m in made)


# ---- shapes and positions ------------------------------------------------------------------------


def _reshape_to(c, x, shape, like=None):
    """`like`: the shape of x, whose dimensions may be referred to."""
    wanted = list(shape)
    open_ = [i for i, d in enumerate(wanted) if isinstance(d, Size)]
    if 0 not in wanted:
        for i in open_:
            if like is not None and i < len(like) and like[i] == wanted[i]:
                wanted[i] = 0  # as in the input
        open_ = [i for i in open_ if isinstance(wanted[i], Size)]
        if len(open_) == 1 and not any(isinstance(d, int) and d == 0 and not isinstance(shape[i], Size)
                                       for i, d in enumerate(wanted)):
            wanted[open_[0]] = -1
        return c.emit("Reshape", x, c.ints(wanted))
    return c.emit("Reshape", x, c.ints(wanted), allowzero=1)


def _reshape(c):
    return _reshape_to(c, c.x(), c.out_shape(), c.shape())


def _expand(c):
    shape, out = c.shape(), c.out_shape()
    if shape == out:
        return c.x()
    lead = len(out) - len(shape)
    # A 1 leaves the input's dimension as it is.
    kept = lambda i, d: isinstance(d, Size) and i >= lead and shape[i - lead] == d  # noqa: E731
    return c.emit("Expand", c.x(), c.ints([1 if kept(i, d) else d for i, d in enumerate(out)]))


def _slice(c):
    axis = c.axis()
    size = c.shape()[axis]
    start, stop, step = c.attrs["start"], c.attrs["stop"], c.static(c.attrs["step"], "the step")
    if step > 0 and stop == size:
        stop = _LONGEST
    if step < 0:
        stop = -_LONGEST if stop == -1 else stop
        start = _LONGEST if start == size - 1 else start
        if not isinstance(start, Size) and start < 0:  # nothing to take
            start, stop, step = 0, 0, 1
    return c.emit("Slice", c.x(), c.ints([start]), c.ints([stop]), c.ints([axis]), c.ints([step]))


def _permute(c):
    perm = [d % len(c.shape()) for d in c.attrs["dims"]]
    return c.emit("Transpose", c.x(), perm=perm) if perm != sorted(perm) else c.x()


def _positions(c, size, stride, offset):
    size, stride, offset = (c.static(v, "an element's place in memory") for v in (size, stride, offset))
    at = np.full(size, offset, np.int64)
    for axis, (n, step) in enumerate(zip(size, stride)):
        at += (np.arange(n, dtype=np.int64) * step).reshape([-1 if a == axis else 1 for a in range(len(size))])
    return at


def _take(c, at):
    c.static(c.shape(), "an element's place in memory")
    return c.emit("Gather", c.emit("Reshape", c.x(), c.ints([-1])), c.writer.array(at, "int64", at.shape), axis=0)


def _as_strided(c):
    return _take(c, _positions(c, c.attrs["size"], c.attrs["stride"], c.attrs["storage_offset"]))


def _as_strided_scatter(reduction):
    def row(c):
        at = _positions(c, c.attrs["size"], c.attrs["stride"], c.attrs["storage_offset"]).ravel()
        flat = c.emit("Reshape", c.x(), c.ints([-1]))
        source = c.emit("Reshape", c.x(1), c.ints([-1]))
        out = c.emit("ScatterElements", flat, c.writer.array(at, "int64", at.shape), source, axis=0, reduction=reduction)
        return _reshape_to(c, out, c.out_shape())

    return row


def _diagonal(c):
    at = np.arange(math.prod(c.static(c.shape(), "the diagonal's place"))).reshape(c.shape())
    return _take(c, np.ascontiguousarray(np.diagonal(at, c.attrs["offset"], c.attrs["dim1"], c.attrs["dim2"])))


def _arange(c):
    start, end, step, dtype = c.attrs["start"], c.attrs["end"], c.attrs["step"], c.attrs["dtype"].name
    if not any(isinstance(v, Size) for v in (start, end, step)):
        n = max(0, math.ceil((end - start) / step))
        return c.writer.array(start + step * np.arange(n, dtype=np.float64), dtype, (n,))
    if not all(isinstance(v, Size) or v == math.floor(v) for v in (start, end, step)):
        raise NotExportable("a range with fractions whose length is dynamic")
    out = c.emit("Range", *(c.scalar(v if isinstance(v, Size) else int(v), "int64") for v in (start, end, step)))
    return out if dtype == "int64" else c.cast(out, dtype)


def _full(c):
    return c.emit("Expand", c.x(), c.ints(c.out_shape()))


def _pad(c):
    pads, rank = c.attrs["pad"], len(c.shape())
    low, high = [0] * rank, [0] * rank
    for k in range(len(pads) // 2):
        low[rank - 1 - k], high[rank - 1 - k] = pads[2 * k], pads[2 * k + 1]
    dtype = c.dtype()
    through = dtype in ("bool", "uint16", "int16", "uint32", "uint64", "bfloat16", "float16", "int8", "uint8") and c.opset < 18
    wide = "float32" if dtype in ("bfloat16", "float16") else "int64"
    x, value = c.x(), c.x(1)
    if through:  # what older runtimes pad
        x, value = c.cast(x, wide), c.cast(value, wide) if value else ""
    out = c.emit("Pad", x, c.ints(low + high), value, mode="constant")
    return c.cast(out, dtype) if through else out


def _gather_nd(c, first):
    """The indexed axes first, and positions [.., axes] along them: (data, positions, kept axes, rank of positions)."""
    dims = [d % len(c.shape()) for d in c.attrs["dims"]]
    kept = [a for a in range(len(c.shape())) if a not in dims]
    rank = max(len(c.shape(i)) for i in range(first, c.n_in()))
    parts, total = [], None
    for i in range(first, c.n_in()):
        part = c.x(i)
        if len(c.shape(i)) < rank:
            part = c.emit("Unsqueeze", part, c.ints(list(range(rank - len(c.shape(i))))))
        parts.append(part)
    for part in parts[1:]:
        total = c.emit("Add", total or parts[0], part)
    if total:  # of one shape
        shape = c.emit("Shape", total)
        parts = [c.emit("Expand", p, shape) for p in parts]
    last = c.ints([rank])
    at = c.emit("Concat", *(c.emit("Unsqueeze", p, last) for p in parts), axis=rank)
    return c.emit("Transpose", c.x(), perm=dims + kept), at, dims, kept, rank


def _adjacent(dims):
    return all(b == a + 1 for a, b in zip(dims, dims[1:]))


def _index(c):
    dims = [d % len(c.shape()) for d in c.attrs["dims"]]
    if len(dims) == 1:
        return c.emit("Gather", c.x(), c.x(1), axis=dims[0])
    data, at, dims, kept, rank = _gather_nd(c, 1)
    out = c.emit("GatherND", data, at)
    if not _adjacent(dims) or dims[0] == 0:
        return out
    perm = list(range(rank, rank + dims[0])) + list(range(rank)) + list(range(rank + dims[0], rank + len(kept)))
    return c.emit("Transpose", out, perm=perm)


def _index_put(c):
    data, at, dims, kept, rank = _gather_nd(c, 2)
    lead = dims[0] if _adjacent(dims) else 0
    # Values have the shape that reading there would give: the positions stand where the axes did.
    reads = [c.shape()[a] for a in kept]
    shapes = [c.shape(i) for i in range(2, c.n_in())]
    index = [max((s[k - rank] for s in shapes if len(s) >= rank - k), key=lambda d: d.values if isinstance(d, Size) else (d,))
             for k in range(rank)]
    values = c.emit("Expand", c.x(1), c.ints(reads[:lead] + index + reads[lead:]))
    if lead:
        perm = list(range(lead, lead + rank)) + list(range(lead)) + list(range(lead + rank, rank + len(kept)))
        values = c.emit("Transpose", values, perm=perm)
    out = c.emit("ScatterND", data, at, values, reduction="add" if c.attrs["accumulate"] else "none")
    order = dims + kept
    return c.emit("Transpose", out, perm=[order.index(a) for a in range(len(order))])


# ---- layers --------------------------------------------------------------------------------------


def _linear(c):
    if len(c.shape()) == 2 and c.dtype() in ("float32", "float64", "float16"):
        return c.emit("Gemm", *c.xs(), transB=1)
    out = c.emit("MatMul", c.x(), c.emit("Transpose", c.x(1), perm=[1, 0]))
    return c.emit("Add", out, c.x(2)) if c.has(2) else out


def _windowed(c):
    return {k: list(c.attrs[a]) or None for k, a in (("strides", "strides"), ("pads", "padding"), ("dilations", "dilation"))
            if a in c.attrs}


def _conv(c):
    return c.emit("Conv", *c.xs(), group=c.attrs["groups"], **_windowed(c))


def _conv_transpose(c):
    kernel, size, given = c.shape(1)[2:], c.attrs["input_size"], c.shape()[2:]
    n = len(kernel)
    strides, pads = c.attrs["strides"] or [1] * n, c.attrs["padding"] or [0] * (2 * n)
    dilation = c.attrs["dilation"] or [1] * n
    extra = [size[d] - ((given[d] - 1) * strides[d] - pads[d] - pads[n + d] + dilation[d] * (kernel[d] - 1) + 1)
             for d in range(n)]
    return c.emit("ConvTranspose", *c.xs(), group=c.attrs["groups"], output_padding=c.static(extra, "the padding of the result"),
                  **_windowed(c))


def _avg_pool(c):
    if c.attrs["ceil_mode"] and c.opset < 19:
        # What hangs over counted for the mean before; a window per element that is there says how often.
        raise NotExportable("avg_pool with ceil_mode came with opset 19")
    return c.emit("AveragePool", c.x(), kernel_shape=list(c.attrs["kernel"]), ceil_mode=int(c.attrs["ceil_mode"]),
                  count_include_pad=int(c.attrs["count_include_pad"]), strides=list(c.attrs["strides"]) or list(c.attrs["kernel"]),
                  pads=list(c.attrs["padding"]) or None)


def _max_pool(c):
    attributes = dict(kernel_shape=list(c.attrs["kernel"]), ceil_mode=int(c.attrs["ceil_mode"]),
                      strides=list(c.attrs["strides"]) or list(c.attrs["kernel"]), pads=list(c.attrs["padding"]) or None,
                      dilations=list(c.attrs["dilation"]) or None)
    if not c.used(1):
        return c.emit("MaxPool", c.x(), **attributes), None
    values, at = c.emit("MaxPool", c.x(), n_out=2, **attributes)
    plane = Size.of([1])
    for d in c.shape()[2:]:
        plane = plane * d
    return values, c.emit("Mod", at, c.scalar(plane, "int64"))  # ONNX counts through the whole tensor


def _batch_norm(c):
    channels = c.static(c.shape()[1], "the number of channels")
    scale = c.x(1) or c.writer.array([1] * channels, c.dtype(), (channels,))
    shift = c.x(2) or c.writer.array([0] * channels, c.dtype(), (channels,))
    return c.emit("BatchNormalization", c.x(), scale, shift, c.x(3), c.x(4), epsilon=float(c.attrs["eps"]))


def _group_norm(c):
    channels = c.static(c.shape()[1], "the number of channels")
    scale, shift = (c.x(i) or c.writer.array([v] * channels, c.dtype(), (channels,)) for i, v in ((1, 1), (2, 0)))
    return c.emit("GroupNormalization", c.x(), scale, shift, num_groups=c.attrs["num_groups"], epsilon=float(c.attrs["eps"]))


def _softplus(c):
    beta, threshold = c.attrs["beta"], c.attrs["threshold"]
    scaled = c.x() if beta == 1 else c.emit("Mul", c.x(), c.scalar(beta))
    out = c.emit("Softplus", scaled)
    out = out if beta == 1 else c.emit("Div", out, c.scalar(beta))
    if threshold >= 20 and c.dtype() != "float64":   # x itself above it, to the last bit
        return out
    return c.emit("Where", c.emit("Greater", scaled, c.scalar(threshold)), c.x(), out)


def _batch_norm_train(c):
    rank = len(c.shape())
    axes, wide = [0, *range(2, rank)], [1, -1] + [1] * (rank - 2)
    mean, var = _variance(c, _wide(c), axes, 0, True, _wide_dtype(c))
    scale = c.emit("Sqrt", c.emit("Add", var, c.scalar(c.attrs["eps"], _wide_dtype(c))))
    out = c.emit("Div", c.emit("Sub", _wide(c), mean), scale)
    for i, op in ((1, "Mul"), (2, "Add")):
        if c.has(i):
            out = c.emit(op, out, c.emit("Reshape", _wide(c, i), c.ints(wide)))
    flat = lambda v: c.emit("Reshape", v, c.ints([-1]))  # noqa: E731
    return _narrow(c, out), flat(mean) if c.used(1) else None, flat(var) if c.used(2) else None


def _layer_norm(c):
    n, rank = c.attrs["n_dims"], len(c.shape())
    if not (c.used(1) or c.used(2) or c.dtype() == "float64"):
        scale = c.x(1) or c.writer.array([1], c.dtype(), (1,))
        return c.emit("LayerNormalization", c.x(), scale, c.x(2), axis=-n, epsilon=float(c.attrs["eps"])), None, None
    # ONNX's operator may work in float32 and gives its statistics so.
    mean, var = _variance(c, _wide(c), list(range(rank - n, rank)), 0, True, _wide_dtype(c))
    rstd = c.emit("Reciprocal", c.emit("Sqrt", c.emit("Add", var, c.scalar(c.attrs["eps"], _wide_dtype(c)))))
    out = c.emit("Mul", c.emit("Sub", _wide(c), mean), rstd)
    if c.has(1):
        out = c.emit("Mul", out, _wide(c, 1))
    if c.has(2):
        out = c.emit("Add", out, _wide(c, 2))
    return _narrow(c, out), *(_reshape_to(c, v, c.out_shape(k), c.shape()) if c.used(k) else None
                              for k, v in ((1, mean), (2, rstd)))


def _rms_norm(c):
    n, x = c.attrs["n_dims"], _wide(c)
    axes = list(range(len(c.shape()) - n, len(c.shape())))
    if c.opset >= 23 and c.has(1) and not c.used(1) and c.dtype() in ("float32", "float64"):
        return c.emit("RMSNormalization", x, c.x(1), axis=-n, epsilon=float(c.attrs["eps"])), None
    square = _reduce(c, "ReduceMean", c.emit("Mul", x, x), axes, True)
    rstd = c.emit("Reciprocal", c.emit("Sqrt", c.emit("Add", square, c.scalar(c.attrs["eps"], _wide_dtype(c)))))
    out = c.emit("Mul", x, rstd)
    if c.has(1):
        out = c.emit("Mul", out, _wide(c, 1))
    return _narrow(c, out), _reshape_to(c, rstd, c.out_shape(1), c.shape()) if c.used(1) else None


def _attention(c):
    if c.used(1):
        raise NotExportable("the logarithm of attention's sums is for its gradient")
    wide = _wide_dtype(c)
    q, k, v = (_wide(c, i) for i in range(3))
    heads, shared = c.shape(0)[1], c.shape(1)[1]
    if heads != shared:
        group = c.static([heads, shared], "the number of heads")[0] // shared

        def repeat(x, i):
            b, h, length, width = c.shape(i)
            x = c.emit("Unsqueeze", x, c.ints([2]))
            x = c.emit("Expand", x, c.ints([1, 1, group, 1, 1]))
            return _reshape_to(c, x, [b, heads, length, width], [b, h, group, length, width])

        k, v = repeat(k, 1), repeat(v, 2)
    scale = c.attrs["scale"]
    if c.opset >= 23 and not c.has(3) and wide == "float32":   # where a mask hides every key the two differ
        out = c.emit("Attention", q, k, v, is_causal=int(c.attrs["is_causal"]), scale=None if scale is None else float(scale))
        return _narrow(c, out), None
    if scale is None:
        scale = 1 / math.sqrt(c.static(c.shape(0)[3], "attention's width"))
    s = c.emit("MatMul", c.emit("Mul", q, c.scalar(scale, wide)), c.emit("Transpose", k, perm=[0, 1, 3, 2]))
    never = c.scalar(-math.inf, wide)
    masked = c.has(3) or c.attrs["is_causal"]
    if c.has(3):
        s = c.emit("Where", c.x(3), s, never) if c.dtype(3) == "bool" else c.emit("Add", s, _wide(c, 3))
    if c.attrs["is_causal"]:
        # Query i sees key j <= i.
        index = lambda n: c.emit("Range", c.scalar(0, "int64"), c.scalar(n, "int64"), c.scalar(1, "int64"))  # noqa: E731
        rows = c.emit("Unsqueeze", index(c.shape(0)[2]), c.ints([1]))
        s = c.emit("Where", c.emit("LessOrEqual", index(c.shape(1)[2]), rows), s, never)
    w = c.emit("Softmax", s, axis=-1)
    if masked and c.has(3):  # a query that sees nothing has weights 0
        w = c.emit("Where", c.emit("IsNaN", w), c.scalar(0, wide), w)
    return _narrow(c, c.emit("MatMul", w, v)), None


def _spectrum(c, x, inverse=False, onesided=False):
    """DFT along the last but one dimension of a value [.., n, 1 or 2] of c's rank (or one more, where it is real)."""
    rank = len(c.shape()) + (0 if c.op != "fft_r2c" else 1)
    alone = rank == 2   # the operator wants a batch
    x = c.emit("Unsqueeze", x, c.ints([0])) if alone else x
    axis, options = rank - 2 + alone, dict(inverse=int(inverse), onesided=int(onesided))
    if c.opset >= 20:
        out = c.emit("DFT", x, "", c.scalar(axis, "int64"), **options)
    else:
        out = c.emit("DFT", x, axis=axis, **options)
    return c.emit("Squeeze", out, c.ints([0])) if alone else out


def _times(c, x, n):
    """ONNX divides by the length on the way back."""
    return c.emit("Mul", x, c.scalar(n))


def _fft_c2c(c):
    out = _spectrum(c, c.x(), c.attrs["inverse"])
    return _times(c, out, c.shape()[-2]) if c.attrs["inverse"] else out


def _fft_r2c(c):
    return _spectrum(c, c.emit("Unsqueeze", c.x(), c.ints([len(c.shape())])), onesided=True)


def _fft_c2r(c):
    n, rank, whole = c.static(c.attrs["n"], "the signal's length"), len(c.shape()), c.x()
    axis, last = c.ints([rank - 2]), c.ints([rank - 1])
    if n > 2:   # the other half: conjugates, from the end
        rest = c.emit("Slice", c.x(), c.ints([(n - 1) // 2]), c.ints([0]), axis, c.ints([-1]))
        rest = c.emit("Mul", rest, c.writer.array([1, -1], c.dtype(), (2,)))
        whole = c.emit("Concat", whole, rest, axis=rank - 2)
    out = c.emit("Slice", _spectrum(c, whole, inverse=True), c.ints([0]), c.ints([1]), last)
    return _times(c, c.emit("Squeeze", out, last), n)


def _grid_sample(c):
    mode, volume = c.attrs["mode"], len(c.shape()) == 5
    if c.attrs["in_elements"]:
        raise NotExportable("ONNX's grids run from -1 to 1, not over elements")
    if volume and c.opset < 20:
        raise NotExportable("GridSample of volumes came with opset 20")
    if c.opset >= 20:
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return c.emit("GridSample", *c.xs(), mode=mode, padding_mode=c.attrs["padding_mode"],
                  align_corners=int(c.attrs["align_corners"]))


def _roi_align(c):
    return c.emit("RoiAlign", *c.xs(), mode=c.attrs["mode"], spatial_scale=float(c.attrs["spatial_scale"]),
                  output_height=c.attrs["output_height"], output_width=c.attrs["output_width"],
                  sampling_ratio=c.attrs["sampling_ratio"],
                  coordinate_transformation_mode="half_pixel" if c.attrs["aligned"] else "output_half_pixel")


def _roi_max_pool(c):
    return c.emit("MaxRoiPool", *c.xs(), pooled_shape=[c.attrs["output_height"], c.attrs["output_width"]],
                  spatial_scale=float(c.attrs["spatial_scale"]))


def _recurrent(c, op, order, weight, hidden_bias=None, **attributes):
    """All steps of a layer in one direction. order: the op's gates in ONNX's order. Gives the outputs, and ONNX's names."""
    if len(c.shape(weight)) != 2:
        raise NotExportable("weights in panels are for plans")
    steps, hidden = c.shape()[0], c.static(c.shape(weight)[1], "the hidden size")
    size, reverse = len(order) * hidden, c.attrs["reverse"]
    # ONNX's operator multiplies by both weights, so the product before it becomes its own.
    if (made := c.made_by(0, "linear")) and len(made.shape(0)) == 3:
        x, input_weight, bias = made.x(0), made.x(1), made.x(2)
    else:
        x, input_weight, bias = c.x(), c.writer.array(np.eye(size), c.dtype(), (size, size)), ""
    order = (np.array(order)[:, None] * hidden + np.arange(hidden)).ravel()
    order = c.writer.array(order, "int64", order.shape)
    in_order = lambda v: c.emit("Gather", v, order, axis=0)  # noqa: E731
    one, more = c.ints([0]), c.x(hidden_bias) if hidden_bias else ""
    if bias or more:
        none = c.writer.array(np.zeros(size), c.dtype(), (size,))
        bias = c.emit("Concat", *(in_order(b) if b else none for b in (bias, more)), axis=0)
        bias = c.emit("Unsqueeze", bias, one)
    weights = [c.emit("Unsqueeze", in_order(w), one) for w in (input_weight, c.x(weight))]
    states = [c.emit("Unsqueeze", c.x(i), one) for i in range(1, weight)]
    y, *last = c.emit(op, x, *weights, bias, "", *states, n_out=weight, hidden_size=hidden,
                      direction="reverse" if reverse else "forward", **attributes)
    return c.emit("Squeeze", y, c.ints([1])), last, 0 if reverse else steps - 1


def _lstm_layer(c):
    if c.used(2):
        raise NotExportable("the gates after their functions are for its gradient")
    y, (_, last), end = _recurrent(c, "LSTM", [0, 3, 1, 2], 3)   # input, output, forget, cell
    cells = None
    if c.used(1):   # ONNX gives the last state: whoever reads another one is refused
        if not all(op == "slice" and a["dim"] == 0 and a["start"] == end and a["stop"] == end + 1 for op, a in c.readers(1)):
            raise NotExportable("ONNX gives the cells of the last step only")
        cells = c.emit("Expand", last, c.ints([c.shape()[0], 1, 1]))
    return y, cells, None


def _gru_layer(c):
    if c.used(1):
        raise NotExportable("the gates after their functions are for its gradient")
    y, _, _ = _recurrent(c, "GRU", [1, 0, 2], 2, 3, linear_before_reset=int(c.attrs["reset_after"]))   # update, reset, new
    return y, None


def _softmax(op):
    def row(c):
        if c.shape():
            return c.emit(op, c.x(), axis=c.axis())
        one = c.emit(op, c.emit("Reshape", c.x(), c.ints([1])), axis=0)
        return c.emit("Reshape", one, c.ints([]))

    return row


def _cross_entropy(c):
    if c.attrs["label_smoothing"]:
        raise NotExportable("ONNX's loss has no label smoothing")
    loss = c.emit("SoftmaxCrossEntropyLoss", *c.xs(), ignore_index=c.attrs["ignore_index"], reduction=c.attrs["reduction"])
    return loss, _reduce(c, "ReduceLogSumExp", _wide(c), [1], False) if c.used(1) else None


TABLE = {
    **{op: _same(name) for op, name in {
        "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "abs": "Abs", "sign": "Sign", "sqrt": "Sqrt",
        "reciprocal": "Reciprocal", "floor": "Floor", "ceil": "Ceil", "isnan": "IsNaN", "exp": "Exp", "log": "Log",
        "tanh": "Tanh", "erf": "Erf", "sigmoid": "Sigmoid", "where": "Where",
    }.items()},
    **dict.fromkeys(("clone", "copy", "contiguous"), _identity),
    **{op: _through(_BFLOAT16, _same(op.capitalize())) for op in (
        "sin", "cos", "tan", "sinh", "cosh", "asin", "acos", "atan", "round")},
    "relu": lambda c: c.x() if c.dtype() in _UNSIGNED else c.emit("Relu", c.x()),
    "pow": _through({**_NARROW, "uint32": "int64"}, _pow),
    "neg": _neg,
    "trunc": _trunc,
    "rsqrt": lambda c: c.emit("Reciprocal", c.emit("Sqrt", c.x())),
    "square": lambda c: c.emit("Mul", c.x(), c.x()),
    "exp2": lambda c: c.emit("Pow", c.scalar(2), c.x()),
    "expm1": _through(_BFLOAT16, _expm1),
    "log1p": _log1p,
    "log2": _log_to(2),
    "log10": _log_to(10),
    "isinf": _infinite,
    "isfinite": lambda c: c.emit("Less", c.emit("Abs", c.x()), c.scalar(math.inf)),
    "silu": lambda c: c.emit("Mul", c.x(), c.emit("Sigmoid", c.x())),
    "gelu": _gelu("none"),
    "gelu_tanh": _gelu("tanh"),
    "maximum": _extreme("Max", "Or"),
    "minimum": _extreme("Min", "And"),
    "clamp": _clamp,
    "bitwise_and": _bitwise("BitwiseAnd", "And"),
    "bitwise_or": _bitwise("BitwiseOr", "Or"),
    "bitwise_xor": _bitwise("BitwiseXor", "Xor"),
    "bitwise_not": _bitwise("BitwiseNot", "Not"),
    "left_shift": _shift("LEFT"),
    "right_shift": _shift("RIGHT"),
    "logical_and": _logical("And"),
    "logical_or": _logical("Or"),
    "logical_xor": _logical("Xor"),
    "logical_not": _logical("Not"),
    "eq": _same("Equal"),
    "ne": lambda c: c.emit("Not", c.emit("Equal", *c.xs())),
    "lt": _widened("Less", True),
    "le": _widened("LessOrEqual", True),
    "gt": _widened("Greater", True),
    "ge": _widened("GreaterOrEqual", True),
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "fmod": _fmod,
    "atan2": _through(_BFLOAT16, _atan2),
    "cast": _cast,
    "sum": _reduction("ReduceSum"),
    "mean": _reduction("ReduceMean"),
    "prod": _reduction("ReduceProd"),
    "max": _extreme_over("ReduceMax"),
    "min": _extreme_over("ReduceMin"),
    "max_dim": _extreme_dim("ReduceMax", "ArgMax"),
    "min_dim": _extreme_dim("ReduceMin", "ArgMin"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "any": _any,
    "all": _all,
    "var": _var,
    "cumsum": _cumsum,
    "topk": _through(_BFLOAT16, _topk),
    "reshape": _reshape,
    "expand": _expand,
    "permute": _permute,
    "slice": _slice,
    "as_strided": _as_strided,
    "as_strided_copy": _as_strided,
    "as_strided_scatter": _as_strided_scatter("none"),
    "as_strided_scatter_add": _through(_HALVES, _as_strided_scatter("add")),
    "diagonal": _diagonal,
    "arange": _arange,
    "full": _full,
    "cat": lambda c: c.emit("Concat", *c.xs(), axis=c.axis()),
    "pad_constant": _pad,
    "gather": lambda c: c.emit("GatherElements", *c.xs(), axis=c.axis()) if c.shape() else c.x(),
    "scatter": lambda c: c.emit("ScatterElements", *c.xs(), axis=c.axis()),
    "scatter_reduce": _through(_HALVES, lambda c: c.emit(
        "ScatterElements", *c.xs(), axis=c.axis(),
        reduction={"prod": "mul", "amax": "max", "amin": "min"}[c.attrs["reduce"]])),
    "scatter_add": _through(_HALVES, lambda c: c.emit("ScatterElements", *c.xs(), axis=c.axis(), reduction="add")),
    "embedding": lambda c: c.emit("Gather", *c.xs(), axis=0),
    "index": _index,
    "index_put": _through(_HALVES, _index_put),
    "matmul": _through(_NARROW, _same("MatMul")),
    "linear": _through(_NARROW, _linear),
    "conv": _through(_BFLOAT16, _conv),
    "conv_input_grad": _through(_BFLOAT16, _conv_transpose),
    "avg_pool": _through(_BFLOAT16, _avg_pool),
    "max_pool": _through(_BFLOAT16, _max_pool),
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "batch_norm": _batch_norm,
    "leaky_relu": _through(_BFLOAT16, lambda c: c.emit("LeakyRelu", c.x(), alpha=float(c.attrs["negative_slope"]))),
    "elu": _through(_BFLOAT16, lambda c: c.emit("Elu", c.x(), alpha=float(c.attrs["alpha"]))),
    "group_norm": _through(_BFLOAT16, _group_norm),
    "logsumexp": _through(_BFLOAT16, lambda c: _reduce(c, "ReduceLogSumExp", c.x(), _axes(c), c.attrs["keepdim"])
                          if c.shape() else c.x()),
    "softplus": _through(_BFLOAT16, _softplus),
    "tril": lambda c: c.emit("Trilu", c.x(), c.scalar(c.attrs["diagonal"], "int64"), upper=0),
    "triu": lambda c: c.emit("Trilu", c.x(), c.scalar(c.attrs["diagonal"], "int64"), upper=1),
    "batch_norm_train": _batch_norm_train,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "attention": _attention,
    "cross_entropy": _cross_entropy,
    "fft_c2c": _through(_HALVES, _fft_c2c),
    "fft_r2c": _through(_HALVES, _fft_r2c),
    "fft_c2r": _through(_HALVES, _fft_c2r),
    "grid_sample": _through(_HALVES, _grid_sample),
    "roi_align": _through(_HALVES, _roi_align),
    "roi_max_pool": _through(_HALVES, _roi_max_pool),
    "quantize": lambda c: c.emit("QuantizeLinear", c.x(), c.x(1), c.x(2) or c.scalar(0, c.attrs["dtype"].name)),
    "dequantize": lambda c: c.emit("DequantizeLinear", *c.xs(), axis=c.attrs["axis"]),
    "dynamic_quantize": lambda c: c.emit("DynamicQuantizeLinear", c.x(), n_out=3),
    "lstm_layer": _through(_HALVES, _lstm_layer),
    "gru_layer": _through(_HALVES, _gru_layer),
}

#: Composed ops that ONNX has an operator for, and since when; before, what they are composed of is written.
WHOLE = {"batch_norm": 17, "elu": 17, "leaky_relu": 17, "group_norm": 21, "logsumexp": 17, "softplus": 17, "tril": 17,
         "triu": 17}

_GRADIENT = "it is part of a gradient; export what is computed forward"
_RANKS = "it talks to other ranks; export from one process"
_PASSES = "the engine's passes make it, no program does"
_RANDOM = "ONNX names no generator: its numbers would be others in every runtime"
_WRITES = "it writes to its inputs"
_MISSING = "its translation is not written yet"
#: Ops with a kernel that no file can hold, and why. All others are in the table, or composed of ops that are.
NOT_EXPORTED = {
    **dict.fromkeys((
        "attention_grad", "avg_pool_grad", "batch_norm_grad", "conv_weight_grad", "cross_entropy_grad", "embedding_grad",
        "embedding_grad_add", "gelu_grad", "gelu_tanh_grad", "gru_layer_grad", "layer_norm_grad", "linear_cross_entropy_forward",
        "lstm_layer_grad",
        "log_softmax_grad", "max_pool_grad", "relu_grad", "rms_norm_grad", "sigmoid_grad", "silu_grad", "softmax_grad",
        "tanh_grad"), _GRADIENT),
    **dict.fromkeys(("all_gather", "all_reduce", "barrier", "broadcast", "reduce_scatter"), _RANKS),
    **dict.fromkeys((
        "conv_blocked", "conv_pairs", "conv_winograd", "conv_winograd_pairs", "fused_elementwise", "fused_epilogue", "gate_panels", "linear_pairs", "linear_panels",
        "weight_panels"), _PASSES),
    **dict.fromkeys(("random_bits", "random_state"), _RANDOM),
    **dict.fromkeys(("adamw_step", "adamw_steps", "sgd_step", "chunked_sum_squares"), _WRITES),
    **dict.fromkeys(("linear_attention", "tree_ensemble"), _MISSING),
    **dict.fromkeys((
        "int8_add", "int8_conv", "int8_conv_pack", "int8_lookup", "int8_max_pool", "int8_mean", "int8_mul", "int8_pack"), _PASSES),
    "assert_finite": "ONNX cannot stop a program",
    **dict.fromkeys(("int4_matmul", "int8_lstm", "int8_matmul"), _MISSING),
}
