"""Reductions, sorting, indexing by tensors and linear algebra, with torch's names and signatures."""

import builtins as _py
import math as _math

from . import _c
from .shaping import _axis, _flat
from .kinds import iinfo, int64

ops = _c.ops
Tensor = _c.Tensor


class _ValuesIndices(tuple):
    """(values, indices), by place or by name."""

    __slots__ = ()
    _fields = ("values", "indices")
    values = property(lambda self: self[0])
    indices = property(lambda self: self[1])

    def __new__(cls, values, indices):
        return tuple.__new__(cls, (values, indices))

    def __repr__(self):
        return f"{type(self).__name__}(\nvalues={self[0]!r},\nindices={self[1]!r})"


class _Max(_ValuesIndices):
    __slots__ = ()


class _Min(_ValuesIndices):
    __slots__ = ()


class _TopK(_ValuesIndices):
    __slots__ = ()


class _Sort(_ValuesIndices):
    __slots__ = ()


# ---- reductions ------------------------------------------------------------------------------------------


def max(input, dim=None, keepdim=False, *, other=None, axis=None):
    """The largest element; with dim, (values, indices) along it; with a tensor, the larger of the two."""
    dim = axis if dim is None else dim
    if isinstance(dim, Tensor) or other is not None:
        return ops.maximum(input, other if other is not None else dim)
    if dim is None:
        return ops.max(input)
    return _Max(*ops.max_dim(input, dim, keepdim))


def min(input, dim=None, keepdim=False, *, other=None, axis=None):
    """The smallest element; with dim, (values, indices) along it; with a tensor, the smaller of the two."""
    dim = axis if dim is None else dim
    if isinstance(dim, Tensor) or other is not None:
        return ops.minimum(input, other if other is not None else dim)
    if dim is None:
        return ops.min(input)
    return _Min(*ops.min_dim(input, dim, keepdim))


def amax(input, dim=(), keepdim=False):
    """The largest elements over dimensions; ties share the gradient."""
    return ops.max(input, dim, keepdim)


def amin(input, dim=(), keepdim=False):
    """The smallest elements over dimensions; ties share the gradient."""
    return ops.min(input, dim, keepdim)


def aminmax(input, *, dim=None, keepdim=False):
    """(smallest, largest)."""
    return ops.min(input, dim, keepdim), ops.max(input, dim, keepdim)


def _correction(unbiased, correction):
    if correction is not None:
        return correction
    return 1 if unbiased is None or unbiased else 0


def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None, axis=None):
    """Variance over dimensions, divided by n - correction."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return ops.var(input, axis if dim is None else dim, _correction(unbiased, correction), keepdim)


def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None, axis=None):
    """Standard deviation over dimensions."""
    return ops.sqrt(var(input, dim, unbiased, keepdim, correction=correction, axis=axis))


def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(variance, mean)."""
    return var(input, dim, unbiased, keepdim, correction=correction), ops.mean(input, dim, keepdim)


def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(standard deviation, mean)."""
    return std(input, dim, unbiased, keepdim, correction=correction), ops.mean(input, dim, keepdim)


def norm(input, p=2, dim=None, keepdim=False, dtype=None):
    """The p-norm over dimensions; p may be a number, inf, -inf, 0 or 'fro'."""
    if dtype is not None:
        input = input.to(dtype)
    p = 2.0 if p == "fro" or p is None else float(p)
    if p == _math.inf:
        return ops.max(ops.abs(input), dim, keepdim)
    if p == -_math.inf:
        return ops.min(ops.abs(input), dim, keepdim)
    if p == 2:
        return ops.sqrt(ops.sum(ops.square(input), dim, keepdim))
    if p == 1:
        return ops.sum(ops.abs(input), dim, keepdim)
    if p == 0:
        return ops.sum((input != 0).to(input.dtype), dim, keepdim)
    return ops.sum(ops.abs(input)**p, dim, keepdim)**(1 / p)


def count_nonzero(input, dim=None):
    """How many elements are not zero."""
    return ops.sum(input != 0, dim, False)


def nansum(input, dim=None, keepdim=False):
    """The sum with NaN taken as 0."""
    return ops.sum(ops.where(ops.isnan(input), 0.0, input), dim, keepdim)


def argsort(input, dim=-1, descending=False, stable=False):
    """The order that sorts along a dimension."""
    return ops.argsort(input, dim, descending)


def sort(input, dim=-1, descending=False, stable=False):
    """(values, indices) sorted along a dimension."""
    return _Sort(*ops.sort(input, dim, descending))


def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k largest or smallest along a dimension."""
    return _TopK(*ops.topk(input, k, dim=dim, largest=largest, sorted=sorted))


