"""suan.func against torch.func (golden/func.npz), nesting, trees, closures and functional_call."""

from pathlib import Path

import numpy as np
import pytest

import suan
from suan import func, nn
from suan.nn import functional as F

GOLDEN = np.load(Path(__file__).parent / "golden" / "func.npz")
W1, W2, X, V, C = (suan.from_numpy(GOLDEN[k].copy()) for k in ("w1", "w2", "x", "v", "c"))


def net(x):
    return W2 @ suan.tanh(W1 @ x) * suan.softmax(x, 0)[:2]


def energy(x):
    return (net(x) ** 2).sum() + suan.logsumexp(x, 0)


def pair(a, b):
    return {"m": suan.outer(a, b).sin(), "s": (a * a).sum() * b[0]}


def close(got, name):
    np.testing.assert_allclose(got.numpy(), GOLDEN[name], rtol=1e-11, atol=1e-12)


def test_products_and_jacobians_are_torchs():
    out, moved = func.jvp(net, (X,), (V,))
    close(moved, "jvp")
    assert out.tolist() == net(X).tolist() and not out.requires_grad and not moved.requires_grad
    close(func.vjp(net, X)[1](C)[0], "vjp")
    close(func.jacrev(net)(X), "jac")
    close(func.jacfwd(net)(X), "jac")
    _, push = func.linearize(net, X)
    close(push(V), "jvp")
    close(push(V * 2) / 2, "jvp")


@pytest.mark.parametrize("a", [func.jacrev, func.jacfwd])
@pytest.mark.parametrize("b", [func.jacrev, func.jacfwd])
def test_second_derivatives_nest_in_any_order(a, b):
    close(a(b(energy))(X), "hessian")
    close(a(b(net))(X), "hessian_net")


def test_deeper_nests():
    close(func.hessian(energy)(X), "hessian")
    close(func.jacrev(func.jacrev(func.jacrev(energy)))(X), "third")
    close(func.jvp(func.grad(energy), (X,), (V,))[1], "hvp")
    close(func.grad(lambda t: func.jvp(net, (t,), (V,))[1].sum())(X), "mixed")


@pytest.mark.parametrize("transform", [func.jacrev, func.jacfwd])
def test_trees_and_argnums(transform):
    found = transform(pair, argnums=(0, 1))(X, C)
    for name in "ms":
        for i in range(2):
            close(found[name][i], f"pair_{name}{i}")
    close(transform(pair, argnums=1)(X, C)["m"], "pair_m1")
    nested = transform(lambda d: d["a"] * 2 + d["b"][0])({"a": suan.ones(2), "b": (suan.ones(2),)})
    assert nested["a"].tolist() == [[2, 0], [0, 2]] and nested["b"][0].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("transform", [func.jacrev, func.jacfwd])
def test_outputs_that_do_not_depend_and_empty_ones(transform):
    x = suan.ones(2)
    found = transform(lambda t: (suan.ones(3), t * 1, t[:0]))(x)
    assert found[0].tolist() == [[0, 0]] * 3 and found[1].tolist() == [[1, 0], [0, 1]]
    assert tuple(found[2].shape) == (0, 2)
    assert func.jvp(lambda t: suan.ones(3), (x,), (x,))[1].tolist() == [0, 0, 0]
    assert func.grad(lambda t: suan.tensor(1.0))(x).tolist() == [0, 0]


def test_has_aux():
    x = suan.tensor([1.0, 2.0])
    (value, aux), g = func.value_and_grad(lambda t: ((t * t).sum(), t + 1), has_aux=True)(x)
    assert value.item() == 5 and aux.tolist() == [2, 3] and g.tolist() == [2, 4] and not aux.requires_grad
    g, value = func.grad_and_value(lambda t: (t * t).sum())(x)
    assert value.item() == 5 and g.tolist() == [2, 4]
    for transform in (func.jacrev, func.jacfwd):
        table, aux = transform(lambda t: (t * t, "kept"), has_aux=True)(x)
        assert table.tolist() == [[2, 0], [0, 4]] and aux == "kept"
    out, moved, aux = func.jvp(lambda t: (t * t, t), (x,), (x,), has_aux=True)
    assert moved.tolist() == [2, 8] and aux.tolist() == [1, 2]
    out, pull, aux = func.vjp(lambda t: (t * t, t), x, has_aux=True)
    assert pull(x)[0].tolist() == [2, 8] and aux.tolist() == [1, 2]
    with pytest.raises(TypeError, match="expected .output, aux."):
        func.grad(lambda t: t.sum(), has_aux=True)(x)


def test_a_transform_inside_sees_the_outer_variable_through_a_closure():
    y = suan.tensor(3.0)
    # d/dx of d/dy x^2 y^2 = d/dx 2 x^2 y = 4 x y
    mixed = func.grad(lambda x: func.grad(lambda t: x * x * t * t)(y))
    assert mixed(suan.tensor(2.0)).item() == 24
    assert func.grad(lambda x: func.jvp(lambda t: x * x * t, (y,), (y,))[1])(suan.tensor(2.0)).item() == 12


