"""Linear algebra with torch.linalg's names: norms and products made of ops, and factorisations by LAPACK through NumPy,
with gradients made of ops, so that they can be differentiated again.

Matrices are the last two dimensions; others are batches. Factorisations take float32 and float64 on the CPU and work at
once: inside suan.compile they are errors (their values would be needed while the function is recorded)."""

import numpy as _np

from . import _c
from .autograd import Function as _Function
from .elementwise import cross as _cross
from .matrices import vander  # noqa: F401
from .reduce import norm as _norm

ops = _c.ops
_Tensor = _c.Tensor

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "lstsq", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_triangular", "svd", "svdvals", "vander", "vecdot", "vector_norm",
]


class LinAlgError(RuntimeError):
    """A matrix that has no such factorisation: singular, or not positive definite."""


class _Named(tuple):
    """A tuple whose parts have names."""

    def __new__(cls, *parts):
        return super().__new__(cls, parts)

    def __init_subclass__(cls, names=""):
        for i, name in enumerate(names.split()):
            setattr(cls, name, property(lambda self, i=i: self[i]))


class _Slogdet(_Named, names="sign logabsdet"):
    pass


class _QR(_Named, names="Q R"):
    pass


class _Eigh(_Named, names="eigenvalues eigenvectors"):
    pass


class _SVD(_Named, names="U S Vh"):
    pass


class _Lstsq(_Named, names="solution residuals rank singular_values"):
    pass


def _matrix(op, A, square=False):
    if not isinstance(A, _Tensor):
        raise TypeError(f"[{op}] wrong input: expected a tensor, got {type(A).__name__}")
    if A.dim() < 2:
        raise _c.ShapeError(f"[{op}] wrong input: expected [..., rows, columns], got {tuple(A.shape)}")
    if square and A.shape[-1] != A.shape[-2]:
        raise _c.ShapeError(f"[{op}] matrix is not square: expected [..., n, n], got {tuple(A.shape)}")
    if A.dtype not in (_c.float32, _c.float64):
        raise TypeError(f"[{op}] wrong dtype: expected float32 or float64, got {A.dtype}")
    return A


def _call(op, function, *arrays, **options):
    """A NumPy function on tensors' values; tensors back."""
    try:
        found = function(*(a.detach().numpy() for a in arrays), **options)
    except _np.linalg.LinAlgError as error:
        raise LinAlgError(f"[{op}] no such factorisation: expected a regular matrix, got one where {error}") from None
    parts = found if isinstance(found, tuple) else (found,)
    made = tuple(_c.from_array(_np.array(p, dtype=arrays[0].detach().numpy().dtype, order="C", copy=True)) for p in parts)
    return made if isinstance(found, tuple) else made[0]


def _t(A):
    return ops.transpose(A, -2, -1)


def _eye(n, like):
    return ops.eye(n, n, dtype=like.dtype)


def _half_lower(A):
    """The lower triangle, its diagonal halved."""
    return ops.tril(A, 0) - 0.5 * A * _eye(A.shape[-1], A)


# ---- inverses and determinants ------------------------------------------------------------------------------------


class _Inv(_Function):
    @staticmethod
    def forward(ctx, A):
        out = _call("inv", _np.linalg.inv, A)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, g):
        inverse = _t(ctx.saved_tensors[0])
        return -(inverse @ g @ inverse)


def inv(A):
    """The inverse of [..., n, n]; LinAlgError for a singular matrix."""
    return _Inv.apply(_matrix("inv", A, square=True))


class _Solve(_Function):  # A and B of one batch
    @staticmethod
    def forward(ctx, A, B):
        X = _call("solve", _np.linalg.solve, A, B)
        ctx.save_for_backward(A, X)
        return X

    @staticmethod
    def backward(ctx, g):
        A, X = ctx.saved_tensors
        gB = _Solve.apply(_t(A), g)
        return -(gB @ _t(X)), gB


