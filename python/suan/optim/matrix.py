"""Optimizers that look at a weight as a matrix: Adafactor and Muon."""

import math

import suan

from .formula import FormulaOptimizer, steps


def _rms(t):
    return t.square().mean().sqrt()


class Adafactor(FormulaOptimizer):
    """Second moments of a matrix kept as a row and a column, steps relative to the weights' size, updates no
    larger than d (Shazeer and Stern 2018). State of a weight [..., m, n]: row_var [..., m, 1], col_var
    [..., 1, n]; of a vector: variance. eps: (of the second moment, None for the dtype's; of the weights' size).
    Weight decay is decoupled."""

    def __init__(self, params, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0, *,
                 foreach=None, maximize=False):
        super().__init__(params, lr=lr, beta2_decay=beta2_decay, eps=tuple(eps), d=d, weight_decay=weight_decay,
                         decoupled_weight_decay=True, maximize=maximize)

    def check(self, group):
        super().check(group)
        if group["beta2_decay"] > 0:
            raise ValueError(f"[Adafactor] wrong beta2_decay: expected at most 0, got {group['beta2_decay']}")
        if group["d"] < 1:
            raise ValueError(f"[Adafactor] wrong d: expected at least 1, got {group['d']}")

    def init_state(self, param, group):
        state, shape = {"step": group.step_tensor}, list(param.shape)
        if len(shape) < 2:
            return {**state, "variance": suan.zeros_like(param)}
        options = {"dtype": param.dtype, "device": param.device}
        return {**state, "row_var": suan.zeros(shape[:-1] + [1], **options),
                "col_var": suan.zeros(shape[:-2] + [1, shape[-1]], **options)}

    def update(self, param, grad, state, group):
        tiny, least_size = group["eps"]
        tiny = suan.finfo(param.dtype).eps if tiny is None else tiny
        t = steps(state)
        weight = t ** group["beta2_decay"]  # of the newest gradient in the averages
        size = _rms(param).clamp(min=least_size) * suan.minimum(group.lr_tensor, t.rsqrt())
        square = grad * grad
        if "variance" in state:
            variance = state["variance"]
            variance.add_((square - variance) * weight)
        else:
            row, col = state["row_var"], state["col_var"]
            row.add_((square.mean(-1, keepdim=True) - row) * weight)
            col.add_((square.mean(-2, keepdim=True) - col) * weight)
            variance = row @ col / row.mean(-2, keepdim=True).clamp(min=tiny)
        update = grad * variance.clamp(min=tiny * tiny).rsqrt()
        param.sub_(update * (size / (_rms(update) / group["d"]).clamp(min=1.0)))


def orthogonalized(matrix, coefficients, n_steps, eps):
    """About the orthogonal factor of a matrix [m, n] in its polar decomposition: its singular values brought
    near 1 by n_steps of a Newton-Schulz iteration (Jordan et al. 2024). Rounded to bfloat16 where torch's is,
    computed in float32 between."""
    a, b, c = coefficients
    x = matrix.bfloat16()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.t()
    x = (x / x.norm().clamp(min=eps)).float()
    for _ in range(n_steps):
        gram = (x @ x.t()).bfloat16().float()
        quintic = (gram * b + gram @ gram * c).bfloat16().float()
        x = (x * a + quintic @ x).bfloat16().float()
    return x if wide else x.t()


class Muon(FormulaOptimizer):
    """Momentum of a matrix, orthogonalized (Jordan et al. 2024), for the hidden layers' weights [m, n] only; give
    the rest to AdamW. The rate of a matrix is lr times sqrt(max(1, m / n)), or with
    adjust_lr_fn="match_rms_adamw" times 0.2 sqrt(max(m, n)). Weight decay is decoupled."""

    def __init__(self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True,
                 ns_coefficients=(3.4445, -4.775, 2.0315), eps=1e-7, ns_steps=5, adjust_lr_fn=None):
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError("[Muon] wrong adjust_lr_fn: expected None, 'original' or 'match_rms_adamw', got "
                             f"{adjust_lr_fn!r}")
        super().__init__(params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov,
                         ns_coefficients=tuple(ns_coefficients), eps=eps, ns_steps=ns_steps,
                         adjust_lr_fn=adjust_lr_fn, decoupled_weight_decay=True)

    def init_state(self, param, group):
        if param.dim() != 2:
            raise ValueError(f"[Muon] wrong parameter: expected a matrix, got shape {tuple(param.shape)} (give "
                             "vectors, embeddings and convolutions to AdamW)")
        return {"step": group.step_tensor, "momentum_buffer": suan.zeros_like(param)}

    def update(self, param, grad, state, group):
        buffer, momentum = state["momentum_buffer"], group["momentum"]
        buffer.lerp_(grad, 1 - momentum)
        update = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
        update = orthogonalized(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        m, n = param.shape
        ratio = 0.2 * math.sqrt(max(m, n)) if group["adjust_lr_fn"] == "match_rms_adamw" else math.sqrt(max(1, m / n))
        param.sub_(update.to(param.dtype) * (group.lr_tensor * ratio))
