"""Element-wise functions made of the op table's, differences and distances, with torch's names and signatures."""

import math as _math

from . import _c
from .reduce import norm
from .shaping import _axis, broadcast_shapes, narrow

ops = _c.ops
Tensor = _c.Tensor


def _negative(x):
    """True where the sign is minus, that of -0.0 too."""
    if not isinstance(x, Tensor):
        return _c.tensor_from_data(_math.copysign(1.0, x) < 0, None)
    if not x.is_floating_point():
        return x < 0
    x = x.detach()
    return ops.logical_or(x < 0, ops.logical_and(x == 0, ops.reciprocal(x) < 0))


def signbit(input):
    """True where the sign is minus, that of -0.0 too."""
    return _negative(input)


def copysign(input, other):
    """input's size with other's sign."""
    size = ops.abs(input if input.is_floating_point() else input.float())
    return ops.where(_negative(other), -size, size)


def hypot(input, other):
    """sqrt(input² + other²) without overflow on the way."""
    scale = ops.maximum(ops.abs(input.detach()), ops.abs(other.detach()))
    scale = ops.where(ops.logical_and(scale > 0, ops.isfinite(scale)), scale, 1.0)
    return scale * ops.sqrt(ops.square(input / scale) + ops.square(other / scale))


def logaddexp(input, other):
    """log(exp(input) + exp(other)) without overflow on the way."""
    apart = ops.where(input == other, 0.0, ops.abs(input - other))  # equal infinities are 0 apart
    return ops.maximum(input, other) + ops.log1p(ops.exp(-apart))


def logaddexp2(input, other):
    """log2(2**input + 2**other) without overflow on the way."""
    apart = ops.where(input == other, 0.0, ops.abs(input - other))
    return ops.maximum(input, other) + ops.log1p(ops.exp2(-apart)) * (1 / _math.log(2))


def xlogy(input, other):
    """input · log(other), 0 where input is 0 (NaN where other is NaN)."""
    if not isinstance(input, Tensor):
        input = ops.full(_c.literal(input, other.dtype), ())
    if not isinstance(other, Tensor):
        other = ops.full(_c.literal(other, input.dtype), ())
    outside = ops.logical_or(other <= 0, other == _math.inf)  # elsewhere 0 · log is 0 by itself, and has a gradient
    zero = ops.logical_and(input == 0, outside)
    return input * ops.log(ops.where(zero, 1.0, other))


def logit(input, eps=None):
    """log(x / (1 - x)); eps first limits x to [eps, 1 - eps]."""
    x = input if eps is None else ops.clamp(input, eps, 1 - eps)
    return ops.log(x) - ops.log1p(-x)


def sinc(input):
    """sin(πx) / (πx), 1 at 0."""
    x = ops.where(input == 0, 1.0, input) * _math.pi
    return ops.where(input == 0, 1.0, ops.sin(x) / x)


def asinh(input):
    """Inverse hyperbolic sine."""
    x = ops.abs(input)
    small = ops.clamp(x, None, 1e9)
    near = ops.log1p(small + small * small / (1 + ops.sqrt(small * small + 1)))
    far = ops.log(ops.clamp(x, 1.0, None)) + _math.log(2)
    size = ops.where(x < 1e9, near, far)
    return ops.where(input < 0, -size, size)


def acosh(input):
    """Inverse hyperbolic cosine."""
    t = ops.clamp(input, None, 1e9) - 1
    near = ops.log1p(t + ops.sqrt(2 * t + t * t))
    return ops.where(input < 1e9, near, ops.log(ops.clamp(input, 1.0, None)) + _math.log(2))


def atanh(input):
    """Inverse hyperbolic tangent."""
    return 0.5 * (ops.log1p(input) - ops.log1p(-input))


def frac(input):
    """What follows the point; the sign stays."""
    return input - ops.trunc(input)


def deg2rad(input):
    """Degrees as radians."""
    return input * (_math.pi / 180)


def rad2deg(input):
    """Radians as degrees."""
    return input * (180 / _math.pi)


def fmax(input, other):
    """The larger; of a number and NaN, the number."""
    return ops.where(ops.isnan(input), other, ops.where(ops.isnan(other), input, ops.maximum(input, other)))


def fmin(input, other):
    """The smaller; of a number and NaN, the number."""
    return ops.where(ops.isnan(input), other, ops.where(ops.isnan(other), input, ops.minimum(input, other)))


def heaviside(input, values):
    """0 below 0, 1 above, values at 0."""
    return ops.where(input == 0, values, (input > 0).to(input.dtype))


def positive(input):
    """The input itself."""
    return input


def sgn(input):
    """sign: there are no complex tensors."""
    return ops.sign(input)


def float_power(input, exponent):
    """A power in float64."""
    wide = lambda t: t.double() if isinstance(t, Tensor) else t
    return wide(input)**wide(exponent)


def ldexp(input, other):
    """input · 2**other."""
    return input * ops.exp2(other.to(input.dtype) if not other.is_floating_point() else other)


