"""Functions of functions, as torch.func: gradients, Jacobians, directional derivatives, and a module called with
other weights.

A transform works on the tensors of its arguments (nested in tuples, lists and dicts) and nests to any depth.
What it returns keeps a history only where something could ask for it: inside another transform, when an argument
requires a gradient, or when the function holds a tensor that does (a module's weights, say).

vmap records its function for one example and runs the recorded ops for all of them at once (ops/batch.h); Jacobians
are a vmap of one reverse pass over the rows (jacrev) or columns (jacfwd) of the identity.
"""

import contextlib
import functools
import threading
import warnings

from . import _c
from . import autograd as _autograd

Tensor = _c.Tensor
_level = threading.local()


# ---- trees of tensors ----------------------------------------------------------------------------------


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


def _tensors(tree):
    found = []
    _leaves(tree, lambda t: found.append(t) or t)
    return found


def _detached(tree):
    return _leaves(tree, lambda t: t.detach())


# ---- what a function holds -------------------------------------------------------------------------------


def captured(fn):
    """The tensors that a callable can reach besides its arguments and that require a gradient: weights of modules,
    tensors in closures, defaults, bound objects and the globals its code names. Tensors hidden deeper are missed."""
    return list(_captured(fn))


def _captured(fn):
    seen, queue = set(), [fn]
    while queue:
        x = queue.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, Tensor):
            if x.requires_grad:
                yield x
        elif isinstance(x, (list, tuple, set, frozenset)):
            if len(x) < 4096 or not isinstance(next(iter(x)), (int, float, str, bytes)):  # data, not tensors
                queue.extend(x)
        elif isinstance(x, dict):
            queue.extend(x.values())
        elif isinstance(x, functools.partial):
            queue.extend((x.func, x.args, x.keywords))
        elif hasattr(x, "named_parameters") and not isinstance(x, type):
            for p in x.parameters():
                if p.requires_grad and id(p) not in seen:
                    seen.add(id(p))
                    yield p
        elif hasattr(x, "__self__") and hasattr(x, "__func__"):
            queue.extend((x.__self__, x.__func__))
        elif hasattr(x, "__code__") and (hasattr(x, "_suan_holds") or not _ours(x)):
            queue.extend(_held(x))
        elif hasattr(x, "__dict__") and not isinstance(x, (type, type(contextlib))) and not _ours(x):
            queue.extend(vars(x).values())
        elif hasattr(x, "_fn") and _ours(x):  # a CompiledFunction
            queue.append(x._fn)


def _ours(x):
    """True for the library's own functions and objects, whose insides hold no user's tensor."""
    name = getattr(x, "__module__", None) or type(x).__module__
    return name == "suan" or name.startswith("suan.")


def _held(fn):
    """What a Python function can reach: closure, defaults and the globals that its code names."""
    if hasattr(fn, "_suan_holds"):  # a transform of another function
        yield fn._suan_holds
        return
    for cell in fn.__closure__ or ():
        with contextlib.suppress(ValueError):  # a name that is not bound yet
            yield cell.cell_contents
    yield from fn.__defaults__ or ()
    yield from (fn.__kwdefaults__ or {}).values()
    codes = [fn.__code__]
    while codes:
        code = codes.pop()
        codes += [c for c in code.co_consts if hasattr(c, "co_names")]
        yield from (fn.__globals__[n] for n in code.co_names if n in fn.__globals__)


# ---- evaluating a function on fresh inputs ---------------------------------------------------------------


@contextlib.contextmanager
def _inside():
    """Within a transform's call of its function: what transforms in there return keeps its history."""
    _level.depth = _depth() + 1
    try:
        with _autograd.enable_grad():
            yield
    finally:
        _level.depth -= 1


def _depth():
    return getattr(_level, "depth", 0)


def _outer(func, args):
    """True if a derivative of the result may be asked for later."""
    return _depth() > 0 or next(_captured((func, args)), None) is not None


def _numbers(op, argnums, args):
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise ValueError(f"[{op}] bad argnums: expected below {len(args)}, got {n}")
    return numbers


