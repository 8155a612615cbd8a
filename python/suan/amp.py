"""suan.amp: products in bfloat16 or float16 while weights stay float32, and loss scaling, so that small float16
gradients do not vanish."""

import functools
import warnings

import suan

from . import _c, naming


class autocast:
    """Within `with autocast("cpu"):`, or a function decorated with it, products compute in a narrow dtype.

    linear, matmul, bmm, einsum, tensordot, convolutions and attention cast their float32 and float16 inputs to
    `dtype` and return it; losses cast theirs to float32; normalising layers take the wider dtype of input and
    weights. Other ops compute in what they are given. Products add up in float32 and are rounded once, softmax and
    norms compute in float32 whatever they store. Weights stay as they are: a cast is an op with a gradient, so their
    gradients come in their own dtype. Call backward() outside, or inside: it uses the dtypes of the forward pass.

    Args:
        device_type: tensors on which devices, "cpu" or "cuda". "cuda" without a device warns and does nothing.
        dtype: bfloat16 or float16; default bfloat16 on the CPU, float16 on CUDA.
        enabled: False switches a surrounding region off.
        cache_enabled: keeps the cast of a weight until the outermost region ends, so that one used twice is
            cast once (a recording of suan.compile finds equal casts by itself).

    Raises:
        TypeError: another dtype. DeviceError: an unknown device type.
    """

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=True):
        self._device = device_type if device_type == "cuda" else suan.device(device_type).type
        reason = _c.why_unavailable("cuda") if self._device == "cuda" else ""
        if enabled and reason:
            warnings.warn(f"[autocast] off: expected a CUDA device, got none ({reason})", stacklevel=2)
        self._dtype = dtype or (suan.float16 if self._device == "cuda" else suan.bfloat16)
        if self._dtype not in (suan.bfloat16, suan.float16):
            raise TypeError(f"[autocast] wrong dtype: expected bfloat16 or float16, got {self._dtype}")
        self._enabled, self._cache = bool(enabled) and not reason, bool(cache_enabled)
        self._before = []

    def __enter__(self):
        self._before.append(_c.autocast_state(self._device))
        _c.set_autocast(self._device, self._enabled, self._dtype, self._cache)
        _c.autocast_depth(1)
        return self

    def __exit__(self, *exc):
        _c.set_autocast(self._device, *self._before.pop())
        _c.autocast_depth(-1)
        return False

    def __call__(self, fn):
        @functools.wraps(fn)
        def wrapped(*args, **kwargs):
            with self:
                return fn(*args, **kwargs)

        return wrapped


def is_autocast_enabled(device_type="cpu"):
    """Whether this thread is within an autocast region for that type of device."""
    return _c.autocast_state(device_type)[0]


def get_autocast_dtype(device_type="cpu"):
    """The dtype of products in an autocast region of this thread; the default one outside."""
    return _c.autocast_state(device_type)[1]


class as_now:
    """A context with the autocast settings of this moment, for what is computed again later."""

    def __init__(self):
        self._now = [(d, _c.autocast_state(d)) for d in ("cpu", "cuda")]
        self._before = []

    def __enter__(self):
        self._before.append([(d, _c.autocast_state(d)) for d, _ in self._now])
        self._set(self._now, 1)

    def __exit__(self, *exc):
        self._set(self._before.pop(), -1)
        return False

    def _set(self, settings, change):
        for device, (enabled, dtype, cache) in settings:
            _c.set_autocast(device, enabled, dtype, cache)
        _c.autocast_depth(change)


def in_float32(loss):
    """For losses made of element-wise ops: bfloat16 and float16 arguments become float32 within autocast."""

    @functools.wraps(loss)
    def wrapped(*args, **kwargs):
        if _c.autocast_settings() is None:
            return loss(*args, **kwargs)
        return loss(*(_widened(a) for a in args), **{k: _widened(v) for k, v in kwargs.items()})

    return wrapped


def _widened(value):
    if not isinstance(value, suan.Tensor) or value.dtype not in (suan.bfloat16, suan.float16):
        return value
    return value.float() if is_autocast_enabled(value.device.type) else value


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
