"""What a program asks of the library as a whole, with ONNX Runtime's names: versions, seeds, loggers, memory infos."""

import enum

import suan

from .. import _c
from .errors import InvalidArgument, _both, refused


def get_version_string():
    """Suan's version."""
    return suan.__version__


def get_build_info():
    return f"Suan {suan.__version__}"


def enable_telemetry_events():
    """Accepted; Suan sends nothing anywhere."""


disable_telemetry_events = enable_telemetry_events


def preload_dlls(cuda=True, cudnn=True, msvc=True, directory=None):
    """Accepted; a session needs no library of a GPU."""


def set_seed(seed):
    """Seeds what random nodes without a seed of their own draw, in all sessions; they draw it in the order of their runs."""
    _c.seed_random_state(int(seed) & (2**64 - 1))


def set_default_logger_verbosity(level):
    """Accepted; there is one level of verbose messages."""


def set_global_thread_pool_sizes(intra_op_num_threads, inter_op_num_threads):
    """The threads of sessions that name no number; 0 leaves it. The second is accepted without effect."""
    if intra_op_num_threads:
        suan.set_num_threads(intra_op_num_threads)


def has_collective_ops():
    return False


class OrtAllocatorType(enum.IntEnum):
    """Accepted; memory is planned, not allocated by nodes."""

    INVALID = -1
    ORT_DEVICE_ALLOCATOR = 0
    ORT_ARENA_ALLOCATOR = 1


class OrtMemType(enum.IntEnum):
    CPU_INPUT = -2
    CPU_OUTPUT = -1
    CPU = -1
    DEFAULT = 0


class OrtMemoryInfo:
    """Where memory lies: on the CPU."""

    def __init__(self, name, allocator_type=OrtAllocatorType.ORT_DEVICE_ALLOCATOR, device_id=0, mem_type=OrtMemType.DEFAULT):
        if str(name).lower() != "cpu":
            raise _both(InvalidArgument, ValueError)(f"[onnx] memory info: expected 'Cpu', got {name!r}")
        self.name, self.allocator_type, self.device_id, self.mem_type = name, allocator_type, device_id, mem_type


class OrtArenaCfg:
    """Accepted; see create_and_register_allocator."""

    def __init__(self, *args, **kwargs):
        self.settings = args or kwargs


def create_and_register_allocator(mem_info, arena_cfg=None):
    """Accepted: sessions plan their memory, and session.trim() returns it. There is no allocator to register."""


class OrtDevice:
    """A device that values lie on: the CPU."""

    def __init__(self, kind="cpu", index=0):
        if str(kind).lower() != "cpu":
            raise refused(f"[onnx] device: expected 'cpu', got {kind!r}")
        self._index = index

    @staticmethod
    def make(ort_device_name, device_id, vendor_id=-1):
        return OrtDevice(ort_device_name, device_id)

    @staticmethod
    def cpu():
        """ONNX Runtime's number of this kind."""
        return 0

    def device_id(self):
        return self._index

    def device_type(self):
        return 0
