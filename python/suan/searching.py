"""Order statistics, searching, counting and running products, with torch's names and signatures."""

import builtins as _py
import math as _math

from . import _c
from .elementwise import logaddexp
from .kinds import int32, int64
from .reduce import _ValuesIndices, gather, sort
from .shaping import _axis, narrow

ops = _c.ops
Tensor = _c.Tensor


class _Median(_ValuesIndices):
    __slots__ = ()


class _KthValue(_ValuesIndices):
    __slots__ = ()


class _CumMax(_ValuesIndices):
    __slots__ = ()


class _CumMin(_ValuesIndices):
    __slots__ = ()


def _int(n):
    return _c.literal(n, int64)


def _at(input, dim, k, keepdim, nan_first):
    """(values, indices) of the k-th smallest along dim, counting from 0; with nan_first a NaN, if there is one."""
    index = narrow(ops.argsort(input.detach(), dim, False), dim, k, 1)
    if nan_first and input.is_floating_point():
        nan = ops.isnan(input.detach())
        found = ops.unsqueeze(ops.any(nan, dim, False), dim)
        index = ops.where(found, ops.unsqueeze(ops.argmax(nan, dim), dim), index)
    values = gather(input, dim, index)
    return (values, index) if keepdim else (ops.squeeze(values, dim), ops.squeeze(index, dim))


