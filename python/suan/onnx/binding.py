"""OrtValue and IOBinding: values that stay where they are between runs."""

import ctypes

import numpy

from .errors import _both, InvalidArgument
from .session import _to_numpy

_CODES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4_e2m1fn", 24: "float8_e8m0fnu", 25: "uint2", 26: "int2",
}
_NAMES = {"float32": "float", "float64": "double", "float8_e8m0fnu": "float8e8m0", "float4_e2m1fn": "float4e2m1"}


def _bad(text):
    return _both(InvalidArgument, ValueError)(text)


def _dtype(element_type):
    """A NumPy dtype from a dtype, a Python type or ONNX's number of it."""
    if isinstance(element_type, int) and not isinstance(element_type, bool):
        if element_type not in _CODES:
            raise _bad(f"[onnx] element type: expected one of ONNX's numbers {sorted(_CODES)}, got {element_type}")
        if element_type > 15:   # of the package ml_dtypes
            import ml_dtypes

            element_type = getattr(ml_dtypes, _CODES[element_type])
        else:
            element_type = _CODES[element_type]
    elif element_type == "bfloat16":
        import ml_dtypes

        element_type = ml_dtypes.bfloat16
    return numpy.dtype(element_type)


def _text(dtype):
    """ONNX Runtime's name of an element type."""
    name = "string" if dtype.kind in "OUS" else dtype.name
    return _NAMES.get(name, name.replace("_", ""))


def _on_cpu(device_type, device_id=0):
    if str(device_type).lower() != "cpu":
        raise _bad(f"[onnx] device: expected 'cpu', got {device_type!r}")


class OrtValue:
    """A tensor, a sequence or nothing, as a run takes and gives it."""

    def __init__(self, value, type, fresh=False):
        self._value, self._type = value, type
        self._fresh = fresh   # memory of this result only

    @staticmethod
    def ortvalue_from_numpy(array, device_type="cpu", device_id=0):
        """Over the array's memory where it is contiguous, else over a copy."""
        _on_cpu(device_type, device_id)
        array = numpy.asarray(array)
        return OrtValue(numpy.ascontiguousarray(array).reshape(array.shape), None)

    @staticmethod
    def ortvalue_from_shape_and_type(shape, element_type=numpy.float32, device_type="cpu", device_id=0):
        """Memory whose content is undefined."""
        _on_cpu(device_type, device_id)
        return OrtValue(numpy.empty(shape, _dtype(element_type)), None)

    @staticmethod
    def ortvalue_from_numpy_with_onnx_type(data, onnx_element_type):
        """Over the array's memory, read as ONNX's type of that number, whose values are as wide."""
        data, dtype = numpy.asarray(data), _dtype(onnx_element_type)
        if data.dtype.itemsize != dtype.itemsize:
            raise _bad(f"[onnx] element type: expected one of {data.dtype.itemsize} bytes, got {dtype}")
        return OrtValue(numpy.ascontiguousarray(data).reshape(data.shape).view(dtype), None)

    @staticmethod
    def from_dlpack(data, is_bool_tensor=False):
        """Over the memory of anything with __dlpack__, on the CPU."""
        array = numpy.from_dlpack(data)
        return OrtValue(array.view(bool) if is_bool_tensor else array, None)

    @staticmethod
    def ort_value_from_sequence(arrays):
        """A sequence of tensors."""
        return OrtValue(list(arrays), None)

    def numpy(self):
        """The value as an array: its own memory if a run made it, a copy of memory that was bound."""
        if not self.is_tensor():
            raise _bad(f"[onnx] numpy(): expected a tensor, got {self.data_type()}")
        return self._value if self._fresh else self._value.copy()

    def update_inplace(self, array):
        """Overwrites the content; shape and type stay."""
        array = numpy.asarray(array)
        if array.shape != self._value.shape or array.dtype != self._value.dtype:
            raise _bad(f"[onnx] update_inplace: expected {self._value.dtype} {list(self._value.shape)}, "
                       f"got {array.dtype} {list(array.shape)}")
        numpy.copyto(self._value, array)

    def shape(self):
        return list(self._value.shape)

    def data_ptr(self):
        return self._value.ctypes.data

    def tensor_size_in_bytes(self):
        return self._value.nbytes

    def __dlpack__(self, **settings):
        return self._value.__dlpack__(**settings)

    def __dlpack_device__(self):
        return self._value.__dlpack_device__()

    def element_type(self):
        """ONNX's number of the element type."""
        name = "string" if self._value.dtype.kind in "OUS" else self._value.dtype.name
        return 8 if name == "string" else next(code for code, known in _CODES.items() if known == name)

    def data_type(self):
        """As text: "tensor(float)"."""
        if self._type:
            return self._type
        if isinstance(self._value, numpy.ndarray):
            return f"tensor({_text(self._value.dtype)})"
        return "seq" if isinstance(self._value, list) else "undefined"

    def device_name(self):
        return "cpu"

    def has_value(self):
        return self._value is not None

    def is_tensor(self):
        return isinstance(self._value, numpy.ndarray)

    def is_tensor_sequence(self):
        return isinstance(self._value, list)

    def is_sparse_tensor(self):
        return False

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)


