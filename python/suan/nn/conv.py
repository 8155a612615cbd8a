"""Convolutions (also transposed) and pooling over [batch, channels, sizes...]."""

import math

import suan

from . import functional as F
from . import init
from ._check import _tuple
from .linear import _factory
from .module import Module
from .parameter import Parameter
from .windows import _padding


class _Conv(Module):
    _rank = 0
    _call = None

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        super().__init__()
        name, n = type(self).__name__, self._rank
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"[{name}] wrong padding_mode: expected zeros, reflect, replicate or circular, got {padding_mode!r}"
            )
        if groups <= 0 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"[{name}] channels do not group: expected multiples of {groups}, "
                f"got {in_channels} in and {out_channels} out"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = _tuple(name, "kernel_size", kernel_size, n)
        self.stride = _tuple(name, "stride", stride, n)
        self.padding = padding if isinstance(padding, str) else _tuple(name, "padding", padding, n)
        self.dilation, self.padding_mode = _tuple(name, "dilation", dilation, n), padding_mode
        options = _factory(device, dtype)
        shape = self._weight_channels(in_channels, out_channels, groups)
        self.weight = Parameter(suan.empty(*shape, *self.kernel_size, **options))
        if bias:
            self.bias = Parameter(suan.empty(out_channels, **options))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _weight_channels(self, in_channels, out_channels, groups):
        return out_channels, in_channels // groups

    def reset_parameters(self):
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = self.weight.numel() // self.weight.shape[0]
            if fan_in > 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def forward(self, input):
        padding = self.padding
        if self.padding_mode != "zeros":
            sides = _padding(type(self).__name__, padding, self.kernel_size, self.dilation)
            low, high, padding = sides[: self._rank], sides[self._rank :], 0
            widths = [w for pair in zip(low[::-1], high[::-1]) for w in pair]
            input = F.pad(input, widths, self.padding_mode)
        return self._call(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, "
        text += f"kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self._rank:
            text += f", padding={self.padding!r}"
        if self.dilation != (1,) * self._rank:
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class Conv1d(_Conv):
    _rank = 1
    _call = staticmethod(F.conv1d)


class Conv2d(_Conv):
    _rank = 2
    _call = staticmethod(F.conv2d)


class Conv3d(_Conv):
    _rank = 3
    _call = staticmethod(F.conv3d)


class _ConvTranspose(_Conv):
    """weight [in, out / groups, kernel...]; forward's output_size picks among the sizes that the convolution would
    bring down to the input's."""

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
        dilation=1, padding_mode="zeros", device=None, dtype=None,
    ):
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"[{name}] wrong padding_mode: expected zeros, got {padding_mode!r}")
        if isinstance(padding, str):
            raise ValueError(f"[{name}] wrong padding: expected ints, got {padding!r}")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
                         padding_mode, device, dtype)
        self.output_padding = _tuple(name, "output_padding", output_padding, self._rank)

    def _weight_channels(self, in_channels, out_channels, groups):
        return in_channels, out_channels // groups

    def forward(self, input, output_size=None):
        extra = self.output_padding if output_size is None else self._extra(input, tuple(output_size))
        return self._call(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _extra(self, input, output_size):
        """The output padding that gives a size."""
        sizes = tuple(input.shape)[-self._rank :]
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in
                 zip(sizes, self.stride, self.padding, self.dilation, self.kernel_size)]
        extra = tuple(want - have for want, have in zip(output_size[-self._rank :], least))
        if len(output_size) < self._rank or any(not 0 <= e < s for e, s in zip(extra, self.stride)):
            most = [have + s - 1 for have, s in zip(least, self.stride)]
            raise ValueError(
                f"[{type(self).__name__}] wrong output_size: expected {least} to {most}, got {list(output_size)}"
            )
        return extra

    def extra_repr(self):
        more = f", output_padding={self.output_padding}" if any(self.output_padding) else ""
        return super().extra_repr() + more


class ConvTranspose1d(_ConvTranspose):
    _rank = 1
    _call = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    _rank = 2
    _call = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    _rank = 3
    _call = staticmethod(F.conv_transpose3d)


class _MaxPool(Module):
    _call = None

    def __init__(
        self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False
    ):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input):
        return self._call(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self):
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    _call = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    _call = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    _call = staticmethod(F.max_pool3d)


class _AvgPool(Module):
    _call = None

    def __init__(
        self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
    ):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, input):
        return self._call(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    _call = staticmethod(F.avg_pool1d)


class AvgPool2d(_AvgPool):
    _call = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    _call = staticmethod(F.avg_pool3d)


class _AdaptiveAvgPool(Module):
    _call = None

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, input):
        return self._call(input, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    _call = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    _call = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    _call = staticmethod(F.adaptive_avg_pool3d)
