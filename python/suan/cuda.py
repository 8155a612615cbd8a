"""suan.cuda: what programs for torch ask about CUDA devices, answered honestly when there is none."""

from . import _c, naming
from .amp import GradScaler as _GradScaler
from .amp import autocast as _autocast
from .kinds import device as _device


class amp:
    """torch.cuda.amp: suan.amp for CUDA devices."""

    class autocast(_autocast):
        """suan.amp.autocast("cuda", ...)."""

        def __init__(self, enabled=True, dtype=None, cache_enabled=True):
            super().__init__("cuda", dtype, enabled, cache_enabled)

    class GradScaler(_GradScaler):
        """suan.amp.GradScaler("cuda", ...)."""

        def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000,
                     enabled=True):
            super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)


def is_available():
    """Whether tensors can be made on device="cuda" (`suan doctor` says why not)."""
    return not _c.why_unavailable("cuda")


def device_count():
    """CUDA devices that can be used."""
    return int(is_available())


def is_bf16_supported():
    """Whether there is a device, and it computes in bfloat16."""
    return is_available()


def _need(what):
    reason = _c.why_unavailable("cuda")
    if reason:
        raise _c.DeviceError(f"[cuda] {what}: expected a CUDA device, got none ({reason})")


def set_device(device):
    """Makes a device the one that "cuda" means: with one device, only that one. DeviceError without any."""
    _need("set_device")
    _device(device if isinstance(device, str) else f"cuda:{int(device)}")


def current_device():
    """The number of the device that "cuda" means."""
    _need("current_device")
    return 0


def synchronize(device=None):
    """Waits until the device's work is done. DeviceError without one."""
    _need("synchronize")
    _c.synchronize("cuda" if device is None else str(_device(device if not isinstance(device, int) else f"cuda:{device}")))


def manual_seed(seed):
    """Nothing to seed: random numbers come from one generator for all devices (suan.manual_seed)."""


manual_seed_all = manual_seed

__getattr__ = naming.guard(__name__, globals())