class IOBinding:
    """Inputs and outputs of runs, bound once. Inputs are read and bound outputs written in place: no copy is made."""

    def __init__(self, session):
        self._session = session
        self.clear_binding_inputs()
        self.clear_binding_outputs()

    def _known(self, ports, name, what):
        if name not in [p.name for p in ports]:
            raise _bad(f"[onnx] unknown {what}: expected one of {[p.name for p in ports]}, got '{name}'")

    def _over(self, element_type, shape, pointer):
        dtype = _dtype(element_type)
        count = int(numpy.prod(shape, dtype=numpy.int64))
        if not pointer and count:
            raise _bad("[onnx] buffer_ptr: expected an address, got 0")
        memory = (ctypes.c_byte * (count * dtype.itemsize)).from_address(pointer or 0) if count else b""
        return numpy.frombuffer(memory, dtype=dtype, count=count).reshape(shape)

    def bind_cpu_input(self, name, array):
        self._known(self._session.get_inputs() + self._session.get_overridable_initializers(), name, "input")
        self._inputs[name] = array

    def bind_ortvalue_input(self, name, value):
        self.bind_cpu_input(name, value._value)

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        _on_cpu(device_type, device_id)
        self.bind_cpu_input(name, self._over(element_type, shape, buffer_ptr))

    def bind_output(self, name, device_type="cpu", device_id=0, element_type=None, shape=None, buffer_ptr=None):
        """With buffer_ptr the result is written there; without, the run allocates it."""
        _on_cpu(device_type, device_id)
        self._known(self._session.get_outputs(), name, "output")
        if buffer_ptr is not None and (element_type is None or shape is None):
            raise _bad("[onnx] bind_output with buffer_ptr: expected element_type and shape, got none")
        self._outputs[name] = None if buffer_ptr is None else self._over(element_type, shape, buffer_ptr)

    def bind_ortvalue_output(self, name, value):
        self._known(self._session.get_outputs(), name, "output")
        if not value.is_tensor():
            raise _bad(f"[onnx] bind_ortvalue_output: expected a tensor, got {value.data_type()}")
        self._outputs[name] = value._value

    def synchronize_inputs(self):
        """Nothing to wait for on a CPU."""

    def synchronize_outputs(self):
        """Nothing to wait for on a CPU."""

    def _run(self, run_options):
        ports = self._session.get_outputs()
        names = list(self._outputs) or [p.name for p in ports]
        places = {name: place for name, place in self._outputs.items() if place is not None}
        out = dict(zip([p.name for p in ports], self._session._call(self._inputs, run_options, places)))
        kinds = {p.name: p.type for p in ports}
        self._results = [OrtValue(places[n], kinds[n]) if n in places else OrtValue(_to_numpy(out[n]), kinds[n], fresh=True)
                         for n in names]

    def get_outputs(self):
        """OrtValues of the bound outputs, in the order of binding (all when none is bound)."""
        return self._results

    get_outputs_as_ortvaluevector = get_outputs

    def copy_outputs_to_cpu(self):
        """The same as arrays."""
        return [v.numpy() if v.is_tensor() else v._value for v in self._results]

    def clear_binding_inputs(self):
        self._inputs = {}

    def clear_binding_outputs(self):
        self._outputs, self._results = {}, []