def median(input, dim=None, keepdim=False):
    """The middle element (the lower of two), NaN if one is; with dim, (values, indices) along it."""
    if dim is None:
        flat = ops.flatten(input)
        return _at(flat, 0, (flat.numel() - 1) // 2, False, True)[0]
    dim = _axis(dim, input.dim(), "median")
    if input.dim() == 0:
        return _Median(input, ops.full(_int(0), ()))
    return _Median(*_at(input, dim, (input.shape[dim] - 1) // 2, keepdim, True))


def kthvalue(input, k, dim=-1, keepdim=False):
    """(values, indices) of the k-th smallest element along dim, counting from 1."""
    dim = _axis(dim, input.dim(), "kthvalue")
    if not 1 <= k <= input.shape[dim]:
        raise ValueError(f"[kthvalue] k out of range: expected 1 to {input.shape[dim]}, got {k}")
    return _KthValue(*_at(input, dim, k - 1, keepdim, False))


def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """Quantiles (q from 0 to 1, a number or a vector) along dim, or of all elements; a vector's come first. NaN if
    one is. interpolation: linear, lower, higher, nearest or midpoint."""
    if interpolation not in ("linear", "lower", "higher", "nearest", "midpoint"):
        raise ValueError("[quantile] wrong interpolation: expected linear, lower, higher, nearest or midpoint, got "
                         f"{interpolation!r}")
    vector = isinstance(q, Tensor) and q.dim() == 1
    points = q.tolist() if isinstance(q, Tensor) else q
    points = points if vector else [points]
    if any(not 0 <= p <= 1 for p in points):
        raise ValueError(f"[quantile] q out of range: expected 0 to 1, got {points}")
    x = ops.flatten(input) if dim is None else input
    axis = 0 if dim is None else _axis(dim, input.dim(), "quantile")
    last = x.shape[axis] - 1
    ordered = sort(x, axis)[0]
    nan = ops.any(ops.isnan(x.detach()), axis, True)
    found = []
    for p in points:
        place = p * last
        low, high = _math.floor(place), _math.ceil(place)
        if interpolation in ("lower", "higher", "nearest"):
            low = high = {"lower": low, "higher": high, "nearest": _py.round(place)}[interpolation]
        part = 0.5 * (high - low) if interpolation == "midpoint" else place - low
        value = narrow(ordered, axis, low, 1)
        if high != low:
            value = value + (narrow(ordered, axis, high, 1) - value) * part
        value = ops.where(nan, _math.nan, value)
        if keepdim:
            found.append(value if dim is not None else ops.reshape(value, [1] * input.dim()))
        else:
            found.append(ops.squeeze(value, axis))
    return ops.stack(found, 0) if vector else found[0]


def nanmean(input, dim=None, keepdim=False):
    """The mean of what is not NaN."""
    real = ops.logical_not(ops.isnan(input))
    return ops.sum(ops.where(real, input, 0.0), dim, keepdim) / ops.sum(real, dim, keepdim)


def msort(input):
    """Sorted along the first dimension."""
    return sort(input, 0)[0]


# ---- places in sorted rows ---------------------------------------------------------------------------------


def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where input would go into sorted_sequence to keep it sorted: before equal elements, or with right (or
    side='right') after them. A sequence of more than one dimension has input's leading ones: row by row."""
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ValueError(f"[searchsorted] wrong side: expected 'left' or 'right' in agreement with right, got {side!r}")
    right = right or side == "right"
    if sorter is not None:
        sorted_sequence = gather(sorted_sequence, -1, sorter)
    row, scalar = sorted_sequence.detach(), not isinstance(input, Tensor)
    values = _c.tensor_from_data(input, row.dtype) if scalar else input.detach()
    if row.dim() != 1 and tuple(row.shape)[:-1] != tuple(values.shape)[:-1]:
        raise ValueError(f"[searchsorted] leading dimensions differ: expected {tuple(row.shape)[:-1]} as "
                         f"sorted_sequence, got {tuple(values.shape)[:-1]}")
    n = row.shape[-1]
    # Binary search for all at once: found is the number of elements known to come before.
    found = ops.full(_int(0), values.shape)
    step = 1 << n.bit_length() >> 1
    while step:
        more = found + step
        index = ops.clamp(more - 1, None, n - 1)
        at = ops.take(row, index) if row.dim() == 1 else gather(row, -1, index)
        before = ops.le(at, values) if right else ops.lt(at, values)
        found = ops.where(ops.logical_and(more <= n, before), more, found)
        step >>= 1
    return found.to(int32) if out_int32 else found


def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The bucket between boundaries (a sorted vector) that each element lies in; see searchsorted."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """True where an element is one of test_elements."""
    row = ops.flatten(test_elements) if isinstance(test_elements, Tensor) else _c.tensor_from_data([test_elements], None)
    x = elements if isinstance(elements, Tensor) else _c.tensor_from_data(elements, None)
    if row.numel() == 0:
        inside = x != x
    else:
        row = sort(row.detach(), 0)[0]
        inside = ops.take(row, ops.clamp(searchsorted(row, x), None, row.numel() - 1)) == x
    return ops.logical_not(inside) if invert else inside


# ---- counting ------------------------------------------------------------------------------------------------


def bincount(input, weights=None, minlength=0):
    """How often each of 0, 1, ... occurs in a vector of whole numbers, or the sums of their weights. The length
    depends on the data."""
    if input.dim() != 1 or input.is_floating_point():
        raise ValueError(f"[bincount] wrong input: expected a vector of whole numbers, got {input.dtype.name} "
                         f"{tuple(input.shape)}")
    if input.numel() and int(ops.min(input).item()) < 0:
        raise ValueError(f"[bincount] negative number: expected 0 or more, got {int(ops.min(input).item())}")
    n = _py.max(minlength, int(ops.max(input).item()) + 1 if input.numel() else 0)
    source = ops.full(_int(1), input.shape) if weights is None else weights
    zeros = ops.full(_c.literal(0, source.dtype), (n,))
    return ops.scatter_add(zeros, input.to(int64), source, dim=0)


def histc(input, bins=100, min=0, max=0):
    """Counts of the elements in `bins` equal parts of [min, max]; of their own range when both are equal."""
    if bins < 1 or min > max:
        raise ValueError(f"[histc] wrong bins: expected at least 1 and min <= max, got {bins}, {min} and {max}")
    x = ops.flatten(input.detach())
    if min == max and x.numel():
        min, max = float(ops.min(x)), float(ops.max(x))
    if min == max:
        min, max = min - 1, max + 1
    inside = ops.logical_and(x >= min, x <= max)
    index = ops.clamp(ops.floor((x - min) / (max - min) * bins), 0, bins - 1)
    index = ops.where(inside, index, 0.0).to(int64)
    return ops.scatter_add(ops.full(_c.literal(0, x.dtype), (bins,)), index, inside.to(x.dtype), dim=0)


def _groups(ordered):
    """True where an element of a vector differs from the one before it."""
    if ordered.numel() == 0:
        return ordered == ordered
    return ops.cat([_c.tensor_from_data([True], None), ordered[1:] != ordered[:-1]], 0)


def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The elements without those equal to the one before; optionally where each went, and how many there were."""
    if dim is not None and input.dim() != 1:
        raise ValueError(f"[unique_consecutive] dim is not supported: expected None, got {dim}")
    flat = ops.flatten(input.detach())
    first = _groups(flat)
    group = ops.cumsum(first.to(int64), 0) - 1
    out = [flat[first]]
    if return_inverse:
        out.append(ops.reshape(group, input.shape))
    if return_counts:
        out.append(bincount(group))
    return out[0] if len(out) == 1 else tuple(out)


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements in rising order; optionally the place of each element's value among them, and how often
    each occurs."""
    if dim is not None and input.dim() != 1:
        raise ValueError(f"[unique] dim is not supported: expected None, got {dim}")
    ordered, order = sort(ops.flatten(input.detach()), 0)
    first = _groups(ordered)
    out = [ordered[first]]
    if return_inverse or return_counts:
        group = ops.cumsum(first.to(int64), 0) - 1
    if return_inverse:
        place = ops.scatter(ops.full(_int(0), order.shape), order, group, dim=0)
        out.append(ops.reshape(place, input.shape))
    if return_counts:
        out.append(bincount(group))
    return out[0] if len(out) == 1 else tuple(out)


# ---- running products and extremes: log2(n) rounds, each joining an element with what ends `step` before it ---------


def _scan(x, dim, join):
    n, step = x[0].shape[dim], 1
    while step < n:
        left = [narrow(t, dim, 0, n - step) for t in x]
        joined = join(left, [narrow(t, dim, step, n - step) for t in x])
        x = [ops.cat([narrow(t, dim, 0, step), j], dim) for t, j in zip(x, joined)]
        step *= 2
    return x


def cumprod(input, dim, *, dtype=None):
    """Running products along dim."""
    x = input if dtype is None else input.to(dtype)
    if not x.is_floating_point() and x.dtype is not int64:
        x = x.to(int64)
    if x.dim() == 0:
        return x
    return _scan([x], _axis(dim, x.dim(), "cumprod"), lambda a, b: [a[0] * b[0]])[0]


def logcumsumexp(input, dim):
    """Logarithms of running sums of exponentials along dim."""
    return _scan([input], _axis(dim, input.dim(), "logcumsumexp"), lambda a, b: [logaddexp(a[0], b[0])])[0]


def _running(input, dim, kind, better):
    if input.dim() == 0:
        return kind(input, ops.full(_int(0), ()))
    dim = _axis(dim, input.dim(), "cummax")
    shape = [-1 if d == dim else 1 for d in range(input.dim())]
    places = ops.reshape(ops.arange(0.0, float(input.shape[dim]), 1.0, dtype=int64), shape)
    places = ops.contiguous(ops.expand(places, input.shape))

    def join(left, right):
        later = better(right[0], left[0])
        if input.is_floating_point():
            nan_before = ops.isnan(left[0])
            later = ops.logical_or(ops.isnan(right[0]), ops.logical_and(later, ops.logical_not(nan_before)))
        return [ops.where(later, r, l) for l, r in zip(left, right)]

    index = _scan([input.detach(), places], dim, join)[1]
    return kind(gather(input, dim, index), index)


def cummax(input, dim):
    """(values, indices) of the largest element so far along dim; the last of equals."""
    return _running(input, dim, _CumMax, ops.ge)


def cummin(input, dim):
    """(values, indices) of the smallest element so far along dim; the last of equals."""
    return _running(input, dim, _CumMin, ops.le)