def _tracked(op, args, argnums):
    """Arguments whose tensors at argnums are fresh inputs of a graph, and those inputs."""
    inputs = []

    def fresh(t):
        if not t.dtype.is_floating_point:
            raise TypeError(f"[{op}] no derivative here: expected a floating tensor, got {t.dtype.name} of shape "
                            f"{list(t.shape)}")
        # With a history it is kept, so that derivatives nest.
        t = _c.ops.reshape(t, t.shape) if t.requires_grad else t.detach().requires_grad_()
        inputs.append(t)
        return t

    args = list(args)
    for n in argnums:
        args[n] = _leaves(args[n], fresh)
    return args, inputs


def _split(op, result, has_aux):
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"[{op}] wrong result with has_aux=True: expected (output, aux), got {type(result).__name__}")
    return result


def _wraps(func):
    """For the function that a transform returns: its name and documentation, and where tensors may hide."""

    def decorate(wrapped):
        functools.update_wrapper(wrapped, func, updated=())
        wrapped._suan_holds = func
        return wrapped

    return decorate


# ---- gradients of scalars ----------------------------------------------------------------------------------


def value_and_grad(func, argnums=0, has_aux=False):
    """A function that returns func's scalar value and its gradient with respect to argument(s) argnums.

    Args:
        func: gives one floating element, or (value, aux) with has_aux.
        argnums: a position, or several (the gradients are then a tuple). The gradient of an argument is nested
            as the argument is.
    """

    @_wraps(func)
    def wrapped(*args, **kwargs):
        numbers = _numbers("grad", argnums, args)
        outer = _outer(func, (args, kwargs))
        tracked, inputs = _tracked("grad", args, numbers)
        with _inside():
            result = func(*tracked, **kwargs)
            value = _split("grad", result, has_aux)[0]
            if not isinstance(value, Tensor) or value.numel() != 1:
                got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"[grad] not a scalar: expected one element from the function, got {got}")
            found = _grads([value], inputs, None, outer)
        if not outer:
            found, result = _detached(found), _detached(result)
        found = iter(found)
        grads = tuple(_leaves(args[n], lambda t: next(found)) for n in numbers)
        return result, grads[0] if isinstance(argnums, int) else grads

    return wrapped


def _grads(roots, inputs, cotangents, create):
    """autograd.grad where a root may have no history: what it does not depend on gets zeros."""
    live = [i for i, r in enumerate(roots) if r.requires_grad]
    if not live:
        return [x.new_zeros(x.shape) for x in inputs]
    given = None if cotangents is None else [cotangents[i] for i in live]
    return list(_autograd.grad([roots[i] for i in live], inputs, given, retain_graph=True, create_graph=create,
                               materialize_grads=True))


def grad(func, argnums=0, has_aux=False):
    """A function that returns the gradient of func's scalar value (with has_aux: (gradient, aux));
    grad(grad(f)) is the second derivative."""
    both = value_and_grad(func, argnums, has_aux)

    @_wraps(func)
    def wrapped(*args, **kwargs):
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapped


def grad_and_value(func, argnums=0, has_aux=False):
    """A function that returns (gradient, value), torch's order of value_and_grad."""
    both = value_and_grad(func, argnums, has_aux)

    @_wraps(func)
    def wrapped(*args, **kwargs):
        return both(*args, **kwargs)[::-1]

    return wrapped


# ---- products with the Jacobian --------------------------------------------------------------------------------


def vjp(func, *primals, has_aux=False):
    """(output, f), or (output, f, aux) with has_aux: f(cotangent) is the tuple of gradients of <output, cotangent>
    for the primals. The cotangent is nested as the output is, or given as that many arguments."""
    outer = _outer(func, primals)
    tracked, inputs = _tracked("vjp", primals, range(len(primals)))
    with _inside():
        output, aux = _split("vjp", func(*tracked), has_aux)
    roots = _tensors(output)

    def pull(*cotangents):
        given = _tensors(list(cotangents))
        if [t.shape for t in given] != [t.shape for t in roots]:
            raise ValueError(f"[vjp] wrong cotangent: expected shapes {[list(t.shape) for t in roots]}, got "
                             f"{[list(t.shape) for t in given]}")
        keep = outer or _depth() > 0 or any(t.requires_grad for t in given)
        found = iter(_grads(roots, inputs, given, keep))
        return tuple(_leaves(p, lambda t: next(found)) for p in primals)

    if not outer:
        output, aux = _detached(output), _detached(aux)
    return (output, pull, aux) if has_aux else (output, pull)


