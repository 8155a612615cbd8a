"""ONNX models: load a file, call it.

>>> model = suan.onnx.load("model.onnx")
>>> logits = model(tokens)          # suan tensors or NumPy arrays, in the order of model.inputs
"""

from .export import export
from .session import InferenceSession, NodeArg, Session, load, supported_ops

__all__ = ["InferenceSession", "NodeArg", "Session", "export", "load", "supported_ops"]
