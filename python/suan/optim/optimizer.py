"""Optimizer: parameter groups, state, and their saving.

All that changes from step to step is a tensor written in place (learning rate, step count,
moments), and exists from construction on. So a compiled training step records once and memory is
planned in full.
"""

import suan


class ParamGroup(dict):
    """Options of a group of parameters. `group["lr"] = x` also writes the 0-d tensor that step()
    reads."""

    def __init__(self, options):
        super().__init__(options)
        lr = options["lr"]
        place = options["params"][0].device if options["params"] else None
        self.lr_tensor = suan.tensor(float(lr), dtype=suan.float32, device=place)
        dict.__setitem__(self, "lr", float(lr))

    def __setitem__(self, key, value):
        if key == "lr":
            value = float(value)
            if value != self["lr"]:
                with suan.no_grad():
                    self.lr_tensor.fill_(value)
        super().__setitem__(key, value)

    def update(self, *args, **kwargs):
        for key, value in dict(*args, **kwargs).items():
            self[key] = value


def refuse_differentiable(name, differentiable):
    """torch's foreach, fused and capturable choose among implementations; Suan has one, so they are accepted.
    differentiable=True would change what is computed."""
    if differentiable:
        raise ValueError(f"[{name}] differentiable: expected False (step() runs without gradients), got True")


