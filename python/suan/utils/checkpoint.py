"""Activation checkpointing: a part of a model keeps its inputs only and is computed again during backward."""

import suan

from .. import _c
from ..amp import as_now
from ..autograd import Function, enable_grad, grad, is_grad_enabled
from ..func import _leaves, _tensors, captured


def checkpoint(function, *args, use_reentrant=None, preserve_rng_state=True, context_fn=None,
               determinism_check="default", debug=False, early_stop=True, **kwargs):
    """function(*args, **kwargs), whose intermediate tensors are made again in backward instead of kept.

    Args:
        function: a module or a function of tensors (nested in tuples, lists, dicts) and other values. Weights that
            it uses are found through modules, closures and globals, its own and those of its arguments; what they
            do not show is an error, never a gradient left out. A tensor that is not a leaf must be an argument.
        use_reentrant: accepted; there is one implementation, which works with autograd.grad, hooks and
            create_graph, as torch's with False.
        preserve_rng_state: dropout repeats itself (the default generator; others are not looked after).
        determinism_check: "default" compares shapes and dtypes of what backward makes again; "none" does not.
        early_stop: accepted; the whole function is computed again.

    While it runs, another thread must not use the same weights. Buffers that the function writes in place (running
    statistics) are written twice, as in torch.

    Raises:
        ValueError: context_fn or debug=True, which are not there.
        StateError: a tensor that requires a gradient and was not found; other shapes in backward than in forward.
    """
    if context_fn is not None or debug:
        raise ValueError("[checkpoint] unsupported option: expected context_fn=None and debug=False, got another")
    if determinism_check not in ("default", "none"):
        raise ValueError("[checkpoint] wrong determinism_check: expected 'default' or 'none', got "
                         f"{determinism_check!r}")
    given = (args, kwargs)
    inputs = _tensors(list(given))
    hidden = [t for t in captured((function, args, kwargs)) if not any(t is x for x in inputs)]
    if not is_grad_enabled() or not any(t.requires_grad for t in [*inputs, *hidden]):
        return function(*args, **kwargs)
    for t in hidden:
        if not t.is_leaf:
            raise _c.StateError("[checkpoint] the function holds a tensor with a history: expected it as an argument, "
                                f"got one of shape {list(t.shape)} from {t.grad_fn} in its closure")
    made = []

    casts = as_now()

    def call(*tensors):
        fresh = iter(tensors)
        a, k = _leaves(given, lambda t: next(fresh))
        with casts:
            return function(*a, **k)

    def first(*tensors):
        made.append(call(*tensors))
        return _tensors(made)

    def again(*tensors):
        if not preserve_rng_state:
            return _tensors([call(*tensors)])
        now = suan.get_rng_state()
        suan.set_rng_state(state)
        try:
            return _tensors([call(*tensors)])
        finally:
            suan.set_rng_state(now)

    state = suan.get_rng_state() if preserve_rng_state else None
    found = iter(_Segment.apply(first, again, len(inputs), determinism_check == "default", *inputs, *hidden))
    return _leaves(made.pop(), lambda t: next(found))


class _Segment(Function):
    """forward runs `call` on tensors without history; backward differentiates `again`, which is the same."""

    @staticmethod
    def forward(ctx, call, again, n, compare, *tensors):
        hidden = [t for t in tensors[n:] if t.requires_grad]
        # With all that is known switched off, a result that requires a gradient shows what was not found.
        for t in hidden:
            t.requires_grad_(False)
        try:
            with enable_grad():
                outputs = call(*(t.detach() for t in tensors[:n]))
        finally:
            for t in hidden:
                t.requires_grad_()
        if any(o.requires_grad for o in outputs):
            raise _c.StateError(
                "[checkpoint] the function uses a tensor that requires a gradient and was not found: expected it as an "
                "argument, or in a module, closure or global of the function, got one hidden elsewhere")
        return _keep(ctx, again, n, compare, tensors, outputs)

    @staticmethod
    def backward(ctx, *grads):
        return _back(ctx, grads)


class _Derived(Function):
    """A function as _Segment, made from one: its tensors are known, and it differentiates within."""

    @staticmethod
    def forward(ctx, again, n, *tensors):
        return _keep(ctx, again, n, False, tensors, again(*(t.detach() for t in tensors[:n])))

    @staticmethod
    def backward(ctx, *grads):
        return _back(ctx, grads)[2:]


def _keep(ctx, again, n, compare, tensors, outputs):
    ctx.save_for_backward(*tensors)
    ctx.again, ctx.n, ctx.compare = again, n, compare
    ctx.types = [(o.shape, o.dtype) for o in outputs]
    # One tensor returned twice is two outputs, each with a gradient.
    return tuple(o.detach() for o in outputs)


def _back(ctx, grads):
    """Gradients for forward's arguments: four that are no tensors, then the tensors."""
    tensors, n = ctx.saved_tensors, ctx.n
    xs, hidden = tensors[:n], tensors[n:]
    needs = [t.requires_grad for t in tensors]
    ports = [i for i, g in enumerate(grads) if g is not None]

    def pull(*values):
        """Gradients of the needed tensors, from inputs and gradients of the outputs at `ports`."""
        create = is_grad_enabled()
        points, given = list(values[:n]), values[n:]
        with enable_grad():
            for i, x in enumerate(points):
                if needs[i] and not x.requires_grad:
                    points[i] = x.detach().requires_grad_()
            outputs = ctx.again(*points)
            if ctx.compare and [(o.shape, o.dtype) for o in outputs] != ctx.types:
                raise _c.StateError(
                    f"[checkpoint] the function does something else in backward: expected {_show(ctx.types)}, got "
                    f"{_show([(o.shape, o.dtype) for o in outputs])}")
            live = [(outputs[p], g) for p, g in zip(ports, given) if outputs[p].requires_grad]
            wanted = [t for t, need in zip([*points, *hidden], needs) if need]
            if not live:
                return [t.new_zeros(t.shape) for t in wanted]
            return list(grad([o for o, _ in live], wanted, [g for _, g in live], create_graph=create,
                             materialize_grads=True))

    given = [grads[p] for p in ports]
    if is_grad_enabled():  # create_graph: the gradient is again a function that can be differentiated
        found = _Derived.apply(pull, n + len(given), *xs, *given, *hidden)
    else:
        # A clone is never merged with another value, so a compiled step computes again too.
        found = pull(*(x.clone() for x in xs), *given)
    found = iter(found)
    return None, None, None, None, *(next(found) if need else None for need in needs)


def _show(types):
    return ", ".join(f"{dtype.name} {list(shape)}" for shape, dtype in types)


def checkpoint_sequential(functions, segments, input, use_reentrant=None, **kwargs):
    """Runs modules or functions one after another, in `segments` checkpointed parts; the last part is kept whole."""
    functions = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= len(functions):
        raise ValueError(f"[checkpoint_sequential] wrong segments: expected 1 to {len(functions)}, got {segments}")
    size = len(functions) // segments

    def part(start, end):
        held = functions[start:end]

        def run(x):
            for f in held:
                x = f(x)
            return x

        run._suan_holds = held
        return run

    last = size * (segments - 1)
    for start in range(0, last, size):
        input = checkpoint(part(start, start + size), input, use_reentrant=use_reentrant, **kwargs)
    return part(last, len(functions))(input)
