"""suan.compile and suan.plan: a function recorded until two recordings agree, then replayed as one plan."""

from __future__ import annotations

import collections
import functools
import pathlib
import threading

from . import _c
from .remedies import with_remedies

Tensor = _c.Tensor

#: Signatures kept per compiled function; the least recently used one goes first.
MAX_SIGNATURES = 64


def _flatten(value, leaves):
    """Replaces every tensor in nested tuples, lists and dicts by its number; returns a hashable structure."""
    if isinstance(value, Tensor):
        leaves.append(value)
        return ("tensor", len(leaves) - 1)
    if isinstance(value, tuple):
        return (type(value), tuple(_flatten(v, leaves) for v in value))
    if isinstance(value, list):
        return (list, tuple(_flatten(v, leaves) for v in value))
    if isinstance(value, dict):
        return (dict, tuple((k, _flatten(v, leaves)) for k, v in value.items()))
    return ("constant", type(value), value)


def _unflatten(tree, leaves):
    kind = tree[0]
    if kind == "tensor":
        return leaves[tree[1]]
    if kind == "constant":
        return tree[2]
    if kind is dict:
        return {k: _unflatten(v, leaves) for k, v in tree[1]}
    items = [_unflatten(v, leaves) for v in tree[1]]
    if kind is list:
        return items
    return kind(*items) if hasattr(kind, "_fields") else kind(items)


def _signature_text(key):
    return "arguments: " + (", ".join(f"{d.name} {list(shape)}" for d, shape, _ in key[1]) or "no tensors")


class _Variant:
    """One signature of a compiled function."""

    def __init__(self, *options):
        self.tracer = _c.Tracer(*options)
        self.outputs = None
        self.holding = None  # what its modules held when it was recorded


def _walk(module, training, tensors):
    training.append(module.training)
    tensors.extend(module._parameters.values())
    tensors.extend(module._buffers.values())
    for child in module._modules.values():
        if child is not None:
            _walk(child, training, tensors)


def _within(module, seen):
    """Adds the ids of a module and all inside it."""
    seen.add(id(module))
    for child in module._modules.values():
        if child is not None:
            _within(child, seen)


