"""nn.Module: a tree of parameters, buffers and sub-modules with torch's names and behaviour.

Parameters, buffers and sub-modules live in three dicts, so that walking, saving and moving a model
need no knowledge of any layer. State saving is in state.py, hooks in hooks.py.
"""

import suan

from .hooks import HookMixin
from .parameter import Buffer, Parameter
from .state import StateMixin


#: Functions that hear of each module called: suan.compile, while it records.
listeners = []


def _check_name(module, name, kind):
    if not isinstance(name, str):
        raise TypeError(f"[register_{kind}] wrong name: expected str, got {type(name).__name__}")
    if "." in name:
        raise KeyError(f'[register_{kind}] wrong name: expected a name without ".", got "{name}"')
    if name == "":
        raise KeyError(f'[register_{kind}] wrong name: expected a name, got ""')
    if hasattr(module, name) and name not in getattr(module, f"_{kind}s"):
        raise KeyError(
            f"[register_{kind}] attribute '{name}' already exists in {type(module).__name__}"
        )


class Module(HookMixin, StateMixin):
    """Base class of all layers and models. Subclasses call super().__init__(), assign parameters
    and sub-modules as attributes, and define forward()."""

    training: bool

    def __init__(self):
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_non_persistent_buffers_set", set())
        put("_modules", {})
        self._init_hooks()

    def forward(self, *args, **kwargs):
        raise NotImplementedError(f"{type(self).__name__} is missing its forward()")

    def __call__(self, *args, **kwargs):
        if listeners:
            for heard in tuple(listeners):
                heard(self)
        if self._has_hooks:
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    # ---- attributes ------------------------------------------------------------------------------

    def __getattr__(self, name):
        # Runs only after the ordinary lookup failed.
        own = self.__dict__
        for table in ("_parameters", "_modules", "_buffers"):
            entries = own.get(table)
            if entries is not None and name in entries:
                return entries[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _tables(self):
        own = self.__dict__
        if "_parameters" not in own:
            raise AttributeError(
                "cannot assign parameters or modules before Module.__init__() call"
            )
        return own["_parameters"], own["_modules"], own["_buffers"]

    def _forget(self, name):
        self.__dict__.pop(name, None)
        for table in self._tables():
            table.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __setattr__(self, name, value):
        if isinstance(value, Module):
            _, modules, _ = self._tables()
            if name not in modules:
                self._forget(name)
            modules[name] = value
            return
        if isinstance(value, suan.Tensor):
            parameters, _, buffers = self._tables()
            if isinstance(value, Parameter):
                if name not in parameters:
                    self._forget(name)
                self.register_parameter(name, value)
                return
            if name in parameters:
                raise TypeError(
                    f"[{type(self).__name__}] cannot assign to parameter '{name}': "
                    f"expected nn.Parameter or None, got Tensor"
                )
            if isinstance(value, Buffer):
                if name not in buffers:
                    self._forget(name)
                self.register_buffer(name, value, value._persistent)
                return
            if name in buffers:
                buffers[name] = value
                return
        else:
            own = self.__dict__
            for table in ("_parameters", "_modules", "_buffers"):
                entries = own.get(table)
                if entries is not None and name in entries:
                    if value is not None:
                        kind = table[1:-1]
                        raise TypeError(
                            f"[{type(self).__name__}] cannot assign to {kind} '{name}': "
                            f"expected a {kind} or None, got {type(value).__name__}"
                        )
                    entries[name] = None
                    return
        super().__setattr__(name, value)

    def __delattr__(self, name):
        for table in self._tables():
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self):
        names = set(super().__dir__())
        for table in self._tables():
            names.update(table)
        return sorted(names)

    def register_parameter(self, name, param):
        _check_name(self, name, "parameter")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"[register_parameter] cannot register '{name}': "
                    f"expected nn.Parameter or None, got {type(param).__name__}"
                )
            if not param.is_leaf:
                raise ValueError(
                    f"[register_parameter] '{name}' has a gradient function: expected a leaf "
                    "tensor, "
                    f"got one computed from others (compute it in forward instead)"
                )
        self._parameters[name] = param

    def register_buffer(self, name, tensor, persistent=True):
        _check_name(self, name, "buffer")
        if tensor is not None and not isinstance(tensor, suan.Tensor):
            raise TypeError(
                f"[register_buffer] cannot register '{name}': "
                f"expected Tensor or None, got {type(tensor).__name__}"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name, module):
        _check_name(self, name, "module")
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"[add_module] wrong type: expected Module or None, got {type(module).__name__}"
            )
        self._modules[name] = module

    register_module = add_module

    def get_submodule(self, target):
        module = self
        for part in target.split(".") if target else ():
            module = getattr(module, part, None)
            if not isinstance(module, Module):
                raise AttributeError(f"[get_submodule] no module '{target}': '{part}' is missing")
        return module

    def get_parameter(self, target):
        path, _, name = target.rpartition(".")
        param = self.get_submodule(path)._parameters.get(name)
        if param is None:
            raise AttributeError(f"[get_parameter] no parameter '{target}'")
        return param

    def get_buffer(self, target):
        path, _, name = target.rpartition(".")
        buffer = self.get_submodule(path)._buffers.get(name)
        if buffer is None:
            raise AttributeError(f"[get_buffer] no buffer '{target}'")
        return buffer

    # ---- walking ---------------------------------------------------------------------------------

    def _named_members(self, get, prefix="", recurse=True, remove_duplicate=True):
        seen = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, value in get(module).items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        yield from self._named_members(lambda m: m._parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        yield from self._named_members(lambda m: m._buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_children(self):
        seen = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self):
        for _, module in self.named_children():
            yield module

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self):
        for _, module in self.named_modules():
            yield module

    def apply(self, fn):
        """Calls fn on every sub-module, children first, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ---- modes, dtypes, gradients ----------------------------------------------------------------

    def train(self, mode=True):
        if not isinstance(mode, bool):
            raise ValueError(f"[train] wrong mode: expected bool, got {type(mode).__name__}")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self):
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none=True):
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
            else:
                param.grad.detach().zero_()

    def _apply(self, fn):
        # One new tensor per old one, so that tied parameters stay tied.
        done = {}

        def convert(tensor, make):
            if tensor is None:
                return None
            if id(tensor) not in done:
                done[id(tensor)] = make(tensor)
            return done[id(tensor)]

        def convert_param(param):
            with suan.no_grad():
                data = fn(param)
            if data is param or not isinstance(data, suan.Tensor):  # unchanged, or of a lazy layer
                return data
            new = Parameter(data, param.requires_grad)
            if param.grad is not None:
                with suan.no_grad():
                    new.grad = fn(param.grad)
            return new

        for module in self.modules():
            for name, param in module._parameters.items():
                module._parameters[name] = convert(param, convert_param)
            for name, buffer in module._buffers.items():
                module._buffers[name] = convert(buffer, fn)
        return self

    def to(self, *args, **kwargs):
        """to(device), to(dtype), to(device, dtype): a dtype changes floating parameters and buffers
        only. Converted parameters are new tensors: make the optimizer afterwards."""
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        kwargs.pop("non_blocking", None)
        if kwargs:
            raise TypeError(
                f"[to] unknown argument '{next(iter(kwargs))}': expected device or dtype"
            )
        for arg in args:
            if isinstance(arg, suan.Tensor):
                device, dtype = arg.device, arg.dtype
            elif isinstance(arg, suan.dtype):
                dtype = arg
            elif not isinstance(arg, bool):
                device = arg
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"[to] wrong dtype: expected a floating dtype, got {dtype}")

        def move(t):
            options = {}
            if device is not None:
                options["device"] = device
            if dtype is not None and t.is_floating_point():
                options["dtype"] = dtype
            return t.to(**options) if options else t

        return self._apply(move)

    def type(self, dtype):
        return self._apply(lambda t: t.to(dtype))

    def float(self):
        return self.to(dtype=suan.float32)

    def double(self):
        return self.to(dtype=suan.float64)

    def half(self):
        return self.to(dtype=suan.float16)

    def bfloat16(self):
        return self.to(dtype=suan.bfloat16)

    def cpu(self):
        return self.to(device="cpu")

    def cuda(self, device=None):
        return self.to(device="cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    # ---- printing --------------------------------------------------------------------------------

    def _get_name(self):
        return type(self).__name__

    def extra_repr(self):
        return ""

    def __repr__(self):
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = []
        for name, module in self._modules.items():
            text = repr(module).replace("\n", "\n  ")
            child_lines.append(f"({name}): {text}")
        lines = extra_lines + child_lines
        if not lines:
            return f"{self._get_name()}()"
        if len(extra_lines) == 1 and not child_lines:
            return f"{self._get_name()}({extra_lines[0]})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"
