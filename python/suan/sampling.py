"""Random tensors with torch's names; every one takes a generator."""

from . import _c
from .generator import default_generator
from .shaping import _shape
from .kinds import check_device, get_default_dtype, int64, place

ops = _c.ops
Tensor = _c.Tensor


def _finish(t, requires_grad, device):
    t = place(t, device)  # drawn on the CPU: the same numbers on every device
    return t.requires_grad_() if requires_grad else t


def rand(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Uniform numbers in [0, 1)."""
    check_device(device)
    g, shape = generator or default_generator, _shape(size)
    t = ops.rand(g.state, shape, dtype=dtype or get_default_dtype())
    return _finish(t, requires_grad, device)


def randn(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Normal numbers with mean 0 and variance 1."""
    check_device(device)
    g, shape = generator or default_generator, _shape(size)
    t = ops.randn(g.state, shape, dtype=dtype or get_default_dtype())
    return _finish(t, requires_grad, device)


def randint(low, high=None, size=None, *, generator=None, dtype=None, device=None, requires_grad=False):
    """randint(high, size) or randint(low, high, size): whole numbers in [low, high)."""
    check_device(device)
    if size is None and not isinstance(high, int):
        low, high, size = 0, low, high
    g, shape = generator or default_generator, tuple(size)
    t = ops.randint(g.state, low, high, shape, dtype=dtype or int64)
    return _finish(t, requires_grad, device)


def randperm(n, *, generator=None, dtype=None, device=None):
    """The numbers 0 to n - 1 in random order."""
    check_device(device)
    g = generator or default_generator
    return place(ops.randperm(g.state, n, dtype=dtype), device)


def rand_like(input, *, dtype=None, device=None, generator=None, requires_grad=False):
    """rand with a tensor's shape and dtype."""
    return rand(input.shape, dtype=dtype or input.dtype, device=device or input.device, generator=generator, requires_grad=requires_grad)


def randn_like(input, *, dtype=None, device=None, generator=None, requires_grad=False):
    """randn with a tensor's shape and dtype."""
    return randn(input.shape, dtype=dtype or input.dtype, device=device or input.device, generator=generator, requires_grad=requires_grad)


def randint_like(input, low, high=None, *, dtype=None, device=None, generator=None):
    """randint with a tensor's shape and dtype."""
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, input.shape, dtype=dtype or input.dtype, device=device or input.device, generator=generator)


def normal(mean=0.0, std=1.0, size=None, *, generator=None, dtype=None):
    """Normal numbers with a mean and standard deviation, numbers or tensors."""
    if size is None:
        like = mean if isinstance(mean, Tensor) else std
        size = like.shape
    return randn(size, generator=generator, dtype=dtype) * std + mean


def bernoulli(input, *, generator=None):
    """Ones with the probabilities given, zeros otherwise."""
    g = generator or default_generator
    return ops.bernoulli(g.state, input)


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Indices drawn by weight from each row."""
    g = generator or default_generator
    return ops.multinomial(g.state, input, num_samples, replacement)


def dropout(input, p=0.5, training=True, *, generator=None):
    """Elements zeroed with probability p while training; the rest scaled by 1 / (1 - p)."""
    if not 0 <= p <= 1:
        raise ValueError(f"[dropout] bad probability: expected 0 to 1, got {p}")
    if not training or p == 0:
        return input
    g = generator or default_generator
    t = ops.dropout(input, g.state, p, True)
    t = t[0] if isinstance(t, tuple) else t
    g._advance(input.numel())
    return t
