"""What every op means, in NumPy: one entry per op, called with arrays and the op's attributes by
name.

Floating inputs arrive as float64 (already rounded to the dtype under test), integers as int64 or
uint64, booleans as bool, absent inputs as None. Results are cast to the op's output dtype by the
caller.
"""

import math

import numpy as np

import oracle_nn as nn
import oracle_qdq
import oracle_quant as quant

_each = np.vectorize
_erf = _each(math.erf, otypes=[np.float64])
_sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
_phi = lambda x: 0.5 * (1 + _erf(x / math.sqrt(2)))  # noqa: E731
_K = math.sqrt(2 / math.pi)


def _reduction(f):
    return lambda x, dim=None, keepdim=False: f(x, axis=nn.axes(dim, x), keepdims=keepdim)


def _wide(x):
    return x if x.dtype.kind in "fu" and x.dtype != np.bool_ else x.astype(np.int64)


def _int_safe(f, at_zero):
    """An integer division with a rule for 0."""

    def call(x, y):
        if x.dtype.kind == "f":
            return f(x, y)
        return np.where(y == 0, at_zero, f(x, np.where(y == 0, 1, y)))

    return call


def _int_pow(x, y):
    if x.dtype.kind == "f":
        return np.power(x, y)
    negative = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0))
    return np.where(y < 0, negative, np.power(x, np.abs(y)))


def _silu_grad(g, y):
    s = _sigmoid(y)
    return g * s * (1 + y * (1 - s))


def _gelu_tanh_grad(g, y):
    t = np.tanh(_K * (y + 0.044715 * y**3))
    return 0.5 * g * (1 + t + y * (1 - t * t) * _K * (1 + 3 * 0.044715 * y * y))


def _linear_gelu(y, z):
    return y, 0.5 * y * (1 + np.tanh(_K * (y + 0.044715 * y**3))) - z


def _clamp(x, lo, hi):
    x = x if lo is None else np.maximum(x, lo)
    return x if hi is None else np.minimum(x, hi)


# ---- views, copies -------------------------------------------------------------------------------


def _slice(x, dim, start, stop, step):
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, None if stop < 0 else stop, step)
    return x[tuple(index)]


def _strided(x, size, stride, storage_offset):
    flat = np.ascontiguousarray(x).reshape(-1)
    at = np.full(size, storage_offset, np.int64)
    for axis, (n, s) in enumerate(zip(size, stride)):
        at += (np.arange(n) * s).reshape([-1 if k == axis else 1 for k in range(len(size))])
    return flat, at


def _strided_scatter(x, src, size, stride, storage_offset, add=False):
    flat, at = _strided(x.copy(), size, stride, storage_offset)
    if add:
        np.add.at(flat, at, src)
    else:
        flat[at] = src
    return flat.reshape(x.shape)


def _split(x, split_size=None, sizes=None, dim=0):
    if sizes is None:
        n = x.shape[dim]
        sizes = [min(split_size, n - at) for at in range(0, n, split_size)]
    return np.split(x, np.cumsum(sizes)[:-1], axis=dim)


