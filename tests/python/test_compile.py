"""suan.compile and suan.plan: one plan for a whole training, bits equal to eager, clear refusals.

"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import suan
from suan import _c, nn
from suan.models import GPT, GPTConfig
from suan.nn import functional as F


def bits(t):
    return (str(t.dtype), tuple(t.shape), _c.to_bytes(t.detach().contiguous()))


def make_mlp(seed=0):
    suan.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))


def make_gpt(seed=0, dropout=0.0):
    suan.manual_seed(seed)
    return GPT(GPTConfig(vocab=11, block=8, layers=2, heads=2, width=16, dropout=dropout))


def batches(n, shape=(4, 6), seed=1):
    rng = np.random.default_rng(seed)
    return [
        (
            suan.tensor(rng.standard_normal(shape).astype(np.float32)),
            suan.tensor(rng.integers(0, 3, shape[0])),
        )
        for _ in range(n)
    ]


def train(model, steps, wrap=lambda f: f, schedule=True):
    """Trains with a changing learning rate; the bits of losses, parameters and optimizer state."""
    optimizer = suan.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    scheduler = (
        suan.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps) if schedule else None
    )

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    step = wrap(step)
    out = []
    for x, y in batches(steps):
        out.append(bits(step(x, y)))
        if scheduler:
            scheduler.step()
    state = [bits(p) for p in model.parameters()]
    for s in optimizer.state.values():
        state += [bits(t) for t in s.values() if isinstance(t, suan.Tensor)]
    return out + state, step


def test_200_steps_are_one_plan_and_no_apply_call():
    eager, _ = train(make_mlp(), 200)
    model = make_mlp()
    counts = []

    def wrap(f):
        compiled = suan.compile(f)

        def call(x, y):
            before = _c.apply_counters()
            loss = compiled(x, y)
            after = _c.apply_counters()
            counts.append({k: after[k] - before[k] for k in after})
            return loss

        call.compiled = compiled
        return call

    planned, step = train(model, 200, wrap)
    assert planned == eager
    (stats,) = step.compiled.stats()
    assert stats["replays"] >= 195 and stats["recordings"] <= 5, stats
    assert sum(c["plans"] for c in counts) == 1
    assert sum(c["replays"] for c in counts) >= 195
    for c in counts[-195:]:
        assert c["replays"] == 1 and c["calls"] == 0 and c["kernels"] == 0 and c["views"] == 0, c


def test_a_gpt_with_dropout_equals_eager():
    rng = np.random.default_rng(0)
    tokens = [suan.tensor(rng.integers(0, 11, (3, 9))) for _ in range(8)]
    results = []
    for wrap in (lambda f: f, suan.compile):
        model = make_gpt(dropout=0.1)
        optimizer = suan.optim.AdamW(model.parameters(), lr=1e-3)

        def step(t):
            optimizer.zero_grad()
            loss = model(t[:, :-1], t[:, 1:])
            loss.backward()
            optimizer.step()
            return loss

        f = wrap(step)
        suan.manual_seed(5)
        results.append([bits(f(t)) for t in tokens] + [bits(p) for p in model.parameters()])
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "make,shape",
    [
        (make_mlp, (4, 6)),
        (
            lambda: nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(36, 3),
            ),
            (4, 1, 6, 6),
        ),
    ],
)
def test_gradients_of_a_compiled_module_equal_eager(make, shape):
    results = []
    for compiled in (False, True):
        suan.manual_seed(3)
        model = make()
        call = suan.compile(model) if compiled else model
        out = []
        for x, y in batches(5, shape):
            x.requires_grad_()
            model.zero_grad()
            loss = F.cross_entropy(call(x), y)
            loss.backward()
            out += [bits(loss), bits(x.grad)] + [bits(p.grad) for p in model.parameters()]
        results.append(out + [bits(b) for b in model.buffers()])
        if compiled:
            assert call.stats()[0]["replays"] >= 2
    assert results[0] == results[1]


def test_gradients_outlive_the_recording_and_the_compiled_function():
    weight = suan.tensor([2.0, 3.0], requires_grad=True)
    scale = [1.0]
    call = suan.compile(lambda x: (x * weight * scale[0]).sum())
    x = suan.ones(2)
    for scale[0] in (1.0, 4.0):  # the second call's recording is computed, and not kept
        loss = call(x)
    loss.backward()
    assert weight.grad.tolist() == [4, 4]
    losses = [call(x) for _ in range(3)]
    assert call.stats()[0]["replays"] >= 1
    del call
    losses[-1].backward()
    assert weight.grad.tolist() == [8, 8]


def deep(x, weights, activation=F.gelu):
    for w in weights:
        x = activation(x @ w)
    return x.square().mean()


@pytest.mark.parametrize("activation", [F.gelu, F.relu])
def test_memory_limit_keeps_bits(activation):
    rng = np.random.default_rng(0)
    weights = [
        suan.tensor(rng.standard_normal((32, 32)).astype(np.float32) / 5).requires_grad_()
        for _ in range(12)
    ]

    def step(x):
        for w in weights:
            w.grad = None
        loss = deep(x, weights, activation)
        loss.backward()
        with suan.no_grad():
            for w in weights:
                w -= w.grad * 0.1
        return loss

    x = suan.tensor(rng.standard_normal((256, 32)).astype(np.float32))
    start = [w.detach().clone() for w in weights]
    free = suan.compile(step)
    want = [bits(free(x)) for _ in range(4)] + [bits(w) for w in weights]
    peak = free.stats()[0]["peak_bytes"]
    with suan.no_grad():
        for w, s in zip(weights, start):
            w.copy_(s)
    limited = suan.compile(step, memory_limit=int(peak * 0.7))
    got = [bits(limited(x)) for _ in range(4)] + [bits(w) for w in weights]
    assert got == want
    assert limited.stats()[0]["peak_bytes"] <= peak * 0.7
    impossible = suan.compile(step, memory_limit=1000)
    impossible(x)
    with pytest.raises(MemoryError, match="expected"):
        impossible(x)


def test_changing_number_names_its_line():
    rate = 0.0
    x = suan.ones(3)

    def f(x):
        return x * rate  # the line to name

    compiled = suan.compile(f)
    with pytest.raises(RuntimeError, match=r"number keeps changing.*test_compile\.py") as caught:
        for _ in range(10):
            rate += 1.0
            compiled(x)
    line = f.__code__.co_firstlineno + 1
    assert f":{line}" in str(caught.value), str(caught.value)


def test_something_else_at_every_call_is_refused():
    k = 0

    def f(x):
        for _ in range(k):
            x = x.exp()
        return x * 2

    compiled = suan.compile(f)
    with pytest.raises(RuntimeError, match="something else at every call"):
        for k in range(1, 12):
            compiled(suan.zeros(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: suan.tensor(np.ones(3, np.float32)),
        lambda: suan.from_numpy(np.ones(3, np.float32)),
        lambda: suan.tensor([np.ones(3, np.float32)])[0],
    ],
)
def test_a_new_captured_tensor_at_every_call_names_its_line(make):
    def f(x):
        y = x * 2
        return y + make()

    compiled = suan.compile(f)
    with pytest.raises(suan.StateError, match="another one at every call") as caught:
        for _ in range(10):
            assert compiled(suan.ones(3)).tolist() == [3, 3, 3]
    assert "3 f32" in str(caught.value) and "test_compile.py:" in str(caught.value)


def test_the_line_of_a_changing_capture_is_that_of_its_use():
    def f(x):
        y = x * 2
        return y + held[0]  # the line to name

    compiled = suan.compile(f)
    with pytest.raises(suan.StateError, match="another one at every call") as caught:
        for _ in range(10):
            held = [suan.zeros(3)]
            compiled(suan.ones(3))
    line = f.__code__.co_firstlineno + 2
    assert f"test_compile.py:{line} in f" in str(caught.value), str(caught.value)


def test_numbers_made_tensors_inside_are_constants():
    def f(x):
        table = suan.tensor([[1.0, 2.0], [3.0, 4.0]])
        table[0, 1] = 5.0  # a copy of the numbers, not the tensor, is the constant
        row = suan.tensor([7, 8, 9], dtype=suan.int64)[1:]
        return x @ table + suan.arange(2) * suan.tensor(0.5) + row

    compiled = suan.compile(f)
    x = suan.ones(1, 2)
    want = f(x).tolist()
    assert want == [[12, 18.5]]
    for _ in range(5):
        assert compiled(x).tolist() == want
    assert compiled.stats()[0]["replays"] == 3


def test_a_list_that_keeps_changing_is_refused():
    numbers = [1.0, 2.0]

    def f(x):
        return x * suan.tensor(numbers)  # the line to name

    compiled = suan.compile(f)
    with pytest.raises(suan.StateError, match="number keeps changing") as caught:
        for _ in range(10):
            numbers[1] += 1
            assert compiled(suan.ones(2)).tolist() == numbers
    line = f.__code__.co_firstlineno + 1
    assert f"test_compile.py:{line} in f" in str(caught.value), str(caught.value)


def test_an_error_inside_a_plan_commits_nothing():
    suan.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    optimizer = suan.optim.AdamW(model.parameters(), lr=1e-2)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    compiled = suan.compile(step)
    (x, y), *_ = batches(1)
    for _ in range(5):
        compiled(x, y)
    recordings = compiled.stats()[0]["recordings"]
    assert compiled.stats()[0]["replays"] >= 1
    state = lambda: [bits(t) for t in [*model.parameters(), *model.buffers(), suan.get_rng_state()]]  # noqa: E731
    before = state()
    wrong = y.clone()
    wrong[2] = 3
    with pytest.raises(IndexError):
        compiled(x, wrong)
    assert state() == before
    compiled(x, y)
    assert all(a != b for a, b in zip(before, state()))
    assert compiled.stats()[0]["recordings"] == recordings


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.tolist(),
        lambda x: float(x[0]),
        lambda x: x.numpy(),
    ],
)
def test_data_dependent_python_is_refused(read):
    compiled = suan.compile(lambda x: x * 2 if read(x * 1) is not None else x)
    with pytest.raises(RuntimeError, match=r"test_compile\.py"):
        for _ in range(3):
            compiled(suan.ones(3))
    # The engine goes on.
    assert (suan.ones(3) + 1).tolist() == [2, 2, 2]


def test_plan_changes_nothing():
    model = make_mlp()
    optimizer = suan.optim.AdamW(model.parameters(), lr=1e-2)
    x, y = batches(1)[0]

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    before = [bits(p) for p in model.parameters()]
    rng = bits(suan.get_rng_state())
    report = suan.plan(step, x, y)
    assert [bits(p) for p in model.parameters()] == before and bits(suan.get_rng_state()) == rng
    assert all(p.grad is None for p in model.parameters())
    assert (
        report.peak_bytes > 0 and report.captured_bytes > 0 and report.nodes > 0 and report.holders
    )
    assert "iB beyond" in str(report) and any("test_compile.py" in line for _, _, line in report.holders)
    compiled = suan.compile(step)
    for _ in range(3):
        compiled(x, y)
    assert compiled.stats()[0]["peak_bytes"] == report.peak_bytes


def test_interpret_equals_plan():
    """SUAN_INTERPRET=1 replays node by node; another process, as it is read when a plan would be

    made.
    """
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nimport hashlib, suan, test_compile as t\n"
        "out, step = t.train(t.make_mlp(), 8, suan.compile)\n"
        "assert step.stats()[0]['replays'] >= 5\n"
        "print(hashlib.sha256(repr(out).encode()).hexdigest())"
    )
    here = str(pathlib.Path(__file__).parent)
    sums = set()
    for interpret in ("0", "1"):
        env = {**os.environ, "SUAN_INTERPRET": interpret}
        run = subprocess.run(
            [sys.executable, "-c", code, here], env=env, capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, run.stderr
        sums.add(run.stdout)
    assert len(sums) == 1


def test_400_lengths_with_flat_memory():
    model = make_gpt()
    compiled = suan.compile(lambda t: model(t))
    rng = np.random.default_rng(0)

    def rounds(n):
        for length in range(1, n + 1):
            with suan.no_grad():
                x = suan.tensor(rng.standard_normal((length, 6)).astype(np.float32))
                square(x)

    weight = suan.tensor(rng.standard_normal((6, 6)).astype(np.float32))
    square = suan.compile(lambda x: F.gelu(x @ weight).sum())
    for length in (3, 5, 3, 5, 3, 5):
        t = suan.tensor(rng.integers(0, 11, (2, length)))
        with suan.no_grad():
            assert bits(compiled(t)) == bits(model(t))
    rounds(400)
    _c.trim_memory()
    before = _c.memory_stats()["in_use"]
    for _ in range(3):
        rounds(400)
    assert _c.memory_stats()["in_use"] <= before * 1.05 + (1 << 16)
    assert len(square.stats()) <= 64


def test_captured_tensor_is_read_at_every_replay():
    scale = suan.tensor(2.0)
    f = suan.compile(lambda x: x * scale)
    for k in range(5):
        scale.fill_(float(k))
        assert f(suan.ones(2)).tolist() == [k, k]


def test_an_argument_that_is_a_view_and_an_output_that_is_an_input():
    f = suan.compile(lambda x: (x, x.t() + 1))
    x = suan.arange(12).reshape(3, 4).float()
    for _ in range(4):
        same, other = f(x[:, ::2])
        assert (
            same.tolist() == x[:, ::2].tolist() and other.tolist() == (x[:, ::2].t() + 1).tolist()
        )


def test_in_place_write_of_a_captured_tensor():
    total = suan.zeros(3)

    def add(x):
        total.add_(x)
        return total * 2

    f = suan.compile(add)
    for k in range(1, 6):
        assert f(suan.ones(3)).tolist() == [2 * k] * 3
        assert total.tolist() == [k] * 3


def test_check_retraces():
    flag = {"extra": False}

    def f(x):
        y = x * 2
        return y + 1 if flag["extra"] else y

    compiled = suan.compile(f, check=True)
    for _ in range(4):
        compiled(suan.ones(2))
    flag["extra"] = True
    with pytest.raises(RuntimeError, match="replay would not do what the function does"):
        compiled(suan.ones(2))


def test_an_error_inside_leaves_recording():
    f = suan.compile(lambda x: x @ suan.ones(5, 2))
    for _ in range(3):
        with pytest.raises(ValueError, match="inner dimensions differ"):
            f(suan.ones(3, 4))
    assert f(suan.ones(3, 5)).shape == (3, 2)
    assert suan.is_grad_enabled()


def test_gradients_that_add_up_over_calls():
    w = suan.ones(3, requires_grad=True)
    runs = suan.zeros(1)

    def f(x):  # makes .grad at the first call and adds to it at the others: three recordings
        runs.add_(1)
        loss = (w * x).sum()
        loss.backward()
        return loss.detach()

    compiled = suan.compile(f)
    for k in range(1, 6):
        assert compiled(suan.full((3,), 2.0)).item() == 6
        assert w.grad.tolist() == [2 * k] * 3
        assert runs.item() == k
    assert compiled.stats()[0]["recordings"] == 3


def test_gradients_left_by_a_recording_that_is_not_replayed_have_data():
    w = suan.ones(3, requires_grad=True)
    calls = []

    def f(x):
        w.grad = None
        calls.append(None)
        loss = (w * x * (1 + len(calls) % 2)).sum()  # never twice the same
        loss.backward()
        return loss.detach()

    compiled = suan.compile(f)
    for k in range(1, 4):
        assert compiled(suan.ones(3)).item() == 3 * (1 + k % 2)
        assert w.grad.tolist() == [1 + k % 2] * 3


def test_an_error_in_a_dry_recording_changes_nothing():
    w = suan.ones(3, requires_grad=True)
    state = suan.zeros(3)
    fail = [False]

    def f(x):
        w.grad = None
        (w * x).sum().backward()
        with suan.no_grad():
            state.add_(w.grad)
        if fail[0]:
            raise KeyError("mine")
        return state * 1

    compiled = suan.compile(f)
    compiled(suan.ones(3))
    kept = w.grad
    fail[0] = True
    with pytest.raises(KeyError):
        compiled(suan.ones(3))
    assert w.grad is not None and w.grad.tolist() == kept.tolist() == [1] * 3
    assert state.tolist() == [1] * 3
    fail[0] = False
    assert compiled(suan.ones(3)).tolist() == [2] * 3


def test_no_call_needs_more_memory_than_eager_once_and_the_plan():
    w = suan.randn(1 << 20)
    f = suan.compile(lambda x: sum((x * w * k for k in range(1, 8)), w))
    peaks = []
    x = suan.randn(1 << 20)
    for _ in range(4):
        suan._c.trim_memory()
        suan._c.reset_peak_memory()
        before = suan._c.memory_stats()["in_use"]
        f(x)
        peaks.append(suan._c.memory_stats()["peak"] - before)
    assert peaks[1] <= peaks[2] + 4096 == peaks[3] + 4096 < peaks[0]


def test_a_tensor_made_in_a_later_recording_says_that_it_has_no_data():
    seen = []

    def f(x):
        seen.append(x * 2)
        return seen[-1] + 1

    compiled = suan.compile(f)
    for _ in range(2):
        compiled(suan.ones(2))
    assert seen[0].tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="no data.*return it from the function"):
        seen[1].tolist()


def test_large_zeros_are_zeros_after_other_tensors_had_their_memory():
    for _ in range(3):
        t = suan.zeros(1 << 20)
        assert t.abs().max().item() == 0
        t.fill_(7)
        del t


def test_a_compiled_module_that_makes_arrays_of_numbers():
    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(4, 2)

        def forward(self, x):
            return self.out(x[suan.tensor([2, 0, 1])] * suan.tensor([1.0, 2.0, 3.0, 4.0]))

    module, x = Picks(), suan.randn(3, 4)
    compiled, want = suan.compile(module), []
    for call in (module, *[compiled] * 4):
        module.zero_grad()
        call(x).square().sum().backward()
        want.append(module.out.weight.grad.numpy().copy())
    assert compiled.stats()[0]["ready"]
    for got in want[1:]:
        np.testing.assert_array_equal(got, want[0])
