"""Layers that learn their input's width from the first input: until then their parameters have no shape."""

import suan

from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .parameter import Parameter


class UninitializedParameter:
    """What stands for a parameter or buffer of a lazy layer before its first call. It can be moved and converted with
    its module; whatever needs a shape is a StateError."""

    def __init__(self, layer, device=None, dtype=None, requires_grad=True):
        self.layer, self.device, self.dtype, self.requires_grad, self.grad = layer, device, dtype, requires_grad, None

    def to(self, dtype=None, *, device=None):
        """The like for another dtype or device."""
        return UninitializedParameter(self.layer, device or self.device, dtype or self.dtype, self.requires_grad)

    def requires_grad_(self, requires_grad=True):
        """What the parameter will be asked for."""
        self.requires_grad = requires_grad
        return self

    def is_floating_point(self):
        """Its module's kind: always true."""
        return True

    def __repr__(self):
        return "UninitializedParameter()"

    def __getattr__(self, name):
        if name.startswith("__"):  # what copy and pickle look for
            raise AttributeError(name)
        raise suan.StateError(f"[{self.layer}] parameter without a shape: expected a first call, with an input of the "
                              f"width to come, or load_state_dict before '{name}' is used")


class _Lazy:
    """In front of a layer's class: keeps the arguments of its __init__ but the first, which is the width, and turns
    into that class once the width is known."""

    def __init__(self, *args, **kwargs):
        layer = type(self).__bases__[1]
        code = layer.__init__.__code__
        self_, first, *names = code.co_varnames[: code.co_argcount]
        unknown = [k for k in kwargs if k not in names]
        if unknown or len(args) > len(names):
            raise TypeError(f"[{type(self).__name__}] wrong arguments: expected {', '.join(names)}, got "
                            f"{unknown or len(args)}")
        options = {**dict(zip(names, args)), **kwargs}
        # A layer of the smallest width refuses bad options now, and shows which tensors there will be.
        layer.__init__(self, options.get("groups", 1), **options)
        self.__dict__.update({first: 0, "_lazy": (layer, first, options)})
        for table in (self._parameters, self._buffers):
            for name, value in table.items():
                if value is not None and value.dim():
                    table[name] = UninitializedParameter(type(self).__name__, value.device, value.dtype)

    def has_uninitialized_params(self):
        """Whether the first call is still to come."""
        return True

    def initialize_parameters(self, width):
        """Makes the parameters for inputs of a width; from then on the layer is an ordinary one."""
        layer, first, options = self._lazy
        made = layer(width, **options)
        ready = []
        for table, new in ((self._parameters, made._parameters), (self._buffers, made._buffers)):
            for name, value in table.items():
                if isinstance(value, UninitializedParameter):
                    tensor = new[name].detach().to(device=value.device, dtype=value.dtype)
                    if table is self._parameters:
                        tensor = Parameter(tensor, value.requires_grad)
                    ready.append((table, name, tensor))
        # What is made while a function is planned, or recorded a second time, never has values.
        try:
            for _, _, tensor in ready:
                suan._c.memory_view(tensor)
        except suan.StateError:
            raise suan.StateError(f"[{type(self).__name__}] first call while nothing is computed: expected one outside "
                                  "suan.plan and suan.compile, got one inside") from None
        for table, name, tensor in ready:
            table[name] = tensor
        self.__dict__[first] = width
        del self.__dict__["_lazy"]
        self.__class__ = layer

    def forward(self, input, *args):
        axis = self._width_axis(input)
        if not -input.dim() <= axis < input.dim():
            raise ValueError(f"[{type(self).__name__}] wrong input rank: expected at least 2, got {input.dim()}")
        self.initialize_parameters(input.shape[axis])
        return self.forward(input, *args)

    def _load_from_state_dict(self, state_dict, prefix, assign, missing_keys, *rest):
        known = [(n, state_dict[prefix + n]) for n in ("weight", "running_mean")
                 if isinstance(state_dict.get(prefix + n), suan.Tensor) and state_dict[prefix + n].dim()]
        if not known:
            missing_keys += [prefix + n for n in self._own_state()]
            return
        self.initialize_parameters(self._width_of(tuple(known[0][1].shape)))
        self._load_from_state_dict(state_dict, prefix, assign, missing_keys, *rest)


class LazyLinear(_Lazy, Linear):
    """Linear(in_features, ...) whose in_features is the last size of its first input."""

    def _width_axis(self, input):
        return -1

    def _width_of(self, weight):
        return weight[-1]


class _LazyConv(_Lazy):
    def _width_axis(self, input):
        return input.dim() - self._rank - 1  # also without a batch

    def _width_of(self, weight):
        return weight[0] if "output_padding" in self.__dict__ else weight[1] * self.groups


class _LazyNorm(_Lazy):
    def _width_axis(self, input):
        return 1

    def _width_of(self, weight):
        return weight[0]


class _LazyInstanceNorm(_LazyNorm):
    def _width_axis(self, input):
        return input.dim() - min(self._ranks)  # also without a batch


class LazyConv1d(_LazyConv, Conv1d):
    """Conv1d(in_channels, ...) whose in_channels is the number of channels of its first input."""


class LazyConv2d(_LazyConv, Conv2d):
    """Conv2d(in_channels, ...) whose in_channels is the number of channels of its first input."""


class LazyConv3d(_LazyConv, Conv3d):
    """Conv3d(in_channels, ...) whose in_channels is the number of channels of its first input."""


class LazyConvTranspose1d(_LazyConv, ConvTranspose1d):
    """ConvTranspose1d(in_channels, ...) whose in_channels is the number of channels of its first input."""


class LazyConvTranspose2d(_LazyConv, ConvTranspose2d):
    """ConvTranspose2d(in_channels, ...) whose in_channels is the number of channels of its first input."""


class LazyConvTranspose3d(_LazyConv, ConvTranspose3d):
    """ConvTranspose3d(in_channels, ...) whose in_channels is the number of channels of its first input."""


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """BatchNorm1d(num_features, ...) whose num_features is the number of channels of its first input."""


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """BatchNorm2d(num_features, ...) whose num_features is the number of channels of its first input."""


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """BatchNorm3d(num_features, ...) whose num_features is the number of channels of its first input."""


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """InstanceNorm1d(num_features, ...) whose num_features is the number of channels of its first input."""


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """InstanceNorm2d(num_features, ...) whose num_features is the number of channels of its first input."""


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """InstanceNorm3d(num_features, ...) whose num_features is the number of channels of its first input."""