def _named_modules_of(fn):
    """Modules that a function names: its own object's, in its closure, among its globals."""
    from .nn.module import Module

    code = getattr(fn, "__code__", None)
    found = [getattr(fn, "__self__", None)]
    for cell in getattr(fn, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            pass
    if code is not None:
        names = getattr(fn, "__globals__", {})
        found += [names.get(n) for n in code.co_names]
    return [m for m in found if isinstance(m, Module)]


class _Listening:
    """While it lasts, the modules that this thread calls are noted, those inside another one with it."""

    def __init__(self):
        self._thread = threading.get_ident()
        self.called = []

    def __enter__(self):
        from .nn import module

        self._listeners = module.listeners
        self._listeners.append(self._hear)
        return self

    def _hear(self, module):
        if threading.get_ident() == self._thread:
            self.called.append(module)

    def __exit__(self, *exc):
        self._listeners.remove(self._hear)


class CompiledFunction:
    """What :func:`compile` returns. Calling it runs, records or replays the function."""

    def __init__(self, fn, memory_limit=None, check=False, freeze=True, exact=False):
        self._fn = fn
        self._memory_limit = memory_limit
        self._check = check
        self._freeze = freeze
        self._exact = exact
        self._weights = _c.FrozenWeights()
        self._variants = collections.OrderedDict()
        self._lock = threading.Lock()
        self._module = fn if hasattr(fn, "named_parameters") else None
        self._roots = () if self._module is None else (fn,)  # a function's are found while it is recorded
        functools.update_wrapper(self, fn if self._module is None else type(fn).forward, updated=())

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._fn, name)

    def _state(self):
        """What a call depends on besides its arguments, and the tensors that its modules hold. Of a function the modules
        matter where there are no gradients only: weights are packed there."""
        grad = _c.is_grad_enabled()
        training, tensors = [], []
        if self._module is not None or not grad:
            for root in self._roots:
                _walk(root, training, tensors)
        return (grad, _c.autocast_settings(), tuple(training)), tensors

    def _make_variant(self, key):
        freeze = self._freeze and not any(key[2][2])
        return _Variant(self._memory_limit or 0, freeze, self._exact, self._weights)

    def _variant(self, key):
        with self._lock:
            variant = self._variants.get(key)
            if variant is None:
                variant = self._variants[key] = self._make_variant(key)
                if len(self._variants) > MAX_SIGNATURES:
                    self._variants.popitem(last=False)
            else:
                self._variants.move_to_end(key)
            return variant

    def __call__(self, *args, **kwargs):
        if _c.nan_guarded():  # debug.nan_guard: each op is to be seen
            return self._fn(*args, **kwargs)
        leaves = []
        tree = _flatten((args, kwargs), leaves)
        mode, held = self._state()
        key = (tree, tuple((t.dtype, tuple(t.shape), t.requires_grad) for t in leaves), mode)
        try:
            variant = self._variant(key)
        except TypeError as error:
            raise TypeError(f"[compile] argument cannot be part of a signature: expected tensors and hashable "
                            f"values, got {error}") from None
        tracer = variant.tracer
        if tracer.ready and (tracer.stale or not variant.holding.same(held)):
            # A parameter or buffer is another tensor than the one recorded, or has another storage.
            with self._lock:
                variant = self._variants[key] = self._make_variant(key)
            tracer = variant.tracer
        if tracer.ready and not self._check:
            try:
                return _unflatten(variant.outputs, tracer.run(leaves))
            except _c.OutOfMemoryError as error:
                raise self._priced(error, tree, leaves) from None
        if self._module is not None or mode[0]:
            result = self._record(variant, tree, leaves)
        else:
            with _Listening() as listening:
                result = self._record(variant, tree, leaves)
            self._know(listening.called, variant, key)
        variant.holding = _c.Holding(self._state()[1])
        return result

    def _know(self, called, variant, key):
        """Modules that a function was found to use: their mode is part of its key from now on."""
        with self._lock:
            roots, seen = list(self._roots), set()
            for root in roots:
                _within(root, seen)
            for module in (*_named_modules_of(self._fn), *called):
                if id(module) not in seen:
                    roots.append(module)
                    _within(module, seen)
            if len(roots) == len(self._roots):
                return
            self._roots = tuple(roots)
            mode = self._state()[0]
            # Signatures without gradients are known by their modules' modes, which nobody knows of the others.
            for old in [k for k in self._variants if not k[2][0]]:
                self._variants.pop(old)
            self._variants[(key[0], key[1], mode)] = variant
            if not variant.tracer.ready:
                variant.tracer.set_freeze(self._freeze and not any(mode[2]))

    def _record(self, variant, tree, leaves):
        tracer = variant.tracer
        leaves = tracer.start(leaves)
        try:
            args, kwargs = _unflatten(tree, leaves)
            result = self._fn(*args, **kwargs)
            outputs = []
            out_tree = _flatten(result, outputs)
            if self._check and tracer.ready:
                tracer.check(outputs)
            else:
                result = _unflatten(out_tree, tracer.finish(outputs))
        except _c.OutOfMemoryError as error:
            tracer.abandon()
            raise self._priced(error, tree, leaves) from None
        except BaseException:
            tracer.abandon()
            raise
        if variant.outputs is not None and variant.outputs != out_tree:
            raise RuntimeError("[compile] function returns something else at every call: expected equal structure "
                               f"and constants, got {out_tree} after {variant.outputs}")
        variant.outputs = out_tree
        return result

    def _priced(self, error, tree, leaves):
        """The error, with what would make the call fit. A module's call is half of what needs memory: not priced here."""
        if self._module is not None:
            return error
        planned = lambda tensors, limit: _planned(self._fn, tree, tensors, limit)  # noqa: E731
        return with_remedies(error, planned, leaves, self._memory_limit or 0)

    def stats(self):
        """Per signature: recordings, replays, whether it is ready, planned bytes (a list of dicts)."""
        return [v.tracer.stats() for v in self._variants.values()]

    def save_page(self, path, profile=None):
        """Writes one HTML page about the signatures that are ready: each plan's ops, its memory over its steps and what
        holds it at the highest point, and its graph.

        Args:
            path: of the page.
            profile: a ``suan.profiler.profile(memory=True)`` that was taken around calls: what was measured stands
                beside the plan.

        Raises:
            StateError: no signature is ready: a function is after its second or third call.
        """
        from .pages.function import function_page

        ready = [(key, v) for key, v in self._variants.items() if v.tracer.ready]
        variants = [(_signature_text(key), plans) for key, v in ready if (plans := v.tracer.plans())]
        if not variants:
            raise _c.StateError("[compile] nothing to show: expected a signature with a plan, got none (a function has one "
                                "after its second or third call, and never with SUAN_INTERPRET=1)")
        name = getattr(self, "__qualname__", type(self._fn).__qualname__)
        pathlib.Path(path).write_text(function_page(name, variants, profile), encoding="utf-8")

    def trim(self):
        """Gives the memory of idle runs back."""
        for v in self._variants.values():
            v.tracer.trim()


