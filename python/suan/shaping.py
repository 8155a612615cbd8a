"""Shapes and pieces of tensors, with torch's names: the `suan.*` and Tensor functions on dimensions."""

import builtins as _py
import math as _math

from . import _c
from .kinds import int64

ops = _c.ops


def _shape(size):
    if len(size) == 1 and not isinstance(size[0], int):
        return tuple(size[0])
    return tuple(size)


def _flat(args):
    """f(a, b) and f([a, b]) alike."""
    return list(args[0]) if len(args) == 1 and isinstance(args[0], (list, tuple)) else list(args)


def t(input):
    """A matrix transposed; vectors stay."""
    if input.dim() > 2:
        raise ValueError(f"[t] too many dimensions: expected at most 2, got {input.dim()}")
    return ops.transpose(input, 0, 1) if input.dim() == 2 else input


def view_as(self, other):
    """The same memory in another tensor's shape."""
    return ops.view(self, other.shape)


def reshape_as(self, other):
    """The same elements in another tensor's shape."""
    return ops.reshape(self, other.shape)


def expand_as(self, other):
    """Broadcast to another tensor's shape; a view."""
    return ops.expand(self, other.shape)


def broadcast_shapes(*shapes):
    """The shape that the shapes broadcast to."""
    rank = _py.max((len(s) for s in shapes), default=0)
    out = [1] * rank
    for s in shapes:
        for i, n in enumerate(reversed(tuple(s))):
            if n != 1 and out[rank - 1 - i] not in (1, n):
                raise ValueError(f"[broadcast_shapes] shapes do not broadcast: expected {out[rank - 1 - i]} or 1, got {n}")
            if n != 1:
                out[rank - 1 - i] = n
    return tuple(out)


def broadcast_tensors(*tensors):
    """Tensors expanded to their common shape."""
    shape = broadcast_shapes(*(t.shape for t in tensors))
    return tuple(ops.expand(t, shape) for t in tensors)


def _axis(dim, rank, op):
    if not -rank <= dim < rank:
        raise IndexError(f"[{op}] axis out of range: expected {-rank} to {rank - 1}, got {dim}")
    return dim % rank if rank else 0


def ravel(input):
    """All elements in one dimension."""
    return ops.flatten(input)


def unflatten(input, dim, sizes):
    """One dimension split into several; one size may be -1."""
    at, s = _axis(dim, input.dim(), "unflatten"), tuple(input.shape)
    return ops.reshape(input, s[:at] + _fill_minus_one(tuple(sizes), s[at]) + s[at + 1:])


