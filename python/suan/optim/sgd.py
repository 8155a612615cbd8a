"""Stochastic gradient descent with momentum and Nesterov's variant (Sutskever et al. 2013)."""

import suan

from ..nn._ops import ops
from .optimizer import Optimizer, refuse_differentiable


class SGD(Optimizer):
    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0.0,
        dampening=0.0,
        weight_decay=0.0,
        nesterov=False,
        *,
        maximize=False,
        foreach=None,
        differentiable=False,
        fused=None,
    ):
        refuse_differentiable("SGD", differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, group):
        super().check(group)
        if group["momentum"] < 0:
            raise ValueError(f"[SGD] wrong momentum: expected at least 0, got {group['momentum']}")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "[SGD] Nesterov needs momentum and no dampening: expected momentum > 0 and "
                "dampening 0, "
                f"got {group['momentum']} and {group['dampening']}"
            )

    def init_state(self, param, group):
        return {"momentum_buffer": suan.zeros_like(param)} if group["momentum"] else {}

    def step_group(self, group, grad_scale):
        momentum, dampening = group["momentum"], group["dampening"]
        options = {
            "momentum": momentum,
            "weight_decay": group["weight_decay"],
            "nesterov": group["nesterov"],
        }
        step_op, lr = ops.sgd_step, group.lr_tensor
        for param, grad, state in self.active(group):
            buffer, damp = state.get("momentum_buffer"), dampening
            if grad_scale is not None:
                grad = grad * grad_scale
            if momentum and buffer is None:  # the momentum was set after construction
                buffer = state["momentum_buffer"] = suan.zeros_like(param)
            if dampening and not state.get("started"):
                # The first gradient enters the buffer whole, as in torch.
                state["started"], damp = True, 0.0
            step_op(param, grad, buffer if momentum else None, lr, dampening=damp, **options)
