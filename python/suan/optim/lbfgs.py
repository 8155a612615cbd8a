"""L-BFGS (Nocedal and Wright, Numerical Optimization, 2006, chapters 3 and 7)."""

import math

import suan

from .optimizer import Optimizer


class LBFGS(Optimizer):
    """Limited-memory BFGS over all parameters as one vector; one group of parameters. step(closure) makes up to
    max_iter iterations and at most max_eval (None: 5/4 of max_iter) evaluations of the closure, which clears the
    gradients, computes the loss, runs backward and returns the loss; it returns the first loss.

    It ends earlier where the largest gradient is at most tolerance_grad, or loss or parameters change by less than
    tolerance_change. The curvature of the last history_size steps is kept. Steps are lr long, or found by a line
    search for the strong Wolfe conditions, line_search_fn="strong_wolfe". Lengths depend on losses: step() cannot be
    compiled."""

    def __init__(self, params, lr=1.0, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9,
                 history_size=100, line_search_fn=None):
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(f"[LBFGS] wrong line_search_fn: expected None or 'strong_wolfe', got {line_search_fn!r}")
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        })

    def check(self, group):
        if self.param_groups:
            raise ValueError("[LBFGS] wrong parameter groups: expected one, got a second")
        self._check_values(group)

    def _check_values(self, group):
        for name, least in (("max_iter", 1), ("max_eval", 1), ("history_size", 1), ("tolerance_grad", 0),
                            ("tolerance_change", 0)):
            if group[name] < least:
                raise ValueError(f"[LBFGS] wrong {name}: expected at least {least}, got {group[name]}")
        if group["lr"] <= 0:
            raise ValueError(f"[LBFGS] wrong lr: expected more than 0, got {group['lr']}")

    def load_state_dict(self, state_dict):
        (group,) = self.param_groups
        counts = [len(saved["params"]) for saved in state_dict["param_groups"]]
        if counts != [len(group["params"])]:
            raise ValueError("[load_state_dict] another model: expected one group of "
                             f"{len(group['params'])} parameters, got groups of {counts}")
        options = {k: v for k, v in state_dict["param_groups"][0].items() if k != "params"}
        self._check_values({**group, **options})
        group.update(options)
        state = next(iter(state_dict["state"].values()), {})
        self.state[group["params"][0]] = {key: _copied(value) for key, value in state.items()}

    def _gradient(self, params):
        return suan.cat([(suan.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in params])

    def _move(self, params, start, direction, length):
        """Parameters to start + length × direction."""
        at = 0
        for param, first in zip(params, start):
            n = param.numel()
            param.copy_(first + length * direction[at:at + n].view_as(param))
            at += n

    def _direction(self, grad, state, history_size):
        """The two-loop recursion: an approximation of -H⁻¹ grad."""
        change, step = grad - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = float(change.dot(step))
        if curvature > 1e-10:
            kept = 1 - history_size
            state["old_dirs"] = [*(state["old_dirs"][kept:] if kept else []), change]
            state["old_stps"] = [*(state["old_stps"][kept:] if kept else []), step]
            state["ro"] = [*(state["ro"][kept:] if kept else []), suan.tensor(1 / curvature, dtype=grad.dtype)]
            state["H_diag"] = suan.tensor(curvature / float(change.dot(change)), dtype=grad.dtype)
        pairs = list(zip(state["old_dirs"], state["old_stps"], state["ro"]))
        q, weights = -grad, []
        for y, s, ro in reversed(pairs):
            weights.append(s.dot(q) * ro)
            q = q - weights[-1] * y
        q = q * state["H_diag"]
        for (y, s, ro), weight in zip(pairs, reversed(weights)):
            q = q + s * (weight - y.dot(q) * ro)
        return q

    def step(self, closure):
        """Up to max_iter iterations; returns the loss before them. StateError in a compiled function."""
        (group,) = self.param_groups
        params = group["params"]
        state = self.state[params[0]]
        evaluations = 0

        def evaluate():
            nonlocal evaluations
            evaluations += 1
            with suan.enable_grad():
                loss = closure()
            return loss, self._gradient(params)

        with suan.no_grad():
            first_loss, grad = evaluate()
            loss = float(first_loss)
            if float(grad.abs().max()) <= group["tolerance_grad"]:
                return first_loss
            for iteration in range(1, group["max_iter"] + 1):
                if "d" not in state:
                    one = suan.tensor(1.0, dtype=grad.dtype)
                    state.update(n_iter=0, func_evals=0, old_dirs=[], old_stps=[], ro=[], H_diag=one)
                    direction = -grad
                    length = min(1.0, 1.0 / float(grad.abs().sum())) * group["lr"]
                else:
                    direction = self._direction(grad, state, group["history_size"])
                    length = group["lr"]
                state["n_iter"] += 1
                slope, before = float(grad.dot(direction)), loss
                state["prev_flat_grad"], state["prev_loss"] = grad, loss
                state["d"], state["t"] = direction, 0.0
                if slope > -group["tolerance_change"]:
                    break
                start = [p.clone() for p in params]
                if group["line_search_fn"]:
                    def along(t):
                        self._move(params, start, direction, t)
                        value, slope_there = evaluate()
                        return float(value), slope_there, float(slope_there.dot(direction))

                    narrow = group["tolerance_change"] / float(direction.abs().max())
                    length, loss, grad = strong_wolfe(along, length, loss, grad, slope, narrow)
                    self._move(params, start, direction, length)
                else:
                    self._move(params, start, direction, length)
                    if iteration < group["max_iter"]:   # the last one's values would not be used
                        value, grad = evaluate()
                        loss = float(value)
                state["t"] = length
                if (evaluations >= group["max_eval"] or float(grad.abs().max()) <= group["tolerance_grad"]
                        or length * float(direction.abs().max()) <= group["tolerance_change"]
                        or abs(loss - before) < group["tolerance_change"]):
                    break
            state["func_evals"] += evaluations
        return first_loss


def _copied(value):
    if isinstance(value, (list, tuple)):
        return [v.clone() for v in value]
    return value.clone() if isinstance(value, suan.Tensor) else value


def _cubic_minimum(a, fa, da, b, fb, db):
    """Where the cubic with these values and slopes at a and b is least, within the middle 80 % between them; their
    middle where it has no minimum."""
    low, high = min(a, b), max(a, b)
    margin = 0.1 * (high - low)
    d1 = da + db - 3 * (fa - fb) / (a - b)
    square = d1 * d1 - da * db
    if not (square >= 0 and math.isfinite(square)):
        return (low + high) / 2
    d2 = math.copysign(math.sqrt(square), b - a)
    below = db - da + 2 * d2
    at = b - (b - a) * (db + d2 - d1) / below if below else (low + high) / 2
    return min(max(at, low + margin), high - margin)


def strong_wolfe(along, length, loss, grad, slope, narrow, decrease=1e-4, curvature=0.9, most=25):
    """(length, loss, gradient) with a sufficient decrease and a slope small enough, algorithms 3.5 and 3.6. along(t)
    gives loss, gradient and slope there. After `most` evaluations, or in an interval below `narrow`: the best seen."""
    before = (0.0, loss, grad, slope)
    bracket = None
    tried, at = 0, length
    while tried < most:
        here = (at, *along(at))
        tried += 1
        if not math.isfinite(here[1]) or here[1] > loss + decrease * at * slope or (tried > 1 and here[1] >= before[1]):
            bracket = before, here
            break
        if abs(here[3]) <= -curvature * slope:
            return here[:3]
        if here[3] >= 0:
            bracket = here, before
            break
        # Slopes still fall: further, where the cubic through both has its minimum, two to ten times as far.
        step = at - before[0]
        guess = _cubic_minimum(before[0], before[1], before[3], at + 9 * step, here[1] + 9 * step * here[3], here[3])
        before, at = here, min(max(guess, at + step), at + 9 * step)
    if bracket is None:
        return before[:3]
    low, high = bracket
    while tried < most and abs(high[0] - low[0]) > narrow:
        usable = math.isfinite(high[1]) and math.isfinite(high[3])
        at = _cubic_minimum(low[0], low[1], low[3], high[0], high[1], high[3]) if usable else (low[0] + high[0]) / 2
        here = (at, *along(at))
        tried += 1
        if not math.isfinite(here[1]) or here[1] > loss + decrease * at * slope or here[1] >= low[1]:
            high = here
            continue
        if abs(here[3]) <= -curvature * slope:
            return here[:3]
        if here[3] * (high[0] - low[0]) >= 0:
            high = low
        low = here
    return low[:3]