def solve(A, B, *, left=True):
    """X with A @ X = B (left) or X @ A = B, for A [..., n, n] and B [..., n, k]; a B of one dimension less than A is a
    batch of vectors. LinAlgError for a singular A."""
    _matrix("solve", A, square=True)
    if B.dtype != A.dtype:
        raise TypeError(f"[solve] dtypes differ: expected {A.dtype}, got {B.dtype}")
    vector = B.dim() == 1 or (B.dim() == A.dim() - 1 and tuple(B.shape) == tuple(A.shape[:-1]))
    if vector and not left:
        raise ValueError("[solve] vectors have one side: expected left=True, got left=False")
    if vector:
        B = ops.unsqueeze(B, -1)
    if not left:
        return _t(solve(_t(A), _t(B)))
    if B.shape[-2] != A.shape[-1]:
        raise _c.ShapeError(f"[solve] sizes differ: expected [..., {A.shape[-1]}, k], got {tuple(B.shape)}")
    batch = _np.broadcast_shapes(tuple(A.shape[:-2]), tuple(B.shape[:-2]))
    A = ops.expand(A, (*batch, *A.shape[-2:]))
    B = ops.expand(B, (*batch, *B.shape[-2:]))
    X = _Solve.apply(A, B)
    return ops.squeeze(X, -1) if vector else X


def solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """solve() with a triangle of A [..., n, n]: what lies on its other side is not looked at, nor is the diagonal if
    unitriangular."""
    _matrix("solve_triangular", A, square=True)
    part = ops.triu(A, 0) if upper else ops.tril(A, 0)
    if unitriangular:
        eye = _eye(A.shape[-1], A)
        part = part * (1 - eye) + eye
    return solve(part, B, left=left)


class _Slog(_Function):
    @staticmethod
    def forward(ctx, A):
        sign, size = _call("slogdet", lambda a: tuple(_np.linalg.slogdet(a)), A)
        ctx.save_for_backward(A)
        ctx.mark_non_differentiable(sign)
        return sign, size

    @staticmethod
    def backward(ctx, _, g):
        A, = ctx.saved_tensors
        return g[..., None, None] * _t(_Inv.apply(A))


def slogdet(A):
    """(sign, logarithm of the absolute value) of the determinant of [..., n, n]; sign 0 and -inf where it is 0. The
    gradient needs a regular matrix."""
    return _Slogdet(*_Slog.apply(_matrix("slogdet", A, square=True)))


def det(A):
    """The determinant of [..., n, n]. The gradient needs a regular matrix."""
    sign, size = slogdet(A)
    return sign * ops.exp(size)


class _Cholesky(_Function):
    @staticmethod
    def forward(ctx, A):
        L = _call("cholesky", _np.linalg.cholesky, A)
        ctx.save_for_backward(L)
        return L

    @staticmethod
    def backward(ctx, g):
        L, = ctx.saved_tensors
        inner = _half_lower(_t(L) @ ops.tril(g, 0))
        down = _Inv.apply(L)
        out = _t(down) @ inner @ down
        return 0.5 * (out + _t(out))


def cholesky(A, *, upper=False):
    """The lower triangle L with L @ L.T = A (its transpose if upper) of symmetric, positive definite [..., n, n], of
    which the lower triangle is read. LinAlgError for another. Gradient: symmetric."""
    _matrix("cholesky", A, square=True)
    L = _Cholesky.apply(A)
    return _t(L) if upper else L


# ---- orthogonal factors ---------------------------------------------------------------------------------------------


class _QRReduced(_Function):
    @staticmethod
    def forward(ctx, A):
        Q, R = _call("qr", lambda a: tuple(_np.linalg.qr(a, mode="reduced")), A)
        ctx.save_for_backward(Q, R)
        return Q, R

    @staticmethod
    def backward(ctx, gQ, gR):
        Q, R = ctx.saved_tensors
        m, n = Q.shape[-2], R.shape[-1]
        if m < n:
            raise _c.StateError(f"[qr] no gradient: expected at least as many rows as columns, got {m} and {n}")
        M = R @ _t(gR) - _t(gQ) @ Q
        M = ops.tril(M, 0) + _t(ops.tril(M, -1))
        return (gQ + Q @ M) @ _t(_Inv.apply(R))


def qr(A, mode="reduced"):
    """(Q, R) of [..., m, n]: Q [..., m, k] with orthonormal columns and R [..., k, n] upper triangular, k = min(m, n);
    mode "complete": k = m, without a gradient where m > n; "r": Q is empty, no gradient."""
    _matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"[qr] wrong mode: expected 'reduced', 'complete' or 'r', got {mode!r}")
    if mode == "reduced" or (mode == "complete" and A.shape[-2] <= A.shape[-1]):
        return _QR(*_QRReduced.apply(A))
    _without_gradient("qr", A, f"mode='reduced' with a gradient, got mode={mode!r}")
    if mode == "r":
        R = _call("qr", lambda a: _np.linalg.qr(a, mode="r"), A)
        return _QR(ops.full(_c.literal(0, A.dtype), (0,)), R)
    return _QR(*_call("qr", lambda a: tuple(_np.linalg.qr(a, mode="complete")), A))