def _linear(op, func, primals, has_aux):
    """(output, push, aux, outer): push(tangents) gives those of the output's tensors, differentiable if outer.

    The gradient is linear in its cotangent, so its own gradient with respect to that is the product with the
    Jacobian from the other side: forward mode out of two reverse passes."""
    outer = _outer(func, primals)
    tracked, inputs = _tracked(op, primals, range(len(primals)))
    with _inside():
        output, aux = _split(op, func(*tracked), has_aux)
        roots = _tensors(output)
        live = [r for r in roots if r.requires_grad and r.dtype.is_floating_point]
        dummies = [_c.ops.zeros(r.shape, r.dtype).requires_grad_() for r in live]
        back = _grads(live, inputs, dummies, True) if live else []

    def push(tangents):
        kept = [(b, t) for b, t in zip(back, tangents) if b.requires_grad]
        keep = outer or _depth() > 0 or any(t.requires_grad for t in tangents)
        with _autograd.enable_grad():
            found = iter(_grads([b for b, _ in kept], dummies, [t for _, t in kept], keep) if dummies else ())
        return [next(found) if any(r is x for x in live) else _c.ops.zeros(r.shape, r.dtype) for r in roots]

    return output, push, aux, outer


def _matching(op, primals, tangents):
    want, got = _tensors(list(primals)), _tensors(list(tangents))
    if [(t.shape, t.dtype) for t in want] != [(t.shape, t.dtype) for t in got]:
        raise ValueError(f"[{op}] wrong tangents: expected {[(list(t.shape), t.dtype.name) for t in want]}, got "
                         f"{[(list(t.shape), t.dtype.name) for t in got]}")
    return got


def linearize(func, *primals):
    """(output, f): f(*tangents) is the Jacobian's product with them, without evaluating func again."""
    output, push, _, outer = _linear("linearize", func, primals, False)

    def apply(*tangents):
        found = iter(push(_matching("linearize", primals, tangents)))
        return _leaves(output, lambda t: next(found))

    return (output if outer else _detached(output)), apply


