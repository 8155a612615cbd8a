"""suan.amp: loss scaling, so that small float16 gradients do not vanish."""

import warnings

import suan

from . import _c, naming


class GradScaler:
    """Multiplies a loss by a factor and divides the gradients by it again; steps with gradients that are not
    finite are left out and halve the factor, `growth_interval` good ones in a row double it (as torch's).

    device: "cpu" or "cuda". For "cuda" on a machine without one the scaler warns and is off, which is what
    programs written for torch expect; so it is with enabled=False: then every method leaves its argument as
    it is and step() is optimizer.step()."""

    def __init__(self, device="cuda", init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5,
                 growth_interval=2000, enabled=True):
        if not growth_factor > 1.0 or not 0.0 < backoff_factor < 1.0:
            raise ValueError("[GradScaler] bad factors: expected growth above 1 and backoff within (0, 1), got "
                             f"{growth_factor} and {backoff_factor}")
        reason = _c.why_unavailable("cuda") if str(device).startswith("cuda") else ""
        if enabled and reason:
            warnings.warn(f"[GradScaler] off: expected a CUDA device, got none ({reason})", stacklevel=2)
        self._enabled = enabled and not reason
        self._scale, self._good_steps = float(init_scale), 0
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._finite = {}  # by id of an optimizer whose gradients are unscaled already in this step

    def is_enabled(self):
        """Whether anything is scaled."""
        return self._enabled

    def scale(self, outputs):
        """A tensor, or a list or tuple of them, times the factor."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(v) for v in outputs)
        return outputs * self._scale

    def unscale_(self, optimizer):
        """Divides the gradients of the optimizer's parameters by the factor, in place; once in a step."""
        if not self._enabled:
            return
        if id(optimizer) in self._finite:
            raise suan.StateError("[GradScaler] unscale_ twice: expected one call before update(), got two")
        finite = True
        with suan.no_grad():
            for group in optimizer.param_groups:
                for param in group["params"]:
                    if param.grad is not None:
                        param.grad.mul_(1.0 / self._scale)
                        finite = finite and bool(param.grad.isfinite().all())
        self._finite[id(optimizer)] = finite

    def step(self, optimizer, *args, **kwargs):
        """optimizer.step(*args, **kwargs), unless a gradient is infinite or not a number: then None."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if id(optimizer) not in self._finite:
            self.unscale_(optimizer)
        return optimizer.step(*args, **kwargs) if self._finite[id(optimizer)] else None

    def update(self, new_scale=None):
        """Ends a step: sets the factor of the next one."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not all(self._finite.values()):
            self._scale, self._good_steps = self._scale * self._backoff, 0
        else:
            self._good_steps += 1
            if self._good_steps == self._interval:
                self._scale, self._good_steps = self._scale * self._growth, 0
        self._finite.clear()

    def get_scale(self):
        """The factor; 1.0 when off."""
        return self._scale if self._enabled else 1.0

    def state_dict(self):
        """The factor, its options and the count of good steps; empty when off."""
        if not self._enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff,
                "growth_interval": self._interval, "_growth_tracker": self._good_steps}

    def load_state_dict(self, state_dict):
        """What state_dict gave."""
        if not self._enabled:
            return
        if not state_dict:
            raise ValueError("[GradScaler] empty state: expected one of a scaler that was on, got none")
        self._scale, self._good_steps = state_dict["scale"], state_dict["_growth_tracker"]
        self._growth, self._backoff = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._interval = state_dict["growth_interval"]


__getattr__ = naming.guard(__name__, globals())
