"""Methods of suan.Tensor that are written in Python; the type itself and its operators are in suan._c."""

import os as _os

from . import _c, create, functional_api, printing
from .kinds import NARROW, check_device, get_default_dtype, place

Tensor = _c.Tensor
set_printoptions = printing.set_printoptions

# An error names the innermost line that is neither Suan's inside nor the standard library's; models and
# training loops are code to be read and changed, so their lines count.
_package = _os.path.dirname(_os.path.abspath(__file__))
_stdlib = _os.path.dirname(_os.path.abspath(_os.__file__))
_c.set_source_roots(
    library=[_package + _os.sep, _stdlib + _os.sep, "<frozen "],
    user=[_os.path.join(_package, "models", ""), _os.path.join(_package, "train", ""),
          _os.path.join(_stdlib, "site-packages", ""), _os.path.join(_stdlib, "dist-packages", "")],
)


def _repr(self):
    return printing.tensor_text(self, get_default_dtype())


def _iterate(self):
    if self.dim() == 0:
        raise TypeError("[iter] 0-d tensor: expected rank 1 or more, got 0")
    return (self[i] for i in range(len(self)))


def __contains__(self, value):
    return (self == value).any().item()


def __format__(self, spec):
    if self.dim() == 0 and spec:
        return self.item().__format__(spec)
    return object.__format__(self, spec) if spec else _repr(self)


def __reversed__(self):
    return self.flip(0) if self.dim() else self



# ---- conversions ---------------------------------------------------------------------------------------


class _Interface:
    """What NumPy reads; keeps the tensor alive for as long as the array lives."""

    def __init__(self, tensor):
        self._tensor = tensor
        self._lease = _c.ExportLease(tensor)  # meanwhile the array may be written to
        self.__array_interface__ = _c.array_interface(tensor)


def numpy(self, *, force=False):
    """A NumPy array over the same memory. bfloat16, floats of 8 and 4 bits and integers of 4 and 2 bits come as
    the types of ml_dtypes if that package is imported already, else as the bits in uint16 or uint8."""
    import sys

    import numpy as np

    t = self
    if self.requires_grad:
        if not force:
            raise _c.StateError("[numpy] tensor requires a gradient: expected a detached one; call detach() first")
        t = self.detach()
    array = np.asarray(_Interface(t))
    if (self.dtype is _c.bfloat16 or self.dtype in NARROW) and "ml_dtypes" in sys.modules:
        array = array.view(getattr(sys.modules["ml_dtypes"], self.dtype.name))
    return array


def __array__(self, dtype=None, copy=None):
    array = numpy(self)
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
    t = self.clone() if copy else self
    return _c.to_dlpack(t, max_version is not None and max_version[0] >= 1)


def __dlpack_device__(self):
    return (1, 0)


def to(self, *args, dtype=None, device=None, copy=False, non_blocking=False, memory_format=None):
    """to(dtype), to(device), to(device, dtype) or to(other): cast and move; itself when nothing changes."""
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, _c.dtype) or a in (float, int, bool):
            dtype = a
        elif isinstance(a, bool):
            pass
        elif a is not None:
            device = a
    check_device(device)
    out = self if dtype is None else _c.ops.cast(self, dtype) if dtype is not self.dtype else self
    out = place(out, device)
    return out.clone() if copy and out is self else out


def type_(self, dtype=None):
    """The dtype's name, or a cast."""
    return f"suan.{self.dtype.name}" if dtype is None else to(self, dtype)


def type_as(self, other):
    """Cast to another tensor's dtype."""
    return to(self, other.dtype)


def cpu(self):
    """The same values on the CPU: itself if it is there."""
    return to(self, device="cpu")


