"""Learning-rate schedules with torch's names. Each is a formula of the number of steps taken, so
setting a position (resuming, SequentialLR) is exact."""

import bisect
import math


class LRScheduler:
    """Base class: subclasses give factor(epoch) or lr(base, epoch). step() once per optimizer step
    or epoch."""

    def __init__(self, optimizer, last_epoch=-1):
        if last_epoch == -1:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        elif any("initial_lr" not in group for group in optimizer.param_groups):
            raise KeyError(
                "[lr_scheduler] no 'initial_lr' in param_groups: expected it when last_epoch is "
                "given"
            )
        self.optimizer = optimizer
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr = [group["lr"] for group in optimizer.param_groups]
        self.step()

    def factor(self, epoch):
        raise NotImplementedError

    def lr(self, base, epoch):
        return base * self.factor(epoch)

    def get_lr(self):
        return [self.lr(base, self.last_epoch) for base in self.base_lrs]

    def get_last_lr(self):
        return list(self._last_lr)

    def step(self, epoch=None):
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = lr

    def state_dict(self):
        skip = ("optimizer", "lr_lambdas")
        return {k: v for k, v in self.__dict__.items() if k not in skip}

    def load_state_dict(self, state_dict):
        self.__dict__.update(state_dict)
        for group, lr in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = lr


class LambdaLR(LRScheduler):
    """base · lr_lambda(epoch); a list gives one function per parameter group. Functions are not
    saved."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        n = len(optimizer.param_groups)
        self.lr_lambdas = (
            list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        )
        if len(self.lr_lambdas) != n:
            raise ValueError(
                f"[LambdaLR] wrong number of functions: expected {n}, got {len(self.lr_lambdas)}"
            )
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * fn(self.last_epoch) for base, fn in zip(self.base_lrs, self.lr_lambdas)]


class MultiplicativeLR(LambdaLR):
    """base · the product of lr_lambda(1), ..., lr_lambda(epoch)."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        self._products = 0, [1.0] * len(optimizer.param_groups)  # up to an epoch, so that a step is one call
        super().__init__(optimizer, lr_lambda, last_epoch)

    def get_lr(self):
        at, products = self._products
        if at > self.last_epoch:
            at, products = 0, [1.0] * len(products)
        for e in range(at + 1, self.last_epoch + 1):
            products = [p * fn(e) for p, fn in zip(products, self.lr_lambdas)]
        self._products = self.last_epoch, products
        return [base * p for base, p in zip(self.base_lrs, products)]


class StepLR(LRScheduler):
    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch):
        return self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch):
        return self.gamma ** bisect.bisect_right(self.milestones, epoch)


class ConstantLR(LRScheduler):
    def __init__(self, optimizer, factor=1.0 / 3, total_iters=5, last_epoch=-1):
        self.scale, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch):
        return self.scale if epoch < self.total_iters else 1.0


class LinearLR(LRScheduler):
    def __init__(
        self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1
    ):
        if not 0.0 < start_factor <= 1.0:
            raise ValueError(
                f"[LinearLR] wrong start_factor: expected 0 < factor <= 1, got {start_factor}"
            )
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch):
        done = min(epoch, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done


class ExponentialLR(LRScheduler):
    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch):
        return self.gamma**epoch


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from base to eta_min in T_max steps (Loshchilov and Hutter 2017)."""

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def lr(self, base, epoch):
        return (
            self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        )


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine periods of T_0, T_0 · T_mult, ... steps, each from base to eta_min."""

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        if T_0 <= 0 or T_mult < 1:
            raise ValueError(
                f"[CosineAnnealingWarmRestarts] wrong period: expected T_0 > 0 and T_mult >= 1, "
                f"got {T_0} and {T_mult}"
            )
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def lr(self, base, epoch):
        period, position = self.T_0, epoch
        while position >= period:
            position -= period
            period *= self.T_mult
        return (
            self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * position / period)) / 2
        )


