"""What distributions have in common."""

import suan


def tensors(*values):
    """The values as tensors of one shape; numbers take the dtype of the tensors among them."""
    given = next((v for v in values if isinstance(v, suan.Tensor)), None)
    dtype = given.dtype if given is not None and given.is_floating_point() else suan.get_default_dtype()
    device = given.device if given is not None else None
    made = [v if isinstance(v, suan.Tensor) else suan.tensor(float(v), dtype=dtype, device=device) for v in values]
    return suan.broadcast_tensors(*made) if len(made) > 1 else made


class Distribution:
    """Base class. batch_shape: independent variables; event_shape: of one of them. A sample of `sample_shape` is
    [sample_shape, batch_shape, event_shape].

    Arguments are checked, ValueError names the first that is wrong, unless validate_args=False; in a compiled
    function, where values are not known, they are not checked."""

    has_rsample = False
    arg_constraints = {}   # name: (what is expected, test)

    def __init__(self, batch_shape=(), event_shape=(), validate_args=None):
        self._batch_shape, self._event_shape = suan.Size(batch_shape), suan.Size(event_shape)
        self._validate = validate_args is not False
        if self._validate:
            for name, (what, test) in self.arg_constraints.items():
                if getattr(self, name, None) is not None:
                    self._check(name, getattr(self, name), what, test)

    def _check(self, name, value, what, test):
        with suan.no_grad():
            holds = test(value.detach()).all()
            try:
                holds = bool(holds)
            except suan.StateError:   # in a recording
                return
        if not holds:
            raise ValueError(f"[{type(self).__name__}] bad {name}: expected {what}, got {value.detach()}")

    @property
    def batch_shape(self):
        return self._batch_shape

    @property
    def event_shape(self):
        return self._event_shape

    def _lacks(self, what):
        name = type(self).__name__
        raise NotImplementedError(f"[{name}] {what}: expected a distribution that has it, got {name}")

    def _extended(self, sample_shape):
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def rsample(self, sample_shape=()):
        """Samples through which gradients reach the parameters. NotImplementedError: the distribution has none."""
        self._lacks("rsample")

    def sample(self, sample_shape=()):
        """Samples, without gradients."""
        with suan.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value):
        """log of the density, or of the probability, of each value."""
        self._lacks("log_prob")

    def entropy(self):
        self._lacks("entropy")

    def cdf(self, value):
        """The probability of at most this value."""
        self._lacks("cdf")

    @property
    def mean(self):
        self._lacks("mean")

    @property
    def variance(self):
        self._lacks("variance")

    @property
    def stddev(self):
        return self.variance.sqrt()

    def __repr__(self):
        shapes = f"batch_shape={tuple(self._batch_shape)}, event_shape={tuple(self._event_shape)}"
        return f"{type(self).__name__}({shapes})"


class Independent(Distribution):
    """The last `reinterpreted_batch_ndims` batch dimensions of a distribution taken as one event: their log
    probabilities are summed."""

    def __init__(self, base_distribution, reinterpreted_batch_ndims, validate_args=None):
        n, batch = reinterpreted_batch_ndims, base_distribution.batch_shape
        if not 0 <= n <= len(batch):
            raise ValueError(f"[Independent] bad reinterpreted_batch_ndims: expected 0 to {len(batch)}, got {n}")
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, n
        cut = len(batch) - n
        super().__init__(batch[:cut], (*batch[cut:], *base_distribution.event_shape), validate_args)

    @property
    def has_rsample(self):
        return self.base_dist.has_rsample

    def _sum(self, x):
        n = self.reinterpreted_batch_ndims
        return x.sum(tuple(range(-n, 0))) if n else x

    def rsample(self, sample_shape=()):
        return self.base_dist.rsample(sample_shape)

    def sample(self, sample_shape=()):
        return self.base_dist.sample(sample_shape)

    def log_prob(self, value):
        return self._sum(self.base_dist.log_prob(value))

    def entropy(self):
        return self._sum(self.base_dist.entropy())

    @property
    def mean(self):
        return self.base_dist.mean

    @property
    def variance(self):
        return self.base_dist.variance
