"""Reference cycles through a tensor are collected, and nothing that is still reachable is."""

import gc
import threading
import weakref

import pytest

import suan


class Keep:
    """Something a cycle holds, to see it go."""


def attribute(keep):
    t = suan.ones(3)
    t.itself, t.keep = t, keep


def attribute_of_a_subclass(keep):
    class Mine(suan.Tensor):
        pass

    t = Mine(suan.ones(3))
    t.itself, t.keep = t, keep


def parameter(keep):
    p = suan.nn.Parameter(suan.ones(3))
    p.other = suan.ones(2)
    p.other.back, p.keep = p, keep


def hook_of_a_leaf(keep):
    t = suan.ones(3, requires_grad=True)
    t.register_hook(lambda g: (t, keep) and None)


def hook_of_a_result(keep):
    t = suan.ones(3, requires_grad=True) * 2
    t.register_hook(lambda g: (t, keep) and None)


def hook_far_below(keep):
    low = suan.ones(3, requires_grad=True) * 2
    box = []
    low.register_hook(lambda g: (box, keep) and None)
    t = low.exp()
    t = t * t + t
    del low
    box.append(t)


def hook_after_accumulation(keep):
    t = suan.ones(3, requires_grad=True)
    t.register_post_accumulate_grad_hook(lambda leaf: (t, keep) and None)
    (t * 2).sum().backward()


def custom_function(keep):
    class Double(suan.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.keep = keep
            ctx.result = x * 2
            return ctx.result

        @staticmethod
        def backward(ctx, g):
            return g * 2

    Double.apply(suan.ones(3, requires_grad=True))


def custom_function_below(keep):
    box = []

    class Double(suan.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.box, ctx.keep = box, keep
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    box.append((Double.apply(suan.ones(3, requires_grad=True)) * 3).sum())


CYCLES = [
    attribute,
    attribute_of_a_subclass,
    parameter,
    hook_of_a_leaf,
    hook_of_a_result,
    hook_far_below,
    hook_after_accumulation,
    custom_function,
    custom_function_below,
]


@pytest.mark.parametrize("make", CYCLES)
def test_cycles_are_collected(make):
    gc.collect()
    keep = Keep()
    gone = weakref.ref(keep)
    gc.disable()
    try:
        make(keep)
        del keep
        assert gone() is not None, "no cycle: the test tests nothing"
        gc.collect()
        assert gone() is None
    finally:
        gc.enable()


def test_memory_of_cycles_comes_back():
    def cycle():
        t = suan.ones(1 << 20, requires_grad=True)
        (t * 2).sum().backward()
        t.register_hook(lambda g: t)

    gc.collect()
    before = suan.debug.memory_stats()["in_use"]
    for _ in range(10):
        cycle()
    gc.collect()
    assert suan.debug.memory_stats()["in_use"] <= before + (1 << 16)


def test_a_retained_gradient_that_is_never_made_keeps_nothing():
    def part(used):
        y = suan.ones(1 << 20, requires_grad=True) * 2
        y.retain_grad()
        return y * y if used else None

    gc.collect()
    before = suan.debug.memory_stats()["in_use"]
    for used in (False, True):
        for _ in range(5):
            part(used)
    assert suan.debug.memory_stats()["in_use"] <= before + (1 << 16)


def test_what_a_result_still_needs_survives():
    calls = []

    def make():
        x = suan.ones(3, requires_grad=True)
        x.register_hook(lambda g: calls.append((x is not None, g.tolist())))
        middle = x * 2
        middle.register_hook(lambda g: calls.append((middle is not None, g.tolist())))
        return x, (middle * 3).sum()

    x, loss = make()
    kept = [loss]
    for _ in range(3):
        gc.collect()
    loss.backward()
    assert calls == [(True, [3, 3, 3]), (True, [6, 6, 6])]
    del x
    x, loss = make()
    twice = loss * 2
    del x, loss, kept
    gc.collect()
    twice.backward()
    assert calls[2:] == [(True, [6, 6, 6]), (True, [12, 12, 12])]


def test_a_finalizer_may_still_use_the_tensor():
    seen = []

    class Last:
        def __del__(self):
            seen.append(self.tensor.tolist())

    t = suan.ones(2, requires_grad=True)
    t.register_hook(lambda g: t)
    t.last = Last()
    t.last.tensor = t
    del t
    gc.collect()
    assert seen == [[1, 1]]


def test_collecting_beside_threads_that_compute():
    stop = threading.Event()
    errors = []

    def work():
        try:
            while not stop.is_set():
                x = suan.ones(300, 300, requires_grad=True)
                x.register_hook(lambda g: g * 2)
                y = x @ x
                y.register_hook(lambda g, y=y: None if y is not None else g)
                y.sum().backward()
                assert x.grad[0, 0].item() == 1200
        except BaseException as error:  # noqa: BLE001 -- shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for _ in range(40):
        gc.collect()
    stop.set()
    for t in threads:
        t.join()
    assert not errors