def _fill_minus_one(sizes, total):
    if -1 in sizes:
        known = _math.prod(n for n in sizes if n != -1)
        sizes = tuple(total // _py.max(known, 1) if n == -1 else n for n in sizes)
    if _math.prod(sizes) != total:
        raise ValueError(f"[unflatten] sizes do not fit: expected a product of {total}, got {list(sizes)}")
    return sizes


def movedim(input, source, destination):
    """Dimensions moved to other places; a view."""
    rank = input.dim()
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    source = [_axis(d, rank, "movedim") for d in source]
    destination = [_axis(d, rank, "movedim") for d in destination]
    order = [d for d in range(rank) if d not in source]
    for to, d in sorted(zip(destination, source)):
        order.insert(to, d)
    return ops.permute(input, order)


def narrow(input, dim, start, length):
    """`length` elements of one dimension from start; a view."""
    dim = _axis(dim, input.dim(), "narrow")
    n = input.shape[dim]
    start = start + n if start < 0 else start
    if start < 0 or length < 0 or start + length > n:
        raise ValueError(f"[narrow] range does not fit: expected it within 0 to {n}, got {start} to {start + length}")
    return ops.slice(input, dim, start, start + length, 1)


def select(input, dim, index):
    """One index of one dimension; a view."""
    dim = _axis(dim, input.dim(), "select")
    return input[(_py.slice(None),) * dim + (int(index),)]


def split(tensor, split_size_or_sections, dim=0):
    """Pieces of a size, or of the sizes in a list; views."""
    dim = _axis(dim, tensor.dim(), "split")
    n = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size <= 0:
            raise ValueError(f"[split] bad size: expected 1 or more, got {size}")
        sizes = [_py.min(size, n - i) for i in range(0, n, size)] or [0]
    else:
        sizes = list(split_size_or_sections)
        if _py.sum(sizes) != n:
            raise ValueError(f"[split] sizes do not fit: expected a sum of {n}, got {sizes}")
    return tuple(ops.split(tensor, None, sizes, dim))


def chunk(input, chunks, dim=0):
    """At most `chunks` pieces of equal size; views."""
    if chunks < 1:
        raise ValueError(f"[chunk] bad count: expected 1 or more, got {chunks}")
    n = input.shape[_axis(dim, input.dim(), "chunk")]
    return split(input, _py.max(1, -(-n // chunks)), dim)


def unbind(input, dim=0):
    """All slices along one dimension; views."""
    return tuple(ops.unbind(input, _axis(dim, input.dim(), "unbind")))


def hstack(tensors):
    """Joined side by side."""
    tensors = [t if t.dim() else t.reshape(1) for t in tensors]
    return ops.cat(tensors, 0 if tensors[0].dim() == 1 else 1)


def vstack(tensors):
    """Joined one above another."""
    return ops.cat([t if t.dim() > 1 else t.reshape(1, -1) for t in tensors], 0)


def flip(input, *dims):
    """Reversed along dimensions; a view here (torch copies)."""
    for d in _shape(dims):
        d = _axis(d, input.dim(), "flip")
        n = input.shape[d]
        if n > 1:
            input = ops.slice(input, d, n - 1, -1, -1)
    return input


def roll(input, shifts, dims=None):
    """Shifted around along dimensions."""
    if dims is None:
        return roll(ops.flatten(input), shifts, 0).reshape(input.shape)
    pairs = zip((shifts,), (dims,)) if isinstance(shifts, int) else zip(shifts, dims)
    for shift, d in pairs:
        n = input.shape[d]
        k = shift % n if n else 0
        if k:
            input = ops.cat([narrow(input, d, n - k, k), narrow(input, d, 0, n - k)], d)
    return input


def repeat(self, *sizes):
    """Copies laid side by side, so many along each dimension."""
    sizes = _shape(sizes)
    if len(sizes) < self.dim():
        raise ValueError(f"[repeat] too few counts: expected at least {self.dim()}, got {len(sizes)}")
    return ops.repeat(self, sizes)


def tile(input, *dims):
    """repeat, with missing counts taken as 1."""
    dims = _shape(dims)
    return repeat(input, (1,) * (input.dim() - len(dims)) + dims)


def repeat_interleave(input, repeats, dim=None):
    """Each element repeated, one after the other."""
    if dim is None:
        input, dim = ops.flatten(input), 0
    dim = _axis(dim, input.dim(), "repeat_interleave")
    if isinstance(repeats, int):
        shape = list(input.shape)
        wide = ops.expand(ops.unsqueeze(input, dim + 1), shape[:dim + 1] + [repeats] + shape[dim + 1:])
        return ops.reshape(wide, shape[:dim] + [shape[dim] * repeats] + shape[dim + 1:])
    order = [i for i, k in enumerate(repeats.tolist()) for _ in range(k)]
    return ops.index_select(input, _c.tensor_from_data(order, int64), dim)


def meshgrid(*tensors, indexing="ij"):
    """Coordinate grids of vectors."""
    tensors = _flat(tensors)
    if indexing == "xy" and len(tensors) > 1:
        a, b, *rest = meshgrid(tensors[1], tensors[0], *tensors[2:])
        return (b, a, *rest)
    shape = [t.numel() for t in tensors]
    return tuple(ops.expand(ops.reshape(t, [n if i == k else 1 for k, n in enumerate(shape)]), shape)
                 for i, t in enumerate(tensors))


def diag(input, diagonal=0):
    """A matrix with a vector on its diagonal, or the diagonal of a matrix."""
    if input.dim() == 2:
        return ops.diagonal(input, diagonal, 0, 1)
    n = input.numel() + _py.abs(diagonal)
    out = ops.full(_c.literal(0, input.dtype), (n, n))
    view = ops.diagonal(out, diagonal, 0, 1)
    view.copy_(input)
    return out


def unfold(self, dimension, size, step):
    """Sliding windows along a dimension; a view."""
    d, s, st = _axis(dimension, self.dim(), "unfold"), list(self.shape), list(self.stride())
    if size > s[d] or size < 0 or step < 1:
        raise ValueError(f"[unfold] window does not fit: expected size 0 to {s[d]} and step 1 or more, got {size}, {step}")
    shape = s[:d] + [(s[d] - size) // step + 1] + s[d + 1:] + [size]
    return ops.as_strided(self, shape, st[:d] + [st[d] * step] + st[d + 1:] + [st[d]], self.storage_offset())


def as_strided(input, size, stride, storage_offset=None):
    """Any view of the storage, by shape, strides and offset in elements."""
    return ops.as_strided(input, size, stride, input.storage_offset() if storage_offset is None else storage_offset)
