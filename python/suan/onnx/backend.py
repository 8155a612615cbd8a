"""The official backend interface (onnx.backend.base). Needs the package `onnx`."""

from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from .session import Session, _to_engine, _to_numpy


class SuanRep(BackendRep):
    """A prepared model; run takes a list of NumPy arrays, sequences or None."""

    def __init__(self, model):
        self._model = model

    def run(self, inputs, **kwargs):
        if isinstance(inputs, dict):
            inputs = self._model._ordered((), dict(inputs))
        return tuple(_to_numpy(v) for v in self._model._session.run([_to_engine(v) for v in inputs]))


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
        raise NotImplementedError("[onnx] run_node: expected a whole model, got a node")

    @classmethod
    def supports_device(cls, device):
        return Device(device).type == DeviceType.CPU


prepare = SuanBackend.prepare
run_model = SuanBackend.run_model
run_node = SuanBackend.run_node
supports_device = SuanBackend.supports_device