def jvp(func, primals, tangents, *, has_aux=False):
    """(output, derivative in the direction of tangents), and aux with has_aux.

    Args:
        primals, tangents: tuples of arguments and of their directions, equal in structure, shapes and dtypes.

    It costs an evaluation and two reverse passes: the engine differentiates in reverse only.
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise TypeError(f"[jvp] wrong arguments: expected tuples of primals and tangents, got "
                        f"{type(primals).__name__} and {type(tangents).__name__}")
    given = _matching("jvp", primals, tangents)
    output, push, aux, outer = _linear("jvp", func, primals, has_aux)
    found = iter(push(given))
    moved = _leaves(output, lambda t: next(found))
    if not outer:
        output, aux = _detached(output), _detached(aux)
    return (output, moved, aux) if has_aux else (output, moved)


# ---- Jacobians ---------------------------------------------------------------------------------------------------


def _basis(tensors, first, last):
    """Rows first to last of the identity over all elements of the tensors: for each tensor, [rows, *shape]."""
    found, at = [], 0
    for t in tensors:
        n = t.numel()
        rows = _c.ops.zeros([last - first, n], t.dtype)
        inside = range(max(at, first), min(at + n, last))
        if len(inside):
            part = _c.ops.eye(len(inside), n, t.dtype)  # its diagonal, moved to the first column that is wanted
            part = _c.ops.roll(part, [inside[0] - at], [1]) if inside[0] > at else part
            above = _c.ops.zeros([inside[0] - first, n], t.dtype)
            below = _c.ops.zeros([last - inside[-1] - 1, n], t.dtype)
            rows = _c.ops.cat([above, part, below], 0)
        found.append(_c.ops.reshape(rows, (last - first, *t.shape)))
        at += n
    return found


def _rows(op, tensors, apply, chunk_size):
    """apply(one row of the identity over the tensors' elements), a list of tensors, for all rows: for each tensor of
    `tensors`, the results for its rows, [its elements, ...]."""
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"[{op}] bad chunk_size: expected 1 or more, got {chunk_size}")
    n = sum(t.numel() for t in tensors)
    chunk = max(1, n if chunk_size is None else chunk_size)
    parts = []
    for first in range(0, n, chunk):
        basis = _basis(tensors, first, min(n, first + chunk))
        if chunk == 1:
            found = apply(*(_c.ops.select(b, 0, 0) for b in basis))
            parts.append([_c.ops.unsqueeze(f, 0) for f in found])
        else:
            parts.append(vmap(lambda *unit: tuple(apply(*unit)))(*basis))
    columns = [_c.ops.cat(list(p), 0) if len(p) > 1 else p[0] for p in zip(*parts)]
    sizes = [t.numel() for t in tensors]
    per_column = [_c.ops.split(c, None, sizes, 0) for c in columns]
    return [[c[i] for c in per_column] for i in range(len(tensors))] if parts else [[] for _ in tensors]


def _chosen(op, func, argnums, args, kwargs):
    numbers = _numbers(op, argnums, args)

    @_wraps(func)
    def of_chosen(*given):
        full = list(args)
        for n, x in zip(numbers, given):
            full[n] = x
        return func(*full, **kwargs)

    of_chosen._suan_holds = (func, args, kwargs)
    return of_chosen, tuple(args[n] for n in numbers)


def jacrev(func, argnums=0, has_aux=False, *, chunk_size=None):
    """A function that returns the Jacobian: for each output tensor, for each argument tensor, one of the output's
    shape followed by the argument's. One reverse pass for all elements of the output, or for chunk_size at a time
    (1: one after another, which also takes what vmap does not)."""

    @_wraps(func)
    def wrapped(*args, **kwargs):
        of_chosen, chosen = _chosen("jacrev", func, argnums, args, kwargs)
        output, pull, *aux = vjp(of_chosen, *chosen, has_aux=has_aux)
        roots, wanted = _tensors(output), _tensors(list(chosen))
        found = _rows("jacrev", roots, lambda *unit: _tensors(list(pull(*unit))), chunk_size)
        tables = [[_table(f, root, x) for f, x in zip(row or [None] * len(wanted), wanted)]
                  for row, root in zip(found, roots)]
        found = _nest(output, chosen, tables, isinstance(argnums, int))
        return (found, aux[0]) if has_aux else found

    return wrapped


def jacfwd(func, argnums=0, has_aux=False, *, chunk_size=None):
    """As jacrev, by the columns: one pass for all elements of the arguments."""

    @_wraps(func)
    def wrapped(*args, **kwargs):
        of_chosen, chosen = _chosen("jacfwd", func, argnums, args, kwargs)
        output, push, aux, outer = _linear("jacfwd", of_chosen, chosen, has_aux)
        roots, wanted = _tensors(output), _tensors(list(chosen))
        found = _rows("jacfwd", wanted, lambda *unit: push(unit), chunk_size)
        tables = []
        for k, root in enumerate(roots):
            tables.append([])
            for row, x in zip(found, wanted):
                stacked = _table(row[k] if row else None, x, root)
                order = [*range(x.ndim, x.ndim + root.ndim), *range(x.ndim)]
                tables[k].append(_c.ops.permute(stacked, order) if order else stacked)
        found = _nest(output, chosen, tables, isinstance(argnums, int))
        return (found, aux if outer else _detached(aux)) if has_aux else found

    return wrapped


def _table(rows, of, by):
    """[elements of `of`, *shape of `by`] with the axes of `of` in place of its elements."""
    shape = tuple(of.shape) + tuple(by.shape)
    return _c.ops.zeros(shape, by.dtype) if rows is None else _c.ops.reshape(rows, shape)


def _nest(output, chosen, tables, single):
    """Tables [output tensor][argument tensor], nested as outputs are and within as the chosen arguments are."""
    rows = iter(tables)

    def within(_):
        row = iter(next(rows))
        nested = tuple(_leaves(x, lambda t: next(row)) for x in chosen)
        return nested[0] if single else nested

    return _leaves(output, within)


def hessian(func, argnums=0):
    """A function that returns the second derivatives: the Jacobian of the Jacobian."""
    return jacfwd(jacrev(func, argnums), argnums)


# ---- batches ---------------------------------------------------------------------------------------------------------

_told = set()  # ops that a warning named


def _mapped(op, dims, tree, name):
    """Pairs of each tensor in the tree and its axis, from dims: an int or None for all below, or nested as the tree."""
    if dims is None or isinstance(dims, int):
        return [(t, dims) for t in _tensors(tree)]
    if isinstance(dims, (list, tuple)) and isinstance(tree, (list, tuple)) and len(dims) == len(tree):
        return [p for d, t in zip(dims, tree) for p in _mapped(op, d, t, name)]
    if isinstance(dims, dict) and isinstance(tree, dict) and dims.keys() == tree.keys():
        return [p for k, t in tree.items() for p in _mapped(op, dims[k], t, name)]
    raise ValueError(f"[{op}] {name} does not fit: expected an int, None, or the structure of what it speaks of, got "
                     f"{dims!r} for {type(tree).__name__}")


def _axis(t, dim, name):
    if not -t.ndim <= dim < t.ndim:
        raise IndexError(f"[vmap] {name} out of range: expected an axis of {list(t.shape)}, got {dim}")
    return dim % t.ndim


def vmap(func, in_dims=0, out_dims=0, randomness="error", *, chunk_size=None):
    """A function that applies func to every example of a batch, as torch.func.vmap.

    Args:
        func: a function of one example. It runs once, on tensors without values: what it does may depend on shapes,
            not on values (.item(), `if tensor`).
        in_dims: the axis of the tensors in each argument that counts the examples; None for what all share. One for
            all arguments or nested as they are. Keyword arguments are mapped over axis 0.
        out_dims: where that axis stands in the results; None for a result that does not depend on the batch.
        randomness: "different" random numbers for each example, the "same" for all, or an "error".
        chunk_size: so many examples at a time; None: all.

    It nests, and mixes with grad, vjp, jvp and the others, inside and outside. Each op runs once for the whole batch.
    One for which there is no rule runs once per example, and a warning names it the first time.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"[vmap] bad chunk_size: expected 1 or more, got {chunk_size}")

    @_wraps(func)
    def wrapped(*args, **kwargs):
        dims = in_dims if isinstance(in_dims, int) else tuple(in_dims) if isinstance(in_dims, list) else in_dims
        pairs = _mapped("vmap", dims, args, "in_dims") + _mapped("vmap", 0, kwargs, "in_dims")
        axes = [None if d is None else _axis(t, d, "in_dims") for t, d in pairs]
        given = [(t, a) for (t, _), a in zip(pairs, axes) if a is not None]
        if not given:
            raise ValueError("[vmap] no batch: expected at least one tensor with an axis in in_dims, got none")
        sizes = {t.shape[a] for t, a in given}
        if len(sizes) > 1:
            raise ValueError(f"[vmap] batches differ: expected one size, got {[t.shape[a] for t, a in given]}")
        size = sizes.pop()
        if chunk_size is None or size <= chunk_size:
            return _run(axes, given, size, args, kwargs)
        if not isinstance(out_dims, int):
            raise ValueError(f"[vmap] chunks of results without an axis: expected an int as out_dims with chunk_size, got "
                             f"{out_dims!r}")
        parts = []
        for first in range(0, size, chunk_size):
            last = min(size, first + chunk_size)
            parts.append(_run(axes, [(_c.ops.slice(t, a, first, last, 1), a) for t, a in given], last - first, args,
                              kwargs))
        found = iter([_c.ops.cat(list(p), _axis(p[0], out_dims, "out_dims")) for p in zip(*map(_tensors, parts))])
        return _leaves(parts[0], lambda t: next(found))

    def _run(axes, given, size, args, kwargs):
        structure = None

        def example(tensors):
            nonlocal structure
            each, which = iter(tensors), iter(axes)
            one = _leaves((args, kwargs), lambda t: t if next(which) is None else next(each))
            structure = func(*one[0], **one[1])
            if wrong := _not_tensors(structure):
                raise TypeError(f"[vmap] wrong result: expected tensors, got {wrong}")
            return _tensors(structure)

        found, looped = _c.vmap(example, [t for t, _ in given], [a for _, a in given], size, randomness)
        for op in looped:
            if op not in _told:
                _told.add(op)
                warnings.warn(f"[vmap] no rule for '{op}': it runs once per example", stacklevel=3)
        each = iter(zip(found, (d for _, d in _mapped("vmap", out_dims, structure, "out_dims"))))

        def placed(_):
            (t, batched), dim = next(each)
            if dim is None:
                if batched:
                    raise ValueError(f"[vmap] result depends on the batch: expected an axis in out_dims, got None for "
                                     f"{list(t.shape[1:])}")
                return t
            t = t if batched else _c.ops.expand(t, (size, *t.shape))
            dim = _axis(t, dim, "out_dims")
            return _c.ops.movedim(t, [0], [dim]) if dim else t

        return _leaves(structure, placed)

    return wrapped


