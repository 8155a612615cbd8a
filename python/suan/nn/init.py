"""Initialisers with torch's names: each fills a tensor in place, without gradient, and returns
it."""

import math

import suan


def calculate_gain(nonlinearity, param=None):
    """Factor that keeps the variance through a nonlinearity (He et al. 2015)."""
    if nonlinearity in ("linear", "sigmoid", "conv1d", "conv2d", "conv3d"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(
        "[calculate_gain] unknown nonlinearity: expected linear, sigmoid, conv1d, conv2d, "
        "conv3d, tanh, "
        f"relu, leaky_relu or selu, got {nonlinearity!r}"
    )


def _fans(op, tensor):
    if tensor.dim() < 2:
        raise ValueError(
            f"[{op}] wrong rank: expected at least 2 dimensions, got shape {tuple(tensor.shape)}"
        )
    field = math.prod(tuple(tensor.shape)[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(op, tensor, mode):
    fan_in, fan_out = _fans(op, tensor)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[{op}] wrong mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    return fan_in if mode == "fan_in" else fan_out


def uniform_(tensor, a=0.0, b=1.0):
    with suan.no_grad():
        return tensor.uniform_(a, b)


def normal_(tensor, mean=0.0, std=1.0):
    with suan.no_grad():
        return tensor.normal_(mean, std)


def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0):
    """Normal values, those outside [a, b] drawn anew."""
    with suan.no_grad():
        tensor.normal_(mean, std)
        for _ in range(64):
            outside = (tensor < a).logical_or(tensor > b)
            if not outside.any().item():
                return tensor
            tensor.copy_(suan.where(outside, suan.empty_like(tensor).normal_(mean, std), tensor))
        return tensor.clamp_(a, b)


def constant_(tensor, val):
    with suan.no_grad():
        return tensor.fill_(val)


def zeros_(tensor):
    return constant_(tensor, 0.0)


def ones_(tensor):
    return constant_(tensor, 1.0)


def eye_(tensor):
    if tensor.dim() != 2:
        raise ValueError(
            f"[eye_] wrong rank: expected 2 dimensions, got shape {tuple(tensor.shape)}"
        )
    with suan.no_grad():
        return tensor.copy_(suan.eye(*tuple(tensor.shape), dtype=tensor.dtype))


def dirac_(tensor, groups=1):
    """A convolution's weight [out, in / groups, kernel...] that passes channels on as they are, as many as there are."""
    if tensor.dim() not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ValueError(f"[dirac_] wrong shape: expected 3 to 5 dimensions, the first a multiple of {groups}, got "
                         f"{tuple(tensor.shape)}")
    out, middle = tensor.shape[0] // groups, [s // 2 for s in tuple(tensor.shape)[2:]]
    with suan.no_grad():
        tensor.zero_()
        for g in range(groups):
            for d in range(min(out, tensor.shape[1])):
                tensor[(g * out + d, d, *middle)] = 1
        return tensor


def sparse_(tensor, sparsity, std=0.01):
    """Normal values in a matrix, of which each column has a share `sparsity` of zeros, at random (Martens 2010)."""
    if tensor.dim() != 2:
        raise ValueError(f"[sparse_] wrong rank: expected 2 dimensions, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with suan.no_grad():
        tensor.normal_(0, std)
        order = suan.rand(rows, columns, device=tensor.device).argsort(0)
        return tensor.scatter_(0, order[:zeros], 0.0) if zeros else tensor


def xavier_uniform_(tensor, gain=1.0):
    fan_in, fan_out = _fans("xavier_uniform_", tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor, gain=1.0):
    fan_in, fan_out = _fans("xavier_normal_", tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)))


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu"):
    fan = _fan("kaiming_uniform_", tensor, mode)
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(fan)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu"):
    fan = _fan("kaiming_normal_", tensor, mode)
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(fan))


def orthogonal_(tensor, gain=1.0):
    """A (semi-)orthogonal matrix from the QR factors of normal values (Saxe et al. 2013)."""
    if tensor.dim() < 2:
        raise ValueError(
            "[orthogonal_] wrong rank: expected at least 2 dimensions, got shape "
            f"{tuple(tensor.shape)}"
        )
    import numpy as np

    rows, cols = tensor.shape[0], tensor.numel() // tensor.shape[0]
    flat = suan.empty(rows, cols).normal_().numpy().astype("float64")
    q, r = np.linalg.qr(flat if rows >= cols else flat.T)
    q = q * np.sign(np.diag(r))
    q = (q if rows >= cols else q.T) * gain
    with suan.no_grad():
        return tensor.copy_(suan.tensor(q.reshape(tuple(tensor.shape))).to(tensor.dtype))
