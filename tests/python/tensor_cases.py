"""Tensor functions that are made of others, as cases of layer_cases.py. Order statistics, searching, element-wise
functions, pieces put together."""

import math

import numpy as np

from layer_cases import Grad, case

rng = np.random.RandomState(11)
NAN, INF = math.nan, math.inf
WITH_NAN = np.array([[3.0, NAN, 1.0, 2.0], [5.0, 4.0, 7.0, 6.0]])
EDGES = np.array([-INF, -2.5, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, INF, NAN])
WHOLE = np.array([3, 1, 4, 1, 5, 1, 2, 0])


def tensor_case(name, fn, *inputs, **options):
    """fn(T, tensors...)."""
    case(name, lambda T, nn, F: lambda *tensors: fn(T, *tensors), *inputs, **options)


# ---- order, searching, counting ------------------------------------------------------------------------------

tensor_case("median", lambda T, x: T.median(x), (3, 5))
tensor_case("median with NaN", lambda T, x: (T.median(x), T.median(x, 1).values), WITH_NAN)
tensor_case("median along a dimension", lambda T, x: x.median(0, keepdim=True), (4, 3))
tensor_case("median of whole numbers", lambda T, x: x.median(), WHOLE)
tensor_case("kthvalue", lambda T, x: T.kthvalue(x, 2), (3, 5))
tensor_case("kthvalue kept", lambda T, x: x.kthvalue(3, 0, True), (4, 3))
for how in ("linear", "lower", "higher", "nearest", "midpoint"):
    tensor_case(f"quantile {how}", lambda T, x, how=how: T.quantile(x, 0.3, 1, interpolation=how), (3, 6))
tensor_case("quantiles", lambda T, x, q: (T.quantile(x, q), T.quantile(x, q, 0, True)), (3, 6),
            np.array([0.0, 0.25, 0.9, 1.0]), compiled=False)
tensor_case("quantile with NaN", lambda T, x: T.quantile(x, 0.5, 1), WITH_NAN)
tensor_case("nanmean", lambda T, x: (T.nanmean(x), T.nanmean(x, 0), T.nanmean(x, 1, True)), Grad(WITH_NAN))
tensor_case("msort", lambda T, x: T.msort(x), (4, 3))

ROW = np.array([-1.0, 0.0, 0.5, 0.5, 2.0])
VALUES = np.array([[-2.0, -1.0, 0.5], [2.0, 0.7, 9.0]])
for right in (False, True):
    tensor_case(f"searchsorted{' right' if right else ''}",
                lambda T, s, v, r=right: T.searchsorted(s, v, right=r), ROW, VALUES)
    tensor_case(f"bucketize{' right' if right else ''}",
                lambda T, s, v, r=right: T.bucketize(v, s, right=r, out_int32=r), ROW, VALUES)
tensor_case("searchsorted by rows", lambda T, s, v: T.searchsorted(s, v, side="right"),
            np.sort(rng.randint(0, 5, (2, 7)).astype(float)), VALUES)
tensor_case("searchsorted of a number in nothing", lambda T, s: (T.searchsorted(s, 0.5), T.searchsorted(s[:0], 0.5)), ROW)
tensor_case("isin", lambda T, a, b: (T.isin(a, b), T.isin(a, b, invert=True), T.isin(a, b[:0])), WHOLE, np.array([1, 5, 9]))
tensor_case("bincount", lambda T, x, w: (T.bincount(x), T.bincount(x, minlength=9), x.bincount(w), x[:0].bincount()),
            WHOLE, rng.standard_normal(8))
tensor_case("histc", lambda T, x: (T.histc(x, 5, -1, 1), x.histc(4), T.histc(x[:1], 3)), np.append(ROW, [1.0, -0.4]))
tensor_case("unique", lambda T, x: T.unique(x, return_inverse=True, return_counts=True), WHOLE.reshape(2, 4))
tensor_case("unique alone", lambda T, x: (T.unique(x), T.unique(x[:0]), x.unique(return_counts=True)), WHOLE)
tensor_case("unique consecutive", lambda T, x: T.unique_consecutive(x, True, True), np.array([1, 1, 2, 2, 2, 1, 3]))

