"""What every op means, in NumPy: one entry per op, called with arrays and the op's attributes by name.

Floating inputs arrive as float64 (already rounded to the dtype under test), integers as int64 or uint64,
booleans as bool, absent inputs as None. Results are cast to the op's output dtype by the caller.
"""

import itertools
import math

import numpy as np

_each = np.vectorize
_erf = _each(math.erf, otypes=[np.float64])
_sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
_phi = lambda x: 0.5 * (1 + _erf(x / math.sqrt(2)))  # noqa: E731
_K = math.sqrt(2 / math.pi)


def _axes(dim, x):
    dims = [dim] if isinstance(dim, int) else list(dim or [])
    return tuple(d % max(x.ndim, 1) for d in dims) if dims and x.ndim else None


def _reduction(f):
    return lambda x, dim=None, keepdim=False: f(x, axis=_axes(dim, x), keepdims=keepdim)


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


def _clamp(x, lo, hi):
    x = x if lo is None else np.maximum(x, lo)
    return x if hi is None else np.minimum(x, hi)


def _reduce_loss(loss, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": lambda v: v}[reduction](loss)


def _huber(x, y, reduction, delta):
    d = np.abs(x - y)
    return _reduce_loss(np.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta)), reduction)


def _bce(x, z, w, reduction):
    soft = np.maximum(-x, 0) + np.log1p(np.exp(-np.abs(x)))
    return _reduce_loss((1 - z) * x + (soft if w is None else soft * (1 + (w - 1) * z)), reduction)


def _kl(x, t, reduction, log_target):
    return _reduce_loss(np.exp(t) * (t - x) if log_target else t * np.log(np.where(t > 0, t, 1)) - t * x, reduction)


# ---- views, copies ---------------------------------------------------------------------------------


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
    return x.reshape(x.shape[:s] + (math.prod(x.shape[s:e + 1]),) + x.shape[e + 1:])


