"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), one pass over memory per
parameter."""

import suan

from ..nn._ops import ops
from .optimizer import Optimizer


class Adam(Optimizer):
    """Adam; weight_decay is added to the gradient, or decoupled as in AdamW with
    decoupled_weight_decay."""

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        amsgrad=False,
        *,
        maximize=False,
        decoupled_weight_decay=False,
    ):
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
            },
        )

    def check(self, group):
        super().check(group)
        name = type(self).__name__
        if group["amsgrad"]:
            raise ValueError(f"[{name}] amsgrad is not available: expected False, got True")
        if group["eps"] < 0:
            raise ValueError(f"[{name}] wrong eps: expected at least 0, got {group['eps']}")
        for i, beta in enumerate(group["betas"]):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"[{name}] wrong betas[{i}]: expected 0 <= beta < 1, got {beta}")

    def init_state(self, param, group):
        return {
            "step": group.step_tensor,
            "exp_avg": suan.zeros_like(param),
            "exp_avg_sq": suan.zeros_like(param),
        }

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
        together = {}  # what has one step count and dtype is one call
        for param, grad, state in rows:
            if decay and not decoupled:
                grad = (grad if grad_scale is None else grad * grad_scale) + param * decay
            step = state["step"]
            tensors = together.setdefault((id(step), param.dtype), (step, []))[1]
            tensors += (param, grad, state["exp_avg"], state["exp_avg_sq"])
        for step, tensors in together.values():
            ops.adamw_steps(group.lr_tensor, step, scale, *tensors, **options)


class AdamW(Adam):
    """Adam with weight decay applied to the weights themselves."""

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
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )
