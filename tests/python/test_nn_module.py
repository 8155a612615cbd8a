"""nn.Module: registration, walking, state_dict, hooks, containers, printing."""

import copy
import pickle

import numpy as np
import pytest

import suan
from suan import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 4)
        self.b = nn.Linear(4, 2, bias=False)
        self.register_buffer("scale", suan.ones(2))
        self.register_buffer("scratch", suan.zeros(2), persistent=False)

    def forward(self, x):
        return self.b(self.a(x).relu()) * self.scale


def test_named_parameters_and_buffers_follow_definition_order():
    m = Two()
    assert [n for n, _ in m.named_parameters()] == ["a.weight", "a.bias", "b.weight"]
    assert [n for n, _ in m.named_buffers()] == ["scale", "scratch"]
    assert [n for n, _ in m.named_modules()] == ["", "a", "b"]
    assert [n for n, _ in m.named_children()] == ["a", "b"]
    assert m.get_parameter("a.weight") is m.a.weight and m.get_submodule("a") is m.a


def test_parameter_is_a_leaf_that_requires_grad():
    p = nn.Parameter(suan.ones(3))
    assert (
        isinstance(p, nn.Parameter) and isinstance(p, suan.Tensor) and p.requires_grad and p.is_leaf
    )
    assert not isinstance(suan.ones(3), nn.Parameter)


def test_tied_parameters_are_listed_once_and_stay_tied_through_to():
    m = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    m[1].weight = m[0].weight
    assert len(list(m.parameters())) == 3
    m.double()
    assert m[1].weight is m[0].weight and m[0].weight.dtype == suan.float64


def test_assignment_rules():
    m = Two()
    with pytest.raises(
        TypeError, match="cannot assign to parameter 'weight': expected nn.Parameter or None"
    ):
        m.a.weight = suan.ones(4, 3)
    with pytest.raises(TypeError, match="cannot assign"):
        m.a = 3
    m.a.bias = None
    assert m.a.bias is None and [n for n, _ in m.named_parameters()] == ["a.weight", "b.weight"]
    with pytest.raises(AttributeError, match="before Module.__init__"):
        type("Bad", (nn.Module,), {"__init__": lambda self: setattr(self, "w", nn.Linear(1, 1))})()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        m.nothing
    with pytest.raises(KeyError, match="already exists"):
        m.register_buffer("a", suan.ones(1))
    with pytest.raises(KeyError, match="without"):
        m.register_parameter("x.y", None)
    del m.b
    assert [n for n, _ in m.named_children()] == ["a"]


def test_state_dict_round_trip_and_shared_memory():
    m, n = Two(), Two()
    state = m.state_dict()
    assert list(state) == ["scale", "a.weight", "a.bias", "b.weight"]
    assert repr(n.load_state_dict(state)) == "<All keys matched successfully>"
    for (_, p), (_, q) in zip(m.named_parameters(), n.named_parameters()):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())
    with suan.no_grad():
        m.a.bias.fill_(7.0)
    assert float(state["a.bias"][0]) == 7.0


def test_load_state_dict_reports_everything_and_writes_nothing():
    m = Two()
    before = m.a.weight.detach().numpy().copy()
    state = {"a.weight": suan.zeros(4, 3), "a.bias": suan.zeros(5), "extra": suan.zeros(1)}
    with pytest.raises(RuntimeError) as e:
        m.load_state_dict(state)
    text = str(e.value)
    assert "Error(s) in loading state_dict for Two" in text
    assert 'Missing key(s) in state_dict: "scale", "b.weight"' in text
    assert 'Unexpected key(s) in state_dict: "extra"' in text
    assert "size mismatch for a.bias" in text and "(5,)" in text and "(4,)" in text
    assert np.array_equal(before, m.a.weight.detach().numpy())
    result = m.load_state_dict({"a.weight": suan.zeros(4, 3), "extra": suan.zeros(1)}, strict=False)
    assert result.missing_keys == ["scale", "a.bias", "b.weight"] and result.unexpected_keys == [
        "extra"
    ]
    assert float(m.a.weight.abs().sum()) == 0.0


def test_load_state_dict_assign_takes_the_tensors():
    m = nn.Linear(2, 2)
    w = suan.ones(2, 2)
    m.load_state_dict({"weight": w, "bias": suan.zeros(2)}, assign=True)
    w.fill_(3.0)
    assert float(m.weight[0, 0]) == 3.0 and isinstance(m.weight, nn.Parameter)


def test_extra_state():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.n = 0

        def get_extra_state(self):
            return {"n": self.n}

        def set_extra_state(self, state):
            self.n = state["n"]

        def forward(self, x):
            return x

    m = Counting()
    m.n = 5
    state = m.state_dict()
    assert state["_extra_state"] == {"n": 5}
    other = Counting()
    other.load_state_dict(state)
    assert other.n == 5
    with pytest.raises(RuntimeError, match="_extra_state"):
        other.load_state_dict({})


def test_train_eval_apply_requires_grad_zero_grad():
    m = Two()
    assert m.training and not m.eval().a.training and m.train().b.training
    seen = []
    m.apply(lambda x: seen.append(type(x).__name__))
    assert seen == ["Linear", "Linear", "Two"]
    m(suan.ones(1, 3)).sum().backward()
    assert m.a.weight.grad is not None
    m.zero_grad()
    assert m.a.weight.grad is None
    m.requires_grad_(False)
    assert not any(p.requires_grad for p in m.parameters())


def test_forward_hooks_change_arguments_and_results():
    m = nn.Linear(2, 2)
    calls = []
    first = m.register_forward_pre_hook(lambda mod, args: (args[0] * 0,))
    second = m.register_forward_hook(lambda mod, args, out: calls.append(out) or out + 1)
    y = m(suan.ones(1, 2))
    assert np.allclose(y.detach().numpy(), m.bias.detach().numpy() + 1) and len(calls) == 1
    first.remove()
    second.remove()
    assert not m._has_hooks
    with m.register_forward_hook(
        lambda mod, args, kwargs, out: calls.append(kwargs), with_kwargs=True
    ):
        m(input=suan.ones(1, 2))
    assert list(calls[-1]) == ["input"] and not m._has_hooks


def test_full_backward_hooks_see_and_change_gradients():
    m = nn.Linear(3, 2)
    seen = {}

    def hook(module, grad_input, grad_output):
        seen["in"], seen["out"] = [g.shape for g in grad_input], [g.shape for g in grad_output]
        return (grad_input[0] * 10,)

    m.register_full_backward_hook(hook)
    m.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 2,))
    x = suan.ones(4, 3, requires_grad=True)
    m(x).sum().backward()
    assert [tuple(s) for s in seen["in"]] == [(4, 3)] and [tuple(s) for s in seen["out"]] == [
        (4, 2)
    ]
    expected = 20 * m.weight.detach().numpy().sum(0)
    assert np.allclose(x.grad.numpy(), np.broadcast_to(expected, (4, 3)), rtol=1e-5)
    assert np.allclose(m.bias.grad.numpy(), [8, 8])


def test_backward_hook_without_input_gradient():
    m = nn.Linear(3, 2)
    seen = []
    m.register_full_backward_hook(lambda mod, gi, go: seen.append((gi, len(go))))
    m(suan.ones(1, 3)).sum().backward()
    assert seen == [((None,), 1)]


def test_containers():
    s = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(s) == 3 and isinstance(s[-1], nn.Linear) and len(s[:2]) == 2
    del s[1]
    assert [n for n, _ in s.named_children()] == ["0", "1"]
    with pytest.raises(IndexError, match="index out of range"):
        s[5]
    items = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    items.insert(1, nn.ReLU())
    assert len(items) == 4 and isinstance(items[1], nn.ReLU) and isinstance(items.pop(1), nn.ReLU)
    assert list(nn.ModuleList([nn.Linear(1, 1)]).state_dict()) == ["0.weight", "0.bias"]
    d = nn.ModuleDict({"x": nn.Linear(1, 2)})
    d["y"] = nn.ReLU()
    assert list(d) == ["x", "y"] and "x" in d and d["x"].out_features == 2
    params = nn.ParameterList([suan.ones(2), suan.ones(3)])
    params.append(suan.ones(4))
    assert len(list(params.parameters())) == 3 and tuple(params[-1].shape) == (4,)
    named = nn.ParameterDict({"w": suan.ones(2)})
    assert isinstance(named["w"], nn.Parameter)


def test_repr_is_torchs():
    m = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    assert repr(m) == (
        "Sequential(\n  (0): Linear(in_features=3, out_features=4, bias=True)\n  (1): ReLU()\n)"
    )
    assert repr(nn.Linear(2, 1, bias=False)) == "Linear(in_features=2, out_features=1, bias=False)"


def test_deepcopy_and_pickle_are_independent():
    m = Two()
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert [n for n, _ in other.named_parameters()] == [n for n, _ in m.named_parameters()]
        before = m.a.bias.detach().numpy().copy()
        with suan.no_grad():
            other.a.bias.add_(1.0)
        assert np.array_equal(before, m.a.bias.detach().numpy())
        assert other.a.weight.requires_grad


@pytest.mark.parametrize(
    "name,check",
    [
        ("zeros_", lambda a: (a == 0).all()),
        ("ones_", lambda a: (a == 1).all()),
        (
            "xavier_uniform_",
            lambda a: abs(a).max() <= (6 / 160) ** 0.5 and a.std() > 0.8 * (2 / 160) ** 0.5,
        ),
        ("xavier_normal_", lambda a: abs(a.std() / (2 / 160) ** 0.5 - 1) < 0.1),
        ("kaiming_uniform_", lambda a: abs(a).max() <= (6 / 60) ** 0.5),
        ("kaiming_normal_", lambda a: abs(a.std() / (2 / 60) ** 0.5 - 1) < 0.1),
        ("trunc_normal_", lambda a: abs(a).max() <= 2),
        ("orthogonal_", lambda a: np.allclose(a.T @ a, np.eye(60), atol=1e-4)),
    ],
)
def test_init(name, check):
    suan.manual_seed(0)
    t = suan.empty(100, 60)
    assert getattr(nn.init, name)(t) is t
    assert check(t.numpy())


