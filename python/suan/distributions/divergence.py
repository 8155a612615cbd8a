"""Kullback-Leibler divergences between two distributions of one kind."""

import suan
from suan.nn import functional as F

from .continuous import Exponential, Laplace, LogNormal, MultivariateNormal, Normal, Uniform
from .discrete import Bernoulli, Categorical, Geometric, OneHotCategorical
from .distribution import Independent


def _normal(p, q):
    ratio, apart = (p.scale / q.scale).square(), ((p.loc - q.loc) / q.scale).square()
    return 0.5 * (ratio + apart - 1 - ratio.log())


def _laplace(p, q):
    ratio, apart = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + apart / q.scale + ratio * (-apart / p.scale).exp() - 1


def _uniform(p, q):
    inside = (q.low <= p.low) & (q.high >= p.high)
    return suan.where(inside, ((q.high - q.low) / (p.high - p.low)).log(), float("inf"))


def _exponential(p, q):
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


def _bernoulli(p, q):
    logits, probs = suan.broadcast_tensors(q.logits, p.probs)
    return F.binary_cross_entropy_with_logits(logits, probs, reduction="none") - p.entropy()


def _geometric(p, q):
    return -p.entropy() - suan.log1p(-q.probs) / p.probs - q.logits


def _classes(p, q):
    return (p.probs * (p.logits - q.logits)).sum(-1)


def _vectors(p, q):
    n = p.event_shape[0]
    batch = suan.broadcast_shapes(p.batch_shape, q.batch_shape)
    factor = q.scale_tril.expand(*batch, n, n)
    ratio = suan.linalg.solve_triangular(factor, p.scale_tril.expand(*batch, n, n), upper=False)
    apart = suan.linalg.solve_triangular(factor, (q.loc - p.loc).expand(*batch, n).unsqueeze(-1), upper=False)
    squares = ratio.square().sum((-2, -1)) + apart.square().sum((-2, -1))
    return q._half_log_det() - p._half_log_det() + 0.5 * (squares - n)


def _independent(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("[kl_divergence] Independent of different dimensions: expected "
                                  f"{p.reinterpreted_batch_ndims}, got {q.reinterpreted_batch_ndims}")
    return p._sum(kl_divergence(p.base_dist, q.base_dist))


_FORMULAS = {
    Normal: _normal, LogNormal: _normal, Laplace: _laplace, Uniform: _uniform, Exponential: _exponential,
    Bernoulli: _bernoulli, Geometric: _geometric, Categorical: _classes, OneHotCategorical: _classes,
    MultivariateNormal: _vectors, Independent: _independent,
}


def kl_divergence(p, q):
    """KL(p ‖ q), of the broadcast batch shape. NotImplementedError unless both are of one kind that has a formula."""
    formula = _FORMULAS.get(type(p))
    if formula is None or type(q) is not type(p):
        kinds = ", ".join(kind.__name__ for kind in _FORMULAS)
        raise NotImplementedError(f"[kl_divergence] no formula: expected two distributions of one kind of {kinds}, got "
                                  f"{type(p).__name__} and {type(q).__name__}")
    return formula(p, q)
