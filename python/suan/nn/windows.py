"""Functions of nn that move a window over [batch, channels, sizes...]: convolutions and pooling; and pad."""

import suan

from ._check import _fail, _tuple
from ._ops import ops
from .resampling import interpolate


# ---- convolution -----------------------------------------------------------------------------------


def _padding(op, padding, kernel, dilation):
    """Low and high padding per dimension; 'same' puts the odd one at the end, as torch does."""
    n = len(kernel)
    if padding == "valid":
        return (0,) * (2 * n)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple(t // 2 for t in totals) + tuple(t - t // 2 for t in totals)
    if isinstance(padding, str):
        _fail(op, f"wrong padding: expected 'same', 'valid' or ints, got {padding!r}")
    return _tuple(op, "padding", padding, n) * 2


def _conv(op, input, weight, bias, stride, padding, dilation, groups, n):
    if weight.dim() != n + 2:
        _fail(op, f"wrong weight rank: expected {n + 2}, got {weight.dim()}")
    if input.dim() not in (n + 1, n + 2):
        _fail(
            op, f"wrong input rank: expected {n + 2} (or {n + 1} without batch), got {input.dim()}"
        )
    stride = _tuple(op, "stride", stride, n)
    dilation = _tuple(op, "dilation", dilation, n)
    if padding == "same" and any(s != 1 for s in stride):
        _fail(op, f"padding='same' does not allow strides: expected stride 1, got {stride}")
    pads = _padding(op, padding, tuple(weight.shape)[2:], dilation)
    x = input if input.dim() == n + 2 else input.unsqueeze(0)
    out = ops.conv(x, weight, bias, strides=stride, padding=pads, dilation=dilation, groups=groups)
    return out if input.dim() == n + 2 else out.squeeze(0)


def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return _conv("conv1d", input, weight, bias, stride, padding, dilation, groups, 1)


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """input [batch, in, h, w] with weight [out, in / groups, kh, kw]."""
    return _conv("conv2d", input, weight, bias, stride, padding, dilation, groups, 2)


def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return _conv("conv3d", input, weight, bias, stride, padding, dilation, groups, 3)


def _conv_transpose(op, input, weight, bias, stride, padding, output_padding, groups, dilation, n):
    if weight.dim() != n + 2:
        _fail(op, f"wrong weight rank: expected {n + 2}, got {weight.dim()}")
    if input.dim() not in (n + 1, n + 2):
        _fail(op, f"wrong input rank: expected {n + 2} (or {n + 1} without batch), got {input.dim()}")
    stride, dilation = _tuple(op, "stride", stride, n), _tuple(op, "dilation", dilation, n)
    padding, extra = _tuple(op, "padding", padding, n), _tuple(op, "output_padding", output_padding, n)
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation)):
        _fail(op, f"wrong output_padding: expected less than stride {stride} or dilation {dilation}, got {extra}")
    x = input if input.dim() == n + 2 else input.unsqueeze(0)
    kernel = tuple(weight.shape)[2:]
    # What lies beyond a whole stride no window reaches: zeros.
    reached = tuple(min(e, s - 1) for e, s in zip(extra, stride))
    size = tuple((i - 1) * s - 2 * p + d * (k - 1) + e + 1 for i, s, p, d, k, e in
                 zip(tuple(x.shape)[2:], stride, padding, dilation, kernel, reached))
    if min(size) < 1:
        _fail(op, f"empty output: expected sizes of at least 1, got {size} from {tuple(input.shape)}")
    out = ops.conv_input_grad(
        x, weight, input_size=size, strides=stride, padding=padding * 2, dilation=dilation, groups=groups
    )
    if reached != extra:
        out = pad(out, [w for e, r in zip(extra[::-1], reached[::-1]) for w in (0, e - r)])
    if bias is not None:
        out = out + bias.to(out.dtype).reshape(-1, *(1,) * n)
    return out if input.dim() == n + 2 else out.squeeze(0)


def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    return _conv_transpose(
        "conv_transpose1d", input, weight, bias, stride, padding, output_padding, groups, dilation, 1
    )


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """input [batch, in, h, w] with weight [in, out / groups, kh, kw]: conv2d's gradient for its input."""
    return _conv_transpose(
        "conv_transpose2d", input, weight, bias, stride, padding, output_padding, groups, dilation, 2
    )


def conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    return _conv_transpose(
        "conv_transpose3d", input, weight, bias, stride, padding, output_padding, groups, dilation, 3
    )


# ---- pooling ---------------------------------------------------------------------------------------


def _pool_args(op, input, kernel_size, stride, padding, n):
    if input.dim() not in (n + 1, n + 2):
        _fail(
            op, f"wrong input rank: expected {n + 2} (or {n + 1} without batch), got {input.dim()}"
        )
    kernel = _tuple(op, "kernel_size", kernel_size, n)
    stride = kernel if stride is None else _tuple(op, "stride", stride, n)
    padding = _tuple(op, "padding", padding, n)
    for k, p in zip(kernel, padding):
        if p * 2 > k:
            _fail(
                op,
                f"padding too large: expected at most half of kernel_size {kernel}, got {padding}",
            )
    return kernel, stride, padding * 2


def _batched(input, n, fn):
    if input.dim() == n + 2:
        return fn(input)
    out = fn(input.unsqueeze(0))
    return tuple(o.squeeze(0) for o in out) if isinstance(out, tuple) else out.squeeze(0)


def _max_pool(op, n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    kernel, stride, pads = _pool_args(op, input, kernel_size, stride, padding, n)
    dilation = _tuple(op, "dilation", dilation, n)

    def run(x):
        return tuple(
            ops.max_pool(
                x,
                kernel=kernel,
                strides=stride,
                padding=pads,
                dilation=dilation,
                ceil_mode=ceil_mode,
            )
        )

    values, indices = _batched(input, n, run)
    return (values, indices) if return_indices else values


def max_pool1d(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    return _max_pool(
        "max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool2d(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    return _max_pool(
        "max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool3d(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    return _max_pool(
        "max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def _avg_pool(op, n, input, kernel_size, stride, padding, ceil_mode, count_include_pad):
    kernel, stride, pads = _pool_args(op, input, kernel_size, stride, padding, n)

    def run(x):
        return ops.avg_pool(
            x,
            kernel=kernel,
            strides=stride,
            padding=pads,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )

    return _batched(input, n, run)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return _avg_pool(
        "avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad
    )


def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return _avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad
    )


def avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return _avg_pool(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad
    )


def adaptive_avg_pool1d(input, output_size):
    """Averages over output_size near-equal regions of [.., channels, length]."""
    size = _tuple("adaptive_avg_pool1d", "output_size", output_size, 1)
    return _batched(input, 1, lambda x: interpolate(x, size, mode="area"))


def adaptive_avg_pool3d(input, output_size):
    """Averages over output_size [d, h, w] near-equal regions; None keeps a size."""
    if isinstance(output_size, int):
        output_size = (output_size,) * 3
    sizes = tuple(s if o is None else o for o, s in zip(output_size, tuple(input.shape)[-3:]))
    return _batched(input, 3, lambda x: interpolate(x, sizes, mode="area"))


def adaptive_avg_pool2d(input, output_size):
    """Averages over output_size [h, w] near-equal regions; None keeps a size."""
    if isinstance(output_size, int):
        output_size = (output_size, output_size)
    sizes = tuple(s if o is None else o for o, s in zip(output_size, tuple(input.shape)[-2:]))
    return _batched(input, 2, lambda x: ops.adaptive_avg_pool(x, output_size=sizes))


# ---- padding ---------------------------------------------------------------------------------------


def pad(input, pad, mode="constant", value=None):
    """Pads the last len(pad) / 2 dimensions; pad lists (low, high) from the last dimension on. mode: constant,
    reflect, replicate, or circular (the other end's values)."""
    if mode != "circular":
        return ops.pad(input, value, pad=tuple(pad), mode=mode)
    if value is not None:
        _fail("pad", f"value has no meaning for circular: expected None, got {value}")
    for i, (low, high) in enumerate(zip(pad[::2], pad[1::2])):
        n, dim = input.shape[-1 - i], input.dim() - 1 - i
        if min(low, high) < 0 or max(low, high) > n:
            _fail("pad", f"wrong circular width: expected 0 to {n}, got {(low, high)}")
        ends = [suan.narrow(input, dim, n - low, low), input, suan.narrow(input, dim, 0, high)]
        input = suan.cat([t for t in ends if t.shape[dim]], dim) if low or high else input
    return input
