"""The oracle's neural network, training and random ops in NumPy (see oracle.py)."""

import itertools
import math

import numpy as np


def axes(dim, x):
    dims = [dim] if isinstance(dim, int) else list(dim or [])
    return tuple(d % max(x.ndim, 1) for d in dims) if dims and x.ndim else None


def logsumexp(x, dim, keepdim):
    return np.log(np.exp(x).sum(axis=axes(dim, x), keepdims=keepdim))


def reduce_loss(loss, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": lambda v: v}[reduction](loss)


def huber(x, y, reduction, delta):
    d = np.abs(x - y)
    return reduce_loss(np.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta)), reduction)


def bce(x, z, w, reduction):
    soft = np.maximum(-x, 0) + np.log1p(np.exp(-np.abs(x)))
    return reduce_loss((1 - z) * x + (soft if w is None else soft * (1 + (w - 1) * z)), reduction)


def kl(x, t, reduction, log_target):
    return reduce_loss(
        np.exp(t) * (t - x) if log_target else t * np.log(np.where(t > 0, t, 1)) - t * x, reduction
    )


# ---- neural networks -----------------------------------------------------------------------------


def softmax(x, dim):
    if x.ndim == 0:
        return np.ones_like(x)
    e = np.exp(x - x.max(axis=dim, keepdims=True)) if x.shape[dim] else np.exp(x)
    return e / e.sum(axis=dim, keepdims=True)


def linear(x, w, b=None):
    return np.matmul(x, w.T) + (0 if b is None else b)