def _without_gradient(op, A, expected):
    if A.requires_grad and _c.is_grad_enabled():
        raise _c.StateError(f"[{op}] no gradient: expected {expected}; take .detach()")


class _EighFn(_Function):
    @staticmethod
    def forward(ctx, A, lower):
        w, V = _call("eigh", lambda a: tuple(_np.linalg.eigh(a, UPLO="L" if lower else "U")), A)
        ctx.save_for_backward(w, V)
        return w, V

    @staticmethod
    def backward(ctx, gw, gV):
        w, V = ctx.saved_tensors
        gap = ops.unsqueeze(w, -2) - ops.unsqueeze(w, -1)
        eye = _eye(w.shape[-1], w)
        inner = _t(V) @ gV * (1 - eye) / (gap + eye) + ops.unsqueeze(gw, -1) * eye
        out = V @ inner @ _t(V)
        return 0.5 * (out + _t(out)), None


def eigh(A, UPLO="L"):
    """(eigenvalues [..., n] in rising order, eigenvectors [..., n, n] in columns) of symmetric [..., n, n], of which one
    triangle is read. The gradient of the vectors needs different eigenvalues; it is symmetric."""
    if UPLO not in ("L", "U"):
        raise ValueError(f"[eigh] wrong UPLO: expected 'L' or 'U', got {UPLO!r}")
    return _Eigh(*_EighFn.apply(_matrix("eigh", A, square=True), UPLO == "L"))


def eigvalsh(A, UPLO="L"):
    """Eigenvalues of a symmetric matrix, in rising order."""
    return eigh(A, UPLO)[0]


class _SVDReduced(_Function):
    @staticmethod
    def forward(ctx, A):
        U, S, Vh = _call("svd", lambda a: tuple(_np.linalg.svd(a, full_matrices=False)), A)
        ctx.save_for_backward(U, S, Vh)
        return U, S, Vh

    @staticmethod
    def backward(ctx, gU, gS, gVh):
        U, S, Vh = ctx.saved_tensors
        V, gV = _t(Vh), _t(gVh)
        eye = _eye(S.shape[-1], S)
        row, column = ops.unsqueeze(S, -2), ops.unsqueeze(S, -1)
        gap = (row - column) * (row + column) + eye
        off = (1 - eye) / gap
        u, v = _t(U) @ gU, _t(V) @ gV
        inner = (off * (u - _t(u))) * row + column * (off * (v - _t(v))) + ops.unsqueeze(gS, -1) * eye
        out = U @ inner @ Vh
        # The parts of the singular vectors' moves outside the space that they span.
        if U.shape[-2] > U.shape[-1]:
            out = out + (gU - U @ u) / row @ Vh
        if V.shape[-2] > V.shape[-1]:
            out = out + U @ _t((gV - V @ v) / row)
        return out


def svd(A, full_matrices=True):
    """(U [..., m, m], S [..., k] in falling order, Vh [..., n, n]) of [..., m, n] with A = U @ diag(S) @ Vh and
    k = min(m, n); full_matrices=False: U [..., m, k] and Vh [..., k, n]. The gradient of U and Vh needs different
    singular values, none of them 0, and full_matrices=False unless m = n."""
    _matrix("svd", A)
    if not full_matrices or A.shape[-1] == A.shape[-2]:
        return _SVD(*_SVDReduced.apply(A))
    _without_gradient("svd", A, "full_matrices=False with a gradient, got full_matrices=True")
    return _SVD(*_call("svd", lambda a: tuple(_np.linalg.svd(a)), A))


def svdvals(A):
    """Singular values [..., min(m, n)] of [..., m, n], in falling order."""
    return svd(A, full_matrices=False)[1]


def _cut(S, shape, atol, rtol):
    rtol = (0.0 if atol is not None else max(shape[-2:]) * (1.1920929e-07 if S.dtype == _c.float32 else 2.220446e-16)) \
        if rtol is None else rtol
    return ops.maximum(ops.max(S, -1, True) * rtol, 0.0 if atol is None else float(atol))


