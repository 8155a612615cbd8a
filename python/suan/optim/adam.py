"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), one pass over memory per
parameter."""

import suan

from ..nn._ops import ops
from .formula import moments
from .optimizer import Optimizer, refuse_differentiable
from .rounding import stochastic_round


def by_chance(param, group):
    return group["stochastic_rounding"] and param.dtype == suan.bfloat16


class Adam(Optimizer):
    """Adam; weight_decay is added to the gradient, or decoupled as in AdamW with
    decoupled_weight_decay.

    stochastic_rounding: bfloat16 parameters keep float32 moments, are updated in float32 and rounded by chance, from
    the default generator, so that small updates are not lost; other parameters are updated as ever. Not with
    amsgrad (ValueError)."""

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        amsgrad=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
        fused=None,
        decoupled_weight_decay=False,
        stochastic_rounding=False,
    ):
        refuse_differentiable(type(self).__name__, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
                "stochastic_rounding": stochastic_rounding,
            },
        )

    def check(self, group):
        super().check(group)
        name = type(self).__name__
        if group["eps"] < 0:
            raise ValueError(f"[{name}] wrong eps: expected at least 0, got {group['eps']}")
        if group["amsgrad"] and group["stochastic_rounding"]:
            raise ValueError(f"[{name}] wrong options: expected amsgrad or stochastic_rounding, got both")
        for i, beta in enumerate(group["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"[{name}] wrong betas[{i}]: expected 0 <= beta < 1, got {beta}")

    def init_state(self, param, group):
        dtype = suan.float32 if by_chance(param, group) else param.dtype
        state = {
            "step": group.step_tensor,
            "exp_avg": suan.zeros_like(param, dtype=dtype),
            "exp_avg_sq": suan.zeros_like(param, dtype=dtype),
        }
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = suan.zeros_like(param)
        return state

    def step_group(self, group, grad_scale):
        rows = self.active(group)
        if not rows:
            return
        self.count_step(group, rows)
        beta1, beta2 = group["betas"]
        decay, eps = group["weight_decay"], group["eps"]
        decoupled = group["decoupled_weight_decay"]
        options = {
            "beta1": beta1,
            "beta2": beta2,
            "eps": eps,
            "weight_decay": decay if decoupled else 0.0,
        }
        scale = grad_scale if decoupled or not decay else None
        together = {}  # on a device, what has one step count and dtype is one call
        for param, grad, state in rows:
            if by_chance(param, group):
                grad = grad.float()
                if grad_scale is not None:
                    grad = grad * grad_scale
                wide = param.float()
                if decay and not decoupled:
                    grad = grad + wide * decay
                first, second = state["exp_avg"], state["exp_avg_sq"]
                ops.adamw_step(wide, grad, first, second, group.lr_tensor, state["step"], None, **options)
                param.copy_(stochastic_round(wide))
                continue
            if decay and not decoupled:
                grad = (grad if grad_scale is None else grad * grad_scale) + param * decay
            if group["amsgrad"]:
                self._amsgrad(param, grad if scale is None else grad * scale, state, group)
                continue
            step = state["step"]
            if param.device.type == "cpu":  # there one call for all costs more than it saves
                first, second = state["exp_avg"], state["exp_avg_sq"]
                ops.adamw_step(param, grad, first, second, group.lr_tensor, step, scale, **options)
                continue
            tensors = together.setdefault((id(step), param.dtype), (step, []))[1]
            tensors += (param, grad, state["exp_avg"], state["exp_avg_sq"])
        for step, tensors in together.values():
            ops.adamw_steps(group.lr_tensor, step, scale, *tensors, **options)

    def load_state_dict(self, state_dict):
        for group, saved in zip(self.param_groups, state_dict["param_groups"]):
            if saved.get("amsgrad", False) != group["amsgrad"]:
                raise ValueError(
                    f"[load_state_dict] another amsgrad: expected {group['amsgrad']}, got "
                    f"{saved['amsgrad']} (make the optimizer with the saved one's)"
                )
        super().load_state_dict(state_dict)

    def _amsgrad(self, param, grad, state, group):
        """Divides by the largest second moment so far (Reddi et al. 2018)."""
        (beta1, beta2), lr, largest = group["betas"], group.lr_tensor, state["max_exp_avg_sq"]
        if group["decoupled_weight_decay"]:
            param.mul_(1 - lr * group["weight_decay"])
        first, second = moments(grad, state, group["betas"])
        largest.copy_(suan.maximum(largest, second))
        t = state["step"].double()
        root = (largest / (1 - beta2**t)).sqrt() + group["eps"]
        param.sub_(first / root * (lr / (1 - beta1**t)))


class AdamW(Adam):
    """Adam with weight decay applied to the weights themselves. stochastic_rounding: see Adam."""

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-2,
        amsgrad=False,
        *,
        maximize=False,
        foreach=None,
        capturable=False,
        differentiable=False,
        fused=None,
        stochastic_rounding=False,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            differentiable=differentiable,
            decoupled_weight_decay=True,
            stochastic_rounding=stochastic_rounding,
        )
