"""Functions of nn that lay images out anew: pixel_shuffle, unfold and fold, interpolate, grid_sample.

Interpolation works along one dimension after another: two (or four) picks of rows and their weighted sum.
Positions are computed in the graph, in the dtype in which torch computes them.
"""

import itertools
import math

import suan

from ._check import _fail, _tuple
from ._ops import ops


# ---- blocks of pixels ------------------------------------------------------------------------------------


def pixel_shuffle(input, upscale_factor):
    """[..., C * r², H, W] -> [..., C, H * r, W * r] (Shi et al. 2016)."""
    r = upscale_factor
    if input.dim() < 3 or r < 1 or input.shape[-3] % (r * r):
        _fail("pixel_shuffle", f"channels do not divide: expected [..., channels, h, w] with a multiple of {r * r} "
              f"channels, got {tuple(input.shape)}")
    *lead, c, h, w = input.shape
    x = input.reshape(-1, c // (r * r), r, r, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input, downscale_factor):
    """[..., C, H * r, W * r] -> [..., C * r², H, W]."""
    r = downscale_factor
    if input.dim() < 3 or r < 1 or input.shape[-1] % r or input.shape[-2] % r:
        _fail("pixel_unshuffle", f"sizes do not divide: expected [..., channels, h, w] with h and w multiples of {r}, "
              f"got {tuple(input.shape)}")
    *lead, c, h, w = input.shape
    x = input.reshape(-1, c, h // r, r, w // r, r).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(*lead, c * r * r, h // r, w // r)


def channel_shuffle(input, groups):
    """[batch, channels, ...]: channels dealt out in turn to the groups."""
    if input.dim() < 3 or groups < 1 or input.shape[1] % groups:
        _fail("channel_shuffle", f"channels do not divide: expected a multiple of {groups}, got {tuple(input.shape)}")
    return input.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def _windows(op, sizes, kernel_size, dilation, padding, stride):
    """Kernel, dilation, padding, stride and the number of positions, each per dimension (h, w)."""
    given = zip(("kernel_size", "dilation", "padding", "stride"), (kernel_size, dilation, padding, stride))
    kernel, dilation, padding, stride = (_tuple(op, what, value, 2) for what, value in given)
    if min(*kernel, *dilation, *stride) < 1 or min(padding) < 0:
        _fail(op, f"wrong window: expected kernel_size, dilation and stride of at least 1 and padding of at least 0, "
              f"got {kernel}, {dilation}, {stride} and {padding}")
    count = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                  for n, k, d, p, s in zip(sizes, kernel, dilation, padding, stride))
    if min(count) < 1:
        _fail(op, f"windows do not fit: expected at least one position, got {count} for sizes {tuple(sizes)}")
    return kernel, dilation, padding, stride, count


def _region(n, c, h, w, kernel, dilation, stride, count):
    """The windows of a contiguous [n, c, h, w] as shape and strides of [n, c, kh, kw, positions h, w]."""
    return (n, c, *kernel, *count), (c * h * w, h * w, dilation[0] * w, dilation[1], stride[0] * w, stride[1])


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """[batch, C, H, W] -> [batch, C * kernel, positions]: every window as a column; also without batch."""
    if input.dim() not in (3, 4):
        _fail("unfold", f"wrong input rank: expected 3 or 4, got {input.dim()}")
    x = input if input.dim() == 4 else input.unsqueeze(0)
    kernel, dilation, padding, stride, count = _windows("unfold", x.shape[2:], kernel_size, dilation, padding, stride)
    if any(padding):
        x = ops.pad(x, None, pad=(padding[1], padding[1], padding[0], padding[0]), mode="constant")
    shape, strides = _region(*x.shape, kernel, dilation, stride, count)
    out = ops.as_strided_copy(x, shape, strides, 0).reshape(shape[0], -1, math.prod(count))
    return out if input.dim() == 4 else out.squeeze(0)


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """[batch, C * kernel, positions] -> [batch, C, *output_size]: windows added where unfold takes them from."""
    if input.dim() not in (2, 3):
        _fail("fold", f"wrong input rank: expected 2 or 3, got {input.dim()}")
    size = _tuple("fold", "output_size", output_size, 2)
    kernel, dilation, padding, stride, count = _windows("fold", size, kernel_size, dilation, padding, stride)
    x = input if input.dim() == 3 else input.unsqueeze(0)
    n, columns, length = x.shape
    if columns % math.prod(kernel) or length != math.prod(count):
        _fail("fold", f"wrong input shape: expected [batch, a multiple of {math.prod(kernel)}, {math.prod(count)}], "
              f"got {tuple(input.shape)}")
    (h, w), (p, q) = size, padding
    c, h, w = columns // math.prod(kernel), h + 2 * p, w + 2 * q
    shape, strides = _region(n, c, h, w, kernel, dilation, stride, count)
    zeros = suan.zeros(n, c, h, w, dtype=x.dtype, device=x.device)
    out = ops.as_strided_scatter_add(zeros, x.reshape(shape), shape, strides, 0)[:, :, p:h - p, q:w - q]
    return out if input.dim() == 3 else out.squeeze(0)


# ---- interpolation ---------------------------------------------------------------------------------------


def _positions(n, dtype, device):
    return suan.arange(n, dtype=dtype, device=device)


def _picked(x, dim, index):
    return ops.index_select(x, index.to(suan.int64), dim=dim)


def _nearest(x, dim, out, scale, exact):
    at = _positions(out, suan.float32, x.device)  # torch counts in float32 whatever the dtype
    index = ((at + 0.5 if exact else at) * scale).floor().clamp(max=x.shape[dim] - 1)
    return _picked(x, dim, index)


def _source(x, out, scale, align_corners):
    """Where each output lies in the input, in elements."""
    dtype = x.dtype if x.dtype.bits >= 32 else suan.float32
    at = _positions(out, dtype, x.device)
    return at * scale if align_corners else (at + 0.5) * scale - 0.5


def _along(x, dim, weight):
    return weight.to(x.dtype).reshape([-1 if d == dim else 1 for d in range(x.dim())])


def _linear(x, dim, out, scale, align_corners):
    source = _source(x, out, scale, align_corners).clamp(min=0)
    low = source.floor().clamp(max=x.shape[dim] - 1)
    high = (low + 1).clamp(max=x.shape[dim] - 1)
    weight = _along(x, dim, (source - low).clamp(0, 1))
    return _picked(x, dim, low) * (1 - weight) + _picked(x, dim, high) * weight


def _cubic_weights(t):
    """Weights of the four neighbours at distance 1 + t, t, 1 - t, 2 - t (Keys 1981, a = -0.75)."""
    a = -0.75
    near = lambda d: ((a + 2) * d - (a + 3)) * d * d + 1
    far = lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return far(t + 1), near(t), near(1 - t), far(2 - t)


def _cubic(x, dim, out, scale, align_corners):
    source = _source(x, out, scale, align_corners)
    low, last = source.floor(), x.shape[dim] - 1
    return sum(_picked(x, dim, (low + k - 1).clamp(0, last)) * _along(x, dim, w)
               for k, w in enumerate(_cubic_weights(source - low)))


_RANKS = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,), "bilinear": (2,),
          "trilinear": (3,), "bicubic": (2,)}


