"""Loss functions of nn.functional: predictions first, targets second, reduction mean, sum or
none."""

import math

import suan

from ..amp import in_float32
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


@in_float32
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


@in_float32
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


def _log_or(x, least):
    """max(log x, least), with no gradient where x is 0 (there log's is infinite)."""
    zero = x == 0
    return suan.where(zero, least, suan.where(zero, 1.0, x).log().clamp(min=least))


@in_float32
def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-(target log input + (1 - target) log(1 - input)), the logarithms at least -100. Prefer
    binary_cross_entropy_with_logits, which is exact for all inputs."""
    _check_reduction("binary_cross_entropy", reduction)
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"[binary_cross_entropy] wrong target shape: expected {tuple(input.shape)}, got {tuple(target.shape)}"
        )
    loss = -(target * _log_or(input, -100.0) + (1 - target) * _log_or(1 - input, -100.0))
    return _reduce("binary_cross_entropy", loss if weight is None else loss * weight, reduction)


def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1 · x2 / (|x1| |x2|) along dim, each length at least eps."""
    length = lambda x: (x * x).sum(dim).clamp(min=eps * eps).sqrt()
    return (x1 * x2).sum(dim) / (length(x1) * length(x2))


@in_float32
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """½ (log var + (input - target)² / var), var a tensor or a number, at least eps; full adds ½ log 2π."""
    _check_reduction("gaussian_nll_loss", reduction)
    if not isinstance(var, suan.Tensor):
        var = suan.full_like(input, float(var))
    if tuple(var.shape) == tuple(input.shape)[:-1]:
        var = var.unsqueeze(-1)
    elif var.dim() != input.dim():
        raise ValueError(
            f"[gaussian_nll_loss] wrong shape of var: expected {tuple(input.shape)}, the last size 1 or left out, "
            f"got {tuple(var.shape)}"
        )
    var = var + (var.clamp(min=eps) - var).detach()  # the gradient of var itself, as torch's
    difference = input - target
    loss = 0.5 * (var.log() + difference * difference / var)
    return _reduce("gaussian_nll_loss", loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


@in_float32
def poisson_nll_loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """exp(input) - target · input, or for an input that is no logarithm, input - target log(input + eps); full adds
    Stirling's approximation of log(target!) for targets over 1."""
    _check_reduction("poisson_nll_loss", reduction)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        safe = suan.where(target > 1, target, 1.0)
        more = safe * safe.log() - safe + 0.5 * (2 * math.pi * safe).log()
        loss = loss + suan.where(target > 1, more, 0.0)
    return _reduce("poisson_nll_loss", loss, reduction)


def _log_add(*terms):
    """log Σ exp over tensors, element by element."""
    top = terms[0]
    for t in terms[1:]:
        top = suan.maximum(top, t)
    top = top.detach()
    return top + sum((t - top).exp() for t in terms).log()


_IMPOSSIBLE = -1e30  # log 0, but with differences and gradients that are numbers


@in_float32
def ctc_loss(
    log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False
):
    """-log of the probability of the targets, summed over all alignments (Graves et al. 2006).

    log_probs [time, batch, classes] (or without batch): log-probabilities; targets [batch, length] of class numbers
    other than blank, or all in one row; input_lengths and target_lengths [batch], tensors or sequences (inside
    suan.compile: tensors, and targets in rows). The mean divides each loss by its target's length first. A target that
    does not fit gives inf, or with zero_infinity 0 without a gradient. The gradient is that of log_probs itself;
    torch's contains log_softmax's, so that only gradients before the log_softmax are equal.
    """
    op = "ctc_loss"
    _check_reduction(op, reduction)
    unbatched = log_probs.dim() == 2
    if unbatched:
        log_probs, targets = log_probs.unsqueeze(1), targets.reshape(1, -1)
    if log_probs.dim() != 3 or not 0 <= blank < log_probs.shape[2]:
        raise ValueError(f"[{op}] wrong log_probs or blank: expected [time, batch, classes] and 0 <= blank < classes, "
                         f"got {tuple(log_probs.shape)} and {blank}")
    steps, batch, classes = log_probs.shape
    lengths = []
    for name, value in (("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        value = value if isinstance(value, suan.Tensor) else suan.tensor(value, device=log_probs.device)
        if value.numel() != batch:
            raise ValueError(f"[{op}] wrong number of {name}: expected {batch}, got {value.numel()}")
        lengths.append(value.to(suan.int64).reshape(batch))
    n_in, n_out = lengths
    if targets.dim() == 1:
        longest = int(n_out.max().item())
        at = (n_out.cumsum(0) - n_out).unsqueeze(1) + suan.arange(longest, device=targets.device)
        targets = targets[at.clamp(max=max(targets.shape[0] - 1, 0))] if targets.shape[0] else targets.reshape(batch, 0)
    if targets.dim() != 2 or targets.shape[0] != batch:
        raise ValueError(f"[{op}] wrong shape of targets: expected [{batch}, length], got {tuple(targets.shape)}")
    # Blanks before, between and after the labels: [batch, 2 * length + 1].
    labels = targets.to(suan.int64).clamp(0, classes - 1)
    blanks = suan.full_like(labels, blank)
    last = suan.full((batch, 1), blank, dtype=suan.int64, device=labels.device)
    path = suan.cat([suan.stack([blanks, labels], 2).flatten(1), last], 1)
    n = path.shape[1]
    scores = log_probs.gather(2, path.unsqueeze(0).expand(steps, batch, n)).clamp(min=_IMPOSSIBLE).unbind(0)
    shifted = lambda x, by: ops.pad(x, _IMPOSSIBLE, pad=(by, 0), mode="constant")[:, :n]
    place = suan.arange(n, device=path.device).unsqueeze(0)
    alpha = suan.where((place < 2).logical_and(place <= 2 * n_out.unsqueeze(1)), scores[0], _IMPOSSIBLE)
    if n > 2:  # a label may follow another one directly
        two_back = suan.cat([suan.full((batch, 2), blank, dtype=suan.int64, device=path.device), path[:, :-2]], 1)
        direct = (path != blank).logical_and(path != two_back)
    for t in range(1, steps):
        ways = [alpha, shifted(alpha, 1)]
        if n > 2:
            ways.append(suan.where(direct, shifted(alpha, 2), _IMPOSSIBLE))
        onward = (_log_add(*ways) + scores[t]).clamp(min=_IMPOSSIBLE)
        alpha = suan.where((n_in > t).unsqueeze(1), onward, alpha)
    ends = suan.stack([2 * n_out, (2 * n_out - 1).clamp(min=0)], 1)
    ends = alpha.gather(1, ends)
    second = suan.where(n_out > 0, ends[:, 1], _IMPOSSIBLE)
    loss = -_log_add(ends[:, 0], second)
    possible = loss < -0.5 * _IMPOSSIBLE
    loss = suan.where(possible, loss, 0.0 if zero_infinity else math.inf)
    if reduction == "mean":
        return (loss / n_out.clamp(min=1).to(loss.dtype)).mean()
    return _reduce(op, loss.squeeze(0) if unbatched else loss, reduction)
