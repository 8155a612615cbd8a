"""Optimizers whose update is a formula of tensors, written out in ops: what one kernel does for Adam and SGD,
suan.compile fuses here. Each keeps torch's options, defaults and names of state."""

import suan

from .optimizer import Optimizer, refuse_differentiable


class FormulaOptimizer(Optimizer):
    """Subclasses give update(param, grad, state, group), which writes param and state in place under no_grad;
    state["step"], a 0-d float32 tensor, counts from 1. Weight decay is added to the gradient here, or taken
    from the weights themselves when the group has decoupled_weight_decay."""

    def __init__(self, params, *, foreach=None, capturable=False, differentiable=False, **options):
        refuse_differentiable(type(self).__name__, differentiable)
        super().__init__(params, options)

    def check(self, group):
        super().check(group)
        name = type(self).__name__
        for key in ("eps", "momentum", "lr_decay", "initial_accumulator_value", "momentum_decay"):
            if isinstance(group.get(key), float | int) and group[key] < 0:
                raise ValueError(f"[{name}] wrong {key}: expected at least 0, got {group[key]}")
        for key in ("alpha", "rho"):
            if key in group and not 0.0 <= group[key] <= 1.0:
                raise ValueError(f"[{name}] wrong {key}: expected 0 to 1, got {group[key]}")
        for i, beta in enumerate(group.get("betas", ())):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"[{name}] wrong betas[{i}]: expected 0 <= beta < 1, got {beta}")

    def update(self, param, grad, state, group):
        raise NotImplementedError

    def step_group(self, group, grad_scale):
        rows = self.active(group)
        if not rows:
            return
        self.count_step(group, rows)
        decay = group["weight_decay"]
        for param, grad, state in rows:
            if grad_scale is not None:
                grad = grad * grad_scale
            if decay and group.get("decoupled_weight_decay"):
                param.mul_(1 - group.lr_tensor * decay)
            elif decay:
                grad = grad + param * decay
            self.update(param, grad, state, group)


def steps(state):
    """The step count in float64, in which 1 - beta ** step keeps its digits."""
    return state["step"].double()


def moments(grad, state, betas):
    """Moves both of Adam's averages on, and returns them."""
    first, second = state["exp_avg"], state["exp_avg_sq"]
    first.lerp_(grad, 1 - betas[0])
    second.mul_(betas[1]).add_(grad * grad * (1 - betas[1]))
    return first, second


class NAdam(FormulaOptimizer):
    """Adam with Nesterov momentum (Dozat 2016)."""

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
                 decoupled_weight_decay=False, *, foreach=None, maximize=False, capturable=False,
                 differentiable=False):
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay,
                         momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay,
                         maximize=maximize, differentiable=differentiable)

    def init_state(self, param, group):
        return {"step": group.step_tensor, "mu_product": suan.ones((), device=param.device),
                "exp_avg": suan.zeros_like(param), "exp_avg_sq": suan.zeros_like(param)}

    def update(self, param, grad, state, group):
        t, (beta1, beta2), decay = steps(state), group["betas"], group["momentum_decay"]
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * decay))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * decay))
        product = state["mu_product"]
        product.mul_(mu)
        first, second = moments(grad, state, group["betas"])
        root = (second / (1 - beta2**t)).sqrt() + group["eps"]
        lr = group.lr_tensor
        param.sub_(grad / root * (lr * (1 - mu) / (1 - product)))
        param.sub_(first / root * (lr * mu_next / (1 - product * mu_next)))


