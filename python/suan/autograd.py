"""Automatic differentiation: modes, backward, grad, hooks and custom functions."""

from . import _c

Tensor = _c.Tensor


# ---- modes -----------------------------------------------------------------------------------------


class _Mode:
    """A context manager that is also a decorator; subclasses say which modes hold inside."""

    def __call__(self, fn):
        if isinstance(fn, type):
            raise TypeError(f"[{type(self).__name__}] cannot decorate a class: expected a function")

        import functools

        @functools.wraps(fn)
        def wrapped(*args, **kwargs):
            with self.clone():
                return fn(*args, **kwargs)

        return wrapped

    def clone(self):
        return type(self)()

    def __enter__(self):
        self._before = _c.grad_mode()
        _c.set_grad_mode(*self.modes(*self._before))
        return self

    def __exit__(self, *exc):
        _c.set_grad_mode(*self._before)
        return False


class no_grad(_Mode):
    """Ops inside are not recorded for backward."""

    def __new__(cls, fn=None):
        self = object.__new__(cls)
        return self if fn is None else self(fn)

    def __init__(self, fn=None):
        pass

    def modes(self, grad, inference):
        return False, inference


class enable_grad(no_grad):
    """Ops inside are recorded again, under no_grad."""

    def modes(self, grad, inference):
        return True, inference


class inference_mode(_Mode):
    """Like no_grad, and tensors made inside never join autograd."""

    def __new__(cls, mode=True):
        self = object.__new__(cls)
        if callable(mode):
            self.mode = True
            return self(mode)
        return self

    def __init__(self, mode=True):
        self.mode = mode

    def clone(self):
        return inference_mode(self.mode)

    def modes(self, grad, inference):
        return grad, self.mode


class set_grad_enabled(_Mode):
    """Switches recording on or off: at once, and until the end of a `with` block if used as one."""

    def __init__(self, mode):
        self.mode = bool(mode)
        self._before = _c.grad_mode()
        _c.set_grad_mode(self.mode, self._before[1])

    def clone(self):
        return set_grad_enabled(self.mode)

    def __call__(self, fn):
        _c.set_grad_mode(*self._before)
        return _Mode.__call__(self, fn)

    def __enter__(self):
        _c.set_grad_mode(self.mode, self._before[1])
        return self


def is_grad_enabled():
    """True if ops are recorded for backward."""
    return _c.is_grad_enabled()


def is_inference_mode_enabled():
    """True inside inference_mode."""
    return _c.grad_mode()[1]


# ---- backward and grad -------------------------------------------------------------------------------


def _list(x):
    if x is None:
        return []
    return [x] if isinstance(x, Tensor) else list(x)


def _grads_for(roots, grads, op):
    grads = _list(grads) if grads is not None else [None] * len(roots)
    if len(grads) != len(roots):
        raise ValueError(f"[{op}] wrong number of gradients: expected {len(roots)}, got {len(grads)}")
    return grads


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None):
    """Adds the gradients of tensors to the .grad of the leaves (or of `inputs` only)."""
    roots = _list(tensors)
    grads = _grads_for(roots, grad_tensors, "backward")
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        _c.backward(roots, grads, keep, create_graph)
        return
    wanted = _list(inputs)
    for x, g in zip(wanted, _c.grad(roots, wanted, grads, keep, create_graph, True)):
        if g is not None:
            x.grad = g if x.grad is None else x.grad + g


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=None,
         materialize_grads=False):
    """Gradients of outputs with respect to inputs, as a tuple; .grad is left alone."""
    roots, wanted = _list(outputs), _list(inputs)
    grads = _grads_for(roots, grad_outputs, "grad")
    keep = create_graph if retain_graph is None else retain_graph
    unused = materialize_grads if allow_unused is None else allow_unused
    found = _c.grad(roots, wanted, grads, keep, create_graph, unused)
    if materialize_grads:
        found = tuple(x.new_zeros(x.shape) if g is None else g for x, g in zip(wanted, found))
    return found


class RemovableHandle:
    """What registering a hook returns; remove() takes the hook away again."""

    def __init__(self, tensor, number):
        self._tensor = tensor
        self.id = number

    def remove(self):
        """Removes the hook; a second call does nothing."""
        if self._tensor is not None:
            _c.remove_hook(self._tensor, self.id)
            self._tensor = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


