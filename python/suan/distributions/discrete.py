"""Distributions of whole numbers."""

import suan
from suan.nn import functional as F

from .distribution import Distribution, tensors

share = ("numbers from 0 to 1", lambda p: (p >= 0) & (p <= 1))


def _one_of(name, probs, logits):
    if (probs is None) == (logits is None):
        got = "none" if probs is None else "both"
        raise ValueError(f"[{name}] bad arguments: expected one of probs and logits, got {got}")


class _Chance(Distribution):
    """Of one probability, given as such or as its log odds."""

    def __init__(self, probs=None, logits=None, validate_args=None):
        _one_of(type(self).__name__, probs, logits)
        self.arg_constraints = {"probs": share} if logits is None else {}
        if logits is None:
            (self.probs,) = tensors(probs)
            inside = self.probs.clamp(suan.finfo(self.probs.dtype).eps, 1 - suan.finfo(self.probs.dtype).eps)
            self.logits = inside.log() - suan.log1p(-inside)
        else:
            (self.logits,) = tensors(logits)
            self.probs = suan.sigmoid(self.logits)
        super().__init__(self.logits.shape, (), validate_args)

    def _uniform(self, sample_shape):
        return suan.rand(self._extended(sample_shape), dtype=self.probs.dtype, device=self.probs.device)


class Bernoulli(_Chance):
    """One with probability probs = sigmoid(logits), else zero."""

    def sample(self, sample_shape=()):
        with suan.no_grad():
            return (self._uniform(sample_shape) < self.probs).to(self.probs.dtype)

    def log_prob(self, value):
        logits, value = suan.broadcast_tensors(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self):
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    @property
    def mean(self):
        return self.probs

    @property
    def variance(self):
        return self.probs * (1 - self.probs)


class Geometric(_Chance):
    """Failures before the first success of probability probs."""

    def sample(self, sample_shape=()):
        with suan.no_grad():
            return (suan.log1p(-self._uniform(sample_shape)) / suan.log1p(-self.probs)).floor()

    def log_prob(self, value):
        return value * F.logsigmoid(-self.logits) + F.logsigmoid(self.logits)

    def entropy(self):
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs

    @property
    def mean(self):
        return 1 / self.probs - 1

    @property
    def variance(self):
        return (1 / self.probs - 1) / self.probs


class _Classes(Distribution):
    def __init__(self, probs=None, logits=None, validate_args=None):
        name = type(self).__name__
        _one_of(name, probs, logits)
        given = probs if logits is None else logits
        if given.dim() < 1:
            raise ValueError(f"[{name}] bad shape: expected [..., classes], got {tuple(given.shape)}")
        self.arg_constraints = {"probs": ("weights from 0 on with a sum above 0",
                                          lambda p: (p >= 0) & (p.sum(-1, keepdim=True) > 0))} if logits is None else {}
        if logits is None:
            self.probs = probs   # checked as given
        classes = () if isinstance(self, Categorical) else given.shape[-1:]
        super().__init__(given.shape[:-1], classes, validate_args)
        if logits is None:
            self.probs = probs / probs.sum(-1, keepdim=True)
            eps = suan.finfo(probs.dtype).eps
            self.logits = self.probs.clamp(eps, 1 - eps).log()
        else:
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
            self.probs = self.logits.exp()
        self._classes = given.shape[-1]

    def _draw(self, sample_shape):
        with suan.no_grad():
            count = 1
            for n in sample_shape:
                count *= n
            rows = self.probs.detach().reshape(-1, self._classes)
            drawn = suan.multinomial(rows, count, replacement=True) if count and rows.shape[0] else \
                suan.empty(rows.shape[0], count, dtype=suan.int64)
            return drawn.t().reshape(*sample_shape, *self._batch_shape)

    def entropy(self):
        low = suan.finfo(self.logits.dtype).min
        return -(self.probs * self.logits.clamp(min=low)).sum(-1)


class Categorical(_Classes):
    """A class, 0 to classes - 1: probs [..., classes], weights that need not sum to one, or logits."""

    def sample(self, sample_shape=()):
        return self._draw(sample_shape)

    def log_prob(self, value):
        value = value.long().unsqueeze(-1)
        shape = suan.broadcast_shapes(value.shape[:-1], self._batch_shape)
        return self.logits.expand(*shape, self._classes).gather(-1, value.expand(*shape, 1)).squeeze(-1)

    @property
    def mode(self):
        return self.probs.argmax(-1)

    def enumerate_support(self, expand=True):
        """All classes, [classes, batch_shape] (or ones for the batch's dimensions)."""
        values = suan.arange(self._classes).reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class OneHotCategorical(_Classes):
    """Categorical whose classes are rows of zeros with a one."""

    def sample(self, sample_shape=()):
        return F.one_hot(self._draw(sample_shape), self._classes).to(self.probs.dtype)

    def log_prob(self, value):
        return (self.logits * value).sum(-1)

    @property
    def mean(self):
        return self.probs

    @property
    def variance(self):
        return self.probs * (1 - self.probs)
