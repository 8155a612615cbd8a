"""nn.functional: the neural-network functions without state, with torch's names and signatures."""

import math

import suan

from ..naming import guard as _guard
from ._ops import ops
from .losses import (  # noqa: F401  (part of this namespace)
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    linear_cross_entropy,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .resampling import (  # noqa: F401
    affine_grid,
    channel_shuffle,
    fold,
    grid_sample,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
    unfold,
    upsample,
)


def _fail(op, text, error=ValueError):
    raise error(f"[{op}] {text}")


def _tuple(op, what, value, n):
    """An int or a sequence of n ints as a tuple of n ints."""
    if isinstance(value, int):
        return (value,) * n
    value = tuple(value)
    if len(value) == 1:
        return value * n
    if len(value) != n:
        _fail(op, f"wrong {what}: expected an int or {n} ints, got {value}")
    return value


# ---- activations ---------------------------------------------------------------------------------


def relu(input, inplace=False):
    return input.relu_() if inplace else ops.relu(input)


def gelu(input, approximate="none"):
    if approximate == "none":
        return ops.gelu(input)
    if approximate == "tanh":
        return ops.gelu_tanh(input)
    _fail("gelu", f"wrong approximate: expected 'none' or 'tanh', got {approximate!r}")


def silu(input, inplace=False):
    out = ops.silu(input)
    return input.copy_(out) if inplace else out


def sigmoid(input):
    return ops.sigmoid(input)


def tanh(input):
    return ops.tanh(input)


def softplus(input, beta=1.0, threshold=20.0):
    return ops.softplus(input, beta=float(beta), threshold=float(threshold))


def leaky_relu(input, negative_slope=0.01, inplace=False):
    out = ops.leaky_relu(input, negative_slope=float(negative_slope))
    return input.copy_(out) if inplace else out


def elu(input, alpha=1.0, inplace=False):
    out = ops.elu(input, alpha=float(alpha))
    return input.copy_(out) if inplace else out


def logsigmoid(input):
    return -softplus(-input)


def relu6(input):
    return suan.clamp(input, 0, 6)


def hardtanh(input, min_val=-1.0, max_val=1.0):
    return suan.clamp(input, min_val, max_val)


def glu(input, dim=-1):
    a, b = suan.chunk(input, 2, dim)
    return a * ops.sigmoid(b)


def softmax(input, dim=-1, dtype=None):
    return ops.softmax(input if dtype is None else input.to(dtype), dim=dim)


def log_softmax(input, dim=-1, dtype=None):
    return ops.log_softmax(input if dtype is None else input.to(dtype), dim=dim)


def normalize(input, p=2.0, dim=1, eps=1e-12):
    return input / suan.norm(input, p, dim, keepdim=True).clamp(min=eps)


def dropout(input, p=0.5, training=True, inplace=False):
    if not 0.0 <= p <= 1.0:
        _fail("dropout", f"wrong probability: expected 0 to 1, got {p}")
    if not training or p == 0.0:
        return input
    out = suan.dropout(input, p, training)
    return input.copy_(out) if inplace else out


# ---- linear, embedding, convolution, pooling -----------------------------------------------------


def linear(input, weight, bias=None):
    """input [..., in] @ weight [out, in] transposed + bias [out]."""
    return ops.linear(input, weight, bias)


def bilinear(input1, input2, weight, bias=None):
    out = suan.einsum("...i,oij,...j->...o", input1, weight, input2)
    return out if bias is None else out + bias


def embedding(input, weight, padding_idx=None):
    """Rows of weight [n, width] at the integer positions in input. Row padding_idx gets no
    gradient."""
    if padding_idx is not None:
        index = padding_idx + weight.shape[0] if padding_idx < 0 else padding_idx
        row = suan.arange(weight.shape[0], device=weight.device).unsqueeze(1) == index
        weight = suan.where(row, weight.detach(), weight)
    return ops.embedding(weight, input)


def one_hot(tensor, num_classes=-1):
    if num_classes < 0:
        num_classes = int(tensor.max().item()) + 1
    return ops.one_hot(tensor, num_classes=num_classes)


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
        out = out + bias.reshape(-1, *(1,) * n)
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


# ---- normalisation -------------------------------------------------------------------------------


def _check_normalized(op, input, normalized_shape):
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if tuple(input.shape)[input.dim() - len(shape) :] != shape:
        _fail(
            op,
            f"wrong trailing dimensions: expected [*, {', '.join(map(str, shape))}], got "
            f"{tuple(input.shape)}",
        )
    return len(shape)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    n = _check_normalized("layer_norm", input, normalized_shape)
    return _first(ops.layer_norm(input, weight, bias, n_dims=n, eps=float(eps)))


def rms_norm(input, normalized_shape, weight=None, eps=None):
    n = _check_normalized("rms_norm", input, normalized_shape)
    eps = suan.finfo(input.dtype).eps if eps is None else eps
    return _first(ops.rms_norm(input, weight, n_dims=n, eps=float(eps)))


def _first(outputs):
    """The value of an op that also returns what its backward needs."""
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs


def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """Normalises over all dimensions but 1. In training, running_mean and running_var are updated
    in place."""
    if training and input.numel() == input.shape[1]:
        _fail(
            "batch_norm",
            f"too few values per channel: expected more than 1, got shape {tuple(input.shape)}",
        )
    if not training and (running_mean is None or running_var is None):
        _fail(
            "batch_norm",
            "no running statistics: expected running_mean and running_var in evaluation, got None",
        )
    return _first(
        ops.batch_norm(
            input,
            weight,
            bias,
            running_mean,
            running_var,
            training=training,
            momentum=float(momentum),
            eps=float(eps),
        )
    )


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    return _first(ops.group_norm(input, weight, bias, num_groups=num_groups, eps=float(eps)))


# ---- attention -----------------------------------------------------------------------------------


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(query keyᵀ · scale + mask) value over [..., heads, length, width]; scale is 1/√width
    by default.

    attn_mask broadcasts to [..., heads, queries, keys]: bool (True = may look) or added to the
    scores. enable_gqa lets key and value have fewer heads than query, each shared by a group of
    query heads. Dropout on the weights needs them written out, so it takes the composed path.
    """
    op = "scaled_dot_product_attention"
    if is_causal and attn_mask is not None:
        _fail(op, "both a mask and is_causal given: expected one of them, got both")
    heads, kv_heads = (query.shape[-3], key.shape[-3]) if query.dim() > 2 else (1, 1)
    if heads != kv_heads and not (enable_gqa and heads % kv_heads == 0):
        expected = f"a divisor of {heads}" if enable_gqa else f"{heads} (or enable_gqa=True)"
        _fail(op, f"wrong number of key heads: expected {expected}, got {kv_heads}")
    if dropout_p > 0.0 or query.dim() < 3:
        if heads != kv_heads:
            key = suan.repeat_interleave(key, heads // kv_heads, -3)
            value = suan.repeat_interleave(value, heads // kv_heads, -3)
        return _composed_attention(query, key, value, attn_mask, dropout_p, is_causal, scale)
    lead = tuple(query.shape)[:-2]
    q, k, v = (
        t if t.dim() == 4 else t.reshape(-1, *tuple(t.shape)[-3:]) for t in (query, key, value)
    )
    if attn_mask is not None and attn_mask.dim() > 4:
        attn_mask = attn_mask.expand(*lead, *tuple(attn_mask.shape)[-2:])
        attn_mask = attn_mask.reshape(-1, *tuple(attn_mask.shape)[-3:])
    out = _first(
        ops.attention(
            q, k, v, attn_mask, is_causal=is_causal, scale=None if scale is None else float(scale)
        )
    )
    return out if query.dim() == 4 else out.reshape(*lead, *tuple(out.shape)[-2:])


def _composed_attention(query, key, value, attn_mask, dropout_p, is_causal, scale):
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = suan.matmul(query, key.transpose(-2, -1)) * scale
    if is_causal:
        attn_mask = suan.ones(
            query.shape[-2], key.shape[-2], dtype=suan.bool, device=query.device
        ).tril()
    if attn_mask is not None:
        if attn_mask.dtype == suan.bool:
            scores = scores.masked_fill(attn_mask.logical_not(), float("-inf"))
        else:
            scores = scores + attn_mask
    weights = dropout(softmax(scores, -1), dropout_p)
    return suan.matmul(weights, value)


__getattr__ = _guard(__name__, globals())