class OneCycleLR(LRScheduler):
    """Up to max_lr in pct_start of the steps, then down to almost nothing (Smith and Topin 2018).

    cycle_momentum also moves beta1 or momentum the other way; these select the update's code, so
    under suan.compile pass cycle_momentum=False."""

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps=None,
        epochs=None,
        steps_per_epoch=None,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
        three_phase=False,
        last_epoch=-1,
    ):
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    "[OneCycleLR] no length: expected total_steps, or epochs and steps_per_epoch"
                )
            total_steps = epochs * steps_per_epoch
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                "[OneCycleLR] wrong anneal_strategy: expected 'cos' or 'linear', got "
                f"{anneal_strategy!r}"
            )
        self.total_steps, self.anneal_strategy, self.cycle_momentum = (
            total_steps,
            anneal_strategy,
            cycle_momentum,
        )
        n = len(optimizer.param_groups)
        tops = list(max_lr) if isinstance(max_lr, (list, tuple)) else [max_lr] * n
        for group, top in zip(optimizer.param_groups, tops):
            group["max_lr"] = top
            group["initial_lr"] = top / div_factor
            group["min_lr"] = top / div_factor / final_div_factor
        first = pct_start * total_steps - 1
        # (last step, start value, end value) of each phase, by name of the group's bounds.
        if three_phase:
            second = 2 * pct_start * total_steps - 2
            self.phases = [
                (first, "initial_lr", "max_lr"),
                (second, "max_lr", "initial_lr"),
                (total_steps - 1, "initial_lr", "min_lr"),
            ]
            self.momenta = [
                (max_momentum, base_momentum),
                (base_momentum, max_momentum),
                (max_momentum,) * 2,
            ]
        else:
            self.phases = [(first, "initial_lr", "max_lr"), (total_steps - 1, "max_lr", "min_lr")]
            self.momenta = [(max_momentum, base_momentum), (base_momentum, max_momentum)]
        super().__init__(optimizer, last_epoch)

    def _between(self, start, end, part):
        if self.anneal_strategy == "linear":
            return start + (end - start) * part
        return end + (start - end) / 2 * (1 + math.cos(math.pi * part))

    def get_lr(self):
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"[OneCycleLR] stepped too often: expected at most {self.total_steps} steps, got "
                f"{self.last_epoch}"
            )
        begin = 0.0
        for (end, low, high), momenta in zip(self.phases, self.momenta):
            if self.last_epoch <= end or end == self.phases[-1][0]:
                part = (self.last_epoch - begin) / (end - begin)
                break
            begin = end
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[low], group[high], part))
            if self.cycle_momentum:
                momentum = self._between(*momenta, part)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return rates


