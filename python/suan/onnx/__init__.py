"""ONNX models: load a file, call it.

>>> model = suan.onnx.load("model.onnx")
>>> logits = model(tokens)          # suan tensors or NumPy arrays, in the order of model.inputs

Programs written for ONNX Runtime: `import suan.onnx as onnxruntime`.
"""

from .. import __version__  # noqa: F401
from .._c import CancelFlag
from . import capi  # noqa: F401
from .binding import IOBinding, OrtValue
from .environment import (  # noqa: F401
    OrtAllocatorType, OrtArenaCfg, OrtDevice, OrtMemType, OrtMemoryInfo, create_and_register_allocator, disable_telemetry_events,
    enable_telemetry_events, get_build_info, get_version_string, has_collective_ops, preload_dlls,
    set_default_logger_verbosity, set_global_thread_pool_sizes, set_seed,
)
from .inference import (
    InferenceSession, ModelMetadata, get_available_providers, get_device, set_default_logger_severity,
)
from .options import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, RunOptions, SessionOptions
from .session import NodeArg, Session, load, supported_ops

get_all_providers = get_available_providers

# What a process that only answers needs none of: loaded when first used.
_LAZY = {"export": "export", "simplify": "simplify", "ImportedModule": "imported", "module": "imported", "Stream": "stream"}


def __getattr__(name):
    import importlib

    if name in _LAZY:
        # Importing a module puts it under its own name here; the function of that name takes its place.
        globals()[name] = getattr(importlib.import_module("." + _LAZY[name], __name__), name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY})


__all__ = [
    "CancelFlag", "ExecutionMode", "ExecutionOrder", "GraphOptimizationLevel", "IOBinding", "ImportedModule", "InferenceSession",
    "ModelMetadata", "NodeArg", "OrtValue", "RunOptions", "Session", "SessionOptions", "Stream", "export", "get_all_providers",
    "get_available_providers", "get_device", "load", "module", "set_default_logger_severity", "simplify", "supported_ops",
]