def interpolate(
    input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None,
    antialias=False,
):
    """input [batch, channels, sizes...] at another size, or at scale_factor times its sizes, rounded down.

    mode: nearest, nearest-exact or area (1 to 3 sizes), linear (1), bilinear and bicubic (2), trilinear (3).
    align_corners: the corner elements' centres keep their places. ValueError: unknown mode, wrong rank, both or
    neither of size and scale_factor, align_corners where it has no meaning, antialias.
    """
    op, n = "interpolate", input.dim() - 2
    if mode not in _RANKS:
        _fail(op, f"unknown mode: expected one of {', '.join(_RANKS)}, got {mode!r}")
    if n not in _RANKS[mode]:
        _fail(op, f"wrong input rank for {mode}: expected {' or '.join(str(r + 2) for r in _RANKS[mode])}, got "
              f"{input.dim()}")
    if antialias:
        _fail(op, "antialias is not supported: expected False, got True")
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        _fail(op, f"align_corners has no meaning for {mode}: expected None, got {align_corners}")
    if (size is None) == (scale_factor is None):
        _fail(op, f"expected one of size and scale_factor, got {'neither' if size is None else 'both'}")
    sizes, factors = tuple(input.shape)[2:], None
    if size is not None:
        if recompute_scale_factor:
            _fail(op, "recompute_scale_factor needs a scale_factor: expected one, got a size")
        size = _tuple(op, "size", size, n)
    else:
        factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * n
        if len(factors) != n:
            _fail(op, f"wrong scale_factor: expected a number or {n} numbers, got {factors}")
        size = tuple(math.floor(s * float(f)) for s, f in zip(sizes, factors))
        if recompute_scale_factor:
            factors = None
    if min(size) < 1 or min(sizes) < 1:
        _fail(op, f"empty image: expected sizes of at least 1, got {sizes} to {size}")
    if mode == "area":
        return _area(input, size)
    x = input
    for i, (n_in, n_out) in enumerate(zip(sizes, size)):
        if align_corners:
            scale = (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
        else:
            scale = n_in / n_out if factors is None else 1.0 / factors[i]
        if n_in == n_out and scale == 1.0:
            continue
        if mode.startswith("nearest"):
            x = _nearest(x, i + 2, n_out, scale, mode == "nearest-exact")
        else:
            x = (_cubic if mode == "bicubic" else _linear)(x, i + 2, n_out, scale, bool(align_corners))
    return x


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """interpolate under its old name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def _area(x, size):
    """Means of size near-equal regions: adaptive average pooling of any rank, by planes."""
    if len(size) == 2:
        return ops.adaptive_avg_pool(x, output_size=size)
    if len(size) == 1:
        return ops.adaptive_avg_pool(x.unsqueeze(2), output_size=(1, size[0])).squeeze(2)
    n, c, d, h, w = x.shape
    planes = ops.adaptive_avg_pool(x.reshape(n, c * d, h, w), output_size=size[1:]).reshape(n, c, d, size[1] * size[2])
    return ops.adaptive_avg_pool(planes, output_size=(size[0], size[1] * size[2])).reshape(n, c, *size)


# ---- sampling at any place -------------------------------------------------------------------------------


def affine_grid(theta, size, align_corners=None):
    """theta [batch, 2, 3] (or [batch, 3, 4]) and size (batch, channels, sizes...) -> where each output element comes
    from: [batch, sizes..., 2 or 3] in (x, y, z) from -1 to 1, for grid_sample."""
    sizes = tuple(size)[2:]
    n = len(sizes)
    if n not in (2, 3) or tuple(theta.shape) != (size[0], n, n + 1):
        _fail("affine_grid", f"wrong shapes: expected theta [batch, 2, 3] with 4 sizes or [batch, 3, 4] with 5, got "
              f"{tuple(theta.shape)} and {tuple(size)}")
    axes = []
    for i, s in enumerate(sizes):
        at = suan.arange(s, dtype=theta.dtype, device=theta.device)
        at = at * (2.0 / max(s - 1, 1)) - (1.0 if s > 1 else 0.0) if align_corners else (at * 2.0 + 1.0) / s - 1.0
        axes.append(at.reshape([s if k == i else 1 for k in range(n)]).expand(*sizes))
    base = suan.stack([*axes[::-1], suan.ones(*sizes, dtype=theta.dtype, device=theta.device)], -1)
    return (base.reshape(1, -1, n + 1) @ theta.transpose(1, 2)).reshape(size[0], *sizes, n)


def _reflected(x, low, high):
    """x mirrored into [low, high]."""
    span = high - low
    if span <= 0:
        return x * 0.0
    x = (x - low).abs()
    extra, flips = suan.fmod(x, span), (x / span).floor()
    return suan.where(suan.fmod(flips, 2.0) == 0, extra + low, span - extra + low)


def _into(x, size, padding_mode, align_corners):
    """Coordinates moved into the image as the padding mode says."""
    if padding_mode == "reflection":
        x = _reflected(x, 0.0, size - 1.0) if align_corners else _reflected(x, -0.5, size - 0.5)
    return x if padding_mode == "zeros" else x.clamp(0, size - 1)


def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """input [batch, channels, H, W] at grid [batch, h, w, 2] of (x, y) from -1 to 1 -> [batch, channels, h, w]; with
    volumes [.., D, H, W] and (x, y, z) likewise. mode: bilinear, nearest, bicubic (images); padding_mode: zeros,
    border or reflection outside."""
    op, n = "grid_sample", input.dim() - 2
    if n not in (2, 3) or grid.dim() != n + 2 or grid.shape[-1] != n or grid.shape[0] != input.shape[0]:
        _fail(op, f"wrong shapes: expected input [batch, channels, sizes...] and grid [batch, sizes..., {n}], got "
              f"{tuple(input.shape)} and {tuple(grid.shape)}")
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and n == 3):
        _fail(op, f"wrong mode: expected bilinear, nearest or (for images) bicubic, got {mode!r}")
    if padding_mode not in ("zeros", "border", "reflection"):
        _fail(op, f"wrong padding_mode: expected zeros, border or reflection, got {padding_mode!r}")
    if input.dtype != grid.dtype:
        _fail(op, f"dtypes differ: expected grid in {input.dtype.name}, got {grid.dtype.name}", TypeError)
    sizes = tuple(input.shape)[2:]
    if min(sizes) < 1:
        _fail(op, f"empty image: expected sizes of at least 1, got {sizes}")
    batch, channels = input.shape[:2]
    flat, points = input.reshape(batch, channels, -1), grid.reshape(batch, -1, n)
    taps = []  # per dimension: (coordinate, weight) of each neighbour
    for k, size in enumerate(sizes):
        x = points.select(-1, n - 1 - k)
        x = (x + 1) * (0.5 * (size - 1)) if align_corners else ((x + 1) * size - 1) * 0.5
        if mode != "bicubic":
            x = _into(x, size, padding_mode, align_corners)
        if mode == "nearest":
            taps.append([(x.detach().round(), None)])
            continue
        low = x.detach().floor()
        part = x - low
        if mode == "bilinear":
            taps.append([(low, 1 - part), (low + 1, part)])
        else:
            taps.append([(_into(low + (i - 1), size, padding_mode, align_corners), w)
                         for i, w in enumerate(_cubic_weights(part))])
    out = None
    for corner in itertools.product(*taps):
        index, inside, weight = 0, None, None
        for (at, w), size in zip(corner, sizes):
            ok = (at >= 0).logical_and(at <= size - 1)
            inside = ok if inside is None else inside.logical_and(ok)
            index = index * size + suan.where(ok, at, 0.0).to(suan.int64)
            weight = w if weight is None else weight * w
        inside = inside.to(input.dtype)
        weight = inside if weight is None else weight * inside
        index = index.unsqueeze(1).expand(batch, channels, index.shape[-1])
        value = ops.gather(flat, index, dim=2) * weight.unsqueeze(1)
        out = value if out is None else out + value
    return out.reshape(batch, channels, *tuple(grid.shape)[1:-1])
