"""The module path under which programs look for ONNX Runtime's error classes."""

from . import onnxruntime_pybind11_state  # noqa: F401
