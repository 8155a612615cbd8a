"""Activation functions of nn.functional. inplace=True writes the result over the input and returns it."""

import suan

from ._ops import ops


def _into(input, fn, inplace):
    """fn(input), written over it if asked to. Backward may need the value from before: then fn reads a copy."""
    if not inplace:
        return fn(input)
    return input.copy_(fn(input.clone() if input.requires_grad else input))


def relu(input, inplace=False):
    return input.relu_() if inplace else ops.relu(input)


def gelu(input, approximate="none"):
    if approximate == "none":
        return ops.gelu(input)
    if approximate == "tanh":
        return ops.gelu_tanh(input)
    raise ValueError(f"[gelu] wrong approximate: expected 'none' or 'tanh', got {approximate!r}")


def silu(input, inplace=False):
    return _into(input, ops.silu, inplace)


def sigmoid(input):
    return ops.sigmoid(input)


def tanh(input):
    return ops.tanh(input)


def softplus(input, beta=1.0, threshold=20.0):
    return ops.softplus(input, beta=float(beta), threshold=float(threshold))


def leaky_relu(input, negative_slope=0.01, inplace=False):
    return _into(input, lambda x: ops.leaky_relu(x, negative_slope=float(negative_slope)), inplace)


def elu(input, alpha=1.0, inplace=False):
    return _into(input, lambda x: ops.elu(x, alpha=float(alpha)), inplace)


def logsigmoid(input):
    return -softplus(-input)


def relu6(input, inplace=False):
    return _into(input, lambda x: suan.clamp(x, 0, 6), inplace)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    return _into(input, lambda x: suan.clamp(x, min_val, max_val), inplace)


def glu(input, dim=-1):
    a, b = suan.chunk(input, 2, dim)
    return a * ops.sigmoid(b)


def softmax(input, dim=-1, dtype=None):
    return ops.softmax(input if dtype is None else input.to(dtype), dim=dim)


def log_softmax(input, dim=-1, dtype=None):
    return ops.log_softmax(input if dtype is None else input.to(dtype), dim=dim)


def hardsigmoid(input, inplace=False):
    """clamp(x + 3, 0, 6) / 6."""
    return _into(input, lambda x: suan.clamp(x + 3, 0, 6) / 6, inplace)


def hardswish(input, inplace=False):
    """x · hardsigmoid(x) (Howard et al. 2019)."""
    return _into(input, lambda x: x * (suan.clamp(x + 3, 0, 6) / 6), inplace)


def mish(input, inplace=False):
    """x · tanh(softplus(x)) (Misra 2019)."""
    return _into(input, lambda x: x * ops.tanh(softplus(x)), inplace)


def softsign(input):
    """x / (1 + |x|)."""
    return input / (1 + ops.abs(input))


def tanhshrink(input):
    """x - tanh(x)."""
    return input - ops.tanh(input)


def selu(input, inplace=False):
    """Self-normalising: elu scaled so that mean 0 and variance 1 persist (Klambauer et al. 2017)."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return _into(input, lambda x: ops.elu(x, alpha=alpha) * scale, inplace)


def celu(input, alpha=1.0, inplace=False):
    """x where positive, else alpha (exp(x / alpha) - 1) (Barron 2017)."""
    if alpha <= 0:
        raise ValueError(f"[celu] wrong alpha: expected more than 0, got {alpha}")
    return _into(input, lambda x: ops.elu(x / alpha, alpha=1.0) * alpha, inplace)


def prelu(input, weight):
    """x where positive, else weight · x; weight [1], or one per channel (dimension 1)."""
    channels = input.shape[1] if input.dim() > 1 else 1
    if weight.numel() not in (1, channels):
        raise ValueError(f"[prelu] wrong number of weights: expected 1 or {channels}, got {weight.numel()}")
    if weight.numel() > 1:
        weight = weight.reshape(-1, *(1,) * (input.dim() - 2))
    return suan.where(input > 0, input, weight * input)


def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """leaky_relu with a slope drawn per element from [lower, upper) in training, their mean otherwise."""
    if lower > upper:
        raise ValueError(f"[rrelu] wrong bounds: expected lower <= upper, got {lower} and {upper}")
    slope = suan.rand_like(input) * (upper - lower) + lower if training else (lower + upper) / 2
    return _into(input, lambda x: suan.where(x >= 0, x, x * slope), inplace)


def hardshrink(input, lambd=0.5):
    """0 where |x| <= lambd, else x."""
    return suan.where(ops.abs(input) <= lambd, 0.0, input)


def softshrink(input, lambd=0.5):
    """x moved towards 0 by lambd, at most to 0."""
    if lambd < 0:
        raise ValueError(f"[softshrink] wrong lambd: expected at least 0, got {lambd}")
    return input - suan.clamp(input, -lambd, lambd)


def threshold(input, threshold, value, inplace=False):
    """x where x > threshold, else value."""
    return _into(input, lambda x: suan.where(x > threshold, x, float(value)), inplace)


def softmin(input, dim=-1, dtype=None):
    return softmax(-input, dim, dtype)


def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """softmax((logits + Gumbel noise) / tau) (Jang et al. 2016); hard gives one-hot values with the soft gradient.
    eps has no effect, as in torch."""
    exponential = -(1 - suan.rand_like(logits)).log()
    noise = -exponential.clamp(min=suan.finfo(logits.dtype).tiny).log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    top = soft.detach().argmax(dim).unsqueeze(dim)
    places = suan.arange(soft.shape[dim], device=soft.device)
    places = places.reshape([-1 if d == dim % soft.dim() else 1 for d in range(soft.dim())])
    return (places == top).to(soft.dtype) - soft.detach() + soft


def _in_place(fn):
    def written(input, *args, **kwargs):
        return fn(input, *args, inplace=True, **kwargs)

    written.__name__ = written.__qualname__ = fn.__name__ + "_"
    written.__doc__ = f"{fn.__name__} in place."
    return written


celu_, elu_, hardtanh_, leaky_relu_ = map(_in_place, (celu, elu, hardtanh, leaky_relu))
relu_, rrelu_, selu_, threshold_ = map(_in_place, (relu, rrelu, selu, threshold))
