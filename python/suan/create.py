"""Tensor creation with torch's names: from data, filled, ranges."""

import builtins as _py
import math

from . import _c
from .kinds import check_device, default_device, get_default_dtype, int64, place

Tensor = _c.Tensor
_bool = getattr(_c, "bool")

__all__ = [
    "arange", "as_tensor", "asarray", "empty", "empty_like", "eye", "from_dlpack", "from_numpy",
    "frombuffer", "full", "full_like", "is_tensor", "linspace", "logspace", "ones", "ones_like", "scalar_tensor",
    "tensor", "zeros", "zeros_like",
]


def _finish(t, requires_grad, device=None):
    """Values are made on the CPU and then moved: the same bits on every device."""
    t = place(t, device)
    return t.requires_grad_() if requires_grad else t


def _shape(size):
    if len(size) == 1 and not isinstance(size[0], int):
        size = size[0]
        if isinstance(size, Tensor):
            size = size.tolist()
    try:
        return tuple(size)
    except TypeError:
        return tuple(size for size in (size,))


def tensor(data, *, dtype=None, device=None, requires_grad=False):
    """A new tensor with a copy of the data: numbers, nested sequences, arrays or tensors."""
    check_device(device)
    return _finish(_c.tensor_from_data(data, dtype), requires_grad, device)


def scalar_tensor(value, *, dtype=None, device=None, requires_grad=False):
    """A 0-d tensor."""
    return tensor(value, dtype=dtype, device=device, requires_grad=requires_grad)


def from_numpy(array):
    """A tensor that shares a NumPy array's memory. (bfloat16: view the tensor's uint16 array.)"""
    return _c.from_array(array)


def from_dlpack(source):
    """A tensor that shares the memory of any object with __dlpack__, or of a DLPack capsule."""
    if not hasattr(source, "__dlpack__"):
        return _c.from_dlpack_capsule(source)
    try:
        capsule = source.__dlpack__(max_version=(1, 0))
    except TypeError:
        capsule = source.__dlpack__()
    return _c.from_dlpack_capsule(capsule)


def as_tensor(data, dtype=None, device=None):
    """The data as a tensor, without a copy where its memory and dtype allow."""
    check_device(device)
    if not isinstance(data, Tensor):
        shares = hasattr(data, "__array_interface__") and getattr(data, "ndim", 0) > 0
        data = _c.from_array(data) if shares else _c.tensor_from_data(data, dtype)
    return place(data if dtype is None else data.to(dtype), device)


asarray = as_tensor


def frombuffer(buffer, *, dtype, count=-1, offset=0):
    """A 1-d tensor with a copy of a buffer's bytes."""
    raw = memoryview(buffer).cast("B")[offset:]
    n = len(raw) // dtype.itemsize if count < 0 else count
    return _c.from_bytes(bytes(raw[:n * dtype.itemsize]), dtype, (n,))


def is_tensor(obj):
    """True for a suan.Tensor."""
    return isinstance(obj, Tensor)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """A tensor of one value."""
    check_device(device)
    shape = _shape((size,))
    if isinstance(fill_value, Tensor):
        value = fill_value if dtype is None else fill_value.to(dtype)
    else:
        value = _number(fill_value, dtype)
    return _finish(_c.ops.full(place(value, device), shape), requires_grad, device)


def _number(value, dtype):
    """A Python number as a literal of the dtype it would have by itself."""
    if dtype is None:
        if isinstance(value, _py.bool):
            dtype = _bool
        else:
            dtype = int64 if isinstance(value, _py.int) else get_default_dtype()
    return _c.literal(value, dtype)


def _is_large(shape):
    return all(isinstance(n, _py.int) and 0 <= n < 1 << 31 for n in shape) and 1 << 20 <= math.prod(shape) < 1 << 40


def zeros(*size, dtype=None, device=None, requires_grad=False, out=None):
    """zeros(2, 3) or zeros((2, 3)): a tensor of zeros."""
    check_device(device)
    dtype, shape = dtype or get_default_dtype(), _shape(size)
    t = _c.large_zeros(shape, dtype) if device in (None, default_device) and _is_large(shape) else None
    if t is None:
        t = _c.ops.full(place(_c.literal(0, dtype), device), shape)
    return _finish(t, requires_grad, device)


def ones(*size, dtype=None, device=None, requires_grad=False):
    """ones(2, 3) or ones((2, 3)): a tensor of ones."""
    check_device(device)
    t = _c.ops.full(place(_c.literal(1, dtype or get_default_dtype()), device), _shape(size))
    return _finish(t, requires_grad, device)


def empty(*size, dtype=None, device=None, requires_grad=False):
    """A tensor with no promised values."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def zeros_like(input, *, dtype=None, device=None, requires_grad=False):
    """Zeros with a tensor's shape and dtype."""
    return zeros(input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def ones_like(input, *, dtype=None, device=None, requires_grad=False):
    """Ones with a tensor's shape and dtype."""
    return ones(input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def empty_like(input, *, dtype=None, device=None, requires_grad=False):
    """A tensor with a tensor's shape and dtype and no promised values."""
    return zeros_like(input, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(input, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One value with a tensor's shape and dtype."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype, device=device or input.device,
                requires_grad=requires_grad)


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """arange(end) or arange(start, end, step): evenly spaced numbers, end left out."""
    check_device(device)
    if end is None:
        start, end = 0, start
    start, end, step = (v.item() if isinstance(v, Tensor) else v for v in (start, end, step))
    if dtype is None:
        whole = all(isinstance(v, _py.int) for v in (start, end, step))
        dtype = int64 if whole else get_default_dtype()
    if step == 0:
        raise ValueError("[arange] bad step: expected non-zero, got 0")
    if (end - start) * step < 0:
        raise ValueError(f"[arange] range does not fit the step: expected the sign of {end - start}, got {step}")
    t = _c.ops.arange(_py.float(start), _py.float(end), _py.float(step), dtype=dtype)
    return _finish(t, requires_grad, device)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False):
    """`steps` evenly spaced numbers from start to end, both included."""
    check_device(device)
    t = _c.ops.linspace(_py.float(start), _py.float(end), steps, dtype=dtype or get_default_dtype())
    return _finish(t, requires_grad, device)


def logspace(start, end, steps, base=10.0, *, dtype=None, device=None, requires_grad=False):
    """`steps` powers of base, their exponents evenly spaced from start to end, both included."""
    check_device(device)
    exponents = _c.ops.linspace(_py.float(start), _py.float(end), steps, dtype=_c.float64)
    t = _c.ops.cast(_py.float(base)**exponents, dtype or get_default_dtype())
    return _finish(t, requires_grad, device)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False):
    """Ones on the diagonal, zeros elsewhere."""
    check_device(device)
    return _finish(_c.ops.eye(n, n if m is None else m, dtype=dtype or get_default_dtype()), requires_grad, device)
