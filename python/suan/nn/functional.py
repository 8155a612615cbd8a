"""nn.functional: the neural-network functions without state, with torch's names and signatures."""

import math

import suan

from ..naming import guard as _guard
from ._check import _fail
from ._ops import ops
from .activations import (  # noqa: F401
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    gumbel_softmax,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu_,
    relu6,
    rrelu,
    rrelu_,
    selu,
    selu_,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
    threshold_,
)
from .losses import (  # noqa: F401  (part of this namespace)
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_similarity,
    cross_entropy,
    ctc_loss,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    linear_cross_entropy,
    mse_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from .margins import (  # noqa: F401
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    pairwise_distance,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from .pooling import (  # noqa: F401
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    local_response_norm,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
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
from .windows import (  # noqa: F401
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    pad,
)

# ---- normalising and dropping ----------------------------------------------------------------------


def normalize(input, p=2.0, dim=1, eps=1e-12):
    return input / suan.norm(input, p, dim, keepdim=True).clamp(min=eps)


def dropout(input, p=0.5, training=True, inplace=False):
    if not 0.0 <= p <= 1.0:
        _fail("dropout", f"wrong probability: expected 0 to 1, got {p}")
    if not training or p == 0.0:
        return input
    out = suan.dropout(input, p, training)
    return input.copy_(out) if inplace else out


def _feature_noise(op, input, ranks, batched_from):
    """Ones shaped so that they broadcast over each channel of the input."""
    if input.dim() not in ranks:
        _fail(op, f"wrong input rank: expected {' or '.join(map(str, ranks))}, got {input.dim()}")
    lead = 2 if input.dim() >= batched_from else 1
    shape = tuple(input.shape)[:lead] + (1,) * (input.dim() - lead)
    return suan.ones(*shape, dtype=input.dtype, device=input.device)


def _feature_dropout(op, input, p, training, inplace, ranks, batched_from):
    noise = _feature_noise(op, input, ranks, batched_from)
    if not 0.0 <= p <= 1.0:
        _fail(op, f"wrong probability: expected 0 to 1, got {p}")
    if not training or p == 0.0:
        return input
    out = input * dropout(noise, p)
    return input.copy_(out) if inplace else out


def dropout1d(input, p=0.5, training=True, inplace=False):
    """Whole channels of [batch, channels, length] (or without batch) dropped."""
    return _feature_dropout("dropout1d", input, p, training, inplace, (2, 3), 3)


def dropout2d(input, p=0.5, training=True, inplace=False):
    """Whole channels of [batch, channels, h, w] dropped; 3 dimensions are [batch, channels, length], as torch's."""
    return _feature_dropout("dropout2d", input, p, training, inplace, (3, 4), 3)


def dropout3d(input, p=0.5, training=True, inplace=False):
    """Whole channels of [batch, channels, d, h, w] (or without batch) dropped."""
    return _feature_dropout("dropout3d", input, p, training, inplace, (4, 5), 5)


def _alpha_dropout(op, input, ones, p, training, inplace):
    if not 0.0 <= p <= 1.0:
        _fail(op, f"wrong probability: expected 0 to 1, got {p}")
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input * 0.0
    low = -1.7580993408473766  # selu's limit
    kept = suan.rand_like(ones) >= p
    a = 1 / math.sqrt((low * low * p + 1) * (1 - p))
    out = suan.where(kept, input, low) * a - a * low * p
    return input.copy_(out) if inplace else out


def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Drops to selu's lower limit and rescales, so that mean and variance persist (Klambauer et al. 2017)."""
    return _alpha_dropout("alpha_dropout", input, input, p, training, inplace)


def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """alpha_dropout of whole channels of [batch, channels, ...]."""
    ones = _feature_noise("feature_alpha_dropout", input, (2, 3, 4, 5), 2)
    return _alpha_dropout("feature_alpha_dropout", input, ones, p, training, inplace)


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


def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean", sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=None,
):
    """Rows of weight [n, width] summed, averaged or their largest taken, by bags: [bags, width].

    input [bags, length], or all bags' indices in one row with offsets, where each begins (mode sum and mean only).
    per_sample_weights, shaped as input, multiply the rows (mode sum). Indices equal to padding_idx count nothing.
    """
    op = "embedding_bag"
    for name, value in (("max_norm", max_norm), ("scale_grad_by_freq", scale_grad_by_freq), ("sparse", sparse)):
        if value:
            _fail(op, f"{name} is not supported: expected {'None' if name == 'max_norm' else 'False'}, got {value}")
    if mode not in ("sum", "mean", "max"):
        _fail(op, f"wrong mode: expected sum, mean or max, got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        _fail(op, f"per_sample_weights need mode sum: got {mode!r}")
    if per_sample_weights is not None and tuple(per_sample_weights.shape) != tuple(input.shape):
        _fail(op, f"wrong shape of per_sample_weights: expected {tuple(input.shape)}, got "
              f"{tuple(per_sample_weights.shape)}")
    if input.dim() not in (1, 2) or (offsets is None) != (input.dim() == 2):
        given = "none" if offsets is None else "some"
        _fail(op, f"expected input of 2 dimensions, or of 1 with offsets, got {input.dim()} and {given}")
    rows = ops.embedding(weight, input.to(suan.int64))
    counted = suan.ones(*input.shape, dtype=rows.dtype, device=rows.device)
    if padding_idx is not None:
        counted = (input != padding_idx % weight.shape[0]).to(rows.dtype)
    if mode == "max":
        if offsets is not None:
            _fail(op, "mode max with offsets is not supported: expected input of 2 dimensions, got 1")
        largest = suan.where(counted.unsqueeze(-1) > 0, rows, float("-inf")).max(1)[0]
        return suan.where(largest > float("-inf"), largest, 0.0)
    rows = rows * (counted if per_sample_weights is None else counted * per_sample_weights).unsqueeze(-1)
    if offsets is None:
        total, counts = rows.sum(1), counted.sum(1)
    else:
        offsets, n = offsets.to(suan.int64), input.shape[0]
        bags = offsets.shape[0] - bool(include_last_offset)
        begins = suan.zeros(n + 1, dtype=suan.int64, device=rows.device)
        begins = begins.scatter_add(0, offsets[:bags], suan.ones(bags, dtype=suan.int64, device=rows.device))
        bag = begins.cumsum(0)[:n] - 1  # which bag each index lies in
        total = suan.zeros(bags, weight.shape[1], dtype=rows.dtype, device=rows.device).index_add(0, bag, rows)
        counts = suan.zeros(bags, dtype=rows.dtype, device=rows.device).scatter_add(0, bag, counted)
    return total if mode == "sum" else total / counts.clamp(min=1).unsqueeze(-1)


def one_hot(tensor, num_classes=-1):
    if num_classes < 0:
        num_classes = int(tensor.max().item()) + 1
    return ops.one_hot(tensor, num_classes=num_classes)


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


def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """Normalises each channel of each sample of [batch, channels, sizes...] (Ulyanov et al. 2016), by its own
    statistics, whose means over the batch move the running ones, or else by the running ones."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    count = math.prod(tuple(input.shape)[2:])
    if count < 2:
        _fail("instance_norm", f"too few values per channel: expected more than 1, got shape {tuple(input.shape)}")
    if running_mean is not None:
        with suan.no_grad():
            flat = input.detach().flatten(2)
            running_mean.mul_(1 - momentum).add_(flat.mean(2).mean(0) * momentum)
            running_var.mul_(1 - momentum).add_(flat.var(2).mean(0) * momentum)
    return group_norm(input, input.shape[1], weight, bias, eps)


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