tensor_case("cumprod", lambda T, x: (T.cumprod(x, 1), x.cumprod(0)), (3, 7))
tensor_case("cumprod through zeros", lambda T, x: T.cumprod(x, 0), Grad([2.0, 0.0, 3.0, 0.0, -1.0]))
tensor_case("cumprod of whole numbers", lambda T, x: T.cumprod(x + 1, 0), WHOLE)
tensor_case("logcumsumexp", lambda T, x: T.logcumsumexp(x, 1), (3, 7))
tensor_case("cummax", lambda T, x: (*T.cummax(x, 1), *x.cummin(0)), (3, 7))
tensor_case("cummax with NaN and equals", lambda T, x: (*T.cummax(x, 0), *T.cummin(x, 0)),
            np.array([1.0, 3.0, 3.0, 2.0, NAN, 5.0, NAN]))

# ---- element-wise ------------------------------------------------------------------------------------------------

BOTH = np.meshgrid(EDGES, EDGES)
tensor_case("hypot", lambda T, x, y: T.hypot(x, y), (3, 4), (4,))
tensor_case("hypot at the edges", lambda T, x: T.hypot(x, x), np.array([1e-300, 0.0, -0.0, INF, -INF]))
for name in ("logaddexp", "logaddexp2"):
    tensor_case(name, lambda T, x, y, name=name: getattr(T, name)(x, y), (3, 4), (4,))
    tensor_case(f"{name} at the edges", lambda T, x, y, name=name: getattr(T, name)(x, y), *BOTH)
for name in ("copysign", "fmax", "fmin", "xlogy", "heaviside"):
    tensor_case(f"{name} at the edges", lambda T, x, y, name=name: getattr(T, name)(x, y), *BOTH)
tensor_case("copysign", lambda T, x, y: (T.copysign(x, y), T.copysign(x, -1.0)), (3, 4), (4,))
tensor_case("xlogy", lambda T, x, y: (T.xlogy(x, y), T.xlogy(2.0, y)), Grad([0.0, 1.0, 2.0]), Grad([0.5, 0.7, 3.0]))
for name in ("signbit", "isposinf", "isneginf", "frac", "deg2rad", "rad2deg", "positive", "sgn"):
    tensor_case(name, lambda T, x, name=name: getattr(T, name)(x), EDGES[1:-2] if name in ("frac", "sgn") else EDGES)
tensor_case("nan_to_num with values", lambda T, x: x.nan_to_num(1.0, 2.0, -3.0), EDGES)
UNIT = np.array([0.01, 0.2, 0.5, 0.7, 0.999])
tensor_case("logit", lambda T, x: (T.logit(x), T.logit(x, 0.2)), Grad([0.1, 0.4, 0.5, 0.7, 0.9]))
tensor_case("sinc", lambda T, x: T.sinc(x), Grad([0.3, -1.7, 2.0]))
tensor_case("sinc at 0", lambda T, x: T.sinc(x), np.array([0.0, -0.0, 1e-9]))
tensor_case("asinh", lambda T, x: T.asinh(x), Grad([-1e30, -5.0, -0.3, 1e-9, 0.7, 1e6, 1e12]))
tensor_case("acosh", lambda T, x: T.acosh(x), Grad([1.0 + 1e-9, 1.5, 30.0, 1e12, 1e30]),
            compiled=False)
tensor_case("atanh", lambda T, x: T.arctanh(x), Grad([-0.9, -1e-9, 0.3, 0.99]))
tensor_case("float_power", lambda T, x: (T.float_power(x, 2), x.float_power(0.5)), Grad(UNIT))
tensor_case("ldexp", lambda T, x, n: T.ldexp(x, n), (8,), WHOLE)

# ---- differences, distances --------------------------------------------------------------------------------------

tensor_case("diff", lambda T, x: (T.diff(x), x.diff(2, 0), T.diff(x, 9)), (3, 4))
tensor_case("diff with ends", lambda T, x, a, b: T.diff(x, dim=0, prepend=a, append=b), (3, 4), (1, 4), (2, 4))
tensor_case("cross", lambda T, x, y: T.cross(x, y, dim=1), (2, 3, 4), (1, 3, 4))
tensor_case("dist", lambda T, x, y: (T.dist(x, y), T.dist(x, y, 1)), (3, 4), (3, 4))
for p in (0.5, 1.0, 2.0, 3.0, INF):
    tensor_case(f"cdist {p}", lambda T, x, y, p=p: T.cdist(x, y, p), (2, 3, 4), (2, 5, 4))
tensor_case("cdist by a product", lambda T, x, y: T.cdist(x, y), (30, 4), (3, 4), twice=False)
tensor_case("cdist of equal rows", lambda T, x: T.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"), (3, 4),
            twice=False)

# ---- pieces --------------------------------------------------------------------------------------------------------

tensor_case("atleast", lambda T, a, b: (T.atleast_1d(T.tensor(1.0, dtype=a.dtype)), T.atleast_2d(a, b), T.atleast_3d([a, b])),
            (3,), (2, 3), compiled=False)
