"""Products with additions, covariances, integrals, and copies with a part of the elements replaced, all made of the
op table's, with torch's names and signatures."""

from . import _c
from .reduce import index_copy_, index_fill_, mv
from .shaping import _axis

ops = _c.ops
Tensor = _c.Tensor


def _plus(input, product, beta, alpha):
    """beta · input + alpha · product; with beta 0 input's values do not matter, not even NaN."""
    product = product if alpha == 1 else alpha * product
    if beta == 0:
        return product
    return (input if beta == 1 else beta * input) + product


def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta · input + alpha · (mat @ vec), for mat [n, m] and vec [m]."""
    return _plus(input, mv(mat, vec), beta, alpha)


def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta · input + alpha · the outer product of vec1 [n] and vec2 [m]."""
    return _plus(input, ops.outer(vec1, vec2), beta, alpha)


def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta · input + alpha · the sum over the batch of batch1 [batch, n, k] @ batch2 [batch, k, m]."""
    return _plus(input, ops.sum(ops.bmm(batch1, batch2), 0, False), beta, alpha)


def adjoint(input):
    """The last two dimensions exchanged: there are no complex tensors."""
    return ops.transpose(input, -2, -1)


def cov(input, *, correction=1, fweights=None, aweights=None):
    """Covariances [variables, variables] of variables in rows, observations in columns; a vector is one variable.
    fweights counts each observation so many times, aweights weighs it; the divisor is lowered by correction."""
    if input.dim() > 2:
        raise ValueError(f"[cov] wrong input rank: expected at most 2, got {input.dim()}")
    x = input if input.dim() == 2 else ops.reshape(input, (1, -1))
    n = x.shape[1]
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is not None and tuple(w.shape) != (n,):
            raise ValueError(f"[cov] wrong shape of {name}: expected ({n},), got {tuple(w.shape)}")
    weights = [w.to(x.dtype) for w in (fweights, aweights) if w is not None]
    if not weights:
        x = x - ops.mean(x, 1, True)
        out = x @ ops.transpose(x, 0, 1) / max(n - correction, 0)
    else:
        w = weights[0] if len(weights) == 1 else weights[0] * weights[1]
        total = ops.sum(w, 0, False)
        x = x - ops.sum(x * w, 1, True) / total
        lost = correction if aweights is None else correction * ops.sum(w * weights[-1], 0, False) / total
        out = (x * w) @ ops.transpose(x, 0, 1) / ops.clamp(total - lost, 0, None)
    return out if input.dim() == 2 else ops.reshape(out, ())


def corrcoef(input):
    """Correlations of variables in rows, observations in columns: within [-1, 1]."""
    c = cov(input)
    if c.dim() == 0:
        return c / c
    size = ops.sqrt(ops.diagonal(c, 0, 0, 1))
    return ops.clamp(c / ops.unsqueeze(size, 1) / size, -1, 1)


def vander(x, N=None, increasing=False):
    """Powers of a vector in columns: N of them (its length by default), the highest first unless increasing."""
    if x.dim() != 1:
        raise ValueError(f"[vander] wrong input rank: expected 1, got {x.dim()}")
    n = x.shape[0] if N is None else N
    powers = [ops.ones(x.shape, dtype=x.dtype)]
    while len(powers) < n:
        powers.append(powers[-1] * x)
    return ops.stack((powers if increasing else powers[::-1])[:n] if n else powers, -1)[:, :n]


def _trapezoids(op, y, x, dx, dim):
    """The areas between neighbours along dim."""
    dim, n = _axis(dim, y.dim(), op), y.shape[dim]
    means = (ops.narrow(y, dim, 1, n - 1) + ops.narrow(y, dim, 0, n - 1)) / 2 if n else y
    if x is None:
        return means * (1 if dx is None else dx)
    if x.dim() == 1:
        x = ops.reshape(x, [-1 if d == dim else 1 for d in range(y.dim())])
    at = dim - y.dim()
    if x.shape[at] != n:
        raise ValueError(f"[{op}] wrong size of x: expected {n}, got {x.shape[at]}")
    return means * (ops.narrow(x, at, 1, n - 1) - ops.narrow(x, at, 0, n - 1)) if n else means


def trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of y along dim by the trapezoidal rule, over places x or at distance dx (1)."""
    return ops.sum(_trapezoids("trapezoid", y, x, dx, dim), dim, False)


trapz = trapezoid


def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integrals from the first place to each of the others; see trapezoid."""
    return ops.cumsum(_trapezoids("cumulative_trapezoid", y, x, dx, dim), dim)


# ---- a part of the elements replaced ---------------------------------------------------------------------


def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """A copy of input with its diagonal from src."""
    out = input.clone()
    ops.diagonal(out, offset, dim1, dim2).copy_(src)
    return out


def index_copy(input, dim, index, source):
    """A copy of input with source's slices at index along a dimension."""
    return index_copy_(input.clone(), dim, index, source)


def index_fill(input, dim, index, value):
    """A copy of input with value at index along a dimension."""
    return index_fill_(input.clone(), dim, index, value)


def masked_scatter(input, mask, source):
    """A copy of input with source's elements, in their order, where mask is true; mask broadcasts to input."""
    wide = ops.flatten(ops.expand(mask, input.shape))
    place = ops.cumsum(wide.to(_c.int64), 0) - 1
    taken = ops.index_select(ops.flatten(source), ops.where(wide, place, 0), dim=0)
    return ops.where(ops.reshape(wide, input.shape), ops.reshape(taken, input.shape), input)


def unravel_index(indices, shape):
    """Places in a tensor of a shape, one int64 tensor a dimension, of positions in its flattened row."""
    found = []
    for size in reversed(tuple(shape)):
        found.append(ops.remainder(indices, size))
        indices = ops.floor_divide(indices, size)
    return tuple(reversed(found))
