"""What the ops on 8-bit integers of quantised graphs mean, in NumPy; see oracle.py."""

import numpy as np

import oracle_nn as nn

_BOUNDS = {"uint8": (0, 255), "int8": (-128, 127)}


def _f32(x):
    return np.asarray(x).astype(np.float32)


def _stored(y, zero, dtype):
    """Ties to even; an i8 result says so by its dtype."""
    lo, hi = _BOUNDS[str(dtype).removeprefix("suan.")]
    return np.clip(np.round(_f32(y)) + (0 if zero is None else zero), lo, hi).astype(np.int64)


def _laid(p, x, axis):
    return p if np.ndim(p) == 0 else p.reshape([-1 if d == axis % x.ndim else 1 for d in range(x.ndim)])


def dequantize(x, scale, zero, axis):
    off = 0 if zero is None else _laid(zero, x, axis)
    return _f32(x - off) * _f32(_laid(scale, x, axis))


def _conv_weight(w, channels, x, kernel, groups):
    if channels == 0:
        return w
    # 1×1, one group: panels of 32 columns in fours of inputs, then a row of sums
    assert list(kernel) == [1, 1] and groups == 1
    return w[:, :-1].transpose(0, 2, 1, 3).reshape(-1, w.shape[1] * 4 - 4)[:channels, : x.shape[3], None, None]


def int8_conv(x, w, x_zero, w_zero, bias, scale, out_zero, dtype, channels, kernel, strides, padding, dilation, groups):
    w = _conv_weight(w, channels, x, kernel, groups)
    if w_zero is not None:
        w = w - np.reshape(w_zero, (-1, 1, 1, 1))     # unsigned: 128 less, both
    elif w.max(initial=0) > 127:
        w = w - 128
    y = nn.conv((x - (0 if x_zero is None else x_zero)).transpose(0, 3, 1, 2), w, None, strides, padding, dilation, groups)
    sums = y.transpose(0, 2, 3, 1).astype(np.int64) + (0 if bias is None else bias)
    name = str(dtype).removeprefix("suan.")
    if name == "int32":
        return sums
    real = _f32(sums) * _f32(scale)
    return real if name == "float32" else _stored(real, out_zero, dtype)


def int8_conv_pack(w, dilation, groups):
    w = w - 128 if w.max() > 127 else w
    out, per, height, width = w.shape
    fours = lambda n: -(-n // 4)  # noqa: E731
    if groups > 1 and per == 1 and out == groups:
        blocks = -(-out // 64)
        p = np.zeros((blocks, width, fours(height), 256), np.int64)
        for c, i, j in np.ndindex(out, height, width):
            lane, four, one = c % 64 // 16, c % 16 // 4, c % 4
            p[c // 64, j, i // 4, four * 64 + lane * 16 + one * 4 + i % 4] = w[c, 0, i, j]
        return p
    rows = groups == 1 and (not dilation or dilation[1] == 1)
    parts = []
    for g in range(groups):
        part = w[g * (out // groups) : (g + 1) * (out // groups)].transpose(2, 3, 1, 0)
        part = part.reshape(height if rows else height * width, -1, out // groups)
        part = np.pad(part, ((0, 0), (0, -part.shape[1] % 4), (0, 0))).reshape(-1, out // groups)
        part = np.pad(part, ((0, 0), (0, -part.shape[1] % 32)))
        panels = part.reshape(-1, 4, part.shape[1] // 32, 32).transpose(2, 0, 3, 1)
        sums = panels.sum((1, 3)).astype("<i4")[..., None].view(np.int8).astype(np.int64)
        parts.append(np.concatenate([panels, sums[:, None]], 1))
    return np.concatenate(parts)


def _less(x, zero):
    return _f32(x - (0 if zero is None else zero))


def int8_add(a, b, a_zero, b_zero, a_scale, b_scale, out_zero, dtype):
    return _stored(_less(a, a_zero) * _f32(a_scale) + _less(b, b_zero) * _f32(b_scale), out_zero, dtype)


def int8_mul(a, b, a_zero, b_zero, scale, out_zero, dtype):
    return _stored(_less(a, a_zero) * _less(b, b_zero) * _f32(scale), out_zero, dtype)


def int8_max_pool(x, kernel, strides, padding, dilation, ceil_mode):
    y = nn.max_pool(x.transpose(0, 3, 1, 2), kernel, strides, padding, dilation, ceil_mode)[0]
    return y.transpose(0, 2, 3, 1)


def int8_mean(x, x_zero, scale, out_zero, dtype):
    n = x.shape[1] * x.shape[2]
    total = (x - (0 if x_zero is None else x_zero)).sum((1, 2), keepdims=True)
    return _stored(_f32(total) * (_f32(scale) * np.float32(1 / n)), out_zero, dtype)


ORACLE = {
    "dequantize": dequantize,
    "int8_conv": int8_conv,
    "int8_conv_pack": int8_conv_pack,
    "int8_lookup": lambda x, table: table[x % 256],
    "int8_add": int8_add,
    "int8_mul": int8_mul,
    "int8_max_pool": int8_max_pool,
    "int8_mean": int8_mean,
}
