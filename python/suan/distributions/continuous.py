"""Distributions with a density."""

import math

import suan

from .distribution import Distribution, tensors

positive = ("positive numbers", lambda x: x > 0)
real = ("numbers", lambda x: x == x)


class _LocationScale(Distribution):
    """loc + scale × a variable that subclasses draw in _standard(shape)."""

    has_rsample = True
    arg_constraints = {"loc": real, "scale": positive}

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = tensors(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)

    def rsample(self, sample_shape=()):
        return self.loc + self.scale * self._standard(self._extended(sample_shape))

    @property
    def mean(self):
        return self.loc

    @property
    def mode(self):
        return self.loc


class Normal(_LocationScale):
    """Normal distribution of mean `loc` and standard deviation `scale`."""

    def _standard(self, shape):
        return suan.randn(shape, dtype=self.loc.dtype, device=self.loc.device)

    def log_prob(self, value):
        z = (value - self.loc) / self.scale
        return -0.5 * z * z - self.scale.log() - 0.5 * math.log(2 * math.pi)

    def entropy(self):
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()

    def cdf(self, value):
        return 0.5 * (1 + suan.erf((value - self.loc) / (self.scale * math.sqrt(2))))

    @property
    def variance(self):
        return self.scale.square()

    @property
    def stddev(self):
        return self.scale


class LogNormal(Normal):
    """exp of a normal variable."""

    arg_constraints = Normal.arg_constraints

    def rsample(self, sample_shape=()):
        return super().rsample(sample_shape).exp()

    def log_prob(self, value):
        log = value.log()
        return super().log_prob(log) - log

    def entropy(self):
        return super().entropy() + self.loc

    def cdf(self, value):
        return super().cdf(value.log())

    @property
    def mean(self):
        return (self.loc + self.scale.square() / 2).exp()

    @property
    def mode(self):
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self):
        squared = self.scale.square()
        return suan.expm1(squared) * (2 * self.loc + squared).exp()

    @property
    def stddev(self):
        return self.variance.sqrt()


class Laplace(_LocationScale):
    """Density exp(-|x - loc| / scale) / (2 scale)."""

    def _standard(self, shape):
        # In (-1, 1): the ends would be infinite.
        u = suan.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        u = (2 * u - 1) * (1 - suan.finfo(u.dtype).eps)
        return -u.sign() * suan.log1p(-u.abs())

    def log_prob(self, value):
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def entropy(self):
        return 1 + (2 * self.scale).log()

    @property
    def variance(self):
        return 2 * self.scale.square()


class Uniform(Distribution):
    """Uniform on [low, high)."""

    has_rsample = True

    def __init__(self, low, high, validate_args=None):
        self.low, self.high = tensors(low, high)
        super().__init__(self.low.shape, (), validate_args)
        if self._validate:
            self._check("high", self.high, f"more than low, {self.low.detach()}", lambda x: x > self.low)

    def rsample(self, sample_shape=()):
        u = suan.rand(self._extended(sample_shape), dtype=self.low.dtype, device=self.low.device)
        return self.low + u * (self.high - self.low)

    def log_prob(self, value):
        inside = (value >= self.low) & (value < self.high)
        return suan.where(inside, -(self.high - self.low).log(), -math.inf)

    def entropy(self):
        return (self.high - self.low).log()

    def cdf(self, value):
        return ((value - self.low) / (self.high - self.low)).clamp(0, 1)

    @property
    def mean(self):
        return (self.low + self.high) / 2

    @property
    def variance(self):
        return (self.high - self.low).square() / 12


class Exponential(Distribution):
    """Density rate · exp(-rate · x) for x >= 0."""

    has_rsample = True
    arg_constraints = {"rate": positive}

    def __init__(self, rate, validate_args=None):
        (self.rate,) = tensors(rate)
        super().__init__(self.rate.shape, (), validate_args)

    def rsample(self, sample_shape=()):
        u = suan.rand(self._extended(sample_shape), dtype=self.rate.dtype, device=self.rate.device)
        return -suan.log1p(-u) / self.rate

    def log_prob(self, value):
        return self.rate.log() - self.rate * value

    def entropy(self):
        return 1 - self.rate.log()

    def cdf(self, value):
        return -suan.expm1(-self.rate * value)

    @property
    def mean(self):
        return 1 / self.rate

    @property
    def variance(self):
        return 1 / self.rate.square()


class MultivariateNormal(Distribution):
    """Normal vectors: loc [..., n] and one of covariance_matrix, precision_matrix or scale_tril, the covariance's lower
    Cholesky factor, [..., n, n]."""

    has_rsample = True

    def __init__(self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        given = [m for m in (covariance_matrix, precision_matrix, scale_tril) if m is not None]
        if len(given) != 1:
            raise ValueError("[MultivariateNormal] bad arguments: expected one of covariance_matrix, precision_matrix "
                             f"and scale_tril, got {len(given)}")
        if loc.dim() < 1 or given[0].dim() < 2 or tuple(given[0].shape[-2:]) != (loc.shape[-1],) * 2:
            raise ValueError("[MultivariateNormal] bad shapes: expected loc [..., n] and a matrix [..., n, n], got "
                             f"{tuple(loc.shape)} and {tuple(given[0].shape)}")
        if scale_tril is None:
            matrix = given[0] if covariance_matrix is not None else suan.linalg.inv(precision_matrix)
            scale_tril = suan.linalg.cholesky(matrix)
        batch = suan.broadcast_shapes(loc.shape[:-1], scale_tril.shape[:-2])
        n = loc.shape[-1]
        self.loc, self.scale_tril = loc.expand(*batch, n), scale_tril.expand(*batch, n, n)
        super().__init__(batch, (n,), validate_args)

    @property
    def covariance_matrix(self):
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self):
        return suan.linalg.inv(self.covariance_matrix)

    def rsample(self, sample_shape=()):
        z = suan.randn(self._extended(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self.scale_tril @ z.unsqueeze(-1)).squeeze(-1)

    def _half_log_det(self):
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value):
        apart = (value - self.loc).unsqueeze(-1)
        factor = self.scale_tril.expand(*apart.shape[:-2], *self.scale_tril.shape[-2:])
        z = suan.linalg.solve_triangular(factor, apart, upper=False).squeeze(-1)
        n = self.loc.shape[-1]
        return -0.5 * z.square().sum(-1) - self._half_log_det() - 0.5 * n * math.log(2 * math.pi)

    def entropy(self):
        n = self.loc.shape[-1]
        return 0.5 * n * (1 + math.log(2 * math.pi)) + self._half_log_det()

    @property
    def mean(self):
        return self.loc

    @property
    def variance(self):
        return self.scale_tril.square().sum(-1)
