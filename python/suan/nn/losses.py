"""Loss functions of nn.functional: predictions first, targets second, reduction mean, sum or
none."""

from ._ops import ops


def _reduce(op, loss, reduction):
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"[{op}] wrong reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")


def _check_reduction(op, reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(
            f"[{op}] wrong reduction: expected 'mean', 'sum' or 'none', got {reduction!r}"
        )


def _rows(input, target):
    """[N, C, d1, ...] scores and [N, d1, ...] targets as [rows, C] and [rows]."""
    if input.dim() == 2:
        return input, target
    if input.dim() == 1:
        return input.unsqueeze(0), target.reshape(1)
    return input.movedim(1, -1).reshape(-1, input.shape[1]), target.reshape(-1)


def _check_targets(op, input, target):
    shape = tuple(input.shape)
    expected = shape[:1] + shape[2:] if len(shape) > 1 else ()
    if tuple(target.shape) != expected:
        raise ValueError(
            f"[{op}] wrong target shape: expected {expected}, got {tuple(target.shape)}"
        )


def cross_entropy(
    input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    """-log softmax(input)[target]: input [N, C, ...] (or [C]); target class numbers [N, ...], or
    class probabilities of the input's shape."""
    _check_reduction("cross_entropy", reduction)
    if target.is_floating_point():
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    _check_targets("cross_entropy", input, target)
    rows, labels = _rows(input, target)
    loss = ops.cross_entropy(
        rows,
        labels,
        weight,
        ignore_index=ignore_index,
        label_smoothing=float(label_smoothing),
        reduction=reduction,
    )
    loss = loss[0] if isinstance(loss, (tuple, list)) else loss
    return loss.reshape(target.shape) if reduction == "none" else loss


def _soft_cross_entropy(input, target, weight, reduction, label_smoothing):
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"[cross_entropy] wrong shape of target probabilities: "
            f"expected {tuple(input.shape)}, got {tuple(target.shape)}"
        )
    dim = 1 if input.dim() > 1 else 0
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[dim]
    terms = -ops.log_softmax(input, dim=dim) * target
    if weight is not None:
        terms = terms * weight.reshape([-1 if d == dim else 1 for d in range(input.dim())])
    loss = terms.sum(dim)
    if reduction == "mean":
        return loss.sum() / max(1, input.numel() // input.shape[dim])
    return _reduce("cross_entropy", loss, reduction)


def linear_cross_entropy(input, weight, target, ignore_index=-100, reduction="mean"):
    """cross_entropy(input @ weightᵀ, target) without keeping the [rows, classes] scores: for
    language models with a large vocabulary. input [..., width], weight [classes, width], target
    [...]."""
    if reduction not in ("mean", "sum"):
        raise ValueError(
            f"[linear_cross_entropy] wrong reduction: expected 'mean' or 'sum', got {reduction!r}"
        )
    if tuple(input.shape)[:-1] != tuple(target.shape):
        raise ValueError(
            f"[linear_cross_entropy] wrong target shape: "
            f"expected {tuple(input.shape)[:-1]}, got {tuple(target.shape)}"
        )
    loss = ops.linear_cross_entropy(
        input.reshape(-1, input.shape[-1]),
        weight,
        target.reshape(-1),
        ignore_index=ignore_index,
        reduction=reduction,
    )
    return loss[0] if isinstance(loss, (tuple, list)) else loss


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """-input[target] of log-probabilities [N, C, ...]."""
    _check_reduction("nll_loss", reduction)
    _check_targets("nll_loss", input, target)
    rows, labels = _rows(input, target)
    loss = ops.nll_loss(rows, labels, weight, ignore_index=ignore_index, reduction=reduction)
    return loss.reshape(target.shape) if reduction == "none" else loss


def mse_loss(input, target, reduction="mean"):
    _check_reduction("mse_loss", reduction)
    return ops.mse_loss(input, target, reduction=reduction)


def l1_loss(input, target, reduction="mean"):
    _check_reduction("l1_loss", reduction)
    return ops.l1_loss(input, target, reduction=reduction)


def huber_loss(input, target, reduction="mean", delta=1.0):
    _check_reduction("huber_loss", reduction)
    return ops.huber_loss(input, target, reduction=reduction, delta=float(delta))


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    _check_reduction("smooth_l1_loss", reduction)
    if beta == 0:
        return l1_loss(input, target, reduction)
    return ops.smooth_l1(input, target, reduction=reduction, beta=float(beta))


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    _check_reduction("bce_with_logits", reduction)
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"[bce_with_logits] wrong target shape: expected {tuple(input.shape)}, got "
            f"{tuple(target.shape)}"
        )
    if weight is None:
        return ops.bce_with_logits(input, target, pos_weight, reduction=reduction)
    loss = ops.bce_with_logits(input, target, pos_weight, reduction="none") * weight
    return _reduce("bce_with_logits", loss, reduction)


def kl_div(input, target, reduction="mean", log_target=False):
    """target · (log target - input) with log-probabilities as input; 'batchmean' is the
    mathematical mean."""
    if reduction == "batchmean":
        return ops.kl_div(input, target, reduction="sum", log_target=log_target) / input.shape[0]
    _check_reduction("kl_div", reduction)
    return ops.kl_div(input, target, reduction=reduction, log_target=log_target)