class PolynomialLR(LRScheduler):
    """base · (1 - epoch / total_iters) ** power, then 0."""

    def __init__(self, optimizer, total_iters=5, power=1.0, last_epoch=-1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def factor(self, epoch):
        return (1 - min(epoch, self.total_iters) / self.total_iters) ** self.power


class CyclicLR(LRScheduler):
    """From base_lr up to max_lr in step_size_up steps, down in step_size_down, and again (Smith 2017). mode:
    "triangular"; "triangular2", whose height halves each cycle; "exp_range", times gamma ** step. scale_fn, of
    the cycle's number or, with scale_mode="iterations", of the step, takes the mode's place. cycle_momentum
    moves SGD's momentum the other way, from max_momentum down to base_momentum."""

    def __init__(self, optimizer, base_lr, max_lr, step_size_up=2000, step_size_down=None, mode="triangular",
                 gamma=1.0, scale_fn=None, scale_mode="cycle", cycle_momentum=True, base_momentum=0.8,
                 max_momentum=0.9, last_epoch=-1):
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(f"[CyclicLR] wrong mode: expected triangular, triangular2 or exp_range, got {mode!r}")
        self.optimizer, n = optimizer, len(optimizer.param_groups)
        self.bottoms, self.tops = (list(v) if isinstance(v, (list, tuple)) else [v] * n for v in (base_lr, max_lr))
        self.up = step_size_up
        self.period = step_size_up + (step_size_up if step_size_down is None else step_size_down)
        self.mode, self.gamma, self.scale_fn, self.scale_mode = mode, gamma, scale_fn, scale_mode
        self.momenta = (base_momentum, max_momentum) if cycle_momentum else None
        if cycle_momentum and any("momentum" not in group for group in optimizer.param_groups):
            raise ValueError("[CyclicLR] cycle_momentum: expected an optimizer with a momentum, got none")
        if last_epoch == -1:
            for group, bottom in zip(optimizer.param_groups, self.bottoms):
                group["lr"] = group["initial_lr"] = bottom
        super().__init__(optimizer, last_epoch)

    def _height(self, epoch):
        """Where in its cycle a step is, from 0 to 1, scaled."""
        cycle, at = divmod(epoch, self.period)
        height = at / self.up if at <= self.up else (self.period - at) / (self.period - self.up)
        if self.scale_fn is not None:
            return height * self.scale_fn(cycle + 1 if self.scale_mode == "cycle" else epoch)
        return height * {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.gamma**epoch}[self.mode]

    def get_lr(self):
        height = self._height(self.last_epoch)
        if self.momenta:
            low, high = self.momenta
            for group in self.optimizer.param_groups:
                group["momentum"] = high - (high - low) * height
        return [bottom + (top - bottom) * height for bottom, top in zip(self.bottoms, self.tops)]

    def state_dict(self):
        return {k: v for k, v in super().state_dict().items() if k != "scale_fn"}


def get_linear_schedule_with_warmup(optimizer, num_warmup_steps, num_training_steps, last_epoch=-1):
    """From 0 up to the base rate, then down to 0 at num_training_steps: Hugging Face's name and formula."""

    def factor(step):
        if step < num_warmup_steps:
            return step / max(1, num_warmup_steps)
        return max(0.0, (num_training_steps - step) / max(1, num_training_steps - num_warmup_steps))

    return LambdaLR(optimizer, factor, last_epoch)


def get_cosine_schedule_with_warmup(optimizer, num_warmup_steps, num_training_steps, num_cycles=0.5, last_epoch=-1):
    """From 0 up to the base rate, then num_cycles of a cosine: Hugging Face's name and formula."""

    def factor(step):
        if step < num_warmup_steps:
            return step / max(1, num_warmup_steps)
        done = (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)
        return max(0.0, 0.5 * (1 + math.cos(2 * math.pi * num_cycles * done)))

    return LambdaLR(optimizer, factor, last_epoch)


class SequentialLR:
    """Runs schedulers one after another, changing at the given milestones."""

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"[SequentialLR] wrong number of milestones: expected {len(schedulers) - 1}, got "
                f"{len(milestones)}"
            )
        self.optimizer, self._schedulers, self._milestones = (
            optimizer,
            list(schedulers),
            list(milestones),
        )
        self.last_epoch = last_epoch + 1
        # Making the later schedulers has moved the rate: the first one sets it again.
        self._schedulers[0].step(0)
        self._last_lr = self._schedulers[0].get_last_lr()

    def step(self):
        self.last_epoch += 1
        i = bisect.bisect_right(self._milestones, self.last_epoch)
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            self._schedulers[i].step(0)
        else:
            self._schedulers[i].step()
        self._last_lr = self._schedulers[i].get_last_lr()

    def get_last_lr(self):
        return list(self._last_lr)

    def state_dict(self):
        return {
            "last_epoch": self.last_epoch,
            "_last_lr": self._last_lr,
            "_milestones": self._milestones,
            "_schedulers": [s.state_dict() for s in self._schedulers],
        }

    def load_state_dict(self, state_dict):
        self.last_epoch, self._milestones = (
            state_dict["last_epoch"],
            list(state_dict["_milestones"]),
        )
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"]):
            scheduler.load_state_dict(state)
        self._last_lr = list(state_dict["_last_lr"])
        for group, lr in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = lr


class ReduceLROnPlateau:
    """Multiplies the rate by factor when the metric given to step() has not improved for `patience`
    calls."""

    def __init__(
        self,
        optimizer,
        mode="min",
        factor=0.1,
        patience=10,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=0,
        min_lr=0.0,
        eps=1e-8,
    ):
        if factor >= 1.0:
            raise ValueError(
                f"[ReduceLROnPlateau] wrong factor: expected less than 1, got {factor}"
            )
        if mode not in ("min", "max"):
            raise ValueError(
                f"[ReduceLROnPlateau] wrong mode: expected 'min' or 'max', got {mode!r}"
            )
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                "[ReduceLROnPlateau] wrong threshold_mode: expected 'rel' or 'abs', got "
                f"{threshold_mode!r}"
            )
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = (
            threshold,
            threshold_mode,
            cooldown,
            eps,
        )
        n = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * n
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def _better(self, value):
        sign = 1 if self.mode == "min" else -1
        margin = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1.0)
        if math.isinf(self.best):
            return sign * value < sign * self.best
        return sign * value < sign * self.best - margin

    def step(self, metrics):
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs):
                new = max(group["lr"] * self.factor, lowest)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self):
        return list(self._last_lr)

    def state_dict(self):
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict):
        self.__dict__.update(state_dict)
        for group, lr in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = lr