def nextafter(input, other):
    """The number after input on the way to other, for two of one floating dtype; other itself where they are equal.
    Exact: it steps in the bits, whose order is that of the numbers."""
    if not (input.is_floating_point() and other.dtype is input.dtype):
        raise TypeError(f"[nextafter] wrong dtypes: expected two of one floating dtype, got {input.dtype} and "
                        f"{other.dtype}")
    whole = {2: _c.int16, 4: _c.int32, 8: _c.int64}[input.dtype.itemsize]
    shape = broadcast_shapes(input.shape, other.shape)
    x, y = ops.contiguous(ops.expand(input, shape)).detach(), ops.contiguous(ops.expand(other, shape)).detach()
    up, negative = ops.gt(y, x), ops.lt(x, 0)
    bits = x.view(whole)
    step = ops.where(ops.ne(up, negative), 1, -1).to(whole)
    # Zero has two sign bits: its neighbour is the smallest number of other's sign.
    smallest = ops.where(up, 1, 1 - 2 ** (8 * input.dtype.itemsize - 1)).to(whole)
    near = ops.where(ops.eq(x, 0), smallest, bits + step).view(input.dtype)
    out = ops.where(ops.eq(x, y), y, near)
    return ops.where(ops.logical_or(ops.isnan(x), ops.isnan(y)), _math.nan, out)


def isposinf(input):
    """True at +inf."""
    return input == _math.inf


def isneginf(input):
    """True at -inf."""
    return input == -_math.inf


def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """NaN and infinities replaced; infinities by the dtype's limits unless given."""
    from .kinds import finfo

    if not input.is_floating_point():
        return input
    limits = finfo(input.dtype)
    x = ops.where(ops.isnan(input), float(nan), input)
    x = ops.where(x == _math.inf, float(limits.max if posinf is None else posinf), x)
    return ops.where(x == -_math.inf, float(limits.min if neginf is None else neginf), x)


# ---- differences and distances --------------------------------------------------------------------------


def diff(input, n=1, dim=-1, prepend=None, append=None):
    """Differences of neighbours along dim, n times."""
    dim = _axis(dim, input.dim(), "diff")
    if n < 0:
        raise ValueError(f"[diff] wrong order: expected 0 or more, got {n}")
    parts = [t for t in (prepend, input, append) if t is not None]
    x = parts[0] if len(parts) == 1 else ops.cat(parts, dim)
    for _ in range(n):
        size = x.shape[dim]
        if size == 0:
            break
        x = narrow(x, dim, 1, size - 1) - narrow(x, dim, 0, size - 1)
    return x


def cross(input, other, dim=None):
    """Vector products along dim, by default the first of size 3."""
    shape = broadcast_shapes(input.shape, other.shape)
    a, b = ops.expand(input, shape), ops.expand(other, shape)
    if dim is None:
        if 3 not in shape:
            raise ValueError(f"[cross] no dimension of size 3: expected one, got shape {tuple(shape)}")
        dim = list(shape).index(3)
    dim = _axis(dim, len(shape), "cross")
    if shape[dim] != 3:
        raise ValueError(f"[cross] wrong size of dim {dim}: expected 3, got {shape[dim]}")
    (a0, a1, a2), (b0, b1, b2) = ops.unbind(a, dim), ops.unbind(b, dim)
    return ops.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], dim)


def dist(input, other, p=2):
    """The p-norm of the difference."""
    return norm(input - other, p)


def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """p-norms between all rows: [..., n, width] and [..., m, width] give [..., n, m]. Euclidean distances of more than
    25 rows come from a matrix product unless compute_mode is 'donot_use_mm_for_euclid_dist'. No gradient flows
    where the distance is 0."""
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode not in modes:
        raise ValueError(f"[cdist] wrong compute_mode: expected one of {', '.join(modes)}, got {compute_mode!r}")
    if x1.dim() < 2 or x2.dim() < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ValueError(f"[cdist] wrong shapes: expected [..., n, width] and [..., m, width], got {tuple(x1.shape)} "
                         f"and {tuple(x2.shape)}")
    if p < 0:
        raise ValueError(f"[cdist] wrong p: expected 0 or more, got {p}")
    many = compute_mode == modes[1] or (compute_mode == modes[0] and (x1.shape[-2] > 25 or x2.shape[-2] > 25))
    if p == 2 and many:
        squares = ops.sum(ops.square(x1), -1, True) + ops.transpose(ops.sum(ops.square(x2), -1, True), -2, -1)
        return _root(ops.clamp(squares - 2 * (x1 @ ops.transpose(x2, -2, -1)), 0, None), 0.5)
    apart = ops.unsqueeze(x1, -2) - ops.unsqueeze(x2, -3)
    if p in (0, 1, _math.inf):
        return norm(apart, p, -1)
    return _root(ops.sum(ops.square(apart) if p == 2 else ops.abs(apart)**p, -1, False), 1 / p)


def _root(x, power):
    """x to a power below 1, without the infinite gradient at 0."""
    zero = x == 0
    safe = ops.where(zero, 1.0, x)
    return ops.where(zero, 0.0, ops.sqrt(safe) if power == 0.5 else safe**power)
