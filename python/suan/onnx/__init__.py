"""ONNX models: load a file, call it.

>>> model = suan.onnx.load("model.onnx")
>>> logits = model(tokens)          # suan tensors or NumPy arrays, in the order of model.inputs

Programs written for ONNX Runtime: `import suan.onnx as onnxruntime`.
"""

from .. import __version__  # noqa: F401
from .._c import CancelFlag
from . import capi  # noqa: F401
from .export import export
from .binding import IOBinding, OrtValue
from .imported import ImportedModule, module
from .inference import (
    InferenceSession, ModelMetadata, get_available_providers, get_device, set_default_logger_severity,
)
from .options import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, RunOptions, SessionOptions
from .simplify import simplify
from .session import NodeArg, Session, load, supported_ops
from .stream import Stream

get_all_providers = get_available_providers

__all__ = [
    "CancelFlag", "ExecutionMode", "ExecutionOrder", "GraphOptimizationLevel", "IOBinding", "ImportedModule", "InferenceSession",
    "ModelMetadata", "NodeArg", "OrtValue", "RunOptions", "Session", "SessionOptions", "Stream", "export", "get_all_providers",
    "get_available_providers", "get_device", "load", "module", "set_default_logger_severity", "simplify", "supported_ops",
]
