"""Gathers torch's names: the op table, then the functions whose signatures differ from it, then aliases.

`suan.name(...)` and `tensor.name(...)` come from the same functions.
"""

from . import _c, arithmetic, assembling, elementwise, reduce, sampling, searching, shaping

Tensor = _c.Tensor
_HIDDEN = {"call", "if", "loop", "host_call", "full", "arange", "linspace", "eye", "zeros", "ones", "empty", "print"}
_NOT_METHODS = {
    "where", "cat", "stack", "hstack", "vstack", "meshgrid", "einsum", "tensordot", "broadcast_shapes",
    "broadcast_tensors", "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like",
    "normal", "bool_of", "atleast_1d", "atleast_2d", "atleast_3d", "column_stack", "dstack", "block_diag",
    "cartesian_prod", "bucketize", "searchsorted", "tril_indices", "triu_indices", "isin",
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
for _module in (arithmetic, elementwise, shaping, assembling, reduce, searching, sampling):
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


__all__ += ["numel", "is_floating_point"]


def attach(tensor_type):
    """Makes the functions methods of Tensor."""
    for name, fn in _own.items():
        if name not in _NOT_METHODS:
            setattr(tensor_type, name, fn)
    for new, old in _ALIASES.items():
        if old not in _NOT_METHODS and hasattr(tensor_type, old):
            setattr(tensor_type, new, getattr(tensor_type, old))
    tensor_type.where = lambda self, condition, other: arithmetic.where(condition, self, other)