def pinv(A, *, atol=None, rtol=None, hermitian=False):
    """The pseudo-inverse [..., n, m] of [..., m, n]; singular values up to max(atol, rtol · the largest) count as 0
    (rtol: max(m, n) · epsilon unless atol is given). The gradient needs full rank. hermitian is accepted, and the
    same way is taken."""
    _matrix("pinv", A)
    m, n = A.shape[-2:]
    _, S, _ = svd(A.detach(), full_matrices=False)
    if bool((S > _cut(S, A.shape, atol, rtol)).all()) and A.requires_grad and _c.is_grad_enabled():
        # Of full rank: the formula that can be differentiated at equal singular values too.
        return solve(_t(A) @ A, _t(A)) if m >= n else _t(solve(A @ _t(A), A))
    _without_gradient("pinv", A, "a matrix of full rank")
    U, S, Vh = svd(A, full_matrices=False)
    keep = S > _cut(S, A.shape, atol, rtol)
    return _t(Vh) * ops.unsqueeze(ops.where(keep, 1 / S, 0.0), -2) @ _t(U)


def matrix_rank(A, *, atol=None, rtol=None, hermitian=False):
    """How many singular values [...] are above max(atol, rtol · the largest)."""
    S = svdvals(_matrix("matrix_rank", A).detach())
    return ops.sum(S > _cut(S, A.shape, atol, rtol), -1, False)


def lstsq(A, B, rcond=None, *, driver=None):
    """(solution [..., n, k], residuals, rank, singular_values) with the least |A @ X - B| for A [..., m, n] and
    B [..., m, k]; residuals are empty unless m > n and the rank is full, as LAPACK's gelsd gives them. No gradient:
    pinv(A) @ B has one."""
    _matrix("lstsq", A)
    for t in (A, B):
        _without_gradient("lstsq", t, "tensors that require none; pinv(A) @ B has one")
    if driver not in (None, "gelsd"):
        raise ValueError(f"[lstsq] wrong driver: expected 'gelsd', got {driver!r}")
    batch = _np.broadcast_shapes(tuple(A.shape[:-2]), tuple(B.shape[:-2]))
    a = _np.broadcast_to(A.detach().numpy(), (*batch, *A.shape[-2:])).reshape(-1, *A.shape[-2:])
    b = _np.broadcast_to(B.detach().numpy(), (*batch, *B.shape[-2:])).reshape(-1, *B.shape[-2:])
    found = [_np.linalg.lstsq(x, y, rcond=rcond) for x, y in zip(a, b)]
    def joined(i, dtype):
        parts = _np.stack([_np.asarray(f[i], dtype) for f in found]) if found else _np.zeros((0,), dtype)
        return _c.from_array(_np.array(parts.reshape((*batch, *parts.shape[1:])), order="C"))
    kind = a.dtype
    return _Lstsq(joined(0, kind), joined(1, kind), joined(2, _np.int64), joined(3, kind))


# ---- made of ops -----------------------------------------------------------------------------------------------------


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """The ord-norm of the elements, over dim (all by default, flattened)."""
    return _norm(x, ord, dim, keepdim, dtype)


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """A norm of the matrices in two dimensions: 'fro', 'nuc', 2 and -2 (singular values), 1 and -1 (columns), inf and
    -inf (rows)."""
    if dtype is not None:
        A = A.to(dtype)
    if len(dim) != 2:
        raise ValueError(f"[matrix_norm] wrong dim: expected two dimensions, got {dim}")
    if ord == "fro":
        return _norm(A, 2, dim, keepdim)
    rank = A.dim()
    row, column = (d + rank if d < 0 else d for d in dim)
    if ord in ("nuc", 2, -2):
        rest = [d for d in range(rank) if d not in (row, column)]
        S = svdvals(_matrix("matrix_norm", ops.permute(A, (*rest, row, column))))
        out = ops.sum(S, -1, False) if ord == "nuc" else ops.max(S, -1, False) if ord == 2 else ops.min(S, -1, False)
        for d in sorted((row, column)) if keepdim else ():
            out = ops.unsqueeze(out, d)
        return out
    if ord not in (1, -1, float("inf"), -float("inf")):
        raise ValueError(f"[matrix_norm] wrong ord: expected 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    inner, outer = (row, column) if ord in (1, -1) else (column, row)
    sums = ops.sum(ops.abs(A), inner, True)
    out = ops.max(sums, outer, True) if ord > 0 else ops.min(sums, outer, True)
    if not keepdim:
        for d in sorted((row, column), reverse=True):
            out = ops.squeeze(out, d)
    return out


def norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """vector_norm, or matrix_norm where ord is given for two dimensions (or for a matrix without dim)."""
    pair = isinstance(dim, (tuple, list)) and len(dim) == 2
    if ord is None or ord == "fro" and dim is None and A.dim() != 2:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if isinstance(ord, str) or pair or (dim is None and A.dim() == 2):
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)


