"""Sizes, devices, dtypes and their limits."""

from . import _c

dtype = _c.dtype
uint8, uint16, uint32, uint64 = _c.uint8, _c.uint16, _c.uint32, _c.uint64
int8, int16, int32, int64 = _c.int8, _c.int16, _c.int32, _c.int64
float16, bfloat16, float32, float64 = _c.float16, _c.bfloat16, _c.float32, _c.float64
float8_e4m3fn, float8_e5m2 = _c.float8_e4m3fn, _c.float8_e5m2
float8_e4m3fnuz, float8_e5m2fnuz, float8_e8m0fnu = _c.float8_e4m3fnuz, _c.float8_e5m2fnuz, _c.float8_e8m0fnu
float4_e2m1fn = _c.float4_e2m1fn
int4, uint4, int2, uint2 = _c.int4, _c.uint4, _c.int2, _c.uint2
#: Moved and cast; nothing computes in them. One element a byte.
NARROW = (float8_e4m3fn, float8_e5m2, float8_e4m3fnuz, float8_e5m2fnuz, float8_e8m0fnu, float4_e2m1fn, int4, uint4,
          int2, uint2)
#: Moved only: neither computed in nor cast.
complex64, complex128 = _c.complex64, _c.complex128
bool_ = getattr(_c, "bool")

get_default_dtype = _c.get_default_dtype
set_default_dtype = _c.set_default_dtype
promote_types = _c.promote_types
result_type = _c.result_type


class Size(tuple):
    """The shape of a tensor: a tuple of ints."""

    __slots__ = ()

    def numel(self):
        """Number of elements."""
        n = 1
        for d in self:
            n *= d
        return n

    def __repr__(self):
        return f"suan.Size({list(self)})"

    def __getitem__(self, key):
        item = tuple.__getitem__(self, key)
        return Size(item) if isinstance(key, slice) else item

    def __add__(self, other):
        return Size(tuple.__add__(self, tuple(other)))


class device:
    """Where a tensor lives: suan.device("cpu")."""

    __slots__ = ("type", "index")

    def __init__(self, name, index=None):
        if isinstance(name, device):
            name = str(name)
        if not isinstance(name, str):
            raise TypeError(f"[device] wrong type: expected str, got {type(name).__name__}")
        if index is not None:
            name = f"{name}:{index}"
        canonical = _c.check_device(name)
        kind, _, number = canonical.partition(":")
        object.__setattr__(self, "type", kind)
        object.__setattr__(self, "index", int(number) if number else None)

    def __setattr__(self, name, value):
        raise AttributeError("[device] cannot be changed: expected a new suan.device")

    def __eq__(self, other):
        if isinstance(other, str):
            return str(self) == other
        return isinstance(other, device) and str(self) == str(other)

    def __hash__(self):
        return hash(str(self))

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self):
        tail = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{tail})"

    def __reduce__(self):
        return device, (str(self),)


default_device = device("cpu")
_c.set_python_types(Size, default_device)


def load_backend(path):
    """Loads a backend plug-in (a shared library, see docs/backends.md) and returns its first device, whose
    name `device=` then takes. DeviceError: not loadable, no backend, or built for another interface."""
    return device(_c.load_backend(str(path)))


def check_device(d):
    """Raises DeviceError unless tensors can be made there."""
    if d is not None and d is not default_device:
        device(d)


def place(t, where):
    """The tensor on a device: itself when it is there already or none is named. A tensor that requires a
    gradient is moved inside no_grad() or detached: there is no gradient through a move."""
    if where is None or where is default_device and t.device is default_device:
        return t
    where = device(where)
    if t.device == where:
        return t
    if t.requires_grad and _c.is_grad_enabled():
        raise _c.StateError(
            f"[to] no gradient through a move to {where}: expected a detached tensor or no_grad(), got a tensor "
            "that requires one"
        )
    return _c.to_device(t, str(where))


class finfo:
    """Limits of a floating dtype: eps, tiny, max, min, bits."""

    def __init__(self, dtype=None):
        self.dtype = dtype if dtype is not None else get_default_dtype()
        self.eps, self.tiny, self.max = _c.dtype_limits(self.dtype)
        self.smallest_normal = self.tiny
        self.min = -self.max
        self.bits = self.dtype.bits
        self.resolution = 10.0 ** -int((self.bits == 64 and 15) or (self.bits == 32 and 6) or 3)

    def __repr__(self):
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
                f"eps={self.eps:g}, tiny={self.tiny:g}, dtype={self.dtype.name})")


class iinfo:
    """Limits of an integer dtype: min, max, bits."""

    def __init__(self, dtype):
        if dtype.is_floating_point or dtype.is_complex or dtype is bool_:
            raise TypeError(f"[iinfo] not an integer dtype: expected one, got {dtype.name}")
        self.dtype = dtype
        self.bits = dtype.bits
        self.min = -(1 << (self.bits - 1)) if dtype.is_signed else 0
        self.max = (1 << (self.bits - 1 if dtype.is_signed else self.bits)) - 1

    def __repr__(self):
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype.name})"
