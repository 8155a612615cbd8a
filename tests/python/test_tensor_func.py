"""func.grad, value_and_grad, vjp, jacrev, hessian."""

import pytest

import suan
from suan import func


def test_grad_nests():
    x = suan.tensor(2.0)
    assert func.grad(lambda t: t**3)(x).item() == 12
    assert func.grad(func.grad(lambda t: t * t * t))(x).item() == 12
    assert not x.requires_grad and x.grad is None


def test_trees_and_argnums():
    p = {"w": suan.tensor([1.0, 2.0]), "b": suan.tensor(3.0)}
    value, g = func.value_and_grad(lambda q, x: (q["w"] * x).sum() + q["b"])(p, suan.tensor([4.0, 5.0]))
    assert value.item() == 17 and g["w"].tolist() == [4, 5] and g["b"].item() == 1
    a, b = func.grad(lambda x, y: (x * y).sum(), argnums=(0, 1))(suan.ones(2), suan.full((2,), 3.0))
    assert a.tolist() == [3, 3] and b.tolist() == [1, 1]
    with pytest.raises(ValueError, match="scalar"):
        func.grad(lambda x: x)(suan.ones(2))


def test_vjp_and_jacobians():
    x = suan.tensor([1.0, 2.0, 3.0])
    out, pull = func.vjp(lambda t: t * t, x)
    assert out.tolist() == [1, 4, 9] and pull(suan.tensor([1.0, 0.0, 2.0]))[0].tolist() == [2, 0, 12]
    assert func.jacrev(lambda t: t * t)(x).tolist() == [[2, 0, 0], [0, 4, 0], [0, 0, 6]]
    assert func.hessian(lambda t: (t**3).sum())(x).tolist() == [[6, 0, 0], [0, 12, 0], [0, 0, 18]]