def _chunk(x, chunks, dim):
    return _split(x, split_size=max(1, -(-x.shape[dim] // chunks)), dim=dim)


def _flatten(x, start_dim, end_dim):
    s, e = start_dim % max(x.ndim, 1), end_dim % max(x.ndim, 1)
    return x.reshape(x.shape[:s] + (math.prod(x.shape[s : e + 1]),) + x.shape[e + 1 :])


def _unflatten(x, dim, sizes):
    dim %= x.ndim
    known = math.prod(s for s in sizes if s != -1)
    return x.reshape(
        x.shape[:dim]
        + tuple(x.shape[dim] // known if s == -1 else s for s in sizes)
        + x.shape[dim + 1 :]
    )


def _expand(x, size):
    lead = len(size) - x.ndim
    return np.broadcast_to(x, [x.shape[i - lead] if s == -1 else s for i, s in enumerate(size)])


def _pad(x, value=None, pad=(), mode="constant"):
    value = 0 if value is None else value
    widths = [(0, 0)] * x.ndim
    cut = [slice(None)] * x.ndim
    for k in range(len(pad) // 2):
        lo, hi = pad[2 * k], pad[2 * k + 1]
        axis = x.ndim - 1 - k
        widths[axis] = (max(lo, 0), max(hi, 0))
        cut[axis] = slice(max(-lo, 0), x.shape[axis] - max(-hi, 0))
    x = x[tuple(cut)]
    if mode == "constant":
        return np.pad(x, widths, constant_values=value)
    return np.pad(x, widths, mode={"reflect": "reflect", "replicate": "edge"}[mode])


def _repeat(x, repeats):
    return np.tile(x, repeats)


# ---- index ---------------------------------------------------------------------------------------


def _scatter(x, index, src, dim, add=False):
    out = x.copy()
    for at in np.ndindex(*index.shape):
        to = list(at)
        if to:
            to[dim] = index[at]
        out[tuple(to)] = out[tuple(to)] + src[at] if add else src[at]
    return out


def _scatter_reduce(x, index, src, dim, reduce):
    out, join = x.copy(), {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}[reduce]
    for at in np.ndindex(*index.shape):
        to = list(at)
        if to:
            to[dim] = index[at]
        out[tuple(to)] = join(out[tuple(to)], src[at])
    return out


def _gather(x, index, dim):
    if not x.ndim:
        return x
    crop = tuple(slice(None) if k == dim % x.ndim else slice(n) for k, n in enumerate(index.shape))
    return np.take_along_axis(x[crop], index, axis=dim)


def _indices(indices, dims, rank):
    key = [slice(None)] * rank
    for d, i in zip(dims, indices):
        key[d] = i
    return tuple(key)


def _index_put(x, values, *indices, dims, accumulate):
    out = x.copy()
    key = _indices(indices, dims, x.ndim)
    if accumulate:
        np.add.at(out, key, values)
    else:
        out[key] = values
    return out


def _topk(x, k, dim=-1, largest=True, sorted=True):
    if x.ndim == 0:
        return x, np.int64(0)
    key = -x.astype(object) if largest and x.dtype.kind in "iub" else -x if largest else x
    order = np.take(np.argsort(key, axis=dim, kind="stable"), np.arange(k), axis=dim)
    return np.take_along_axis(x, order, axis=dim), order


def _sort(x, dim=-1, descending=False):
    return _topk(x, x.shape[dim] if x.ndim else 1, dim, descending)


def _embedding_grad(g, index, rows):
    out = np.zeros((rows, g.shape[-1]), g.dtype)
    np.add.at(out, index.reshape(-1), g.reshape(-1, g.shape[-1]))
    return out


def _best_dim(arg, pick):
    def call(x, dim, keepdim):
        if x.ndim == 0:
            return x, np.int64(0)
        return pick(x, axis=dim, keepdims=keepdim), arg(x, axis=dim, keepdims=keepdim)

    return call


def _arg(f):
    def call(x, dim=None, keepdim=False):
        if x.ndim == 0:
            return np.int64(0)
        return f(x, axis=dim, keepdims=keepdim)

    return call


def _norm(x, p, dim, keepdim):
    axes, a = nn.axes(dim, x), np.abs(x)
    if math.isinf(p):
        return a.max(axis=axes, keepdims=keepdim) if p > 0 else a.min(axis=axes, keepdims=keepdim)
    if p == 0:
        return (a != 0).sum(axis=axes, keepdims=keepdim).astype(np.float64)
    return (a**p).sum(axis=axes, keepdims=keepdim) ** (1 / p)


def _var(x, dim, correction, keepdim):
    return x.var(axis=nn.axes(dim, x), ddof=correction, keepdims=keepdim)


ORACLE = {
    # Unary rows.
    "neg": lambda x: -x,
    "abs": np.abs,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x * x,
    "relu": lambda x: np.maximum(x, 0),
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "trunc": np.trunc,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "logical_not": lambda x: x == 0,
    "bitwise_not": lambda x: ~x,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "erf": _erf,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "gelu": lambda x: x * _phi(x),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(_K * (x + 0.044715 * x**3))),
    "cast": lambda x, to: x != 0 if "bool" in str(to) else x,
    # Binary and ternary rows.
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "bitwise_and": lambda x, y: x & y,
    "bitwise_or": lambda x, y: x | y,
    "bitwise_xor": lambda x, y: x ^ y,
    "left_shift": lambda x, y: x << y,
    "right_shift": lambda x, y: x >> y,
    "tanh_grad": lambda g, y: g * (1 - y * y),
    "sigmoid_grad": lambda g, y: g * y * (1 - y),
    "relu_grad": lambda g, y: np.where(y > 0, g, 0),
    "silu_grad": _silu_grad,
    "gelu_grad": lambda g, y: g * (_phi(y) + y * np.exp(-0.5 * y * y) / math.sqrt(2 * math.pi)),
    "gelu_tanh_grad": _gelu_tanh_grad,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "floor_divide": _int_safe(np.floor_divide, 0),
    "remainder": _int_safe(np.remainder, 0),
    "fmod": _int_safe(np.fmod, 0),
    "pow": _int_pow,
    "atan2": np.arctan2,
    "where": np.where,
    "clamp": _clamp,
    "lerp": lambda x, y, w: x + w * (y - x),
    "addcmul": lambda x, a, b, value: x + value * a * b,
    "addcdiv": lambda x, a, b, value: x + value * a / b,
    "masked_fill": lambda x, m, v: np.where(m, v, x),
    "softplus": lambda x, beta, threshold: np.where(
        beta * x > threshold, x, np.log1p(np.exp(beta * x)) / beta
    ),
    "leaky_relu": lambda x, negative_slope: np.where(x > 0, x, negative_slope * x),
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "tril": lambda x, diagonal: np.tril(x, diagonal),
    "triu": lambda x, diagonal: np.triu(x, diagonal),
    # Views.
    "reshape": lambda x, shape: x.reshape(shape),
    "view": lambda x, size: x.reshape(size),
    "permute": lambda x, dims: x.transpose(dims),
    "transpose": lambda x, dim0, dim1: np.swapaxes(x, dim0, dim1),
    "expand": _expand,
    "slice": _slice,
    "diagonal": lambda x, offset, dim1, dim2: np.diagonal(x, offset, dim1, dim2),
    "as_strided": lambda x, **a: (lambda flat, at: flat[at])(*_strided(x, **a)),
    "as_strided_copy": lambda x, **a: (lambda flat, at: flat[at])(*_strided(x, **a)),
    "as_strided_scatter": _strided_scatter,
    "as_strided_scatter_add": lambda x, src, **a: _strided_scatter(x, src, add=True, **a),
    "squeeze": lambda x, dim: x.reshape(
        [n for i, n in enumerate(x.shape) if n != 1 or (dim and i not in [d % x.ndim for d in dim])]
    ),
    "unsqueeze": lambda x, dim: np.expand_dims(x, dim),
    "flatten": _flatten,
    "unflatten": _unflatten,
    "movedim": lambda x, source, destination: np.moveaxis(x, source, destination),
    "split": _split,
    "chunk": _chunk,
    "unbind": lambda x, dim: [np.take(x, i, axis=dim) for i in range(x.shape[dim])],
    "narrow": lambda x, dim, start, length: _slice(
        x, dim, start % x.shape[dim], start % x.shape[dim] + length, 1
    ),
    "select": lambda x, dim, index: np.take(x, index, axis=dim),
    "flip": lambda x, dims: np.flip(x, dims),
    # Copies and creation.
    "copy": lambda x: x,
    "clone": lambda x: x,
    "contiguous": lambda x: x,
    "full": lambda v, size: np.full(size, v),
    "arange": lambda start, end, step, dtype: (
        start + step * np.arange(max(0, math.ceil((end - start) / step)))
    ),
    "cat": lambda *x, dim: np.concatenate(x, axis=dim),
    "stack": lambda *x, dim: np.stack(x, axis=dim),
    "pad": _pad,
    "pad_constant": _pad,
    "zeros": lambda size, dtype: np.zeros(size),
    "ones": lambda size, dtype: np.ones(size),
    "empty": lambda size, dtype: np.zeros(size),
    "eye": lambda n, m, dtype: np.eye(n, m),
    "linspace": lambda start, end, steps, dtype: np.linspace(start, end, steps),
    "repeat": _repeat,
    "tile": lambda x, dims: np.tile(x, dims),
    "roll": lambda x, shifts, dims: np.roll(x, shifts, dims) if dims else np.roll(x, shifts[0]),
    # Reductions and scans.
    "sum": _reduction(lambda x, **k: _wide(x).sum(**k)),
    "prod": _reduction(lambda x, **k: _wide(x).prod(**k)),
    "max": _reduction(np.max),
    "min": _reduction(np.min),
    "any": _reduction(lambda x, **k: (x != 0).any(**k)),
    "all": _reduction(lambda x, **k: (x != 0).all(**k)),
    "mean": _reduction(np.mean),
    "var": _var,
    "std": lambda x, **a: np.sqrt(_var(x, **a)),
    "norm": _norm,
    "logsumexp": nn.logsumexp,
    "count_nonzero": lambda x, dim: (x != 0).sum(axis=nn.axes(dim, x)),
    "argmax": _arg(np.argmax),
    "argmin": _arg(np.argmin),
    "max_dim": _best_dim(np.argmax, np.max),
    "min_dim": _best_dim(np.argmin, np.min),
    "cumsum": lambda x, dim: np.cumsum(_wide(x), axis=dim).reshape(x.shape),
    # Linear algebra.
    "matmul": np.matmul,
    "linear": nn.linear,
    "bmm": np.matmul,
    "outer": np.outer,
    "tensordot": lambda a, b, dims_a, dims_b: np.tensordot(a, b, (dims_a, dims_b)),
    "einsum": lambda *x, equation: np.einsum(equation, *x),
    # Neural networks.
    "softmax": nn.softmax,
    "log_softmax": lambda x, dim: x * 0 if x.ndim == 0 else x - nn.logsumexp(x, dim, True),
    "softmax_grad": lambda g, y, dim: y * (g - (g * y).sum(axis=dim, keepdims=True)),
    "log_softmax_grad": lambda g, y, dim: g - np.exp(y) * g.sum(axis=dim, keepdims=True),
    "layer_norm": nn.layer_norm,
    "rms_norm": nn.rms_norm,
    "batch_norm": nn.batch_norm_any,
    "batch_norm_train": nn.batch_norm_train,
    "batch_norm_update": nn.batch_norm_update,
    "group_norm": nn.group_norm,
    "attention": nn.attention,
    "linear_attention": nn.linear_attention,
    "cross_entropy": nn.cross_entropy,
    "linear_cross_entropy": lambda x, w, t, ignore_index, reduction: nn.cross_entropy(
        x @ w.T, t, None, ignore_index, 0, reduction
    )[0],
    "nll_loss": nn.nll,
    "mse_loss": lambda x, y, reduction: nn.reduce_loss((x - y) ** 2, reduction),
    "l1_loss": lambda x, y, reduction: nn.reduce_loss(np.abs(x - y), reduction),
    "huber_loss": nn.huber,
    "smooth_l1": lambda x, y, reduction, beta: nn.huber(x, y, reduction, beta) / beta,
    "bce_with_logits": nn.bce,
    "kl_div": nn.kl,
    "conv": nn.conv,
    "conv_blocked": nn.conv_blocked,
    "conv_pairs": nn.conv_pairs,
    "conv_winograd": nn.conv_winograd,
    "conv_winograd_pairs": lambda x, w, b, padding: nn.conv_winograd(
        x, w.transpose(0, 1, 2, 4, 3).reshape(*w.shape[:2], -1, 16), b, padding
    ),
    "linear_pairs": lambda x, w, b: x @ w.transpose(0, 2, 1, 3).reshape(w.shape[0] * 16, -1).T + (0 if b is None else b),
    "conv_input_grad": nn.conv_input_grad,
    "conv_weight_grad": nn.conv_weight_grad,
    "max_pool": nn.max_pool,
    "max_pool_grad": nn.max_pool_grad,
    "avg_pool": nn.avg_pool,
    "avg_pool_grad": nn.avg_pool_grad,
    "adaptive_avg_pool": nn.adaptive_avg_pool,
    # Indexing.
    "gather": _gather,
    "scatter": _scatter,
    "scatter_reduce": _scatter_reduce,
    "scatter_add": lambda x, i, src, dim: _scatter(x, i, src, dim, add=True),
    "index": lambda x, *i, dims: x[_indices(i, dims, x.ndim)],
    "index_put": _index_put,
    "index_select": lambda x, i, dim: np.take(x, i, axis=dim),
    "take": lambda x, i: np.take(x, i),
    "one_hot": lambda i, num_classes: i[..., None] == np.arange(num_classes),
    "masked_select": lambda x, m: np.broadcast_to(x, np.broadcast_shapes(x.shape, m.shape))[
        np.broadcast_to(m, np.broadcast_shapes(x.shape, m.shape))
    ],
    "nonzero": lambda x: np.argwhere(x),
    "topk": _topk,
    "sort": _sort,
    "argsort": lambda x, **a: _sort(x, **a)[1],
    "embedding": lambda w, i: w[i],
    "embedding_grad": _embedding_grad,
    "embedding_grad_add": lambda t, g, i: t + _embedding_grad(g, i, t.shape[0]),
    # Training, random, structure.
    "adamw_step": nn.adamw,
    "adamw_steps": nn.adamw_steps,
    "sgd_step": nn.sgd,
    "chunked_sum_squares": lambda x: (x * x).sum(),
    "clip_grad_norm": nn.clip,
    "random_bits": nn.philox,
    "assert_finite": lambda x, label: True,
    # Collectives in a world of one; of several ranks: distributed_test.cpp and test_distributed.py.
    "all_reduce": lambda x, **a: x,
    "all_gather": lambda x, **a: x,
    "reduce_scatter": lambda x, **a: x,
    "broadcast": lambda x, **a: x,
    "barrier": lambda x, **a: x,
    "fused_epilogue": lambda x, w, z, body: _linear_gelu(x @ w.T, z),
    "fused_elementwise": lambda x, y, z, body: (np.tanh(x * y + z), x * y),
}

ORACLE.update(
    fft_c2c=nn.fft_c2c,
    fft_r2c=lambda x: nn.pairs(np.fft.rfft(x)),
    fft_c2r=lambda x, n: np.fft.irfft(x[..., 0] + 1j * x[..., 1], n) * n,
    grid_sample=nn.grid_sample,
    lstm_layer=nn.lstm_layer,
    gru_layer=nn.gru_layer,
    gate_panels=nn.gate_panels,
    weight_panels=nn.weight_panels,
    linear_panels=nn.linear_panels,
    roi_align=nn.roi_align,
    roi_max_pool=nn.roi_max_pool,
    **quant.ORACLE,
)
ORACLE.update(oracle_qdq.ORACLE)

#: Ops whose meaning is not a function of arrays; each names the test that holds it.
NO_ORACLE = {
    "call": "owns a sub-graph: tests/graph_test.cpp",
    "if": "owns sub-graphs: tests/graph_test.cpp",
    "loop": "owns a sub-graph: tests/graph_test.cpp",
    "rand": "a distribution: test_ops_special.py",
    "randn": "a distribution: test_ops_special.py",
    "randint": "a distribution: test_ops_special.py",
    "randperm": "a distribution: test_ops_special.py",
    "bernoulli": "a distribution: test_ops_special.py",
    "multinomial": "a distribution: test_ops_special.py",
    "dropout": "a distribution: test_ops_special.py",
    "attention_grad": "the kernel behind attention's gradient, checked as such",
    "batch_norm_grad": "the kernel behind batch_norm_train's gradient, checked as such",
    "layer_norm_grad": "the kernel behind layer_norm's gradient, checked as such",
    "rms_norm_grad": "the kernel behind rms_norm's gradient, checked as such",
    "cross_entropy_grad": "the kernel behind cross_entropy's gradient, checked as such",
    "tree_ensemble": "random arrays are no trees: test_onnx_ml.py",
    "linear_cross_entropy_forward": "the kernel behind linear_cross_entropy, checked as such",
    "lstm_layer_grad": "the kernel behind lstm_layer's gradient, checked as such",
    "gru_layer_grad": "the kernel behind gru_layer's gradient, checked as such",
    "random_state": "another one each time: test_onnx_vision.py",
}
