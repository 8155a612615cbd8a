"""Gradients as functions: grad, value_and_grad, vjp and jacrev of a function of tensors."""

from . import _c
from . import autograd as _autograd

Tensor = _c.Tensor


def _leaves(tree, out):
    """Replaces the tensors of nested tuples, lists and dicts by what `out` gives for them."""
    if isinstance(tree, Tensor):
        return out(tree)
    if isinstance(tree, (list, tuple)):
        items = [_leaves(v, out) for v in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, dict):
        return {k: _leaves(v, out) for k, v in tree.items()}
    return tree


def _tracked(args, argnums):
    """Arguments whose tensors at argnums are fresh inputs of a graph, and those inputs."""
    inputs = []

    def fresh(t):
        # Inside an outer grad the input keeps its history, so that derivatives nest.
        t = _c.ops.reshape(t, t.shape) if t.requires_grad else t.detach().requires_grad_()
        inputs.append(t)
        return t

    args = list(args)
    for n in argnums:
        if not -len(args) <= n < len(args):
            raise ValueError(f"[grad] bad argnums: expected below {len(args)}, got {n}")
        args[n] = _leaves(args[n], fresh)
    return args, inputs


def _nested(args):
    found = []
    _leaves(list(args), lambda t: found.append(t.requires_grad) or t)
    return any(found)


def value_and_grad(func, argnums=0, has_aux=False):
    """A function that returns func's scalar value and its gradient with respect to argument(s) argnums."""

    def wrapped(*args, **kwargs):
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        outer = _nested(args)
        with _autograd.enable_grad():
            tracked, inputs = _tracked(args, numbers)
            result = func(*tracked, **kwargs)
            value = result[0] if has_aux else result
            if not isinstance(value, Tensor) or value.numel() != 1:
                got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"[grad] not a scalar: expected one element from the function, got {got}")
            found = list(_autograd.grad(value, inputs, create_graph=True, materialize_grads=True))
        if not outer:
            found = [g.detach() for g in found]
            result = _leaves(result, lambda t: t.detach())
        found = iter(found)
        grads = tuple(_leaves(args[n], lambda t: next(found)) for n in numbers)
        return result, grads[0] if isinstance(argnums, int) else grads

    return wrapped


def grad(func, argnums=0, has_aux=False):
    """A function that returns the gradient of func's scalar value; grad(grad(f)) is the second derivative."""
    both = value_and_grad(func, argnums, has_aux)

    def wrapped(*args, **kwargs):
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapped


def vjp(func, *primals):
    """(output, f) where f(cotangent) gives the gradients of <output, cotangent> for all primals."""
    with _autograd.enable_grad():
        tracked, inputs = _tracked(primals, range(len(primals)))
        output = func(*tracked)
    single = isinstance(output, Tensor)

    def pull(*cotangents):
        given = cotangents[0] if len(cotangents) == 1 and not isinstance(cotangents[0], Tensor) else cotangents
        roots = [output] if single else list(output)
        found = iter(_autograd.grad(roots, inputs, list(given), retain_graph=True, materialize_grads=True))
        return tuple(_leaves(p, lambda t: next(found)) for p in primals)

    return _leaves(output, lambda t: t.detach()), pull


def jacrev(func, argnums=0):
    """A function that returns the Jacobian: the output's shape followed by the argument's."""

    def wrapped(*args):
        chosen = args[argnums]

        def of_chosen(x):
            return func(*args[:argnums], x, *args[argnums + 1:])

        output, pull = vjp(of_chosen, chosen)
        n = output.numel()
        rows = []
        for i in range(n):
            unit = _c.ops.full(_c.literal(0, output.dtype), (n,))
            unit[i] = 1
            rows.append(pull(unit.reshape(output.shape))[0])
        return _c.ops.stack(rows, 0).reshape(tuple(output.shape) + tuple(chosen.shape))

    return wrapped


def hessian(func, argnums=0):
    """A function that returns the matrix of second derivatives of a scalar function."""

    def wrapped(*args):
        return jacrev(grad(func, argnums), argnums)(*args)

    return wrapped
