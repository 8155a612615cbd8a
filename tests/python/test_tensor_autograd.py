"""Autograd from Python: modes, hooks, grad, custom functions."""

import gc
import weakref

import numpy as np
import pytest

import suan


def test_backward_accumulates():
    x = suan.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x * x).sum().backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [4, 8, 12]
    with pytest.raises(ValueError):
        (x * 2).backward()
    y = x * 2
    y.backward(suan.ones(3))
    assert x.grad.tolist() == [6, 10, 14]


def test_second_backward_is_an_error():
    x = suan.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_grad_and_create_graph():
    x = suan.tensor(3.0, requires_grad=True)
    g, = suan.autograd.grad(x**3, x, create_graph=True)
    h, = suan.autograd.grad(g, x)
    assert g.item() == pytest.approx(27) and h.item() == pytest.approx(18)
    z = suan.ones(1, requires_grad=True)
    assert suan.autograd.grad(x * 2, [x, z], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError):
        suan.autograd.grad(x * 2, z)


def test_modes():
    x = suan.ones(2, requires_grad=True)
    with suan.no_grad():
        assert not (x * 2).requires_grad
        with suan.enable_grad():
            assert (x * 2).requires_grad
    assert suan.is_grad_enabled()

    @suan.no_grad()
    def f():
        return x * 2

    @suan.no_grad
    def g():
        return x * 2

    assert not f().requires_grad and not g().requires_grad
    with suan.inference_mode():
        assert not (x * 2).requires_grad and suan.is_inference_mode_enabled()
    suan.set_grad_enabled(False)
    assert not suan.is_grad_enabled()
    suan.set_grad_enabled(True)
    with suan.set_grad_enabled(False):
        assert not suan.is_grad_enabled()
    assert suan.is_grad_enabled()


def test_hooks():
    x = suan.ones(2, requires_grad=True)
    y = x * 2
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()) or g * 10)
    y.sum().backward()
    assert seen == [[1, 1]] and x.grad.tolist() == [20, 20]
    handle.remove()
    after = []
    x.grad = None
    h = x.register_post_accumulate_grad_hook(lambda t: after.append(t.grad.tolist()))
    (x * 3).sum().backward()
    assert after == [[3, 3]]
    h.remove()
    (x * 3).sum().backward()
    assert len(after) == 1

    def bad(g):
        raise KeyError("from the hook")

    z = x * 2
    z.register_hook(bad)
    with pytest.raises(KeyError, match="from the hook"):
        z.sum().backward()


def test_hooks_of_a_leaf_see_its_whole_gradient_once():
    x = suan.ones(2, requires_grad=True)
    seen, after = [], []
    x.register_hook(lambda g: seen.append(g.tolist()) or g * 2)
    x.register_post_accumulate_grad_hook(lambda t: after.append(t.grad.tolist()))
    (x * 3 + (x * 4).exp() * 0 + x).sum().backward()  # three uses
    assert seen == [[4, 4]] and x.grad.tolist() == [8, 8] and after == [[8, 8]]
    (x * 1).sum().backward()
    assert x.grad.tolist() == [10, 10] and len(after) == 2
    (g,) = suan.autograd.grad((x * 5 + x).sum(), x)
    assert g.tolist() == [12, 12] and seen[-1] == [6, 6] and len(after) == 2
    x.sum().backward()  # the node before the leaf is the only one
    assert seen[-1] == [1, 1]


def test_retain_grad():
    x = suan.ones(2, requires_grad=True)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4, 4] and y.retains_grad


class Cube(suan.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x**3 * scale

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * 3 * x**2 * ctx.scale, None


class Exp(suan.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


def test_custom_function():
    x = suan.tensor([1.0, 2.0], requires_grad=True)
    Cube.apply(x, 2.0).sum().backward()
    assert x.grad.tolist() == [6, 24]
    g, = suan.autograd.grad(Cube.apply(x, 1.0).sum(), x, create_graph=True)
    h, = suan.autograd.grad(g.sum(), x)
    assert h.tolist() == [6, 12]


def test_custom_function_saving_its_output():
    x = suan.tensor([0.5], requires_grad=True)
    g, = suan.autograd.grad(Exp.apply(x), x, create_graph=True)
    h, = suan.autograd.grad(g, x)
    assert h.item() == pytest.approx(np.exp(0.5), rel=1e-6)
    t = Exp.apply(suan.ones(3, requires_grad=True))
    r = weakref.ref(t)
    del t
    gc.collect()
    assert r() is None


def test_saved_tensor_overwritten():
    x = suan.ones(2, requires_grad=True)
    y = x * 2
    z = (y * y).sum()
    y += 1
    with pytest.raises(RuntimeError, match="overwritten"):
        z.backward()
    y = x.clone()
    w = Cube.apply(y, 1.0)
    y.add_(1)
    with pytest.raises(RuntimeError, match="overwritten"):
        w.sum().backward()


def test_leaf_rules():
    x = suan.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        x += 1
    with suan.no_grad():
        x += 1
    assert x.tolist() == [2, 2] and x.is_leaf and not (x * 1).is_leaf
    with pytest.raises(TypeError):
        suan.tensor([1], requires_grad=True)
    assert x.grad_fn is None and "mul" in (x * 2).grad_fn