tensor_case("stacks", lambda T, a, b: (T.column_stack([a, b]), T.dstack([b, b])), (3,), (3, 2))
tensor_case("block_diag", lambda T, a, b, c: T.block_diag(a, b, c), (2, 3), (4,), (1, 1))
tensor_case("kron", lambda T, a, b: (T.kron(a, b), T.kron(b, a)), (2, 3), (2, 1, 2))
tensor_case("cartesian_prod", lambda T, a, b: T.cartesian_prod(a, b), (3,), (2,))
tensor_case("inner", lambda T, a, b: (T.inner(a, b), T.vdot(a[0], b[0])), (2, 3), (4, 3))
tensor_case("rotations", lambda T, x: (T.fliplr(x), T.flipud(x), *[T.rot90(x, k) for k in range(-1, 4)],
                                       T.rot90(x, 1, [2, 0])), (2, 3, 2))
tensor_case("tensor_split", lambda T, x: (x.tensor_split(3), T.tensor_split(x, (2, 1, -1)), T.hsplit(x, [1]), T.vsplit(x, 2)),
            (6, 3))
tensor_case("scattered pieces", lambda T, x, s, t: (T.select_scatter(x, s, 1, 2), T.slice_scatter(x, t, 0, 1, 4, 2)),
            (4, 3), (4,), (2, 3))
tensor_case("diag_embed", lambda T, x: (T.diag_embed(x), T.diag_embed(x, 2), T.diag_embed(x, -1, 0, 2), T.diagflat(x, 1),
                                        T.diag_embed(x, 1, 2, 0)), (2, 3))
tensor_case("triangle places", lambda T, x: (T.tril_indices(3, 4, 1), T.triu_indices(3, 4, -1), x * 1), (1,),
            compiled=False)

# ---- scattering, neighbours ------------------------------------------------------------------------------------

PLACES = np.array([[0, 1, 2, 0], [0, 0, 2, 1]])
for how in ("sum", "mean", "prod", "amax", "amin"):
    for own in (True, False):
        tensor_case(f"scatter_reduce {how}{'' if own else ' without self'}",
                    lambda T, x, s, how=how, own=own: T.scatter_reduce(x, 0, T.tensor(PLACES), s, how, include_self=own),
                    (3, 4), (2, 4), compiled=False)
tensor_case("scatter_reduce of whole numbers", lambda T, x: T.zeros(4, dtype=T.int64).scatter_reduce(
    0, T.tensor([1, 1, 0, 3, 3, 3, 1, 1]), x, "sum"), WHOLE, compiled=False)
NEAR = np.append(EDGES, [1e-45, -1e-45, 2.0**-126, 3.4028235e38, 4.0])


def _steps(T, x, y):
    """How far nextafter goes: a power of two, so its logarithm."""
    x, y = x.float().unsqueeze(1), y.float()
    step = T.nextafter(x, y).double() - x.double()
    return step.abs().log2(), step > 0


tensor_case("nextafter", _steps, NEAR, NEAR)
for name, given in {"copysign": (2.0,), "cumsum": (1,), "cumprod": (0,), "nan_to_num": (), "hypot": (3.0,), "sinc": (),
                    "logit": (0.1,), "float_power": (2.0,), "frac": (), "fix": (), "rad2deg": (), "subtract": (2.0,),
                    "greater": (0.5,), "negative": (), "xlogy": (2.0,)}.items():
    if name in ("copysign", "hypot", "xlogy"):
        tensor_case(f"{name}_", lambda T, x, name=name, n=given[0]: getattr(x + 0, name + "_")(T.full_like(x, n)), (3, 4))
    else:
        tensor_case(f"{name}_", lambda T, x, name=name, g=given: getattr(x + 0, name + "_")(*g), (3, 4),
                    twice=name != "logit", compiled=name not in ("fix", "greater"))  # these two have no slope
for name in ("relu", "celu", "elu", "hardtanh", "leaky_relu", "selu"):
    case(f"{name}_", lambda T, nn, F, name=name: lambda x: getattr(F, name + "_")(x + 0), (3, 4))
for name in ("relu6", "silu", "mish", "hardswish", "hardsigmoid"):
    case(f"{name} in place", lambda T, nn, F, name=name: lambda x: getattr(F, name)(x + 0, inplace=True), (3, 4))
case("threshold_", lambda T, nn, F: lambda x: F.threshold_(x + 0, 0.1, 7.0), (3, 4))

# ---- matrices, integrals, parts replaced ----------------------------------------------------------------------------