# ---- indexing by tensors -------------------------------------------------------------------------------


def gather(input, dim, index):
    """Elements picked along a dimension by an index of the output's shape."""
    return ops.gather(input, index, dim=dim)


def take_along_dim(input, indices, dim):
    """gather with torch's other name."""
    return ops.gather(input, indices, dim=dim)


def _source(self, index, src):
    return src if isinstance(src, Tensor) else ops.full(_c.literal(src, self.dtype), index.shape)


def scatter(input, dim, index, src, *, reduce=None):
    """src written along a dimension at index; reduce='add' adds instead."""
    if reduce == "add":
        return ops.scatter_add(input, index, _source(input, index, src), dim=dim)
    if reduce is not None:
        raise ValueError(f"[scatter] bad reduce: expected None or 'add', got {reduce!r}")
    return ops.scatter(input, index, _source(input, index, src), dim=dim)


def scatter_add(input, dim, index, src):
    """src added along a dimension at index."""
    return ops.scatter_add(input, index, src, dim=dim)


def _extreme(dtype, lowest):
    """The least or greatest value of a dtype, infinite where there are infinities."""
    if dtype.is_floating_point:
        return -_math.inf if lowest else _math.inf
    info = iinfo(dtype)
    return info.min if lowest else info.max


def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """src brought together along a dimension at index: reduce 'sum', 'prod', 'amax', 'amin', or 'mean' (of floating
    tensors). What index names counts input's own value too, or with include_self=False only src's. The gradient of an
    extreme is shared by all that equal it."""
    if reduce not in ("sum", "mean", "prod", "amax", "amin"):
        raise ValueError(
            f"[scatter_reduce] bad reduce: expected 'sum', 'mean', 'prod', 'amax' or 'amin', got {reduce!r}")
    if reduce == "mean" and not input.is_floating_point():
        raise TypeError(f"[scatter_reduce] bad dtype for 'mean': expected floating point, got {input.dtype}")
    zeros = ops.full(_c.literal(0, input.dtype), input.shape)
    counts = ops.scatter_add(zeros, index, ops.full(_c.literal(1, input.dtype), index.shape), dim=dim)
    src = src[tuple(slice(n) for n in index.shape)]
    if reduce in ("prod", "amax", "amin"):
        if not include_self:
            neutral = 1 if reduce == "prod" else _extreme(input.dtype, lowest=reduce == "amax")
            input = ops.where(counts > 0, ops.full(_c.literal(neutral, input.dtype), ()), input)
        return ops.scatter_reduce(input, index, src, dim=dim, reduce=reduce)
    base = input if include_self else ops.where(counts > 0, zeros, input)
    out = ops.scatter_add(base, index, src, dim=dim)
    if reduce == "sum":
        return out
    return out / ops.clamp(counts + 1 if include_self else counts, 1, None)


def scatter_(self, dim, index, src, *, reduce=None):
    """In place: scatter."""
    return self.copy_(scatter(self, dim, index, src, reduce=reduce))


def scatter_add_(self, dim, index, src):
    """In place: scatter_add."""
    return self.copy_(scatter_add(self, dim, index, src))


def index_select(input, dim, index):
    """Slices along a dimension, picked by a vector of indices."""
    return ops.index_select(input, index, dim=dim)


