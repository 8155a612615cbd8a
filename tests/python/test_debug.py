"""suan.debug.nan_guard: the op that makes a NaN or an infinity is named with its line."""

import inspect

import pytest

import suan
from suan import nn
from suan.debug import nan_guard
from suan.nn import functional as F


def line():
    """file:line of the caller's next line."""
    frame = inspect.currentframe().f_back
    return f"test_debug.py:{frame.f_lineno + 1}"


def test_names_op_output_shape_element_and_line():
    x = suan.tensor([[1.0, 2.0, 0.0], [3.0, -1.0, 4.0]])
    with nan_guard():
        with pytest.raises(suan.StateError) as caught:
            here = line()
            x.log()
    text = str(caught.value)
    assert "[log] non-finite result" in text and "output 0 (2x3 f32)" in text
    assert "got nan at [1, 1]" in text and here in text


def test_infinity_and_half_precision():
    with nan_guard():
        with pytest.raises(suan.StateError, match=r"\[div\].*got inf at \[2\]"):
            suan.ones(3) / suan.tensor([1.0, 2.0, 0.0])
        with pytest.raises(suan.StateError, match=r"\[mul\].*f16.*got -inf at \[\]"):
            suan.tensor(60000.0, dtype=suan.float16) * -2


def test_what_was_given_is_not_blamed():
    mask = suan.ones(4, 4).bool().triu(1)
    with nan_guard():
        scores = suan.zeros(4, 4).masked_fill(mask, float("-inf"))
        assert scores.softmax(-1)[0].tolist() == [1, 0, 0, 0]
        bad = suan.tensor([float("nan"), 1.0])
        assert (bad * 2)[1].item() == 2
        # A NaN from an infinity is made here.
        with pytest.raises(suan.StateError, match=r"\[sub\].*nan"):
            scores - scores


def test_in_place_and_strided_results():
    x = suan.ones(4, 6)
    divisor = suan.ones(4, 3)
    divisor[2, 1] = 0
    with nan_guard():
        with pytest.raises(suan.StateError, match=r"\[div\].*\(4x3 f32\), got inf at \[2, 1\]"):
            x[:, ::2].div_(divisor)


def test_gradients_name_the_forward_line_too():
    x = suan.zeros(3, requires_grad=True)
    with nan_guard():
        forward = line()
        y = x.sqrt()
        with pytest.raises(suan.StateError) as caught:
            backward = line()
            y.sum().backward()
    text = str(caught.value)
    assert "got inf" in text and f"{forward} " in text and f"{backward} " in text


def test_an_optimizer_step_that_overflows():
    w = nn.Parameter(suan.ones(2, dtype=suan.float32))
    optimizer = suan.optim.SGD([w], lr=1e38)
    w.grad = suan.full((2,), 1e38)
    with nan_guard(), pytest.raises(suan.StateError, match="non-finite result"):
        optimizer.step()


def make_step():
    suan.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = suan.optim.SGD(model.parameters(), lr=1e-3)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).log().sum()  # the line to name
        loss.backward()
        optimizer.step()
        return loss.detach()

    return model, step


def test_a_compiled_function_runs_op_by_op():
    results = []
    for guarded in (False, True):
        model, step = make_step()
        with suan.no_grad():
            model.weight.fill_(0.1)
            model.bias.fill_(1.0)
        compiled = suan.compile(step)
        for _ in range(3):
            compiled(suan.ones(1, 3))
        with nan_guard(guarded):
            compiled(suan.ones(1, 3))
            compiled(suan.ones(1, 3))
        results.append([p.tolist() for p in model.parameters()])
        assert compiled.stats()[0]["replays"] == (1 if guarded else 3)
    assert results[0] == results[1]
    with suan.no_grad():
        model.bias.fill_(-1000.0)
    before = model.weight.tolist()
    with nan_guard(), pytest.raises(suan.StateError, match=r"\[log\].*got nan") as caught:
        compiled(suan.ones(1, 3))
    number = step.__code__.co_firstlineno + 2
    assert f"test_debug.py:{number} in step" in str(caught.value)
    assert model.weight.tolist() == before


def test_the_backward_of_a_compiled_module_is_watched():
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt() * 2

    module = suan.compile(Root())
    for value in (1.0, 1.0, 1.0, 0.0):
        x = suan.full((3,), value, requires_grad=True)
        y = module(x).sum()
        with nan_guard():
            if value:
                y.backward()
                assert x.grad.tolist() == [1, 1, 1]
            else:
                with pytest.raises(suan.StateError, match="non-finite result.*got inf"):
                    y.backward()
    assert module.stats()[0]["replays"] >= 2


def test_nesting_decorator_and_leaving():
    zero = suan.zeros(2)

    @nan_guard()
    def guarded():
        return zero.log()

    with pytest.raises(suan.StateError):
        guarded()
    zero.log()  # left by the exception, too
    with nan_guard():
        with nan_guard(False):
            zero.log()
        with pytest.raises(suan.StateError):
            zero.log()
    zero.log()


def test_inside_a_compiled_function_it_is_refused():
    @suan.compile
    def f(x):
        with nan_guard():
            return x.log()

    with pytest.raises(suan.StateError, match="inside a compiled function"):
        f(suan.ones(2))
    assert f is not None and not suan._c.nan_guarded()
    assert F.relu(suan.ones(2)).tolist() == [1, 1]


def test_out_of_memory_names_who_holds_what():
    here = line()
    kept = [suan.zeros(1 << 20) for _ in range(3)]
    there = line()
    other = suan.ones(1 << 18)
    limit = suan.debug.memory_stats()["in_use"] + (1 << 20)
    suan.debug.set_memory_limit(limit)
    try:
        with pytest.raises(suan.OutOfMemoryError) as caught:
            suan.zeros(1 << 24)
    finally:
        suan.debug.set_memory_limit(0)
    text = str(caught.value)
    rows = text.splitlines()
    assert f"limit of {limit}" in rows[0]
    largest = next(r for r in rows if here in r)
    assert str(3 << 22) in largest and "(3 blocks)" in largest
    smaller = next(r for r in rows if there in r)
    assert str(1 << 20) in smaller and "(1 block)" in smaller and rows.index(largest) < rows.index(smaller)
    del kept, other
    suan.debug.set_memory_limit(suan.debug.memory_stats()["in_use"] + (1 << 20))
    try:
        with pytest.raises(suan.OutOfMemoryError) as caught:
            suan.zeros(1 << 24)
    finally:
        suan.debug.set_memory_limit(0)
    assert here not in str(caught.value)
