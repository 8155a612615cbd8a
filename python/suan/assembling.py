"""Tensors from pieces of tensors, and back: stacking, splitting, rotating, writing into a copy; torch's names."""

from . import _c
from .kinds import int64
from .shaping import _axis, _flat, flip, meshgrid, narrow, split

ops = _c.ops
Tensor = _c.Tensor


def _each(tensors, fn):
    tensors = _flat(tensors)
    return fn(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], Tensor) else tuple(fn(t) for t in tensors)


def atleast_1d(*tensors):
    """A 0-d tensor as a vector; others stay."""
    return _each(tensors, lambda t: ops.reshape(t, (1,)) if t.dim() == 0 else t)


def atleast_2d(*tensors):
    """Leading dimensions added up to two."""
    return _each(tensors, lambda t: ops.reshape(t, (1,) * (2 - t.dim()) + tuple(t.shape)) if t.dim() < 2 else t)


def atleast_3d(*tensors):
    """Dimensions added up to three: [n] as [1, n, 1], [n, m] as [n, m, 1]."""

    def widen(t):
        if t.dim() == 2:
            return ops.unsqueeze(t, 2)
        return ops.reshape(t, (1, -1, 1)) if t.dim() < 2 else t

    return _each(tensors, widen)


def column_stack(tensors):
    """Vectors as columns of a matrix; matrices side by side."""
    return ops.cat([ops.reshape(t, (-1, 1)) if t.dim() < 2 else t for t in tensors], 1)


def dstack(tensors):
    """Joined along the third dimension."""
    return ops.cat([atleast_3d(t) for t in tensors], 2)


def block_diag(*tensors):
    """A matrix with the matrices on its diagonal; zeros elsewhere."""
    tensors = [atleast_2d(t) for t in tensors]
    width, before, rows = sum(t.shape[1] for t in tensors), 0, []
    for t in tensors:
        after = width - before - t.shape[1]
        rows.append(ops.pad(t, None, pad=(before, after), mode="constant"))
        before += t.shape[1]
    return ops.cat(rows, 0)


def kron(input, other):
    """The Kronecker product."""
    rank = max(input.dim(), other.dim())
    a = ops.reshape(input, (1,) * (rank - input.dim()) + tuple(input.shape))
    b = ops.reshape(other, (1,) * (rank - other.dim()) + tuple(other.shape))
    wide = ops.reshape(a, [n for s in a.shape for n in (s, 1)]) * ops.reshape(b, [n for s in b.shape for n in (1, s)])
    return ops.reshape(wide, [s * t for s, t in zip(a.shape, b.shape)])


def cartesian_prod(*tensors):
    """All tuples of the vectors' elements, a row each."""
    if len(tensors) == 1:
        return tensors[0]
    return ops.stack([ops.flatten(t) for t in meshgrid(*tensors)], 1)


def inner(input, other):
    """Products summed over the last dimension of both."""
    if input.dim() == 0 or other.dim() == 0:
        return input * other
    k = input.shape[-1]
    if other.shape[-1] != k:
        raise ValueError(f"[inner] last dimensions differ: expected {k}, got {other.shape[-1]}")
    product = ops.reshape(input, (-1, k)) @ ops.transpose(ops.reshape(other, (-1, k)), 0, 1)
    return ops.reshape(product, tuple(input.shape)[:-1] + tuple(other.shape)[:-1])


def vdot(input, other):
    """The inner product of two vectors."""
    return ops.sum(input * other)


def fliplr(input):
    """Columns in reverse order."""
    return flip(input, 1)


def flipud(input):
    """Rows in reverse order."""
    return flip(input, 0)


def rot90(input, k=1, dims=(0, 1)):
    """Turned k times by 90 degrees, from the first of dims towards the second."""
    a, b = (_axis(d, input.dim(), "rot90") for d in dims)
    if a == b:
        raise ValueError(f"[rot90] dims are equal: expected two, got {tuple(dims)}")
    k %= 4
    if k == 2:
        return flip(input, a, b)
    if k == 0:
        return input.clone()
    return flip(ops.transpose(input, a, b), a if k == 1 else b)