def index_add(input, dim, index, source, *, alpha=1):
    """source's slices added to input's at index."""
    shape = [-1 if i == _axis(dim, input.dim(), "index_add") else 1 for i in range(input.dim())]
    wide = ops.expand(ops.reshape(index, shape), source.shape)
    return ops.scatter_add(input, wide, source if alpha == 1 else source * alpha, dim=dim)


def index_add_(self, dim, index, source, *, alpha=1):
    """In place: index_add."""
    return self.copy_(index_add(self, dim, index, source, alpha=alpha))


def index_fill_(self, dim, index, value):
    """In place: value at index along a dimension."""
    self[(slice(None),) * _axis(dim, self.dim(), "index_fill_") + (index,)] = value
    return self


def index_copy_(self, dim, index, source):
    """In place: source's slices at index along a dimension."""
    self[(slice(None),) * _axis(dim, self.dim(), "index_copy_") + (index,)] = source
    return self


def index_put(input, indices, values, accumulate=False):
    """values written at a tuple of index tensors."""
    out = input.clone()
    return index_put_(out, indices, values, accumulate)


def index_put_(self, indices, values, accumulate=False):
    """In place: values written (or added) at a tuple of index tensors."""
    if not accumulate:
        self[tuple(indices)] = values
        return self
    out = ops.index_put(self, values, *indices, dims=tuple(range(len(indices))), accumulate=True)
    return self.copy_(out)


def nonzero(input, *, as_tuple=False):
    """Places of the elements that are not zero."""
    places = ops.nonzero(input)
    return tuple(places[:, i] for i in range(input.dim())) if as_tuple else places


argwhere = nonzero


def masked_select(input, mask):
    """The elements where the mask holds, in one dimension."""
    return ops.masked_select(input, mask)


def take(input, index):
    """Elements by their place in the flattened tensor."""
    return ops.take(input, index)


# ---- linear algebra --------------------------------------------------------------------------------------


def mm(input, mat2):
    """Matrix product of two matrices."""
    return ops.matmul(input, mat2)


mv = dot = bmm = mm


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2)."""
    product = mat1 @ mat2
    return (input if beta == 1 else beta * input) + (product if alpha == 1 else alpha * product)


baddbmm = addmm


def einsum(equation, *operands):
    """Products and sums over named dimensions: einsum('ij,jk->ik', a, b)."""
    return ops.einsum(*_flat(operands), equation=equation)


def tensordot(a, b, dims=2):
    """Products summed over `dims` dimensions, or over two lists of them."""
    if isinstance(dims, int):
        dims = (list(range(a.dim() - dims, a.dim())), list(range(dims)))
    left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    left = [_axis(d, a.dim(), "tensordot") for d in left]
    right = [_axis(d, b.dim(), "tensordot") for d in right]
    free_a = [d for d in range(a.dim()) if d not in left]
    free_b = [d for d in range(b.dim()) if d not in right]
    k = _math.prod(a.shape[d] for d in left)
    flat_a = ops.reshape(ops.permute(a, free_a + left), (-1 if k else 0, k) if k else (_math.prod(a.shape[d] for d in free_a), 0))
    flat_b = ops.reshape(ops.permute(b, right + free_b), (k, _math.prod(b.shape[d] for d in free_b)))
    return ops.reshape(flat_a @ flat_b, [a.shape[d] for d in free_a] + [b.shape[d] for d in free_b])


def outer(input, vec2):
    """All products of two vectors' elements."""
    return ops.unsqueeze(input, 1) * ops.unsqueeze(vec2, 0)


def trace(input):
    """Sum of the diagonal."""
    return ops.sum(ops.diagonal(input, 0, 0, 1))


def tril(input, diagonal=0):
    """The lower triangle; zeros above it."""
    return ops.tril(input, diagonal)


def triu(input, diagonal=0):
    """The upper triangle; zeros below it."""
    return ops.triu(input, diagonal)
