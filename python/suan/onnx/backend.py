"""The official backend interface (onnx.backend.base). Needs the package `onnx`."""

import numpy as np
from onnx import defs, helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from .. import _c
from .session import Session, _to_engine, _to_numpy


def _bfloat16():
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


class SuanRep(BackendRep):
    """A prepared model; run takes a list of NumPy arrays, sequences or None. NumPy has no bfloat16: its values are
    ml_dtypes' or, as the package `onnx` had them until 1.18, their bits as uint16. Given bits, it returns bits."""

    def __init__(self, model):
        self._model = model

    def run(self, inputs, **kwargs):
        if isinstance(inputs, dict):
            inputs = self._model._ordered((), dict(inputs))
        ports = self._model.inputs + self._model.defaults
        of_bits = [p.dtype is _c.bfloat16 and getattr(v, "dtype", None) == np.uint16 for p, v in zip(ports, inputs)]
        inputs = [v.view(_bfloat16()) if bits else v for v, bits in zip(inputs, of_bits)] + list(inputs[len(of_bits) :])
        out = [_to_numpy(v) for v in self._model._session.run([_to_engine(v) for v in inputs])]
        if any(of_bits):
            out = [v.view(np.uint16) if isinstance(v, np.ndarray) and v.dtype == _bfloat16() else v for v in out]
        return tuple(out)


class SuanBackend(Backend):
    """Prepares and runs ONNX models on the CPU."""

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        return SuanRep(Session(model.SerializeToString()))

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """One node on arrays, one for each name in node.input that is not empty. It is taken at the newest
        version of its operator."""
        names = [name for name in node.input if name]
        if len(names) != len(inputs):
            raise ValueError(f"[onnx] wrong number of inputs: expected {len(names)}, got {len(inputs)}")
        arrays = [np.asarray(value) for value in inputs]
        types = [(helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for a in arrays]
        graph = helper.make_graph(
            [node],
            "node",
            [helper.make_tensor_value_info(n, t, s) for n, (t, s) in zip(names, types)],
            [helper.make_empty_tensor_value_info(n) for n in node.output if n],
        )
        opsets = [helper.make_opsetid(node.domain, defs.onnx_opset_version() if not node.domain else 1)]
        return cls.run_model(helper.make_model(graph, opset_imports=opsets), arrays, device)

    @classmethod
    def supports_device(cls, device):
        return Device(device).type == DeviceType.CPU


prepare = SuanBackend.prepare
run_model = SuanBackend.run_model
run_node = SuanBackend.run_node
supports_device = SuanBackend.supports_device
