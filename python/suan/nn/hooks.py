"""Module hooks: forward pre/post and full backward, per module and torch-compatible."""

import itertools

import suan

_next_id = itertools.count()


class RemovableHandle:
    """What register_* returns: remove() takes the hook off; as a context manager it does so on
    exit."""

    def __init__(self, module, table, key):
        self._module, self._table, self.id = module, table, key

    def remove(self):
        self._table.pop(self.id, None)
        self._module._update_has_hooks()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


def _map_tensors(value, fn):
    if isinstance(value, suan.Tensor):
        return fn(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map_tensors(v, fn) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_map_tensors(v, fn) for v in value)
    if isinstance(value, dict):
        return {k: _map_tensors(v, fn) for k, v in value.items()}
    return value


class _Probe:
    """Gathers the gradients of a set of tensors during backward. Each tensor passes through a view
    of its own, so that a hook sees the gradient of this use only; `done` is called once all wanted
    gradients have come, and may return replacements."""

    def __init__(self, done):
        self.done = done
        self.size = 0
        self.grads = {}

    def watch(self, value):
        def mark(tensor):
            index = self.size
            self.size += 1
            if not tensor.requires_grad:
                return tensor
            seen = tensor.view_as(tensor)
            seen.register_hook(lambda grad: self._arrive(index, grad))
            return seen

        return _map_tensors(value, mark)

    def _arrive(self, index, grad):
        self.grads[index] = grad
        return self.done(self, index)

    def as_tuple(self):
        return tuple(self.grads.get(i) for i in range(self.size))


class HookMixin:
    def _init_hooks(self):
        put = object.__setattr__
        put(self, "_forward_pre_hooks", {})
        put(self, "_forward_hooks", {})
        put(self, "_backward_pre_hooks", {})
        put(self, "_backward_hooks", {})
        put(self, "_has_hooks", False)

    def _update_has_hooks(self):
        has = bool(
            self._forward_pre_hooks
            or self._forward_hooks
            or self._backward_pre_hooks
            or self._backward_hooks
        )
        object.__setattr__(self, "_has_hooks", has)

    def _register(self, table, entry, prepend=False):
        key = next(_next_id)
        table[key] = entry
        if prepend:
            rest = [(k, v) for k, v in table.items() if k != key]
            table.clear()
            table[key] = entry
            table.update(rest)
        self._update_has_hooks()
        return RemovableHandle(self, table, key)

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """hook(module, args) -> None or new args; with_kwargs: hook(module, args, kwargs) -> None
        or (args, kwargs)."""
        return self._register(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """hook(module, args, output) -> None or new output; always_call runs it also after an
        exception."""
        return self._register(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """hook(module, grad_output) -> None or a new grad_output, before the module's backward."""
        return self._register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """hook(module, grad_input, grad_output) -> None or a new grad_input, tuples with None where
        no gradient flows. Inputs that are the same tensor twice count as two."""
        return self._register(self._backward_hooks, hook, prepend)

    def _call_with_hooks(self, args, kwargs):
        for hook, with_kwargs in tuple(self._forward_pre_hooks.values()):
            if with_kwargs:
                result = hook(self, args, kwargs)
                if result is not None:
                    if not (isinstance(result, tuple) and len(result) == 2):
                        raise RuntimeError(
                            f"[forward_pre_hook] wrong result: expected None or (args, kwargs), "
                            f"got {type(result).__name__}"
                        )
                    args, kwargs = result
            else:
                result = hook(self, args)
                if result is not None:
                    args = result if isinstance(result, tuple) else (result,)

        backward = bool(self._backward_hooks or self._backward_pre_hooks) and suan.is_grad_enabled()
        if backward:
            args, outputs = self._watch_inputs(args)
        ran = []
        try:
            result = self.forward(*args, **kwargs)
            if backward:
                result = outputs.watch(result)
            for key, (hook, with_kwargs, _) in tuple(self._forward_hooks.items()):
                ran.append(key)
                changed = (
                    hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                )
                if changed is not None:
                    result = changed
            return result
        except Exception:
            for key, (hook, with_kwargs, always_call) in tuple(self._forward_hooks.items()):
                if always_call and key not in ran:
                    hook(self, args, kwargs, None) if with_kwargs else hook(self, args, None)
            raise

    def _watch_inputs(self, args):
        def output_arrived(probe, index):
            result = probe.grads[index]
            for hook in tuple(self._backward_pre_hooks.values()):
                changed = hook(self, probe.as_tuple())
                if changed is not None:
                    changed = changed if isinstance(changed, tuple) else (changed,)
                    probe.grads.update({i: g for i, g in enumerate(changed) if g is not None})
                    result = probe.grads[index]
            if not any_input:
                self._run_backward_hooks((None,) * inputs.size, probe.as_tuple())
            return result

        def input_arrived(probe, index):
            if len(probe.grads) < n_wanted[0]:
                return None
            changed = self._run_backward_hooks(probe.as_tuple(), outputs.as_tuple())
            return None if changed is None else changed[index]

        inputs, outputs = _Probe(input_arrived), _Probe(output_arrived)
        n_wanted = [0]

        def count(tensor):
            n_wanted[0] += tensor.requires_grad
            return tensor

        _map_tensors(args, count)
        any_input = n_wanted[0] > 0
        return inputs.watch(args), outputs

    def _run_backward_hooks(self, grad_input, grad_output):
        replaced = None
        for hook in tuple(self._backward_hooks.values()):
            changed = hook(self, grad_input, grad_output)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                if len(changed) != len(grad_input):
                    raise RuntimeError(
                        f"[backward_hook] wrong result: expected {len(grad_input)} gradients, got "
                        f"{len(changed)}"
                    )
                grad_input = replaced = changed
        return replaced
