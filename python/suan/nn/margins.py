"""Distances, and losses that keep a margin between what belongs together and what does not."""

import suan

from ..amp import in_float32
from .activations import logsigmoid, softplus
from .losses import _check_reduction, _reduce


def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """The p-norm of x1 - x2 + eps over the last dimension."""
    return suan.norm(x1 - x2 + eps, p, -1, keepdim)


@in_float32
def margin_ranking_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """max(0, -target (input1 - input2) + margin), target 1 or -1."""
    _check_reduction("margin_ranking_loss", reduction)
    loss = (-target * (input1 - input2) + margin).clamp(min=0)
    return _reduce("margin_ranking_loss", loss, reduction)


@in_float32
def hinge_embedding_loss(input, target, margin=1.0, reduction="mean"):
    """input where target is 1, max(0, margin - input) where it is -1."""
    _check_reduction("hinge_embedding_loss", reduction)
    loss = suan.where(target != 1, (margin - input).clamp(min=0), 0.0) + suan.where(target != -1, input, 0.0)
    return _reduce("hinge_embedding_loss", loss, reduction)


@in_float32
def cosine_embedding_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """1 - cos where target is 1, max(0, cos - margin) where it is -1; over the last dimension."""
    _check_reduction("cosine_embedding_loss", reduction)
    if input1.dim() != target.dim() + 1 or tuple(input1.shape) != tuple(input2.shape):
        raise ValueError(
            f"[cosine_embedding_loss] wrong shapes: expected two of [batch, width] with target [batch] (or without "
            f"batch), got {tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    eps = 1e-12
    squares = ((input1 * input1).sum(-1) + eps) * ((input2 * input2).sum(-1) + eps)
    cos = (input1 * input2).sum(-1) / squares.sqrt()
    loss = suan.where(target == 1, 1 - cos, 0.0) + suan.where(target == -1, (cos - margin).clamp(min=0), 0.0)
    return _reduce("cosine_embedding_loss", loss, reduction)


@in_float32
def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin); swap takes the nearer of anchor and positive to
    negative."""
    op = "triplet_margin_loss"
    _check_reduction(op, reduction)
    if margin <= 0:
        raise ValueError(f"[{op}] wrong margin: expected more than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = suan.minimum(far, distance(positive, negative))
    return _reduce(op, (near - far + margin).clamp(min=0), reduction)


@in_float32
def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, reduction="mean"):
    """triplet_margin_with_distance_loss with pairwise_distance."""
    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=lambda a, b: pairwise_distance(a, b, p, eps), margin=margin,
        swap=swap, reduction=reduction,
    )


@in_float32
def soft_margin_loss(input, target, reduction="mean"):
    """log(1 + exp(-target · input)), target 1 or -1."""
    _check_reduction("soft_margin_loss", reduction)
    return _reduce("soft_margin_loss", softplus(-target * input), reduction)


@in_float32
def multilabel_margin_loss(input, target, reduction="mean"):
    """For [batch, classes] (or without batch): over each class j named by target and each i that is not, the sum of
    max(0, 1 - (input[j] - input[i])), divided by the number of classes. target, int64 and shaped as input, names the
    classes of a row up to its first negative number."""
    op = "multilabel_margin_loss"
    _check_reduction(op, reduction)
    if input.dim() not in (1, 2) or tuple(target.shape) != tuple(input.shape) or target.dtype != suan.int64:
        raise ValueError(f"[{op}] wrong shapes: expected two of [batch, classes] or [classes], the target int64, got "
                         f"{tuple(input.shape)} and {target.dtype} of {tuple(target.shape)}")
    named = (target < 0).to(suan.int64).cumsum(-1) == 0
    place = suan.where(named, target, 0)
    among = suan.zeros_like(place).scatter_add(-1, place, named.to(suan.int64)) > 0
    margins = 1 - suan.gather(input, -1, place).unsqueeze(-1) + input.unsqueeze(-2)
    counted = suan.logical_and(named.unsqueeze(-1), among.logical_not().unsqueeze(-2))
    loss = suan.where(counted, margins, 0.0).clamp(min=0).sum((-2, -1)) / input.shape[-1]
    return _reduce(op, loss, reduction)


@in_float32
def multilabel_soft_margin_loss(input, target, weight=None, reduction="mean"):
    """The classes' mean of -(target log sigmoid(x) + (1 - target) log sigmoid(-x)), for [batch, classes]."""
    _check_reduction("multilabel_soft_margin_loss", reduction)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return _reduce("multilabel_soft_margin_loss", loss.mean(-1), reduction)


@in_float32
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, reduction="mean"):
    """The sum over the other classes of max(0, margin - x[target] + x)^p, over classes, for input [batch, classes]
    (or [classes]) and class numbers target."""
    op = "multi_margin_loss"
    _check_reduction(op, reduction)
    if p not in (1, 2):
        raise ValueError(f"[{op}] wrong p: expected 1 or 2, got {p}")
    x, labels = (input, target) if input.dim() == 2 else (input.unsqueeze(0), target.reshape(1))
    if x.dim() != 2 or tuple(labels.shape) != (x.shape[0],):
        raise ValueError(
            f"[{op}] wrong shapes: expected input [batch, classes] and target [batch], got {tuple(input.shape)} and "
            f"{tuple(target.shape)}"
        )
    place = labels.unsqueeze(1)
    loss = (margin - x.gather(1, place) + x).clamp(min=0)
    loss = loss * loss if p == 2 else loss
    if weight is not None:
        loss = loss * weight[labels].unsqueeze(1)
    others = suan.arange(x.shape[1], device=x.device).unsqueeze(0) != place
    loss = suan.where(others, loss, 0.0).sum(1) / x.shape[1]
    return _reduce(op, loss if input.dim() == 2 else loss.squeeze(0), reduction)
