"""Gradient clipping. Norms stay tensors, so that a compiled step can hold the whole of it."""

import suan

from .._ops import ops


def _grads(parameters):
    if isinstance(parameters, suan.Tensor):
        parameters = [parameters]
    return [p.grad for p in parameters if p.grad is not None]


def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False):
    """The norm of all tensors taken as one vector, as a 0-d tensor."""
    tensors = [tensors] if isinstance(tensors, suan.Tensor) else list(tensors)
    if not tensors:
        return suan.tensor(0.0)
    norm_type = float(norm_type)
    if norm_type == 2.0:
        total = ops.clip_grad_norm(tensors, max_norm=1.0)[0]
    elif norm_type == float("inf"):
        total = suan.stack([t.abs().max() for t in tensors]).max()
    else:
        total = (
            suan.stack([t.abs().pow(norm_type).sum() for t in tensors]).sum().pow(1.0 / norm_type)
        )
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"[clip_grad_norm_] the total norm of order {norm_type} is not finite: "
            f"expected finite gradients, got {float(total)}"
        )
    return total


def clip_scale(parameters, max_norm):
    """(norm, scale): the gradients' total norm, and the factor that clip_grad_norm_ would multiply
    them by. `optimizer.step(grad_scale=scale)` applies it while it reads the gradients: the same
    bits, one pass less."""
    with suan.no_grad():
        return tuple(ops.clip_grad_norm(_grads(parameters), max_norm=float(max_norm)))


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    """Scales all gradients in place so that their total norm is at most max_norm. Returns the norm
    before."""
    with suan.no_grad():
        grads = _grads(parameters)
        if grads and norm_type == 2.0 and not error_if_nonfinite:
            total, scale = ops.clip_grad_norm(grads, max_norm=float(max_norm))
        else:
            total = get_total_norm(grads, norm_type, error_if_nonfinite)
            scale = (max_norm / (total + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale if grad.dtype == scale.dtype else scale.to(grad.dtype))
        return total


def clip_grads_with_norm_(parameters, max_norm, total_norm):
    """Scales all gradients in place by max_norm / total_norm if that is below 1: clip_grad_norm_ with a norm from
    get_total_norm."""
    with suan.no_grad():
        scale = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
        for grad in _grads(parameters):
            grad.mul_(scale.to(grad.dtype))


def clip_grad_value_(parameters, clip_value):
    """Limits every gradient element to [-clip_value, clip_value] in place."""
    with suan.no_grad():
        for grad in _grads(parameters):
            grad.clamp_(-float(clip_value), float(clip_value))