def cuda(self, device=None, non_blocking=False):
    """The same values on a CUDA device, by default the first; a DeviceError where there is none."""
    return to(self, device="cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)


def pin_memory(self):
    """The tensor itself: no memory is pinned."""
    return self


def is_pinned(self):
    """False: no memory is pinned."""
    return False


def element_size(self):
    """Bytes of one element."""
    return self.dtype.itemsize


def get_device(self):
    """The number of the CUDA device that the tensor is on; -1 on the CPU."""
    return -1 if self.device.type == "cpu" else self.device.index or 0


def is_signed(self):
    """Whether the dtype has negative numbers."""
    return self.dtype.is_floating_point or self.dtype in (_c.int8, _c.int16, _c.int32, _c.int64)


def fill_diagonal_(self, fill_value, wrap=False):
    """In place: the diagonal of a matrix, or of a tensor of more dimensions of one size, set to a value."""
    if self.dim() < 2 or (self.dim() > 2 and len(set(self.shape)) > 1):
        raise ValueError(f"[fill_diagonal_] wrong shape: expected a matrix or equal sizes, got {tuple(self.shape)}")
    if wrap and self.shape[0] > self.shape[1] + 1:
        raise ValueError("[fill_diagonal_] wrap is not supported for a tall matrix: expected False, got True")
    places = create.arange(min(self.shape), device=self.device)
    self[(places,) * self.dim()] = fill_value
    return self


def __reduce_ex__(self, protocol):
    state = dict(self.__dict__)
    return _rebuild, (_c.to_bytes(self), self.dtype, tuple(self.shape), self.requires_grad and self.is_leaf, state)


def _rebuild(data, dtype, shape, requires_grad, state):
    t = _c.from_bytes(data, dtype, shape)
    if requires_grad:
        t.requires_grad_()
    t.__dict__.update(state)
    return t


def __deepcopy__(self, memo):
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise _c.StateError("[deepcopy] tensor has gradient history: expected a leaf; call detach() first")
    import copy

    from .autograd import no_grad

    with no_grad():
        out = _c.from_bytes(_c.to_bytes(self), self.dtype, tuple(self.shape))
    out.requires_grad_(self.requires_grad)
    memo[id(self)] = out
    if self.grad is not None:
        out.grad = self.grad.detach().clone()
    out.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return out


# ---- autograd ------------------------------------------------------------------------------------------


def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
    """Adds the gradient of this tensor to the .grad of the leaves it was made from."""
    from . import autograd

    if inputs is None:
        _c.backward((self,), (gradient,), create_graph if retain_graph is None else retain_graph, create_graph)
    else:
        autograd.backward(self, gradient, retain_graph, create_graph, inputs)


def register_hook(self, hook):
    """Calls hook(grad) when this tensor's gradient is known; a returned tensor replaces the gradient."""
    from .autograd import RemovableHandle

    return RemovableHandle(self, _c.add_hook(self, hook))


def register_post_accumulate_grad_hook(self, hook):
    """Calls hook(tensor) after a gradient was added to this leaf's .grad."""
    from .autograd import RemovableHandle

    return RemovableHandle(self, _c.add_after_accumulate(self, hook))


def retain_grad(self):
    """Keeps .grad of a tensor that is not a leaf."""
    _c.retain_grad(self)


def detach_(self):
    """Refused: history belongs to the values; use detach()."""
    raise _c.StateError("[detach_] not supported in place: expected detach(), got detach_()")


# ---- new tensors like this one ------------------------------------------------------------------------


def new_tensor(self, data, *, dtype=None, device=None, requires_grad=False):
    """A tensor from data with this one's dtype."""
    return create.tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def new_full(self, size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One value, with this one's dtype."""
    return create.full(size, fill_value, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def new_zeros(self, *size, dtype=None, device=None, requires_grad=False):
    """Zeros, with this one's dtype."""
    return create.zeros(*size, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def new_ones(self, *size, dtype=None, device=None, requires_grad=False):
    """Ones, with this one's dtype."""
    return create.ones(*size, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def new_empty(self, *size, dtype=None, device=None, requires_grad=False):
    """No promised values, with this one's dtype."""
    return create.zeros(*size, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


# ---- random in place -------------------------------------------------------------------------------------


def uniform_(self, a=0.0, b=1.0, *, generator=None):
    """Fills with uniform numbers in [a, b)."""
    values = functional_api.rand(self.shape, dtype=self.dtype, generator=generator)
    return self.copy_(values if (a, b) == (0.0, 1.0) else values * (b - a) + a)


def normal_(self, mean=0.0, std=1.0, *, generator=None):
    """Fills with normal numbers."""
    values = functional_api.randn(self.shape, dtype=self.dtype, generator=generator)
    return self.copy_(values if (mean, std) == (0.0, 1.0) else values * std + mean)


def bernoulli_(self, p=0.5, *, generator=None):
    """Fills with ones (probability p) and zeros."""
    return self.copy_(functional_api.rand(self.shape, generator=generator) < p)


def random_(self, low=0, high=None, *, generator=None):
    """Fills with whole numbers in [low, high)."""
    if high is None:
        low, high = 0, low or 2**24
    return self.copy_(functional_api.randint(low, high, self.shape, generator=generator))


def exponential_(self, lambd=1.0, *, generator=None):
    """Fills with exponentially distributed numbers."""
    values = functional_api.rand(self.shape, generator=generator)
    return self.copy_(-(1 - values).log() / lambd)


def _of_linalg(name):
    def method(self, *args, **options):
        from . import linalg  # needs NumPy

        return getattr(linalg, name)(self, *args, **options)

    method.__name__, method.__doc__ = name, f"suan.linalg.{name} of this tensor."
    return method


for _name in ("cholesky", "cholesky_inverse", "cholesky_solve", "det", "inverse", "logdet", "matrix_exp",
              "matrix_power", "pinverse", "slogdet"):
    setattr(Tensor, _name, _of_linalg(_name))

_SPECIAL = (
    "_repr", "_iterate", "__contains__", "__format__", "__reversed__", "numpy", "__array__",
    "__dlpack__", "__dlpack_device__", "to", "type_as", "cpu", "cuda", "pin_memory", "is_pinned", "element_size",
    "get_device", "is_signed", "fill_diagonal_", "__reduce_ex__", "__deepcopy__", "backward",
    "register_hook", "register_post_accumulate_grad_hook", "retain_grad", "detach_", "new_tensor", "new_full",
    "new_zeros", "new_ones", "new_empty", "uniform_", "normal_", "bernoulli_", "random_", "exponential_",
)
for _name in _SPECIAL:
    setattr(Tensor, _name, globals()[_name])
Tensor.type = type_
Tensor.is_cpu = property(lambda self: self.device.type == "cpu")
Tensor.is_cuda = property(lambda self: self.device.type == "cuda")
for _name in ("is_meta", "is_sparse", "is_quantized", "is_mps", "is_xpu", "is_xla"):
    setattr(Tensor, _name, False)
Tensor.__array_priority__ = 1000
Tensor.__module__ = "suan"
functional_api.attach(Tensor)