class Optimizer:
    """Base class. Subclasses give `defaults`, make the state of a parameter in init_state(param,
    group), and update one group in step_group(group, grad_scale)."""

    def __init__(self, params, defaults):
        if isinstance(params, suan.Tensor):
            raise TypeError(
                "[optimizer] wrong params: expected an iterable of tensors or dicts, got a Tensor"
            )
        self.defaults = defaults
        self.state = {}
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError(
                "[optimizer] empty parameter list: expected at least one parameter, got none"
            )
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group):
        if not isinstance(param_group, dict):
            raise TypeError(
                f"[optimizer] wrong group: expected dict, got {type(param_group).__name__}"
            )
        params = param_group["params"]
        params = [params] if isinstance(params, suan.Tensor) else list(params)
        # named_parameters() may be given directly.
        names = [p[0] for p in params] if params and isinstance(params[0], tuple) else None
        params = [p[1] for p in params] if names else params
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for param in params:
            if not isinstance(param, suan.Tensor):
                raise TypeError(
                    f"[optimizer] wrong parameter: expected Tensor, got {type(param).__name__}"
                )
            if not param.is_leaf:
                raise ValueError(
                    "[optimizer] cannot optimise a computed tensor: expected a leaf, got a result"
                )
            if id(param) in known:
                raise ValueError(
                    f"[optimizer] a parameter of shape {tuple(param.shape)} appears twice: "
                    f"expected each parameter once"
                )
            known.add(id(param))
        group = {**self.defaults, **param_group, "params": params}
        if names:
            group["param_names"] = names
        self.check(group)
        group = ParamGroup(group)
        self.param_groups.append(group)
        with suan.no_grad():
            # One step count serves the group; a parameter that misses a step gets its own (see
            # count_step).
            group.step_tensor = suan.tensor(0.0, dtype=suan.float32, device=group.lr_tensor.device)
            for param in params:
                self.state[param] = self.init_state(param, group)

    def check(self, group):
        if group["lr"] < 0:
            raise ValueError(
                f"[{type(self).__name__}] wrong lr: expected at least 0, got {group['lr']}"
            )
        if group["weight_decay"] < 0:
            raise ValueError(
                f"[{type(self).__name__}] wrong weight_decay: expected at least 0, got "
                f"{group['weight_decay']}"
            )

    def init_state(self, param, group):
        return {}

    def step_group(self, group, grad_scale):
        raise NotImplementedError

    def step(self, closure=None, *, grad_scale=None):
        """Updates all parameters that have a gradient. closure, if given, computes and returns the
        loss first; grad_scale, a 0-d tensor, multiplies the gradients on their way in (see
        nn.utils.clip_scale)."""
        loss = None
        if closure is not None:
            with suan.enable_grad():
                loss = closure()
        with suan.no_grad():
            for group in self.param_groups:
                self.step_group(group, grad_scale)
        return loss

    def active(self, group):
        """Parameters of the group that have a gradient, with gradients and states."""
        state = self.state
        rows = []
        for param in group["params"]:
            grad = param.grad
            if grad is not None:
                rows.append((param, -grad if group.get("maximize") else grad, state[param]))
        return rows

    def count_step(self, group, rows):
        """Adds one to the step counts of the parameters in rows, and only to theirs."""
        shared = group.step_tensor
        if len(rows) < len(group["params"]):
            active = {id(state) for _, _, state in rows}
            for param in group["params"]:
                state = self.state[param]
                if id(state) not in active and state["step"] is shared:
                    state["step"] = shared.clone()
        done = set()
        for _, _, state in rows:
            step = state["step"]
            if id(step) not in done:
                done.add(id(step))
                step.add_(1.0)

    def zero_grad(self, set_to_none=True):
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    with suan.no_grad():
                        param.grad.zero_()

    # ---- saving ----------------------------------------------------------------------------------

    def _numbered(self):
        return [param for group in self.param_groups for param in group["params"]]

    def state_dict(self):
        """{"state": {number: tensors}, "param_groups": [options with parameter numbers]}, as in
        torch."""
        numbers = {id(p): i for i, p in enumerate(self._numbered())}
        groups = []
        for group in self.param_groups:
            options = {k: v for k, v in group.items() if k != "params"}
            groups.append({**options, "params": [numbers[id(p)] for p in group["params"]]})
        return {
            "state": {numbers[id(p)]: dict(s) for p, s in self.state.items() if s},
            "param_groups": groups,
        }

    def load_state_dict(self, state_dict):
        """Writes the saved state into the existing tensors, so that a compiled step stays valid."""
        saved_groups = state_dict["param_groups"]
        if len(saved_groups) != len(self.param_groups):
            raise ValueError(
                f"[load_state_dict] wrong number of parameter groups: "
                f"expected {len(self.param_groups)}, got {len(saved_groups)}"
            )
        for i, (group, saved) in enumerate(zip(self.param_groups, saved_groups)):
            if len(group["params"]) != len(saved["params"]):
                raise ValueError(
                    f"[load_state_dict] group {i} has another size: "
                    f"expected {len(group['params'])} parameters, got {len(saved['params'])}"
                )
            self.check({**group, **saved})
        # File formats may turn the numbers into strings.
        saved_state = {int(k): v for k, v in state_dict["state"].items()}
        writes = []
        for group, saved in zip(self.param_groups, saved_groups):
            for param, number in zip(group["params"], saved["params"]):
                for key, value in saved_state.get(int(number), {}).items():
                    current = self.state[param].get(key)
                    if isinstance(current, suan.Tensor) and key != "step":
                        if tuple(current.shape) != tuple(value.shape):
                            raise ValueError(
                                f"[load_state_dict] '{key}' of parameter {number} has another "
                                "shape: "
                                f"expected {tuple(current.shape)}, got {tuple(value.shape)}"
                            )
                    writes.append((group, param, key, value))
        with suan.no_grad():
            for group, param, key, value in writes:
                state = self.state[param]
                if key == "step":
                    continue
                if isinstance(state.get(key), suan.Tensor):
                    state[key].copy_(value)
                else:
                    state[key] = value
            for group, saved in zip(self.param_groups, saved_groups):
                self._load_steps(
                    group, {id(p): float(v) for g, p, k, v in writes if k == "step" and g is group}
                )
                for key, value in saved.items():
                    if key != "params":
                        group[key] = tuple(value) if isinstance(group.get(key), tuple) else value

    def _load_steps(self, group, steps):
        """Parameters that missed no step share the group's count; the others get their own."""
        newest = max(steps.values(), default=0.0)
        group.step_tensor.fill_(newest)
        for param in group["params"]:
            state = self.state[param]
            if "step" in state:
                value = steps.get(id(param), 0.0)
                state["step"] = (
                    group.step_tensor
                    if value == newest
                    else suan.tensor(value, dtype=suan.float32, device=param.device)
                )

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines.extend(
                f"    {k}: {group[k]}" for k in sorted(group) if k not in ("params", "param_names")
            )
        return "\n".join([*lines, ")"])