tensor_case("addmv", lambda T, x, m, v: (T.addmv(x, m, v), x.addmv(m, v, beta=0.5, alpha=2)), (3,), (3, 4), (4,))
tensor_case("addr", lambda T, x, a, b: (T.addr(x, a, b, alpha=3), (x + 0).addr_(a, b)), (3, 4), (3,), (4,))
tensor_case("addbmm", lambda T, x, a, b: T.addbmm(x, a, b, beta=2, alpha=0.5), (3, 5), (2, 3, 4), (2, 4, 5))
tensor_case("addmv of nothing before", lambda T, x, m, v: T.addmv(x, m, v, beta=0), np.full(3, NAN), (3, 4), (4,))
tensor_case("adjoint", lambda T, x: (T.adjoint(x), x.mH, x[0].H), (2, 3, 4))
tensor_case("cov", lambda T, x: (T.cov(x), x.cov(correction=0), T.cov(x[0]), x[0, 0].cov(correction=0)), (3, 6), twice=False)
tensor_case("cov weighted", lambda T, x, f, a: (T.cov(x, fweights=f), T.cov(x, aweights=a), T.cov(
    x, fweights=f, aweights=a, correction=2)), (3, 6), np.array([1, 2, 0, 3, 1, 1]), np.arange(6) + 0.5)
tensor_case("corrcoef", lambda T, x: (T.corrcoef(x), T.corrcoef(x[0])), (3, 6), twice=False)
tensor_case("vander", lambda T, x: (T.vander(x), T.vander(x, 5, True), T.vander(x, 1), T.vander(x, 0)),
            np.array([2.0, -1.5, 0.0, 3.0]))
tensor_case("trapezoid", lambda T, y, x: (T.trapezoid(y), T.trapz(y, dx=0.5, dim=0), T.trapezoid(y, x, dim=1),
                                          T.trapezoid(y[:, :1])), (3, 4), (4,))
tensor_case("trapezoid over places by row", lambda T, y, x: T.trapezoid(y, x, dim=0), (3, 4), (3, 4))
tensor_case("cumulative_trapezoid", lambda T, y, x: (T.cumulative_trapezoid(y, dx=2.0, dim=0), T.cumulative_trapezoid(
    y, x)), (3, 4), (4,))
tensor_case("diagonal_scatter", lambda T, x, a, b: (T.diagonal_scatter(x, a), x.diagonal_scatter(b, 1)), (4, 3), (3,), (2,))
tensor_case("diagonal_scatter of a batch", lambda T, x, s: T.diagonal_scatter(x, s, 0, 2, 0), (3, 2, 3), (2, 3))
tensor_case("index_copy", lambda T, x, s: (T.index_copy(x, 0, T.tensor([2, 0]), s), x.index_copy(
    -1, T.tensor([3]), s[:1, :3].t())), (3, 4), (2, 4), compiled=False)
tensor_case("index_fill", lambda T, x: x.index_fill(1, T.tensor([2, 0]), 7.0), (3, 4), compiled=False)
tensor_case("masked_scatter", lambda T, x, s, m: (T.masked_scatter(x, m, s), x.masked_scatter(m[0], s)), (3, 4), (13,),
            rng.standard_normal((3, 4)) > 0)
tensor_case("unravel_index", lambda T, x: T.unravel_index(x, (2, 3, 4)), np.array([[0, 23], [5, 13]]))
tensor_case("fill_diagonal_", lambda T, x: ((x + 0).fill_diagonal_(7.0), (x.t() + 0).fill_diagonal_(-1)), (4, 3))
tensor_case("questions", lambda T, x: T.tensor([
    x.element_size(), x.get_device(), x.is_signed(), x.bool().is_signed(), x.is_cpu, x.is_cuda, x.is_sparse, x.is_meta,
    x.is_complex(), T.is_nonzero(x[0, 0]), x.is_pinned(), x.is_quantized]), np.ones((2, 2)))
tensor_case("real numbers", lambda T, x: (T.real(x), x.conj(), x.real, x.resolve_conj()), (2, 3))
tensor_case("logspace", lambda T, x: (T.logspace(-1, 2, 4, dtype=x.dtype), T.logspace(0, 3, 7, 2.0, dtype=x.dtype)), ROW)


def _dirac(T, nn, F):
    def weights(x):
        return tuple(nn.init.dirac_(x.new_ones(s), g) for s, g in (((3, 4, 3), 1), ((4, 2, 2, 3), 2), ((2, 2, 1, 1, 3), 1)))

    return weights


case("dirac_", _dirac, ROW)