def _unflatten(x, dim, sizes):
    dim %= x.ndim
    known = math.prod(s for s in sizes if s != -1)
    return x.reshape(x.shape[:dim] + tuple(x.shape[dim] // known if s == -1 else s for s in sizes) + x.shape[dim + 1:])


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


# ---- index -----------------------------------------------------------------------------------------


def _scatter(x, index, src, dim, add=False):
    out = x.copy()
    for at in np.ndindex(*index.shape):
        to = list(at)
        if to:
            to[dim] = index[at]
        out[tuple(to)] = out[tuple(to)] + src[at] if add else src[at]
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
    axes, a = _axes(dim, x), np.abs(x)
    if math.isinf(p):
        return a.max(axis=axes, keepdims=keepdim) if p > 0 else a.min(axis=axes, keepdims=keepdim)
    if p == 0:
        return (a != 0).sum(axis=axes, keepdims=keepdim).astype(np.float64)
    return (a**p).sum(axis=axes, keepdims=keepdim) ** (1 / p)


def _var(x, dim, correction, keepdim):
    return x.var(axis=_axes(dim, x), ddof=correction, keepdims=keepdim)


def _logsumexp(x, dim, keepdim):
    return np.log(np.exp(x).sum(axis=_axes(dim, x), keepdims=keepdim))


# ---- neural networks ---------------------------------------------------------------------------------


def _softmax(x, dim):
    if x.ndim == 0:
        return np.ones_like(x)
    e = np.exp(x - x.max(axis=dim, keepdims=True)) if x.shape[dim] else np.exp(x)
    return e / e.sum(axis=dim, keepdims=True)


def _linear(x, w, b=None):
    return np.matmul(x, w.T) + (0 if b is None else b)


def _layer_norm(x, w, b, n_dims, eps):
    axes = tuple(range(x.ndim - n_dims, x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    rstd = 1 / np.sqrt(x.var(axis=axes, keepdims=True) + eps)
    y = (x - mean) * rstd
    outer = x.shape[:x.ndim - n_dims]
    return y * (1 if w is None else w) + (0 if b is None else b), mean.reshape(outer), rstd.reshape(outer)


def _rms_norm(x, w, n_dims, eps):
    axes = tuple(range(x.ndim - n_dims, x.ndim))
    rstd = 1 / np.sqrt((x * x).mean(axis=axes, keepdims=True) + eps)
    return x * rstd * (1 if w is None else w), rstd.reshape(x.shape[:x.ndim - n_dims])


def _channels(v, x, empty):
    return empty if v is None else v.reshape([1, -1] + [1] * (x.ndim - 2))


def _batch_norm(x, w, b, mean, var, eps):
    y = (x - _channels(mean, x, 0)) / np.sqrt(_channels(var, x, 1) + eps)
    return y * _channels(w, x, 1) + _channels(b, x, 0)


def _batch_norm_train(x, w, b, eps):
    axes = (0,) + tuple(range(2, x.ndim))
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    return _batch_norm(x, w, b, mean, var, eps), mean, var


def _batch_norm_any(x, w, b, mean, var, training, momentum, eps):
    return _batch_norm_train(x, w, b, eps)[0] if training else _batch_norm(x, w, b, mean, var, eps)


def _group_norm(x, w, b, num_groups, eps):
    g = x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)
    y = (g - g.mean(axis=2, keepdims=True)) / np.sqrt(g.var(axis=2, keepdims=True) + eps)
    return y.reshape(x.shape) * _channels(w, x, 1) + _channels(b, x, 0)


def _attention(q, k, v, mask, is_causal, scale):
    groups = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1)
    s = np.einsum("bhqd,bhkd->bhqk", q, k) * (1 / math.sqrt(q.shape[3]) if scale is None else scale)
    if is_causal:
        s = np.where(np.tri(s.shape[2], s.shape[3], dtype=bool), s, -np.inf)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    with np.errstate(all="ignore"):
        top = s.max(axis=-1, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0)
        e = np.exp(s - top)
        total = e.sum(axis=-1, keepdims=True)
        w = np.where(total > 0, e / np.where(total > 0, total, 1), 0)
        lse = (np.log(total) + top)[..., 0]
    return np.einsum("bhqk,bhkd->bhqd", w, v), lse


def _cross_entropy(x, t, w, ignore_index, label_smoothing, reduction):
    logp = x - _logsumexp(x, [1], True) if x.size else x
    w = np.ones(x.shape[1]) if w is None else w
    rows = np.arange(len(t))
    use = t != ignore_index
    at = np.where(use, t, 0)
    nll = -logp[rows, at] * w[at] * use
    smooth = -(logp * w).sum(axis=1) * use / x.shape[1]
    loss = (1 - label_smoothing) * nll + label_smoothing * smooth
    total = {"mean": lambda: loss.sum() / (w[at] * use).sum(), "sum": loss.sum, "none": lambda: loss}[reduction]()
    return total, _logsumexp(x, [1], False)


def _nll(x, t, w, ignore_index, reduction):
    w = np.ones(x.shape[1]) if w is None else w
    use = t != ignore_index
    at = np.where(use, t, 0)
    loss = -x[np.arange(len(t)), at] * w[at] * use
    return {"mean": lambda: loss.sum() / (w[at] * use).sum(), "sum": loss.sum, "none": lambda: loss}[reduction]()


class _Windows:
    """Positions of a sliding window over the last axes of [batch, channels, size...]."""

    def __init__(self, size, kernel, strides, padding, dilation, ceil_mode=False):
        n = len(kernel)
        self.kernel, self.n = kernel, n
        self.strides = list(strides) or [1] * n
        self.padding = list(padding) or [0] * (2 * n)
        self.dilation = list(dilation) or [1] * n
        self.size = size
        self.out = []
        for i in range(n):
            lo, hi = self.padding[i], self.padding[n + i]
            span = size[i] + lo + hi - self.dilation[i] * (kernel[i] - 1) - 1
            out = -(-span // self.strides[i]) + 1 if ceil_mode else span // self.strides[i] + 1
            if ceil_mode and (out - 1) * self.strides[i] >= size[i] + lo:
                out -= 1
            self.out.append(out)

    def __iter__(self):
        """(offset in the kernel, [(output positions, input positions)] per axis)."""
        for offset in itertools.product(*map(range, self.kernel)):
            pairs = []
            for i, k in enumerate(offset):
                o = np.arange(self.out[i])
                at = o * self.strides[i] - self.padding[i] + k * self.dilation[i]
                ok = (at >= 0) & (at < self.size[i])
                pairs.append((o[ok], at[ok]))
            yield offset, np.ix_(*[p[0] for p in pairs]), np.ix_(*[p[1] for p in pairs])


_ALL = (slice(None), slice(None))


def _conv_parts(groups, channels):
    return [slice(g * channels // groups, (g + 1) * channels // groups) for g in range(groups)]


def _conv(x, w, b, strides, padding, dilation, groups):
    win = _Windows(x.shape[2:], w.shape[2:], strides, padding, dilation)
    out = np.zeros((x.shape[0], w.shape[0], *win.out))
    for offset, o, i in win:
        for co, ci in zip(_conv_parts(groups, w.shape[0]), _conv_parts(groups, x.shape[1])):
            part = x[:, ci][_ALL + i]
            out[(slice(None), co) + (slice(None),) * win.n][_ALL + o] += np.einsum(
                "bc...,oc->bo...", part, w[co][_ALL + offset])
    return out + (0 if b is None else b.reshape([1, -1] + [1] * win.n))


def _conv_input_grad(g, w, input_size, strides, padding, dilation, groups):
    win = _Windows(input_size, w.shape[2:], strides, padding, dilation)
    channels = w.shape[1] * groups
    dx = np.zeros((g.shape[0], channels, *input_size))
    for offset, o, i in win:
        for co, ci in zip(_conv_parts(groups, w.shape[0]), _conv_parts(groups, channels)):
            dx[:, ci][_ALL + i] += np.einsum("bo...,oc->bc...", g[:, co][_ALL + o], w[co][_ALL + offset])
    return dx


def _conv_weight_grad(x, g, kernel_size, strides, padding, dilation, groups):
    win = _Windows(x.shape[2:], kernel_size, strides, padding, dilation)
    dw = np.zeros((g.shape[1], x.shape[1] // groups, *kernel_size))
    for offset, o, i in win:
        for co, ci in zip(_conv_parts(groups, g.shape[1]), _conv_parts(groups, x.shape[1])):
            a, b = x[:, ci][_ALL + i], g[:, co][_ALL + o]
            dw[co][_ALL + offset] = np.einsum("bon,bcn->oc", b.reshape(*b.shape[:2], -1) if b.size else
                                              b.reshape(*b.shape[:2], 0), a.reshape(*b.shape[:1], a.shape[1], -1)
                                              if b.size else a.reshape(*a.shape[:2], 0))
    return dw


def _max_pool(x, kernel, strides, padding, dilation, ceil_mode):
    win = _Windows(x.shape[2:], kernel, strides or kernel, padding, dilation, ceil_mode)
    best = np.full((*x.shape[:2], *win.out), -np.inf)
    where = np.zeros(best.shape, np.int64)
    flat = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:])
    for _, o, i in win:
        now, old = x[_ALL + i], best[_ALL + o]
        better = now > old
        where[_ALL + o] = np.where(better, np.broadcast_to(flat[i], now.shape), where[_ALL + o])
        best[_ALL + o] = np.where(better, now, old)
    return best, where


def _max_pool_grad(g, indices, input_size):
    out = np.zeros((*g.shape[:2], math.prod(input_size)))
    for b, c in np.ndindex(*g.shape[:2]):
        np.add.at(out[b, c], indices[b, c].reshape(-1), g[b, c].reshape(-1))
    return out.reshape(*g.shape[:2], *input_size)


def _pool_counts(win, include_pad):
    counts = 1
    for i in range(win.n):
        lo, hi, size = win.padding[i], win.padding[win.n + i], win.size[i]
        start = np.arange(win.out[i]) * win.strides[i] - lo
        end = np.minimum(start + win.kernel[i], size + hi)
        n = end - start if include_pad else np.minimum(end, size) - np.maximum(start, 0)
        counts = np.multiply.outer(counts, n)
    return counts


def _avg_pool(x, kernel, strides, padding, ceil_mode, count_include_pad):
    win = _Windows(x.shape[2:], kernel, strides or kernel, padding, [], ceil_mode)
    out = np.zeros((*x.shape[:2], *win.out))
    for _, o, i in win:
        out[_ALL + o] += x[_ALL + i]
    return out / _pool_counts(win, count_include_pad)


def _avg_pool_grad(g, input_size, kernel, strides, padding, ceil_mode, count_include_pad):
    win = _Windows(input_size, kernel, strides or kernel, padding, [], ceil_mode)
    share = g / _pool_counts(win, count_include_pad)
    out = np.zeros((*g.shape[:2], *input_size))
    for _, o, i in win:
        out[_ALL + i] += share[_ALL + o]
    return out


def _adaptive_avg_pool(x, output_size):
    rows, cols = output_size
    h, w = x.shape[2:]
    out = np.zeros((*x.shape[:2], rows, cols))
    for r, c in np.ndindex(rows, cols):
        region = x[:, :, r * h // rows:-(-(r + 1) * h // rows), c * w // cols:-(-(c + 1) * w // cols)]
        out[:, :, r, c] = region.mean(axis=(2, 3))
    return out


# ---- training, random ---------------------------------------------------------------------------------


def _adamw(p, g, m, v, lr, step, scale, beta1, beta2, eps, weight_decay):
    g = g if scale is None else g * scale
    p = p * (1 - lr * weight_decay)
    m = m + (g - m) * (1 - beta1)
    v = beta2 * v + (1 - beta2) * g * g
    p = p - lr / (1 - beta1**step) * m / (np.sqrt(v) / np.sqrt(1 - beta2**step) + eps)
    return p, m, v


def _sgd(p, g, buf, lr, momentum, dampening, weight_decay, nesterov):
    g = g + weight_decay * p
    if buf is None:
        return p - lr * g, None
    buf = momentum * buf + (1 - dampening) * g
    return p - lr * (g + momentum * buf if nesterov else buf), buf


def _batch_norm_update(running_mean, running_var, mean, var, momentum, count):
    unbiased = var * count / (count - 1)
    return ((1 - momentum) * running_mean + momentum * mean, (1 - momentum) * running_var + momentum * unbiased)


def _clip(*grads, max_norm):
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    return norm, min(1.0, max_norm / (norm + 1e-6))


def _philox(state, size):
    n = math.prod(size)
    seed, offset = int(state[0]), int(state[1])
    out = np.zeros(-(-n // 4) * 4, np.uint32)
    low = 0xFFFFFFFF
    for i in range(-(-n // 4)):
        counter = offset + i
        c = [counter & low, counter >> 32 & low, 0, 0]
        k = [seed & low, seed >> 32 & low]
        for r in range(10):
            a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [b >> 32 ^ c[1] ^ k[0], b & low, a >> 32 ^ c[3] ^ k[1], a & low]
            k = [k[0] + 0x9E3779B9 & low, k[1] + 0xBB67AE85 & low]
        out[4 * i:4 * i + 4] = c
    return out[:n].reshape(size)


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
    "softplus": lambda x, beta, threshold: np.where(beta * x > threshold, x, np.log1p(np.exp(beta * x)) / beta),
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
    "squeeze": lambda x, dim: x.reshape([n for i, n in enumerate(x.shape) if n != 1 or (
        dim and i not in [d % x.ndim for d in dim])]),
    "unsqueeze": lambda x, dim: np.expand_dims(x, dim),
    "flatten": _flatten,
    "unflatten": _unflatten,
    "movedim": lambda x, source, destination: np.moveaxis(x, source, destination),
    "split": _split,
    "chunk": _chunk,
    "unbind": lambda x, dim: [np.take(x, i, axis=dim) for i in range(x.shape[dim])],
    "narrow": lambda x, dim, start, length: _slice(x, dim, start % x.shape[dim], start % x.shape[dim] + length, 1),
    "select": lambda x, dim, index: np.take(x, index, axis=dim),
    "flip": lambda x, dims: np.flip(x, dims),
    # Copies and creation.
    "copy": lambda x: x,
    "clone": lambda x: x,
    "contiguous": lambda x: x,
    "full": lambda v, size: np.full(size, v),
    "arange": lambda start, end, step, dtype: start + step * np.arange(max(0, math.ceil((end - start) / step))),
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
    "logsumexp": _logsumexp,
    "count_nonzero": lambda x, dim: (x != 0).sum(axis=_axes(dim, x)),
    "argmax": _arg(np.argmax),
    "argmin": _arg(np.argmin),
    "max_dim": _best_dim(np.argmax, np.max),
    "min_dim": _best_dim(np.argmin, np.min),
    "cumsum": lambda x, dim: np.cumsum(_wide(x), axis=dim).reshape(x.shape),
    # Linear algebra.
    "matmul": np.matmul,
    "linear": _linear,
    "bmm": np.matmul,
    "outer": np.outer,
    "tensordot": lambda a, b, dims_a, dims_b: np.tensordot(a, b, (dims_a, dims_b)),
    "einsum": lambda *x, equation: np.einsum(equation, *x),
    # Neural networks.
    "softmax": _softmax,
    "log_softmax": lambda x, dim: x * 0 if x.ndim == 0 else x - _logsumexp(x, dim, True),
    "softmax_grad": lambda g, y, dim: y * (g - (g * y).sum(axis=dim, keepdims=True)),
    "log_softmax_grad": lambda g, y, dim: g - np.exp(y) * g.sum(axis=dim, keepdims=True),
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm_any,
    "batch_norm_train": _batch_norm_train,
    "batch_norm_update": _batch_norm_update,
    "group_norm": _group_norm,
    "attention": _attention,
    "cross_entropy": _cross_entropy,
    "linear_cross_entropy": lambda x, w, t, ignore_index, reduction: _cross_entropy(
        x @ w.T, t, None, ignore_index, 0, reduction)[0],
    "nll_loss": _nll,
    "mse_loss": lambda x, y, reduction: _reduce_loss((x - y) ** 2, reduction),
    "l1_loss": lambda x, y, reduction: _reduce_loss(np.abs(x - y), reduction),
    "huber_loss": _huber,
    "smooth_l1": lambda x, y, reduction, beta: _huber(x, y, reduction, beta) / beta,
    "bce_with_logits": _bce,
    "kl_div": _kl,
    "conv": _conv,
    "conv_input_grad": _conv_input_grad,
    "conv_weight_grad": _conv_weight_grad,
    "max_pool": _max_pool,
    "max_pool_grad": _max_pool_grad,
    "avg_pool": _avg_pool,
    "avg_pool_grad": _avg_pool_grad,
    "adaptive_avg_pool": _adaptive_avg_pool,
    # Indexing.
    "gather": _gather,
    "scatter": _scatter,
    "scatter_add": lambda x, i, src, dim: _scatter(x, i, src, dim, add=True),
    "index": lambda x, *i, dims: x[_indices(i, dims, x.ndim)],
    "index_put": _index_put,
    "index_select": lambda x, i, dim: np.take(x, i, axis=dim),
    "take": lambda x, i: np.take(x, i),
    "one_hot": lambda i, num_classes: i[..., None] == np.arange(num_classes),
    "masked_select": lambda x, m: np.broadcast_to(x, np.broadcast_shapes(x.shape, m.shape))[
        np.broadcast_to(m, np.broadcast_shapes(x.shape, m.shape))],
    "nonzero": lambda x: np.argwhere(x),
    "topk": _topk,
    "sort": _sort,
    "argsort": lambda x, **a: _sort(x, **a)[1],
    "embedding": lambda w, i: w[i],
    "embedding_grad": _embedding_grad,
    # Training, random, structure.
    "adamw_step": _adamw,
    "sgd_step": _sgd,
    "chunked_sum_squares": lambda x: (x * x).sum(),
    "clip_grad_norm": _clip,
    "random_bits": _philox,
    "assert_finite": lambda x, label: True,
    "fused_elementwise": lambda x, y, z, body: (np.tanh(x * y + z), x * y),
}

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
    "linear_cross_entropy_forward": "the kernel behind linear_cross_entropy, checked as such",
}