def layer_norm(x, w, b, n_dims, eps):
    axes = tuple(range(x.ndim - n_dims, x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    rstd = 1 / np.sqrt(x.var(axis=axes, keepdims=True) + eps)
    y = (x - mean) * rstd
    outer = x.shape[: x.ndim - n_dims]
    return (
        y * (1 if w is None else w) + (0 if b is None else b),
        mean.reshape(outer),
        rstd.reshape(outer),
    )


def rms_norm(x, w, n_dims, eps):
    axes = tuple(range(x.ndim - n_dims, x.ndim))
    rstd = 1 / np.sqrt((x * x).mean(axis=axes, keepdims=True) + eps)
    return x * rstd * (1 if w is None else w), rstd.reshape(x.shape[: x.ndim - n_dims])


def channels(v, x, empty):
    return empty if v is None else v.reshape([1, -1] + [1] * (x.ndim - 2))


def batch_norm(x, w, b, mean, var, eps):
    y = (x - channels(mean, x, 0)) / np.sqrt(channels(var, x, 1) + eps)
    return y * channels(w, x, 1) + channels(b, x, 0)


def batch_norm_train(x, w, b, eps):
    axes = (0,) + tuple(range(2, x.ndim))
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    return batch_norm(x, w, b, mean, var, eps), mean, var


def batch_norm_any(x, w, b, mean, var, training, momentum, eps):
    return batch_norm_train(x, w, b, eps)[0] if training else batch_norm(x, w, b, mean, var, eps)


def group_norm(x, w, b, num_groups, eps):
    g = x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)
    y = (g - g.mean(axis=2, keepdims=True)) / np.sqrt(g.var(axis=2, keepdims=True) + eps)
    return y.reshape(x.shape) * channels(w, x, 1) + channels(b, x, 0)


def attention(q, k, v, mask, is_causal, scale):
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


def linear_attention(q, k, v, state, decay, beta, scale):
    heads, kv_heads = q.shape[1], k.shape[1]
    s = np.zeros((*k.shape[:2], k.shape[3], v.shape[3])) if state is None else state
    out = np.zeros((*q.shape[:3], v.shape[3]))
    for t in range(q.shape[2]):
        if decay is not None:
            s = s * np.exp(decay[:, :, t, :, None])
        u = v[:, :, t]
        if beta is not None:
            u = beta[:, :, t] * (u - np.einsum("bhkv,bhk->bhv", s, k[:, :, t]))
        s = s + k[:, :, t, :, None] * u[:, :, None, :]
        out[:, :, t] = np.einsum("bhk,bhkv->bhv", q[:, :, t], np.repeat(s, heads // kv_heads, axis=1))
    return out * (1 / math.sqrt(q.shape[3]) if scale is None else scale), s


def cross_entropy(x, t, w, ignore_index, label_smoothing, reduction):
    logp = x - logsumexp(x, [1], True) if x.size else x
    w = np.ones(x.shape[1]) if w is None else w
    rows = np.arange(len(t))
    use = t != ignore_index
    at = np.where(use, t, 0)
    nll = -logp[rows, at] * w[at] * use
    smooth = -(logp * w).sum(axis=1) * use / x.shape[1]
    loss = (1 - label_smoothing) * nll + label_smoothing * smooth
    total = {
        "mean": lambda: loss.sum() / (w[at] * use).sum(),
        "sum": loss.sum,
        "none": lambda: loss,
    }[reduction]()
    return total, logsumexp(x, [1], False)


def nll(x, t, w, ignore_index, reduction):
    w = np.ones(x.shape[1]) if w is None else w
    use = t != ignore_index
    at = np.where(use, t, 0)
    loss = -x[np.arange(len(t)), at] * w[at] * use
    return {
        "mean": lambda: loss.sum() / (w[at] * use).sum(),
        "sum": loss.sum,
        "none": lambda: loss,
    }[reduction]()


class Windows:
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


def conv_parts(groups, channels):
    return [slice(g * channels // groups, (g + 1) * channels // groups) for g in range(groups)]


def conv(x, w, b, strides, padding, dilation, groups):
    win = Windows(x.shape[2:], w.shape[2:], strides, padding, dilation)
    out = np.zeros((x.shape[0], w.shape[0], *win.out))
    for offset, o, i in win:
        for co, ci in zip(conv_parts(groups, w.shape[0]), conv_parts(groups, x.shape[1])):
            part = x[:, ci][_ALL + i]
            out[(slice(None), co) + (slice(None),) * win.n][_ALL + o] += np.einsum(
                "bc...,oc->bo...", part, w[co][_ALL + offset]
            )
    return out + (0 if b is None else b.reshape([1, -1] + [1] * win.n))


def conv_blocked(x, w, b, kernel, strides, padding, dilation, groups):
    per = w.shape[1] // (kernel[0] * kernel[1])
    if x.ndim == 5:
        x = x.transpose(0, 1, 4, 2, 3).reshape(x.shape[0], x.shape[1] * 16, *x.shape[2:4])[:, : per * groups]
    w = w.transpose(0, 2, 1).reshape(-1, per, *kernel)
    y = conv(x, w, None if b is None else b.reshape(-1), strides, padding, dilation, groups)
    return y.reshape(y.shape[0], y.shape[1] // 16, 16, *y.shape[2:]).transpose(0, 1, 3, 4, 2)


def conv_pairs(x, w, b, kernel, strides, padding, dilation, groups):
    """Weights [blocks, pairs × taps, 16, 2 or 1]; the last pair's second input may not be there."""
    taps = kernel[0] * kernel[1]
    w = w.reshape(w.shape[0], -1, taps, 16, w.shape[3]).transpose(0, 3, 1, 4, 2).reshape(w.shape[0] * 16, -1, *kernel)
    if x.ndim == 5:
        x = x.transpose(0, 1, 4, 2, 3).reshape(x.shape[0], x.shape[1] * 16, *x.shape[2:4])
    per = min(w.shape[1], x.shape[1])
    y = conv(x[:, : per * groups], w[:, :per], None if b is None else b.reshape(-1), strides, padding, dilation, groups)
    return y.reshape(y.shape[0], y.shape[1] // 16, 16, *y.shape[2:]).transpose(0, 1, 3, 4, 2)


def conv_winograd(x, w, b, padding):
    """Tiles of 6×6 at every fourth position, transformed at 0, ±√½, ±√2 and infinity, and back to 4×4; 4×4 likewise."""
    if w.shape[0] == 36:
        points = np.array([0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)])
    else:
        points = np.array([0.0, 1.0, -1.0])
    n, t = len(points) + 1, len(points) - 1
    back = np.hstack([np.vander(points, t, increasing=True).T, np.eye(t)[:, -1:]])
    # Rows that turn six values into what Lagrange's polynomials without their denominators take at the points.
    there = np.zeros((n, n))
    for i in range(n - 1):
        there[i, :-1] = np.poly(np.delete(points, i))[::-1]
    there[-1] = np.poly(points)[::-1]
    if n == 4:
        there[0] *= -1   # the sign that the weight's row has not
    low, high = (padding[:2], padding[2:]) if len(padding) else ((0, 0), (0, 0))
    x = np.pad(x, [(0, 0), (0, 0), *zip(low, high), (0, 0)])
    size = [x.shape[2] - 2, x.shape[3] - 2]
    y = np.zeros((x.shape[0], w.shape[1], *size, 16))
    x = np.pad(x, [(0, 0), (0, 0), (0, 4), (0, 4), (0, 0)])
    y = np.pad(y, [(0, 0), (0, 0), (0, 4), (0, 4), (0, 0)])
    u = w.transpose(2, 0, 1, 3).reshape(w.shape[2], n, n, -1)
    for r in range(0, size[0], t):
        for c in range(0, size[1], t):
            d = x[:, :, r : r + n, c : c + n].transpose(0, 1, 4, 2, 3).reshape(x.shape[0], x.shape[1] * 16, n, n)[:, : w.shape[2]]
            m = np.einsum("bkij,kijo->boij", there @ d @ there.T, u)
            part = (back @ m @ back.T).reshape(x.shape[0], w.shape[1], 16, t, t)
            y[:, :, r : r + t, c : c + t] = part.transpose(0, 1, 3, 4, 2)
    y = y[:, :, : size[0], : size[1]]
    return y if b is None else y + b[:, None, None, :]


def conv_input_grad(g, w, input_size, strides, padding, dilation, groups):
    win = Windows(input_size, w.shape[2:], strides, padding, dilation)
    channels = w.shape[1] * groups
    dx = np.zeros((g.shape[0], channels, *input_size))
    for offset, o, i in win:
        for co, ci in zip(conv_parts(groups, w.shape[0]), conv_parts(groups, channels)):
            dx[:, ci][_ALL + i] += np.einsum(
                "bo...,oc->bc...", g[:, co][_ALL + o], w[co][_ALL + offset]
            )
    return dx


def conv_weight_grad(x, g, kernel_size, strides, padding, dilation, groups):
    win = Windows(x.shape[2:], kernel_size, strides, padding, dilation)
    dw = np.zeros((g.shape[1], x.shape[1] // groups, *kernel_size))
    for offset, o, i in win:
        for co, ci in zip(conv_parts(groups, g.shape[1]), conv_parts(groups, x.shape[1])):
            a, b = x[:, ci][_ALL + i], g[:, co][_ALL + o]
            dw[co][_ALL + offset] = np.einsum(
                "bon,bcn->oc",
                b.reshape(*b.shape[:2], -1) if b.size else b.reshape(*b.shape[:2], 0),
                a.reshape(*b.shape[:1], a.shape[1], -1) if b.size else a.reshape(*a.shape[:2], 0),
            )
    return dw


def max_pool(x, kernel, strides, padding, dilation, ceil_mode):
    win = Windows(x.shape[2:], kernel, strides or kernel, padding, dilation, ceil_mode)
    best = np.full((*x.shape[:2], *win.out), -np.inf)
    where = np.zeros(best.shape, np.int64)
    flat = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:])
    for _, o, i in win:
        now, old = x[_ALL + i], best[_ALL + o]
        better = now > old
        where[_ALL + o] = np.where(better, np.broadcast_to(flat[i], now.shape), where[_ALL + o])
        best[_ALL + o] = np.where(better, now, old)
    return best, where


def max_pool_grad(g, indices, input_size):
    out = np.zeros((*g.shape[:2], math.prod(input_size)))
    for b, c in np.ndindex(*g.shape[:2]):
        np.add.at(out[b, c], indices[b, c].reshape(-1), g[b, c].reshape(-1))
    return out.reshape(*g.shape[:2], *input_size)


def pool_counts(win, include_pad):
    counts = 1
    for i in range(win.n):
        lo, hi, size = win.padding[i], win.padding[win.n + i], win.size[i]
        start = np.arange(win.out[i]) * win.strides[i] - lo
        end = np.minimum(start + win.kernel[i], size + hi)
        n = end - start if include_pad else np.minimum(end, size) - np.maximum(start, 0)
        counts = np.multiply.outer(counts, n)
    return counts


def avg_pool(x, kernel, strides, padding, ceil_mode, count_include_pad):
    win = Windows(x.shape[2:], kernel, strides or kernel, padding, [], ceil_mode)
    out = np.zeros((*x.shape[:2], *win.out))
    for _, o, i in win:
        out[_ALL + o] += x[_ALL + i]
    return out / pool_counts(win, count_include_pad)


def avg_pool_grad(g, input_size, kernel, strides, padding, ceil_mode, count_include_pad):
    win = Windows(input_size, kernel, strides or kernel, padding, [], ceil_mode)
    share = g / pool_counts(win, count_include_pad)
    out = np.zeros((*g.shape[:2], *input_size))
    for _, o, i in win:
        out[_ALL + i] += share[_ALL + o]
    return out


def adaptive_avg_pool(x, output_size):
    rows, cols = output_size
    h, w = x.shape[2:]
    out = np.zeros((*x.shape[:2], rows, cols))
    for r, c in np.ndindex(rows, cols):
        region = x[
            :, :, r * h // rows : -(-(r + 1) * h // rows), c * w // cols : -(-(c + 1) * w // cols)
        ]
        out[:, :, r, c] = region.mean(axis=(2, 3))
    return out


# ---- training, random ----------------------------------------------------------------------------


def adamw(p, g, m, v, lr, step, scale, beta1, beta2, eps, weight_decay):
    g = g if scale is None else g * scale
    p = p * (1 - lr * weight_decay)
    m = m + (g - m) * (1 - beta1)
    v = beta2 * v + (1 - beta2) * g * g
    p = p - lr / (1 - beta1**step) * m / (np.sqrt(v) / np.sqrt(1 - beta2**step) + eps)
    return p, m, v


def adamw_steps(lr, step, scale, *tensors, **options):
    rows = (tensors[i : i + 4] for i in range(0, len(tensors), 4))
    return tuple(x for row in rows for x in adamw(*row, lr, step, scale, **options))


def sgd(p, g, buf, lr, momentum, dampening, weight_decay, nesterov):
    g = g + weight_decay * p
    if buf is None:
        return p - lr * g, None
    buf = momentum * buf + (1 - dampening) * g
    return p - lr * (g + momentum * buf if nesterov else buf), buf


def batch_norm_update(running_mean, running_var, mean, var, momentum, count):
    unbiased = var * count / (count - 1)
    return (
        (1 - momentum) * running_mean + momentum * mean,
        (1 - momentum) * running_var + momentum * unbiased,
    )


def clip(*grads, max_norm):
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    return norm, min(1.0, max_norm / (norm + 1e-6))


def philox(state, size):
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
        out[4 * i : 4 * i + 4] = c
    return out[:n].reshape(size)


# ---- signals, sampling, regions, recurrences -----------------------------------------------------


def pairs(z):
    return np.stack([z.real, z.imag], -1)


def fft_c2c(x, inverse):
    z = x[..., 0] + 1j * x[..., 1]
    return pairs(np.fft.ifft(z) * z.shape[-1] if inverse else np.fft.fft(z))


def _reflected(x, low, high):
    """Mirrored at both ends as often as it takes."""
    span = high - low
    if span <= 0:
        return 0.0
    x = abs(x - low) % (2 * span)
    return low + (x if x <= span else 2 * span - x)


def grid_sample(x, grid, mode, padding_mode, align_corners, in_elements):
    sizes, n = x.shape[2:], x.ndim - 2
    out = np.zeros(x.shape[:2] + grid.shape[1:-1])

    def into(p, size):
        if padding_mode == "reflection":
            p = _reflected(p, 0, size - 1) if align_corners else _reflected(p, -0.5, size - 0.5)
        return p if padding_mode == "zeros" else min(max(p, 0), size - 1)

    def taps(p, size):
        if not in_elements:
            p = (p + 1) / 2 * (size - 1) if align_corners else ((p + 1) * size - 1) / 2
        if mode != "bicubic":
            p = into(p, size)
        if mode == "nearest":
            return [(round(p), 1.0)]
        low = math.floor(p)
        if mode == "bilinear":
            return [(low, low + 1 - p), (low + 1, p - low)]
        cubic = []
        for j in range(low - 1, low + 3):
            d, a = abs(p - j), -0.75
            w = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            cubic.append((round(into(j, size)), w))
        return cubic

    for at in np.ndindex(grid.shape[:-1]):
        for corner in itertools.product(*(taps(grid[at][n - 1 - k], sizes[k]) for k in range(n))):
            place = tuple(int(i) for i, _ in corner)
            if all(0 <= i < s for i, s in zip(place, sizes)):
                out[(at[0], slice(None), *at[1:])] += x[(at[0], slice(None), *place)] * math.prod(w for _, w in corner)
    return out


def _panel_parts(n, k):
    """Rows from, to and inputs from, to of each panel."""
    blocks = max(-(-k // 256), 1)
    depth = -(-(-(-k // blocks)) // 8) * 8
    for k0 in range(0, k, depth):
        for row in range(0, n, 32):
            yield row, min(row + 32, -(-n // 16) * 16), k0, min(k0 + depth, k)


def weight_panels(w):
    n, k = w.shape
    w = np.concatenate([w, np.zeros((-n % 16, k), w.dtype)])
    return np.concatenate([w[r0:r1, k0:k1].T.reshape(-1) for r0, r1, k0, k1 in _panel_parts(n, k)] or [w.reshape(-1)])


def linear_panels(x, panels, bias, out, strassen=False):
    k, at = x.shape[-1], 0
    w = np.zeros((-(-out // 16) * 16, k))
    for r0, r1, k0, k1 in _panel_parts(out, k):
        size = (r1 - r0) * (k1 - k0)
        w[r0:r1, k0:k1] = panels[at:at + size].reshape(k1 - k0, r1 - r0).T
        at += size
    return linear(x, w[:out], bias)


def gate_panels(w, gates):
    hidden, k = len(w) // gates, w.shape[1]
    out = np.zeros((-(-hidden // 16), k, gates * 16), w.dtype)
    for row in range(len(w)):
        g, unit = divmod(row, hidden)
        out[unit // 16, :, g * 16 + unit % 16] = w[row]
    return out


def _weight(w, gates, hidden):
    """The weight that gate_panels(w) came from, or w itself."""
    if w.ndim == 2:
        return w
    return np.stack([w[u // 16, :, g * 16 + u % 16] for g in range(gates) for u in range(hidden)])


def gru_layer(gates, h, w, bias, reverse, reset_after):
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    hidden = h.shape[1]
    w = _weight(w, 3, hidden)
    wr, wz, wn = np.split(w, 3)
    br, bz, bn = np.split(np.zeros(3 * hidden) if bias is None else bias, 3)
    outs = [None] * len(gates)
    for t in reversed(range(len(gates))) if reverse else range(len(gates)):
        xr, xz, xn = np.split(gates[t], 3, axis=1)
        r, z = sigmoid(xr + h @ wr.T + br), sigmoid(xz + h @ wz.T + bz)
        q = h @ wn.T + bn if reset_after else r * h
        n = np.tanh(xn + (r * q if reset_after else q @ wn.T + bn))
        h = (1 - z) * n + z * h
        outs[t] = h, np.concatenate([r, z, n, q], 1)
    return tuple(np.stack(v) for v in zip(*outs))


def lstm_layer(gates, h, c, w, reverse):
    w = _weight(w, 4, h.shape[1])
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    steps = len(gates)
    outs = [None] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        i, f, g, o = np.split(gates[t] + h @ w.T, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * np.tanh(c)
        outs[t] = h, c, np.concatenate([i, f, g, o], 1)
    return tuple(np.stack(v) for v in zip(*outs))


def _between(plane, y, x):
    """The four weighted neighbours of a place in an image, zeros outside."""
    h, w = plane.shape[-2:]
    if y < -1 or y > h or x < -1 or x > w:
        return np.zeros((4, len(plane)))
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    i, j = min(int(y), max(h - 2, 0)), min(int(x), max(w - 2, 0))
    b, d = y - i, x - j
    k, m = min(i + 1, h - 1), min(j + 1, w - 1)
    return np.array([plane[:, i, j] * (1 - b) * (1 - d), plane[:, i, m] * (1 - b) * d,
                     plane[:, k, j] * b * (1 - d), plane[:, k, m] * b * d])


def roi_align(x, rois, index, output_height, output_width, sampling_ratio, spatial_scale, aligned, mode):
    out = np.zeros((len(rois), x.shape[1], output_height, output_width))
    for r, roi in enumerate(rois):
        x1, y1, x2, y2 = roi * spatial_scale - (0.5 if aligned else 0)
        w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        bh, bw = h / output_height, w / output_width
        ny, nx = (sampling_ratio or max(math.ceil(v), 0) for v in (bh, bw))
        for p, q in np.ndindex(output_height, output_width):
            taps = [_between(x[int(index[r])], y1 + (p + (i + 0.5) / ny) * bh, x1 + (q + (j + 0.5) / nx) * bw)
                    for i in range(ny) for j in range(nx)]
            if taps:
                t = np.array(taps)
                out[r, :, p, q] = t.max((0, 1)) if mode == "max" else t.sum((0, 1)) / len(taps)
    return out


def roi_max_pool(x, rois, output_height, output_width, spatial_scale):
    out = np.zeros((len(rois), x.shape[1], output_height, output_width))
    for r, roi in enumerate(rois):
        x1, y1, x2, y2 = (math.floor(v * spatial_scale + 0.5) for v in roi[1:])
        bh, bw = max(y2 - y1 + 1, 1) / output_height, max(x2 - x1 + 1, 1) / output_width
        for p, q in np.ndindex(output_height, output_width):
            ys = slice(max(y1 + math.floor(p * bh), 0), max(y1 + math.ceil((p + 1) * bh), 0))
            xs = slice(max(x1 + math.floor(q * bw), 0), max(x1 + math.ceil((q + 1) * bw), 0))
            bin = x[int(roi[0]), :, ys, xs]
            if bin.size:
                out[r, :, p, q] = bin.max((1, 2))
    return out
