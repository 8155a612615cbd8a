"""Parameter and Buffer: tensors that a Module keeps under a name.

A parameter is an ordinary suan.Tensor with a mark on it, not a second tensor type: everything that
takes a tensor takes a parameter, and `isinstance(t, nn.Parameter)` asks for the mark.
"""

import suan


class _ParameterMeta(type):
    def __instancecheck__(cls, obj):
        return isinstance(obj, suan.Tensor) and getattr(obj, "_is_param", False)


class Parameter(metaclass=_ParameterMeta):
    """Parameter(data, requires_grad=True): a leaf that shares the data's memory and that modules
    register."""

    def __new__(cls, data=None, requires_grad=True):
        if data is None:
            data = suan.empty(0)
        if not isinstance(data, suan.Tensor):
            raise TypeError(f"[Parameter] wrong type: expected Tensor, got {type(data).__name__}")
        tensor = data.detach()
        tensor.requires_grad_(requires_grad)
        tensor._is_param = True
        return tensor


class _BufferMeta(type):
    def __instancecheck__(cls, obj):
        return isinstance(obj, suan.Tensor) and getattr(obj, "_is_buffer", False)


class Buffer(metaclass=_BufferMeta):
    """Buffer(data, persistent=True): assigned to a module attribute, it is registered as a
    buffer."""

    def __new__(cls, data, *, persistent=True):
        if not isinstance(data, suan.Tensor):
            raise TypeError(f"[Buffer] wrong type: expected Tensor, got {type(data).__name__}")
        tensor = data.detach()
        tensor._is_buffer = True
        tensor._persistent = persistent
        return tensor