# ---- custom functions ----------------------------------------------------------------------------------


class FunctionCtx:
    """What forward leaves for backward."""

    def __init__(self):
        self._saved = ()
        self._outputs = ()
        self._node = 0
        self._non_differentiable = ()
        self._materialize = True
        self.needs_input_grad = ()

    def save_for_backward(self, *tensors):
        """Keeps tensors for backward; an in-place write to one in between is an error there."""
        self._to_save = tensors

    def mark_dirty(self, *tensors):
        """Names inputs that forward changed in place."""

    def mark_non_differentiable(self, *tensors):
        """Names outputs that take no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value):
        """False: backward sees None where no gradient flows, instead of zeros."""
        self._materialize = value

    @property
    def saved_tensors(self):
        """The tensors that save_for_backward kept."""
        out = []
        for value, version, port in self._saved:
            if value is not None and value._version != version:
                raise _c.StateError("[saved_tensors] saved tensor was overwritten before backward: expected "
                                    f"version {version}, got {value._version}")
            joined = value is not None and port is not None and self._node
            out.append(_c.rejoin(value, self._node, port) if joined else value)
        return tuple(out)


class Function:
    """A differentiable function in Python: subclass with static forward(ctx, ...) and backward(ctx, *grads)."""

    @staticmethod
    def forward(ctx, *args, **kwargs):
        raise NotImplementedError("[Function] forward is missing: expected a static method in the subclass")

    @staticmethod
    def backward(ctx, *grads):
        raise NotImplementedError("[Function] backward is missing: expected a static method in the subclass")

    @classmethod
    def apply(cls, *args, **kwargs):
        """Runs forward; gradients go through backward."""
        ctx = FunctionCtx()
        tensors = [a for a in args if isinstance(a, Tensor)]
        track = _c.is_grad_enabled() and any(t.requires_grad for t in tensors)
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        with no_grad():
            result = cls.forward(ctx, *args, **kwargs)
        single = isinstance(result, Tensor)
        outputs = [result] if single else list(result)
        # An output that is an input must not lose its own identity.
        outputs = [o.detach() if isinstance(o, Tensor) and any(o is t for t in tensors) else o for o in outputs]
        if track:
            _attach(cls, ctx, args, outputs)
        return outputs[0] if single else tuple(outputs)


def _attach(cls, ctx, args, outputs):
    places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
    fixed = [id(t) for t in ctx._non_differentiable]
    flowing = [o for o in outputs if isinstance(o, Tensor) and o.dtype.is_floating_point and id(o) not in fixed]
    types = [(o.shape, o.dtype) for o in flowing]
    ports = {id(o): i for i, o in enumerate(flowing)}
    positions = [ports.get(id(o)) for o in outputs]

    def run(*grads):
        if ctx._materialize:
            grads = [_zeros(*t) if g is None else g for g, t in zip(grads, types)]
        # Outputs outside the tape get a gradient of None.
        given = cls.backward(ctx, *(None if p is None else grads[p] for p in positions))
        given = given if isinstance(given, tuple) else (given,)
        if len(given) != len(args):
            raise ValueError(f"[{cls.__name__}] wrong number of gradients: expected {len(args)}, got {len(given)}")
        return tuple(given[i] for i in places)

    saved = []
    for t in getattr(ctx, "_to_save", ()):
        port = ports.get(id(t)) if t is not None else None
        # A saved output would hold its own node: it is kept without history and joined again on use.
        saved.append((t if port is None else t.detach(), t._version if t is not None else 0, port))
    ctx._saved = tuple(saved)
    ctx._to_save = ()
    ctx._node = _c.attach_custom([args[i] for i in places], flowing, run)


def _zeros(shape, dtype):
    return _c.ops.full(_c.literal(0, dtype), shape)


def once_differentiable(fn):
    """Marks a backward that cannot be differentiated again: a second derivative through it is an error."""

    import functools

    @functools.wraps(fn)
    def wrapped(ctx, *grads):
        again = _c.is_grad_enabled() and any(isinstance(g, Tensor) and g.requires_grad for g in grads)
        if again:
            raise _c.StateError("[once_differentiable] second derivative: expected create_graph=False, got True")
        with no_grad():
            return fn(ctx, *grads)

    return wrapped
