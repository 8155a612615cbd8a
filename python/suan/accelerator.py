"""suan.accelerator: what programs for torch ask about the machine's accelerator, answered honestly when there is none."""

from . import _c, cuda, naming
from .kinds import device as _device


def is_available():
    """Whether tensors can be made on an accelerator (`suan doctor` says why not)."""
    return cuda.is_available()


def device_count():
    """Accelerators that can be used."""
    return cuda.device_count()


def current_accelerator(check_available=False):
    """The accelerator's suan.device without a number, or None where there is none that can be used, whether it is
    asked for or not."""
    return _device("cuda") if is_available() else None


def current_device_index():
    """The number of the device that "cuda" means. DeviceError without any."""
    return cuda.current_device()


def set_device_index(device):
    """suan.cuda.set_device."""
    cuda.set_device(device)


def synchronize(device=None):
    """suan.cuda.synchronize."""
    cuda.synchronize(device)


__getattr__ = naming.guard(__name__, globals())