def cond(A, p=None):
    """The condition number |A| · |inv(A)| in a matrix norm; by singular values for None, 2 and -2."""
    if p in (None, 2, -2):
        S = svdvals(A)
        largest, least = ops.max(S, -1, False), ops.min(S, -1, False)
        return least / largest if p == -2 else largest / least
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


def cross(input, other, *, dim=-1):
    """The cross product along a dimension of 3."""
    return _cross(input, other, dim)


def vecdot(x, y, *, dim=-1):
    """The sum of x · y along a dimension."""
    return ops.sum(x * y, dim, False)


def matmul(input, other):
    """input @ other."""
    return ops.matmul(input, other)


def diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """A view of the diagonals of matrices."""
    return ops.diagonal(A, offset, dim1, dim2)


def logdet(A):
    """The logarithm of the determinant of [..., n, n]: NaN where that is negative, -inf where it is 0."""
    sign, size = slogdet(A)
    return ops.where(sign < 0, float("nan"), size)


def cholesky_solve(B, L, upper=False):
    """X with A @ X = B, for A's Cholesky factor L."""
    first, second = (_t(L), L) if upper else (L, _t(L))
    return solve_triangular(second, solve_triangular(first, B, upper=False), upper=True)


def cholesky_inverse(L, upper=False):
    """The inverse of the matrix with Cholesky factor L."""
    return cholesky_solve(ops.expand(_eye(L.shape[-1], L), L.shape), L, upper)


def multi_dot(tensors):
    """The product of two or more matrices in the cheapest order; the first and the last may be vectors."""
    tensors = list(tensors)
    if len(tensors) < 2:
        raise ValueError(f"[multi_dot] too few tensors: expected two or more, got {len(tensors)}")
    first, last = tensors[0].dim() == 1, tensors[-1].dim() == 1
    if first:
        tensors[0] = ops.unsqueeze(tensors[0], 0)
    if last:
        tensors[-1] = ops.unsqueeze(tensors[-1], 1)
    for a, b in zip(tensors, tensors[1:]):
        if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[0]:
            raise _c.ShapeError(f"[multi_dot] sizes differ: expected [n, k] and [k, m], got {tuple(a.shape)} and "
                                f"{tuple(b.shape)}")
    n, sizes = len(tensors), [t.shape[0] for t in tensors] + [tensors[-1].shape[1]]
    cost, cut = [[0] * n for _ in range(n)], [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i][j], cut[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j))

    def product(i, j):
        return tensors[i] if i == j else product(i, cut[i][j]) @ product(cut[i][j] + 1, j)

    out = product(0, n - 1)
    if first:
        out = ops.squeeze(out, 0)
    return ops.squeeze(out, -1) if last else out


def matrix_power(A, n):
    """A @ A @ ... n times for [..., m, m]; the inverse's for a negative n."""
    if n < 0:
        return matrix_power(inv(A), -n)
    if A.dim() < 2 or A.shape[-1] != A.shape[-2]:
        raise _c.ShapeError(f"[matrix_power] matrix is not square: expected [..., n, n], got {tuple(A.shape)}")
    out, square = None, A
    while n:
        if n & 1:
            out = square if out is None else out @ square
        n >>= 1
        if n:
            square = square @ square
    return ops.expand(_eye(A.shape[-1], A), A.shape) if out is None else out


def chain_matmul(*matrices):
    """multi_dot of its arguments."""
    return multi_dot(matrices)


def matrix_exp(A):
    """The exponential of [..., n, n]: a Taylor polynomial of degree 18 of A / 2^s, squared s times, where s makes every
    matrix's largest column sum at most 1. Inside suan.compile s would depend on values, which is an error."""
    _matrix("matrix_exp", A, square=True)
    size = float(matrix_norm(A.detach(), 1).max()) if A.numel() else 0.0
    if not _np.isfinite(size):
        raise ValueError(f"[matrix_exp] matrix is not finite: expected numbers, got a norm of {size}")
    squarings = max(0, int(_np.ceil(_np.log2(size)))) if size > 1 else 0
    x, out = A * 2.0**-squarings, _eye(A.shape[-1], A)
    for k in range(18, 0, -1):  # Horner's rule
        out = x @ out / k + _eye(A.shape[-1], A)
    for _ in range(squarings):
        out = out @ out
    return out


inverse, pinverse = inv, pinv  # their names in suan itself
