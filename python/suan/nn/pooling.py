"""Functions of nn that pool otherwise than by one fixed window: adaptive maxima, unpooling, power means; and the
normalisation over neighbouring channels, which pools too."""

import math

import suan

from ._check import _fail, _tuple
from ._ops import ops
from .windows import _batched, avg_pool1d, avg_pool2d, avg_pool3d, pad


def _regions(size, out, device):
    """Positions [out, widest] of `out` near-equal regions of 0..size-1; narrower ones repeat their last position."""
    widest = max(-(-(i + 1) * size // out) - i * size // out for i in range(out))
    region = suan.arange(out, device=device).unsqueeze(1)
    positions = region * size // out + suan.arange(widest, device=device)
    return suan.minimum(positions, ((region + 1) * size - 1) // out)


def _adaptive_max(op, n, input, output_size, return_indices):
    if input.dim() not in (n + 1, n + 2):
        _fail(op, f"wrong input rank: expected {n + 2} (or {n + 1} without batch), got {input.dim()}")
    sizes = tuple(input.shape)[-n:]
    wanted = (output_size,) * n if output_size is None or isinstance(output_size, int) else tuple(output_size)
    if len(wanted) != n or any(not (o is None or isinstance(o, int) and o > 0) for o in wanted):
        _fail(op, f"wrong output_size: expected {n} positive ints or None, got {output_size}")
    if 0 in sizes:
        _fail(op, f"empty input: expected sizes of at least 1, got {tuple(input.shape)}")
    wanted = tuple(s if o is None else o for o, s in zip(wanted, sizes))
    if all(s % o == 0 for o, s in zip(wanted, sizes)):  # equal regions: an ordinary pooling
        window = tuple(s // o for o, s in zip(wanted, sizes))
        pool = lambda x: tuple(ops.max_pool(x, kernel=window, strides=window))  # noqa: E731
    else:
        pool = lambda x: _unequal_max(x, n, sizes, wanted)  # noqa: E731
    values, indices = _batched(input, n, pool)
    return (values, indices) if return_indices else values


def _unequal_max(x, n, sizes, wanted):
    """The largest of each region of x [batch, channels, sizes...] and its place in the row of all sizes."""
    lead = tuple(x.shape)[:2]
    # Each dimension becomes [regions, positions in one]; the positions are brought together at the end.
    split, place = [], suan.zeros((1,) * (2 * n), dtype=suan.int64, device=x.device)
    for d, (size, out) in enumerate(zip(sizes, wanted)):
        rows = _regions(size, out, x.device)
        x = ops.index_select(x, rows.flatten(), dim=2 + d)
        split += list(rows.shape)
        shape = [1] * (2 * n)
        shape[2 * d : 2 * d + 2] = rows.shape
        place = place + rows.reshape(shape) * math.prod(sizes[d + 1 :])
    order = [2 * d for d in range(n)] + [2 * d + 1 for d in range(n)]
    x = x.reshape(*lead, *split).permute(0, 1, *(2 + o for o in order)).flatten(2 + n)
    place = place.expand(split).permute(order).flatten(n)
    values, at = x.max(-1)
    place = place.expand(*lead, *place.shape)
    return values, ops.gather(place, at.unsqueeze(-1), dim=-1).squeeze(-1)


def adaptive_max_pool1d(input, output_size, return_indices=False):
    """The largest values of output_size near-equal regions of [batch, channels, length], also without batch; with
    return_indices their positions too (int64)."""
    return _adaptive_max("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """The largest values of output_size [h, w] near-equal regions of [batch, channels, h, w], also without batch; None
    keeps a size. With return_indices their positions in the flattened image too (int64)."""
    return _adaptive_max("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input, output_size, return_indices=False):
    """The largest values of output_size [d, h, w] near-equal regions of [batch, channels, d, h, w], also without batch;
    None keeps a size. With return_indices their positions in the flattened volume too (int64)."""
    return _adaptive_max("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _max_unpool(op, n, input, indices, kernel_size, stride, padding, output_size):
    if input.dim() not in (n + 1, n + 2):
        _fail(op, f"wrong input rank: expected {n + 2} (or {n + 1} without batch), got {input.dim()}")
    if tuple(indices.shape) != tuple(input.shape) or indices.dtype != suan.int64:
        _fail(op, f"wrong indices: expected int64 of shape {tuple(input.shape)}, got {indices.dtype} of "
              f"{tuple(indices.shape)}")
    kernel = _tuple(op, "kernel_size", kernel_size, n)
    stride = kernel if stride is None else _tuple(op, "stride", stride, n)
    padding = _tuple(op, "padding", padding, n)
    usual = tuple((i - 1) * s - 2 * p + k for i, s, p, k in zip(tuple(input.shape)[-n:], stride, padding, kernel))
    size = usual if output_size is None else tuple(output_size)[-n:]
    if len(size) != n or any(not u - s < o < u + s for o, u, s in zip(size, usual, stride)):
        _fail(op, f"wrong output_size: expected within less than stride {stride} of {usual}, got {output_size}")
    lead = tuple(input.shape)[:-n]
    flat = suan.zeros(*lead, math.prod(size), dtype=input.dtype, device=input.device)
    return suan.scatter(flat, -1, indices.flatten(-n), input.flatten(-n)).reshape(*lead, *size)


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """max_pool1d undone: values at the positions that it gave as indices, zeros elsewhere. A position given twice
    keeps the last value."""
    return _max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """max_pool2d undone; see max_unpool1d."""
    return _max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """max_pool3d undone; see max_unpool1d."""
    return _max_unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


def _lp_pool(op, n, pool, input, norm_type, kernel_size, stride, ceil_mode):
    count = math.prod(_tuple(op, "kernel_size", kernel_size, n))
    mean = pool(input**norm_type, kernel_size, stride, 0, ceil_mode)
    return (mean.sign() * mean.abs().relu() * count) ** (1.0 / norm_type)


def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x**norm_type) ** (1 / norm_type) of each window of [batch, channels, length]."""
    return _lp_pool("lp_pool1d", 1, avg_pool1d, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x**norm_type) ** (1 / norm_type) of each window of [batch, channels, h, w]."""
    return _lp_pool("lp_pool2d", 2, avg_pool2d, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x**norm_type) ** (1 / norm_type) of each window of [batch, channels, d, h, w]."""
    return _lp_pool("lp_pool3d", 3, avg_pool3d, input, norm_type, kernel_size, stride, ceil_mode)


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha · mean of x² over `size` neighbouring channels)**beta (Krizhevsky et al. 2012); input [batch,
    channels, ...]. Channels beyond the ends count as zeros."""
    if input.dim() < 3:
        _fail("local_response_norm", f"wrong input rank: expected at least 3, got {input.dim()}")
    if size < 1:
        _fail("local_response_norm", f"wrong size: expected at least 1, got {size}")
    squares = input.square().flatten(2).unsqueeze(1)  # [batch, 1, channels, rest]
    squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    mean = avg_pool2d(squares, (size, 1), stride=1).reshape(input.shape)
    return input / (mean * alpha + k) ** beta