def tensor_split(input, indices_or_sections, dim=0):
    """That many pieces of nearly equal size, or pieces that begin at the given places; views."""
    dim = _axis(dim, input.dim(), "tensor_split")
    n = input.shape[dim]
    if isinstance(indices_or_sections, int):
        parts = indices_or_sections
        if parts < 1:
            raise ValueError(f"[tensor_split] wrong number of pieces: expected 1 or more, got {parts}")
        return split(input, [n // parts + (i < n % parts) for i in range(parts)], dim)
    places = indices_or_sections.tolist() if isinstance(indices_or_sections, Tensor) else indices_or_sections
    places = [0, *(min(max(i + n if i < 0 else i, 0), n) for i in places), n]
    return tuple(narrow(input, dim, a, max(b - a, 0)) for a, b in zip(places, places[1:]))


def hsplit(input, indices_or_sections):
    """tensor_split along the second dimension (the first of a vector)."""
    return tensor_split(input, indices_or_sections, 0 if input.dim() == 1 else 1)


def vsplit(input, indices_or_sections):
    """tensor_split along the first dimension."""
    return tensor_split(input, indices_or_sections, 0)


def dsplit(input, indices_or_sections):
    """tensor_split along the third dimension."""
    return tensor_split(input, indices_or_sections, 2)


def select_scatter(input, src, dim, index):
    """A copy with src at one index of dim."""
    out = input.clone()
    out[(slice(None),) * _axis(dim, input.dim(), "select_scatter") + (index,)] = src
    return out


def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """A copy with src at start, start + step, ... of dim."""
    out = input.clone()
    out[(slice(None),) * _axis(dim, input.dim(), "slice_scatter") + (slice(start, end, step),)] = src
    return out


def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """The last dimension on diagonals of new matrices, whose dimensions are dim1 and dim2."""
    rank = input.dim() + 1
    dim1, dim2 = _axis(dim1, rank, "diag_embed"), _axis(dim2, rank, "diag_embed")
    if dim1 == dim2:
        raise ValueError(f"[diag_embed] dimensions are equal: expected two, got {dim1} and {dim2}")
    if dim1 > dim2:
        dim1, dim2, offset = dim2, dim1, -offset
    n = input.shape[-1]
    size = n + abs(offset)
    rows = ops.arange(0.0, float(size), 1.0, dtype=int64)
    hit = ops.unsqueeze(rows, 1) + offset == ops.unsqueeze(rows, 0)
    # Row r of the matrix holds element r (offset right) or r + offset (offset down).
    column = ops.pad(input, None, pad=(0, size - n) if offset >= 0 else (size - n, 0), mode="constant")
    out = ops.where(hit, ops.unsqueeze(column, -1), _c.literal(0, input.dtype))
    order = list(range(rank - 2))
    order.insert(dim1, rank - 2)
    order.insert(dim2, rank - 1)
    return ops.permute(out, order)


def diagflat(input, offset=0):
    """A matrix with all elements on a diagonal."""
    return diag_embed(ops.flatten(input), offset)


def _triangle(row, col, offset, keep):
    rows, cols = meshgrid(ops.arange(0.0, float(row), 1.0, dtype=int64), ops.arange(0.0, float(col), 1.0, dtype=int64))
    return ops.transpose(ops.nonzero(keep(cols - rows, offset)), 0, 1)


def tril_indices(row, col, offset=0, *, dtype=None, device=None):
    """Places on and below a diagonal: [2, count]."""
    return _triangle(row, col, offset, ops.le).to(dtype or int64)


def triu_indices(row, col, offset=0, *, dtype=None, device=None):
    """Places on and above a diagonal: [2, count]."""
    return _triangle(row, col, offset, ops.ge).to(dtype or int64)