class RAdam(FormulaOptimizer):
    """Rectified Adam: plain momentum until the variance of the second moment is known (Liu et al. 2020)."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
                 decoupled_weight_decay=False, *, foreach=None, maximize=False, capturable=False,
                 differentiable=False):
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay,
                         decoupled_weight_decay=decoupled_weight_decay, maximize=maximize,
                         differentiable=differentiable)

    def init_state(self, param, group):
        return {"step": group.step_tensor, "exp_avg": suan.zeros_like(param), "exp_avg_sq": suan.zeros_like(param)}

    def update(self, param, grad, state, group):
        t, (beta1, beta2) = steps(state), group["betas"]
        first, second = moments(grad, state, group["betas"])
        left = 1 - beta2**t
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / left
        known = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        adaptive = (known.clamp(min=0.0) * left).sqrt() / (second.sqrt() + group["eps"])
        param.sub_(first * suan.where(length > 5, adaptive, 1.0) * (group.lr_tensor / (1 - beta1**t)))


class Adamax(FormulaOptimizer):
    """Adam with the largest gradient in place of the second moment (Kingma and Ba 2015)."""

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, foreach=None, *,
                 maximize=False, differentiable=False, capturable=False):
        super().__init__(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, maximize=maximize,
                         differentiable=differentiable)

    def init_state(self, param, group):
        return {"step": group.step_tensor, "exp_avg": suan.zeros_like(param), "exp_inf": suan.zeros_like(param)}

    def update(self, param, grad, state, group):
        beta1, beta2 = group["betas"]
        first, largest = state["exp_avg"], state["exp_inf"]
        first.lerp_(grad, 1 - beta1)
        largest.copy_(suan.maximum(largest * beta2, grad.abs() + group["eps"]))
        param.sub_(first / largest * (group.lr_tensor / (1 - beta1 ** steps(state))))


class RMSprop(FormulaOptimizer):
    """Gradients over the root of their mean square (Tieleman and Hinton 2012); centered subtracts the square of
    their mean (Graves 2013)."""

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False,
                 capturable=False, foreach=None, maximize=False, differentiable=False):
        super().__init__(params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
                         centered=centered, maximize=maximize, differentiable=differentiable)

    def init_state(self, param, group):
        state = {"step": group.step_tensor, "square_avg": suan.zeros_like(param)}
        if group["momentum"]:
            state["momentum_buffer"] = suan.zeros_like(param)
        if group["centered"]:
            state["grad_avg"] = suan.zeros_like(param)
        return state

    def update(self, param, grad, state, group):
        square, alpha = state["square_avg"], group["alpha"]
        square.mul_(alpha).add_(grad * grad * (1 - alpha))
        spread = square
        if group["centered"]:
            mean = state["grad_avg"]
            mean.lerp_(grad, 1 - alpha)
            spread = square - mean * mean
        scaled = grad / (spread.sqrt() + group["eps"])
        if group["momentum"]:
            scaled = state["momentum_buffer"].mul_(group["momentum"]).add_(scaled)
        param.sub_(scaled * group.lr_tensor)


class Adagrad(FormulaOptimizer):
    """Gradients over the root of the sum of their squares (Duchi et al. 2011)."""

    def __init__(self, params, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10,
                 foreach=None, *, maximize=False, differentiable=False, fused=None):
        super().__init__(params, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps,
                         initial_accumulator_value=initial_accumulator_value, maximize=maximize,
                         differentiable=differentiable)

    def init_state(self, param, group):
        return {"step": group.step_tensor, "sum": suan.full_like(param, group["initial_accumulator_value"])}

    def update(self, param, grad, state, group):
        total = state["sum"]
        total.add_(grad * grad)
        lr = group.lr_tensor
        if group["lr_decay"]:
            lr = lr / (1 + (steps(state) - 1) * group["lr_decay"])
        param.sub_(grad / (total.sqrt() + group["eps"]) * lr)


class Adadelta(FormulaOptimizer):
    """Steps as large as recent ones, over the root of the gradients' mean square (Zeiler 2012)."""

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, foreach=None, *, capturable=False,
                 maximize=False, differentiable=False):
        super().__init__(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize,
                         differentiable=differentiable)

    def init_state(self, param, group):
        return {"step": group.step_tensor, "square_avg": suan.zeros_like(param),
                "acc_delta": suan.zeros_like(param)}

    def update(self, param, grad, state, group):
        rho, eps = group["rho"], group["eps"]
        square, moved = state["square_avg"], state["acc_delta"]
        square.mul_(rho).add_(grad * grad * (1 - rho))
        delta = (moved + eps).sqrt() / (square + eps).sqrt() * grad
        moved.mul_(rho).add_(delta * delta * (1 - rho))
        param.sub_(delta * group.lr_tensor)


class Rprop(FormulaOptimizer):
    """Step sizes of their own for all weights, from the signs of their gradients alone: grown by etas[1] while a
    sign stays, shrunk by etas[0] when it turns (Riedmiller and Braun 1993). For whole batches."""

    def __init__(self, params, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0), *, capturable=False,
                 foreach=None, maximize=False, differentiable=False):
        super().__init__(params, lr=lr, etas=tuple(etas), step_sizes=tuple(step_sizes), weight_decay=0.0,
                         maximize=maximize, differentiable=differentiable)

    def check(self, group):
        super().check(group)
        low, high = group["etas"]
        if not 0.0 < low < 1.0 < high:
            raise ValueError(f"[Rprop] wrong etas: expected 0 < etas[0] < 1 < etas[1], got {group['etas']}")

    def init_state(self, param, group):
        return {"step": group.step_tensor, "prev": suan.zeros_like(param),
                "step_size": suan.full_like(param, group["lr"])}

    def update(self, param, grad, state, group):
        (shrink, grow), (least, most) = group["etas"], group["step_sizes"]
        turn = grad * state["prev"]
        size = state["step_size"]
        size.copy_(suan.where(turn > 0, size * grow, suan.where(turn < 0, size * shrink, size)).clamp(least, most))
        grad = suan.where(turn < 0, 0.0, grad)
        param.sub_(grad.sign() * size)
        state["prev"].copy_(grad)
