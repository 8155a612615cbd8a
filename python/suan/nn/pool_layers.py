"""Layers over pooling.py: adaptive maxima, unpooling, power means, local response normalisation."""

from . import functional as F
from ._check import _tuple
from .module import Module


class _AdaptiveMaxPool(Module):
    _call = None

    def __init__(self, output_size, return_indices=False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input):
        return self._call(input, self.output_size, self.return_indices)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest values of output_size near-equal regions of [batch, channels, length]."""

    _call = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest values of output_size near-equal regions of [batch, channels, h, w]; None keeps a size."""

    _call = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest values of output_size near-equal regions of [batch, channels, d, h, w]; None keeps a size."""

    _call = staticmethod(F.adaptive_max_pool3d)


class _MaxUnpool(Module):
    _rank = 0
    _call = None

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        name = type(self).__name__
        self.kernel_size = _tuple(name, "kernel_size", kernel_size, self._rank)
        self.stride = self.kernel_size if stride is None else _tuple(name, "stride", stride, self._rank)
        self.padding = _tuple(name, "padding", padding, self._rank)

    def forward(self, input, indices, output_size=None):
        return self._call(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """MaxPool1d undone, from its values and indices."""

    _rank = 1
    _call = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """MaxPool2d undone, from its values and indices."""

    _rank = 2
    _call = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """MaxPool3d undone, from its values and indices."""

    _rank = 3
    _call = staticmethod(F.max_unpool3d)


class _LPPool(Module):
    _call = None

    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False):
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input):
        return self._call(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self):
        return (f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"ceil_mode={self.ceil_mode}")


class LPPool1d(_LPPool):
    """Windows of [batch, channels, length] by (sum of x**norm_type) ** (1 / norm_type)."""

    _call = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """Windows of [batch, channels, h, w] by (sum of x**norm_type) ** (1 / norm_type)."""

    _call = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """Windows of [batch, channels, d, h, w] by (sum of x**norm_type) ** (1 / norm_type)."""

    _call = staticmethod(F.lp_pool3d)


class LocalResponseNorm(Module):
    """x / (k + alpha · mean of x² over `size` neighbouring channels)**beta (Krizhevsky et al. 2012)."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input):
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