def _not_tensors(tree):
    """The type of something in the tree that is no tensor, or None."""
    if isinstance(tree, Tensor):
        return None
    if isinstance(tree, (list, tuple)):
        return next((w for w in map(_not_tensors, tree) if w), None)
    if isinstance(tree, dict):
        return next((w for w in map(_not_tensors, tree.values()) if w), None)
    return type(tree).__name__


# ---- modules as functions -------------------------------------------------------------------------------------------


def functional_call(module, parameter_and_buffer_dicts, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """Calls a module with other parameters and buffers, by their names in state_dict(); afterwards it has its own.

    Args:
        parameter_and_buffer_dicts: one dict, or several (a name in two of them is an error). Names that are left
            out keep the module's tensors, unless strict.
        args: a tuple of arguments, or one argument.
        tie_weights: what stands for one name of a tied tensor stands for all of them.

    Gradients reach the tensors given. A buffer that the module writes in place is written in the dict's tensor.
    """
    given = {}
    dicts = [parameter_and_buffer_dicts] if isinstance(parameter_and_buffer_dicts, dict) else parameter_and_buffer_dicts
    for d in dicts:
        for name, value in d.items():
            if name in given:
                raise ValueError(f"[functional_call] name in two dicts: expected '{name}' once, got it again")
            if not isinstance(value, Tensor):
                raise TypeError(f"[functional_call] wrong value of '{name}': expected Tensor, got "
                                f"{type(value).__name__}")
            given[name] = value
    places = {}  # name: (table, key)
    for path, m in module.named_modules(remove_duplicate=False):
        for table in (m._parameters, m._buffers):
            for key, value in table.items():
                if value is not None:
                    places[f"{path}.{key}" if path else key] = table, key
    if unknown := sorted(set(given) - set(places)):
        raise KeyError(f"[functional_call] unknown names: expected parameters or buffers of "
                       f"{type(module).__name__}, got {unknown}")
    if tie_weights:
        owners = {}
        for name, value in given.items():
            table, key = places[name]
            if owners.setdefault(id(table[key]), value) is not value:
                raise ValueError(f"[functional_call] tied weights differ: expected one tensor for '{name}' and the "
                                 "names tied to it, got two")
        given = {n: owners[id(t[k])] for n, (t, k) in places.items() if id(t[k]) in owners}
    if strict and (missing := sorted(set(places) - set(given))):
        raise KeyError(f"[functional_call] missing names with strict=True: expected all, got none for {missing}")
    for name, value in given.items():
        table, key = places[name]
        if value.shape != table[key].shape:
            raise _c.ShapeError(f"[functional_call] wrong shape of '{name}': expected {list(table[key].shape)}, got "
                                f"{list(value.shape)}")
    before = [(places[n][0], places[n][1], places[n][0][places[n][1]]) for n in given]
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    try:
        for name, value in given.items():
            table, key = places[name]
            table[key] = value
        return module(*args, **(kwargs or {}))
    finally:
        for table, key, value in before:
            table[key] = value
