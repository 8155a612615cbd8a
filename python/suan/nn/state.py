"""state_dict and load_state_dict: flat dicts of tensors by dotted name, in torch's format."""

from collections import OrderedDict, namedtuple

import suan

_EXTRA_STATE = "_extra_state"


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    __slots__ = ()

    def __repr__(self):
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class StateMixin:
    _version = 1

    def get_extra_state(self):
        """Override together with set_extra_state to save more than tensors."""
        raise RuntimeError(f"[get_extra_state] {type(self).__name__} keeps no extra state")

    def set_extra_state(self, state):
        raise RuntimeError(f"[set_extra_state] {type(self).__name__} keeps no extra state")

    def _keeps_extra_state(self):
        return type(self).get_extra_state is not StateMixin.get_extra_state

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        for name, param in self._parameters.items():
            if param is not None:
                destination[prefix + name] = param if keep_vars else param.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if self._keeps_extra_state():
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    def state_dict(self, *, destination=None, prefix="", keep_vars=False):
        """Parameters and persistent buffers by dotted name. The tensors share memory with the
        module."""
        destination = OrderedDict() if destination is None else destination
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        return destination

    def _own_state(self):
        """Name and current tensor of all that this very module saves."""
        own = {n: p for n, p in self._parameters.items() if p is not None}
        own.update(
            (n, b)
            for n, b in self._buffers.items()
            if b is not None and n not in self._non_persistent_buffers_set
        )
        return own

    def _load_from_state_dict(
        self, state_dict, prefix, assign, missing_keys, unexpected_keys, errors, copies
    ):
        own = self._own_state()
        for name, current in own.items():
            key = prefix + name
            if key not in state_dict:
                missing_keys.append(key)
                continue
            value = state_dict[key]
            if not isinstance(value, suan.Tensor):
                errors.append(
                    f"'{key}' has the wrong type: expected Tensor, got {type(value).__name__}."
                )
                continue
            if tuple(value.shape) != tuple(current.shape):
                errors.append(
                    f"size mismatch for {key}: copying a param with shape {tuple(value.shape)} "
                    "from checkpoint, "
                    f"the shape in current model is {tuple(current.shape)}."
                )
                continue
            copies.append((self, name, current, value, assign))
        if self._keeps_extra_state():
            if prefix + _EXTRA_STATE in state_dict:
                copies.append((self, None, None, state_dict[prefix + _EXTRA_STATE], assign))
            else:
                missing_keys.append(prefix + _EXTRA_STATE)
        known = set(own) | ({_EXTRA_STATE} if self._keeps_extra_state() else set())
        for key in state_dict:
            if not key.startswith(prefix):
                continue
            head = key[len(prefix) :].split(".", 1)
            if (
                len(head) == 1
                and head[0] not in known
                or len(head) == 2
                and head[0] not in self._modules
            ):
                unexpected_keys.append(key)

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """Copies values in by name. Nothing is written unless everything fits: a RuntimeError lists
        all missing, unexpected and mis-sized entries. strict=False allows missing and unexpected
        keys; assign=True takes the given tensors themselves instead of copying."""
        if not hasattr(state_dict, "items"):
            raise TypeError(
                f"[load_state_dict] wrong type: expected dict, got {type(state_dict).__name__}"
            )
        missing, unexpected, errors, copies = [], [], [], []

        def visit(module, prefix):
            module._load_from_state_dict(
                state_dict, prefix, assign, missing, unexpected, errors, copies
            )
            for name, child in module._modules.items():
                if child is not None:
                    visit(child, f"{prefix}{name}.")

        visit(self, "")
        if strict:
            if unexpected:
                names = ", ".join(f'"{k}"' for k in unexpected)
                errors.insert(0, f"Unexpected key(s) in state_dict: {names}. ")
            if missing:
                names = ", ".join(f'"{k}"' for k in missing)
                errors.insert(0, f"Missing key(s) in state_dict: {names}. ")
        if errors:
            raise RuntimeError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(
                    type(self).__name__, "\n\t".join(errors)
                )
            )
        with suan.no_grad():
            for module, name, current, value, take in copies:
                if name is None:
                    module.set_extra_state(value)
                elif take:
                    module._assign_state(name, current, value)
                else:
                    current.copy_(value)
        return IncompatibleKeys(missing, unexpected)

    def _assign_state(self, name, current, value):
        from .parameter import Parameter

        if name in self._parameters:
            self._parameters[name] = Parameter(value, current.requires_grad)
        else:
            self._buffers[name] = value