def compile(fn=None, *, memory_limit=None, check=False, freeze=True, exact=False):
    """Compiles a function or module.

    A call is recorded until two consecutive recordings agree, constants included; from then on the whole call
    is one plan: no op is dispatched, memory is laid out in advance. The first call runs as it is recorded; a
    later one is recorded first and then run as a whole, so tensors made inside have values only if returned. A whole training step (forward,
    ``backward()``, clipping, optimizer) can be one function; its parameters, optimizer state and random state
    are captured and change once, at the end. Gradients made and used inside do not appear in ``.grad``.

    Args:
        fn: a function of tensors (nested in tuples, lists, dicts) and hashable values, or an ``nn.Module``.
        memory_limit: bytes that a call may take beyond parameters and arguments; values are recomputed
            to stay below it. ``MemoryError`` when that cannot be done.
        check: records every call again and compares it with what would be replayed (slow; for finding out
            whether a function may be compiled).
        freeze: where nothing is recorded for gradients and no module is in training mode, captured tensors are taken as
            constants, so that weights are packed: in blocks, in panels, with batch norms inside. They take memory a
            second time for that. A changed weight (an optimizer's step, ``load_state_dict``, any write in place, another
            parameter in its place) is seen at the next call, which takes the weights as they are; they are packed again
            once a call found them unchanged, after twice as many each time that they changed before 16 calls. A weight
            that a NumPy array or DLPack consumer lies over, that lies in memory of one of those, or whose ``data_ptr()``
            was asked for, is never packed. False: parameters stay inputs. Not beside a ``memory_limit``.
        exact: with ``freeze``, keeps every bit. Otherwise batch norms go into the weights before them, 3×3 convolutions
            take Winograd's way, large products Strassen's, and chains of operators become the ops that they spell out:
            the last bits change.

    Raises:
        RuntimeError: a Python number that keeps changing, a captured tensor that is a new one at every call,
            data-dependent control flow or a tensor read with ``item()`` inside the function, each naming the line.
    """
    if fn is None:
        return functools.partial(compile, memory_limit=memory_limit, check=check, freeze=freeze, exact=exact)
    return CompiledFunction(fn, memory_limit=memory_limit, check=check, freeze=freeze, exact=exact)


def _size(n):
    return f"{n / 2**20:.1f} MiB" if n >= 1 << 20 else f"{n / 2**10:.1f} KiB"


class PlanReport:
    """What a call will need, found without running it (see :func:`plan`)."""

    def __init__(self, info):
        #: Bytes beyond arguments and captured tensors at the highest point.
        self.peak_bytes = info["peak_bytes"]
        #: Bytes of captured tensors (parameters, optimizer state, buffers).
        self.captured_bytes = info["captured_bytes"]
        self.argument_bytes = info["argument_bytes"]
        #: Nodes after optimisation.
        self.nodes = info["nodes"]
        self.flops = info["flops"]
        #: (bytes, what, source line) of the tensors alive at the peak, largest first.
        self.holders = info["holders"]

    def __str__(self):
        lines = [f"peak {_size(self.peak_bytes)} beyond {_size(self.captured_bytes)} of captured "
                 f"tensors and {_size(self.argument_bytes)} of arguments; {self.nodes} nodes, "
                 f"{self.flops / 1e9:.3g} GFLOP"]
        lines += [f"  {_size(size):>11}  {what}  {line}" for size, what, line in self.holders[:12]]
        return "\n".join(lines)

    __repr__ = __str__


def plan(fn, *args, memory_limit=None, **kwargs):
    """Plans one call of ``fn`` without running it: nothing is computed and no tensor changes.

    Returns a :class:`PlanReport` with the peak memory, the tensors that make it and their source lines.
    ``memory_limit`` (bytes) lets values be recomputed; ``MemoryError`` says what is missing, and what recomputing,
    bfloat16 and smaller batches would each save, at what price.
    """
    leaves = []
    tree = _flatten((args, kwargs), leaves)
    try:
        return PlanReport(_planned(fn, tree, leaves, memory_limit or 0))
    except _c.OutOfMemoryError as error:
        planned = lambda tensors, limit: _planned(fn, tree, tensors, limit)  # noqa: E731
        raise with_remedies(error, planned, leaves, memory_limit or 0) from None


def _planned(fn, tree, leaves, memory_limit):
    def call(inputs):
        a, k = _unflatten(tree, inputs)
        outputs = []
        _flatten(fn(*a, **k), outputs)
        return outputs

    return _c.plan(call, leaves, memory_limit)
