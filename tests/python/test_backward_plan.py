"""Plans of eager backward passes: the interpreter's bits, errors and memory, at every change of structure."""

import contextlib
import os
import threading

import numpy as np
import pytest

import suan
from suan import _c, nn
from suan.models import GPT, GPTConfig
from suan.nn import functional as F


def bits(t):
    return None if t is None else (tuple(t.shape), _c.to_bytes(t.detach().contiguous()))


@contextlib.contextmanager
def interpreted():
    before = os.environ.get("SUAN_INTERPRET")
    os.environ["SUAN_INTERPRET"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SUAN_INTERPRET"]
        else:
            os.environ["SUAN_INTERPRET"] = before


def replays():
    return _c.backward_plans()["replays"]


def agree(program, at_least=1):
    """Runs a program with plans and without; its results must be equal. Returns the replays of the first."""
    before = replays()
    planned = program()
    count = replays() - before
    with interpreted():
        assert program() == planned
    assert replays() - before == count
    assert count >= at_least
    return count


def normal(*shape, seed=3):
    return suan.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def make_gpt(**changes):
    suan.manual_seed(0)
    return GPT(GPTConfig(**(dict(vocab=11, block=8, layers=2, heads=2, width=16) | changes)))


def make_mlp():
    suan.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))


def tokens(batch, length, seed=0):
    rng = np.random.default_rng(seed)
    return [suan.tensor(rng.integers(0, 11, (batch, length))) for _ in range(2)]


def grads(params):
    return [bits(p.grad) for p in params]


@pytest.mark.parametrize("fused_head", [False, True])
def test_training_with_tied_weights(fused_head):
    def program():
        model = make_gpt(fused_head=fused_head)
        params = list(model.parameters())
        optimizer = suan.optim.AdamW(params, lr=1e-2)
        out = []
        for step in range(10):
            loss = model(*tokens(3, 8, step))
            loss.backward()
            out.append((bits(loss), grads(params)))
            nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return out

    assert agree(program) == 8


def test_convolutions_and_norms():
    def program():
        suan.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                              nn.Linear(36, 3))
        x = normal(2, 1, 8, 8)
        out = []
        for _ in range(6):
            F.cross_entropy(model(x), suan.tensor([0, 2])).backward()
            out.append(grads(model.parameters()))
            model.zero_grad()
        return out

    assert agree(program) == 4


def test_accumulation_has_plans_of_its_own():
    def program():
        model = make_gpt()
        params = list(model.parameters())
        out = []
        for step in range(14):
            before = [p.grad for p in params]
            model(*tokens(2, 8, step)).backward()
            out.append(grads(params))
            if before[0] is not None:  # added to in place: who holds the gradient sees it grow
                assert all(p.grad is b and p.grad._version > 0 for p, b in zip(params, before))
            if step % 2:
                for p in params:
                    p.grad = None
        return out

    assert agree(program) == 10


def test_changing_shapes_and_scalars():
    def program():
        model = make_mlp()
        out = []
        for step in range(40):
            x = normal(2 + step % 3, 6, seed=step)
            (model(x) * (0.5 if step % 2 else 2.0)).sum().backward()
            out.append(grads(model.parameters()))
            model.zero_grad()
        return out

    assert agree(program) == 40 - 2 * 6


def test_what_a_plan_may_not_confuse():
    """Equal ops and shapes, but other layouts, other sharing, other wishes for gradients."""
    w, v = normal(4, 4), normal(4, 4, seed=5)

    def program():
        out = []
        for step in range(40):
            a = w.detach().requires_grad_()
            b = v.detach().requires_grad_(step % 5 != 1)
            y = [lambda: a @ b, lambda: a @ a, lambda: a @ b.T, lambda: a.T @ b, lambda: a * b][step % 5]()
            if step >= 20:
                y = y.reshape(2, 8)
            (y * y).sum().backward()
            out.append((bits(a.grad), bits(b.grad)))
        return out

    assert agree(program) == 2 * 5 * (4 - 2)


def test_equal_gradients_do_not_share_memory():
    for _ in range(5):
        a, b = normal(3).requires_grad_(), normal(3).requires_grad_()
        before = replays()
        (a + b).sum().backward()
    assert replays() == before + 1
    a.grad.mul_(2)
    assert b.grad.tolist() == [1, 1, 1] and a.grad.tolist() == [2, 2, 2]


def test_views_and_in_place_writes():
    def program():
        out = []
        for step in range(6):
            x = normal(4, 6, seed=step).requires_grad_()
            y = x * 2
            y[1:3].mul_(3.0)
            first, second = y.chunk(2, 1)
            (first * second.exp()).sum().backward()
            out.append(bits(x.grad))
        return out

    assert agree(program) == 4


def test_explicit_seeds_and_many_roots():
    def program():
        w = normal(3, 3).requires_grad_()
        out = []
        for step in range(6):
            x = w @ w
            suan.autograd.backward([x, w.exp(), w], [normal(3, 3, seed=step), normal(3, 3), normal(3, 3)])
            out.append(bits(w.grad))
            w.grad = None
        return out

    assert agree(program) == 4


def test_hooks_added_later_are_called():
    model = make_mlp()
    x = normal(2, 6)

    def step():
        model.zero_grad()
        model(x).sum().backward()
        return [p.grad.tolist() for p in model.parameters()]

    plain = [step() for _ in range(5)][-1]
    before, seen = replays(), []
    weight = next(iter(model.parameters()))
    handle = weight.register_hook(lambda g: seen.append(1) or g * 2)
    doubled = step()
    assert seen == [1] and replays() == before
    assert np.array_equal(doubled[0], np.array(plain[0]) * 2) and doubled[1:] == plain[1:]
    handle.remove()
    assert step() == plain and replays() == before + 1
    inner = model(x)
    inner.register_hook(lambda g: g * 0)
    model.zero_grad()
    inner.sum().backward()
    assert not np.array(weight.grad.tolist()).any() and replays() == before + 1
    inner = model(x)
    inner.retain_grad()
    inner.sum().backward()
    assert inner.grad.tolist() == [[1, 1, 1]] * 2


def test_retain_graph():
    def program():
        out = []
        x = normal(3, 3).requires_grad_()
        for _ in range(6):
            y = (x.exp() @ x).sum()
            y.backward(retain_graph=True)
            first = bits(x.grad)
            x.grad = None
            y.backward()
            assert bits(x.grad) == first
            x.grad = None
            out.append(first)
            with pytest.raises(RuntimeError, match="backward a second time.*retain_graph=True.*test_backward_plan"):
                y.backward()
        return out

    assert agree(program) == 2 * 6 - 2


def test_an_overwritten_value_is_the_same_error():
    def run(spoil):
        x = normal(3, 3).requires_grad_()
        y = x.exp()
        z = y @ y
        if spoil:
            y.add_(1.0)
        z.sum().backward()
        return x.grad

    for _ in range(5):
        run(False)
    text = []
    for scope in (contextlib.nullcontext(), interpreted()):
        with scope, pytest.raises(RuntimeError, match="overwritten before backward") as error:
            run(True)
        text.append(str(error.value))
    assert text[0] == text[1] and "test_backward_plan.py" in text[0]
    before = replays()
    run(False)
    assert replays() == before + 1


def test_saved_values_are_freed_at_their_last_use():
    """Planned memory stays within a few per cent of interpreted memory, and nothing stays behind."""
    suan.manual_seed(0)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(256, 256), nn.GELU()) for _ in range(8)])
    x = normal(512, 256)

    def peak(steps):
        highest = 0
        for _ in range(steps):
            model.zero_grad()
            loss = model(x).sum()
            _c.reset_peak_memory()
            loss.backward()
            del loss
            highest = max(highest, _c.memory_stats()["peak"])
        return highest

    with interpreted():
        want, left = peak(2), _c.memory_stats()["in_use"]
    before = replays()
    assert peak(6) <= want * 1.03
    assert replays() == before + 4
    assert _c.memory_stats()["in_use"] <= left + (1 << 16)


def test_400_lengths_keep_memory_flat():
    model = make_gpt(block=400, layers=1, width=8)

    def rounds(n):
        for _ in range(n):
            for length in range(1, 401):
                model(*tokens(1, length)).backward()
                model.zero_grad()

    rounds(4)
    _c.trim_memory()
    before = _c.memory_stats()["in_use"]
    rounds(2)
    assert _c.memory_stats()["in_use"] <= before * 1.05 + (1 << 16)
    assert _c.backward_plans()["kept"] <= 64


def test_two_threads():
    model = make_gpt()
    params = [p.detach() for p in model.parameters()]
    results, failures = {}, []

    def work(name):
        try:
            own = make_gpt()
            with suan.no_grad():
                for p, q in zip(own.parameters(), params):
                    p.copy_(q)
            out = []
            for step in range(12):
                own(*tokens(2, 8, step)).backward()
                out.append(grads(own.parameters()))
                own.zero_grad()
            results[name] = (out, replays())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert results[0] == results[1] and results[0][1] == 10
    with interpreted():
        work("interpreted")
    assert results["interpreted"][0] == results[0][0]


def test_second_derivatives_and_custom_functions_stay_interpreted():
    class Double(suan.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    before = replays()
    for _ in range(5):
        x = normal(3).requires_grad_()
        Double.apply(x).sum().backward()
        assert x.grad.tolist() == [2, 2, 2]
        x.grad = None
        (x * x * x).sum().backward(create_graph=True)
        assert np.allclose(suan.autograd.grad(x.grad.sum(), x)[0].tolist(), 6 * np.array(x.tolist()))
    assert replays() == before
