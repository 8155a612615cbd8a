"""Gathers torch's names: the op table, then the functions whose signatures differ from it, then aliases.

`suan.name(...)` and `tensor.name(...)` come from the same functions.
"""

from . import _c, arithmetic, assembling, elementwise, matrices, reduce, sampling, searching, shaping

Tensor = _c.Tensor
_HIDDEN = {"call", "if", "loop", "host_call", "full", "arange", "linspace", "eye", "zeros", "ones", "empty", "print"}
_NOT_METHODS = {
    "where", "cat", "stack", "hstack", "vstack", "meshgrid", "einsum", "tensordot", "broadcast_shapes",
    "broadcast_tensors", "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like",
    "normal", "bool_of", "atleast_1d", "atleast_2d", "atleast_3d", "column_stack", "dstack", "block_diag",
    "cartesian_prod", "bucketize", "searchsorted", "tril_indices", "triu_indices", "isin", "vander",
    "trapezoid", "trapz", "cumulative_trapezoid", "unravel_index",
}
_ALIASES = {
    "multiply": "mul", "divide": "div", "true_divide": "div", "subtract": "sub", "absolute": "abs",
    "negative": "neg", "not_equal": "ne", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "concat": "cat",
    "concatenate": "cat", "swapaxes": "transpose", "swapdims": "transpose", "moveaxis": "movedim",
    "clip": "clamp", "clip_": "clamp_", "fix": "trunc", "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift", "ger": "outer", "row_stack": "vstack", "mod": "remainder",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "broadcast_to": "expand",
}


def _functions(module):
    return {n: f for n, f in vars(module).items()
            if not n.startswith("_") and callable(f) and getattr(f, "__module__", None) == module.__name__}


_table = {n: getattr(_c.ops, n) for n in dir(_c.ops) if not n.startswith("_") and n not in _HIDDEN}
_own = {}
for _module in (arithmetic, elementwise, shaping, assembling, reduce, matrices, searching, sampling):
    _own.update(_functions(_module))
for _n in ("mv", "dot", "bmm", "baddbmm", "argwhere"):
    _own[_n] = getattr(reduce, _n)
_all = {**_table, **_own}
_all.update({new: _all[old] for new, old in _ALIASES.items() if old in _all})
rand, randn, randint = sampling.rand, sampling.randn, sampling.randint

# Methods that only act in place, or on a tensor as `self`, are not functions of the module.
_METHODS_ONLY = {n for n in _own if n.endswith("_")} | {"view", "view_as", "reshape_as", "expand_as", "repeat",
                                                        "unfold", "expand", "bool_of"}
__all__ = [n for n in _all if n not in _METHODS_ONLY]
globals().update({n: _all[n] for n in __all__})


def numel(input):
    """Number of elements."""
    return input.numel()


def is_floating_point(input):
    """True for floating dtypes."""
    return input.is_floating_point()


def is_complex(input):
    """True for complex dtypes, which are moved and never computed in."""
    return input.dtype.is_complex


def is_conj(input):
    """False: no tensor is a lazy conjugate."""
    return False


def is_nonzero(input):
    """Whether the one element of a tensor is not zero."""
    if input.numel() != 1:
        raise ValueError(f"[is_nonzero] wrong size: expected one element, got {input.numel()}")
    return bool(input)


def real(input):
    """The tensor itself. TypeError for a complex one: nothing computes in these."""
    if input.dtype.is_complex:
        raise TypeError(f"[real] dtype not supported: expected a real one, got {input.dtype.name}")
    return input


conj = conj_physical = resolve_conj = resolve_neg = real

__all__ += ["numel", "is_floating_point", "is_complex", "is_conj", "is_nonzero", "real", "conj", "conj_physical",
            "resolve_conj", "resolve_neg"]


# Methods with an underscore after their name that are written over the tensor from the one without.
_IN_PLACE = """absolute acosh addbmm addmm addmv addr arccos arccosh arcsin arcsinh arctan arctan2 arctanh asinh atanh
baddbmm bitwise_left_shift bitwise_right_shift copysign cumprod cumsum deg2rad divide fix float_power frac greater
greater_equal heaviside hypot ldexp less less_equal logit masked_scatter multiply nan_to_num negative nextafter not_equal
rad2deg scatter_reduce sgn sinc subtract true_divide xlogy""".split()


def _in_place(name, fn):
    def method(self, *args, **kwargs):
        # Backward may need the value from before.
        return self.copy_(fn(self.clone() if self.requires_grad else self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"In place: {name}."
    return method


def attach(tensor_type):
    """Makes the functions methods of Tensor."""
    for name, fn in _own.items():
        if name not in _NOT_METHODS:
            setattr(tensor_type, name, fn)
    for new, old in _ALIASES.items():
        if old not in _NOT_METHODS and hasattr(tensor_type, old):
            setattr(tensor_type, new, getattr(tensor_type, old))
    for name in _IN_PLACE:
        setattr(tensor_type, name + "_", _in_place(name, getattr(tensor_type, name)))
    for fn in (is_complex, is_conj, is_nonzero):
        setattr(tensor_type, fn.__name__, fn)
    tensor_type.conj = tensor_type.conj_physical = tensor_type.resolve_conj = tensor_type.resolve_neg = real
    tensor_type.real = property(real)
    tensor_type.H = tensor_type.mH = property(matrices.adjoint)
    tensor_type.where = lambda self, condition, other: arithmetic.where(condition, self, other)