LAZY = [
    (nn.LazyLinear, nn.Linear, (5,), {"bias": False}, (2, 3, 4), 4),
    (nn.LazyConv1d, nn.Conv1d, (6, 3), {"groups": 2, "padding": "same"}, (2, 4, 5), 4),
    (nn.LazyConv2d, nn.Conv2d, (5, (2, 3)), {"padding_mode": "circular", "padding": 1}, (4, 6, 5), 4),
    (nn.LazyConv3d, nn.Conv3d, (5, 2), {}, (1, 4, 3, 3, 3), 4),
    (nn.LazyConvTranspose1d, nn.ConvTranspose1d, (6, 3, 2), {"groups": 2}, (2, 4, 5), 4),
    (nn.LazyConvTranspose2d, nn.ConvTranspose2d, (5, 2), {"bias": False}, (2, 4, 5, 5), 4),
    (nn.LazyConvTranspose3d, nn.ConvTranspose3d, (5, 2), {}, (1, 4, 2, 2, 2), 4),
    (nn.LazyBatchNorm1d, nn.BatchNorm1d, (), {"momentum": 0.3}, (3, 4), 4),
    (nn.LazyBatchNorm2d, nn.BatchNorm2d, (1e-3,), {"affine": False}, (3, 4, 2, 2), 4),
    (nn.LazyBatchNorm3d, nn.BatchNorm3d, (), {}, (3, 4, 2, 2, 2), 4),
    (nn.LazyInstanceNorm1d, nn.InstanceNorm1d, (), {"affine": True, "track_running_stats": True}, (4, 6), 4),
    (nn.LazyInstanceNorm2d, nn.InstanceNorm2d, (), {"affine": True}, (2, 4, 3, 3), 4),
    (nn.LazyInstanceNorm3d, nn.InstanceNorm3d, (), {}, (2, 4, 3, 3, 3), 4),
]


@pytest.mark.parametrize("lazy, layer, args, options, shape, width", LAZY, ids=lambda v: getattr(v, "__name__", None))
def test_lazy_layers_become_ordinary_ones(lazy, layer, args, options, shape, width):
    suan.manual_seed(0)
    x = suan.randn(*shape, dtype=suan.float64)
    late, seen = lazy(*args, **options), []
    assert isinstance(late, layer) and late.has_uninitialized_params()
    late.register_forward_hook(lambda module, inputs, output: seen.append(type(module)))
    copies = [copy.deepcopy(late).double() for _ in range(2)]
    late.double()
    plain = layer(width, *args, **options).double()
    late(x)  # of its own numbers
    assert type(late) is layer and seen == [layer] and repr(late) == repr(plain)
    assert [(n, tuple(v.shape), v.dtype) for n, v in late.state_dict().items()] == \
        [(n, tuple(v.shape), v.dtype) for n, v in plain.state_dict().items()]
    assert [n for n, _ in late.named_parameters()] == [n for n, _ in plain.named_parameters()]
    late.load_state_dict(plain.state_dict())
    loaded = copies[0]
    assert not plain.state_dict() or loaded.load_state_dict(plain.state_dict()) and type(loaded) is layer
    expected = plain(x).detach().numpy()
    for other in (late, loaded) if plain.state_dict() else (late,):
        np.testing.assert_array_equal(other(x).detach().numpy(), expected)
    assert copies[1].has_uninitialized_params()


def test_a_lazy_layer_before_its_first_call():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(TypeError, match="expected Tensor, got UninitializedParameter"):
        suan.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(suan.StateError, match=r"\[LazyConv2d\] parameter without a shape"):
        model.state_dict()
    x = suan.randn(2, 3, 5, 5)
    with pytest.raises(suan.StateError, match=r"\[LazyConv2d\] first call while nothing is computed"):
        suan.plan(model, x)
    assert model[0].has_uninitialized_params()  # as before
    with pytest.raises(ValueError, match="channels do not group"):
        nn.LazyConv1d(3, 2, groups=2)
    with pytest.raises(TypeError, match=r"\[LazyLinear\] wrong arguments: .*got \['width'\]"):
        nn.LazyLinear(2, width=3)
    missing = model.load_state_dict({}, strict=False).missing_keys
    assert missing == ["0.weight", "0.bias", "2.weight", "2.bias"]
    model.eval().requires_grad_(False)
    model(x)
    assert not model[0].training and not any(p.requires_grad for p in model.parameters())
    assert suan.plan(model, x).peak_bytes > 0
    step = suan.compile(model)
    for _ in range(3):
        np.testing.assert_array_equal(step(x).numpy(), model(x).numpy())