def test_weights_of_a_module_stay_differentiable():
    layer = nn.Linear(3, 1)
    x = suan.ones(3)
    slope = func.grad(lambda t: (layer(t) ** 2).sum())(x)       # 2 y w
    assert slope.requires_grad
    slope.sum().backward()
    y, w = layer(x).item(), layer.weight.detach()
    np.testing.assert_allclose(layer.weight.grad.numpy(), (2 * w.sum() * x + 2 * y).reshape(1, 3).numpy(), rtol=1e-5)
    layer.requires_grad_(False)
    assert not func.grad(lambda t: (layer(t) ** 2).sum())(x).requires_grad


def test_functional_call():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    own = {k: v.detach().clone() for k, v in model.state_dict().items()}
    new = {k: v.detach() * 2 for k, v in model.named_parameters()}
    x, y = suan.randn(8, 3), suan.randint(0, 2, (8,))

    def loss(p):
        return F.cross_entropy(func.functional_call(model, p, (x,)), y)

    g = func.grad(loss)(new)
    assert set(g) == set(new) and model[0].weight.grad is None
    twin = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    twin.load_state_dict({**own, **new})
    F.cross_entropy(twin(x), y).backward()
    for name, p in twin.named_parameters():
        assert (p.grad == g[name]).all(), name
    for name, p in model.named_parameters():
        assert (p == own[name]).all() and isinstance(p, nn.Parameter)
    stats = {k: v.clone() for k, v in model.named_buffers()}
    before = stats["1.running_mean"].clone()
    func.functional_call(model, (new, stats), x)
    assert (model[1].running_mean != stats["1.running_mean"]).any() and (before != stats["1.running_mean"]).any()


def test_functional_call_ties_and_refuses():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    double = suan.eye(2) * 2
    assert func.functional_call(model, {"0.weight": double}, suan.ones(1, 2)).tolist() == [[4, 4]]
    once = func.functional_call(model, {"0.weight": double}, suan.ones(1, 2), tie_weights=False)
    assert once.tolist() == [(model[0].weight.sum(1) * 2).tolist()]
    with pytest.raises(ValueError, match="tied weights differ"):
        func.functional_call(model, {"0.weight": double, "1.weight": double * 1}, suan.ones(1, 2))
    with pytest.raises(KeyError, match="unknown names.*typo"):
        func.functional_call(model, {"typo": double}, suan.ones(1, 2))
    with pytest.raises(suan.ShapeError, match="expected .2, 2., got .3."):
        func.functional_call(model, {"0.weight": suan.ones(3)}, suan.ones(1, 2))
    with pytest.raises(KeyError, match="missing names.*bias"):
        func.functional_call(nn.Linear(2, 2), {"weight": double}, suan.ones(1, 2), strict=True)
    layer = nn.Linear(2, 2)
    with pytest.raises(suan.ShapeError):
        func.functional_call(layer, {"weight": double}, suan.ones(1, 5))
    assert isinstance(layer.weight, nn.Parameter)               # also after an error


def test_refusals():
    x = suan.ones(2)
    with pytest.raises(ValueError, match="bad argnums: expected below 1, got 1"):
        func.jacrev(lambda t: t, argnums=1)(x)
    with pytest.raises(TypeError, match="expected a floating tensor, got int64"):
        func.grad(lambda t: t.sum())(suan.arange(3))
    with pytest.raises(ValueError, match=r"wrong tangents: expected \[\(\[2\], 'float32'\)\]"):
        func.jvp(lambda t: t, (x,), (suan.ones(3),))
    with pytest.raises(TypeError, match="expected tuples"):
        func.jvp(lambda t: t, x, x)
    with pytest.raises(ValueError, match="wrong cotangent"):
        func.vjp(lambda t: t, x)[1](suan.ones(3))


def test_compiled():
    @suan.compile
    def step(x, v):
        return func.jvp(net, (x,), (v,))[1], func.hessian(energy)(x), func.jacfwd(net)(x)

    for _ in range(4):
        moved, second, jac = step(X, V)
    assert step.stats()[0]["replays"] >= 1
    close(moved, "jvp")
    close(second, "hessian")
    close(jac, "jac")


def test_a_python_op_with_a_vjp_in_a_compiled_step_and_twice_differentiated():
    class Cube(suan.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    x = suan.tensor([1.0, 2.0])
    second = suan.compile(lambda t: func.hessian(lambda u: Cube.apply(u).sum())(t))
    for _ in range(4):
        assert second(x).tolist() == [[6, 0], [0, 12]]
    assert second.stats()[0]["replays"] >= 1
