"""Weights as constants of compiled calls without gradients: every way of changing one is seen, or keeps it from being one."""

import ctypes
import threading

import numpy as np
import pytest

import suan
from suan import nn, optim
from suan.nn import functional as F


class Small(nn.Module):
    """What the passes know: convolutions with batch norms, a 3×3 one for Winograd, a linear layer for panels."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, 64)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


def made(seed=0):
    suan.manual_seed(seed)
    model = Small().eval()
    with suan.no_grad():
        for bn in (model.bn1, model.bn2):
            bn.running_mean.normal_()
            bn.running_var.uniform_(0.5, 2.0)
            bn.weight.uniform_(0.5, 1.5)
            bn.bias.normal_()
    return model


def frozen(run):
    return max((s.get("frozen", 0) for s in run.stats()), default=0)


def close(a, b):
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=2e-5)


X = suan.tensor(np.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(np.float32))


def warm(run):
    for _ in range(3):
        run(X)
    assert frozen(run) > 0


@pytest.fixture
def no_grad():
    with suan.no_grad():
        yield


def test_packed_and_close(no_grad):
    model = made()
    run = suan.compile(model)
    for _ in range(4):
        close(run(X), model(X))
    (stats,) = run.stats()
    assert stats["frozen"] == 12 and stats["exported"] == 0 and stats["programs"] == 1 and stats["packed_bytes"] > 0
    assert "conv_blocked" in stats["graph"] and "conv_winograd" in stats["graph"] and "linear_panels" in stats["graph"]
    assert "rsqrt" not in stats["graph"] and len(model.state_dict()) == 14


def test_inference_mode():
    model = made()
    run = suan.compile(model)
    with suan.inference_mode():
        for _ in range(3):
            out = run(X)
        close(out, model(X))
    assert frozen(run) == 12


def test_exact_keeps_bits(no_grad):
    model = made()
    run = suan.compile(model, exact=True)
    for _ in range(4):
        assert (run(X) == model(X)).all()
    (stats,) = run.stats()
    assert stats["frozen"] and "conv_blocked" in stats["graph"] and "conv_winograd" not in stats["graph"]


def test_freeze_false(no_grad):
    model = made()
    run = suan.compile(model, freeze=False)
    for _ in range(4):
        assert (run(X) == model(X)).all()
    assert "frozen" not in run.stats()[0]


def test_memory_limit_does_not_freeze(no_grad):
    model = made()
    run = suan.compile(model, memory_limit=1 << 30)
    for _ in range(4):
        assert (run(X) == model(X)).all()
    assert frozen(run) == 0


def test_gradients_are_not_frozen():
    model = made()
    run = suan.compile(model)
    for _ in range(3):
        run(X).sum().backward()
    assert frozen(run) == 0 and model.fc.weight.grad is not None
    with suan.no_grad():
        warm(run)
    # The optimizer's steps of the signature with gradients are seen by the one without.
    optim.SGD(model.parameters(), lr=0.1).step()
    with suan.no_grad():
        close(run(X), model(X))


def test_nothing_wants_a_gradient():
    model = made().requires_grad_(False)
    run = suan.compile(model)
    warm(run)
    close(run(X), model(X))


def test_not_in_training_mode(no_grad):
    model = made().train()
    run = suan.compile(model)
    for _ in range(4):
        run(X)
    assert frozen(run) == 0


# ---- every way of changing a weight ----------------------------------------------------------------------------------


def in_place(model):
    model.conv2.weight.mul_(1.5)


def through_data(model):
    model.conv2.weight.data.add_(0.25)


def data_of_another(model):
    model.conv2.weight.data = model.conv2.weight.detach() * 2


def copied(model):
    model.fc.weight.copy_(suan.randn(64, 32))


def indexed(model):
    model.fc.weight[3] = 1.0


def a_view(model):
    model.conv1.weight.view(-1)[5:20].zero_()


def a_kept_view(model, view=[]):
    view.clear()
    view.append(model.conv2.weight.detach().transpose(0, 1))
    view[0].mul_(0.5)


def loaded(model):
    model.load_state_dict(made(1).state_dict())


def assigned(model):
    model.load_state_dict(made(1).state_dict(), assign=True)


def stepped(model):
    suan.set_grad_enabled(True)
    try:
        optimizer = optim.AdamW(model.parameters(), lr=0.1)
        model(X).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    finally:
        suan.set_grad_enabled(False)


def stepped_compiled(model):
    optimizer = optim.AdamW(model.parameters(), lr=0.02)

    @suan.compile
    def step(x):
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    with suan.enable_grad():
        for _ in range(4):
            step(X)


def another_parameter(model):
    model.fc.weight = nn.Parameter(suan.randn(64, 32))


def another_in_the_table(model):
    model.conv2._parameters["weight"] = nn.Parameter(suan.randn(32, 32, 3, 3) * 0.1)


def another_module(model):
    model.fc = nn.Linear(32, 64).eval()


def another_buffer(model):
    model.bn1.running_mean = suan.randn(32)


def a_buffer_in_place(model):
    model.bn2.running_var.mul_(2.0)


def batch_statistics(model):
    model.train()
    model(X * 3)
    model.eval()


def numpy_view(model):
    model.conv2.weight.detach().numpy()[:] *= 1.25


def dlpack_view(model):
    np.from_dlpack(Writable(model.fc.weight.detach()))[:] = 0.5


def by_address(model):
    w = model.fc.bias
    (ctypes.c_float * 64).from_address(w.data_ptr())[7] = 3.0


def another_thread(model):
    def write():
        with suan.no_grad():
            model.conv1.weight.mul_(-1.0)

    t = threading.Thread(target=write)
    t.start()
    t.join()


def initialised(model):
    nn.init.normal_(model.conv2.weight)


def moved(model):
    model.double()
    model.float()
    model.fc.weight.mul_(1.1)


class Writable:
    """NumPy takes DLPack's first version as writable."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **_):
        return suan._c.to_dlpack(self.tensor, True)

    def __dlpack_device__(self):
        return (1, 0)


WAYS = [in_place, through_data, data_of_another, copied, indexed, a_view, a_kept_view, loaded, assigned, stepped,
        stepped_compiled, another_parameter, another_in_the_table, another_module, another_buffer, a_buffer_in_place,
        batch_statistics, numpy_view, dlpack_view, by_address, another_thread, initialised, moved]


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.__name__)
@pytest.mark.parametrize("wrap", ["module", "function"])
def test_change_is_seen(no_grad, way, wrap):
    model = made()
    run = suan.compile(model if wrap == "module" else lambda x: model(x))
    warm(run)
    before = run(X).clone()
    way(model)
    expected = model(X)
    assert not np.allclose(before.numpy(), expected.numpy(), rtol=1e-3, atol=1e-4)
    for _ in range(4):
        close(run(X), expected)
    # And the next change, whatever state the first one left.
    model.fc.weight.add_(1.0)
    for _ in range(3):
        close(run(X), model(X))


def test_writes_between_all_calls(no_grad):
    model = made()
    run = suan.compile(model)
    warm(run)
    for _ in range(6):
        model.conv2.weight.mul_(0.9)
        close(run(X), model(X))
    (stats,) = run.stats()
    assert stats["programs"] == 1 and stats["frozen"] == 0


def test_changes_after_few_calls_end_the_packing(no_grad):
    model = made()
    run = suan.compile(model)
    for _ in range(40):
        for p in model.parameters():
            p.mul_(1.01)
        close(run(X), model(X))
        run(X)
        close(run(X), model(X))
    assert run.stats()[0]["programs"] <= 3
    for _ in range(20):
        close(run(X), model(X))
    assert frozen(run) > 0   # they stay as they are: packed again


def test_one_tensor_that_changes_does_not_keep_the_rest(no_grad):
    model = made()
    held = suan.zeros(2, 3, 16, 16)
    run = suan.compile(lambda: model(held))
    for i in range(8):
        held.fill_(float(i))
        close(run(), model(held))
    (stats,) = run.stats()
    assert stats["frozen"] == 12 and stats["programs"] == 1


# ---- what could be written to unseen ---------------------------------------------------------------------------------


def test_array_over_a_weight(no_grad):
    model = made()
    run = suan.compile(model)
    warm(run)
    array = model.fc.weight.detach().numpy()
    for i in range(5):
        array[i] = i
        close(run(X), model(X))
        assert run.stats()[0]["exported"] == 1
    part = array[1:3]
    del array
    part[:] = 7
    close(run(X), model(X))
    del part
    for _ in range(3):
        close(run(X), model(X))
    (stats,) = run.stats()
    assert stats["exported"] == 0
    for _ in range(20):
        close(run(X), model(X))
    assert frozen(run) == 12


def test_reading_an_array_keeps_the_tape():
    x = suan.randn(3, requires_grad=True)
    y = x * 2
    z = y.square().sum()
    assert y.detach().numpy().shape == (3,)
    z.backward()
    assert x.grad is not None


def test_write_while_nobody_watches(no_grad):
    """Packed weights outlive the program they were packed for; what was written meanwhile counts."""
    model = made()
    run = suan.compile(model)
    warm(run)
    model.conv1.weight = nn.Parameter(model.conv1.weight.clone())
    model.conv2.weight.detach().numpy()[:] *= 2
    for _ in range(4):
        close(run(X), model(X))


def test_weight_over_an_array(no_grad):
    array = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    model = made()
    model.fc.weight = nn.Parameter(suan.from_numpy(array))
    run = suan.compile(model)
    for i in range(6):
        array[i] = i
        close(run(X), model(X))
    (stats,) = run.stats()
    assert stats["exported"] == 1
    if stats["frozen"]:
        assert "linear_panels" not in stats["graph"]


def test_weight_from_dlpack(no_grad):
    array = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    model = made()
    model.fc.weight = nn.Parameter(suan.from_dlpack(array))
    run = suan.compile(model)
    for i in range(6):
        array[i] = i
        close(run(X), model(X))


def test_address_keeps_a_weight_out_for_good(no_grad):
    model = made()
    run = suan.compile(model)
    warm(run)
    values = (ctypes.c_float * (64 * 32)).from_address(model.fc.weight.data_ptr())
    for i in range(6):
        values[i] = 5.0
        close(run(X), model(X))
    assert run.stats()[0]["exported"] == 1


def test_saving_does_not_keep_weights_out(no_grad, tmp_path):
    model = made()
    suan.save(model.state_dict(), tmp_path / "model.safetensors")
    run = suan.compile(model)
    warm(run)
    assert run.stats()[0]["exported"] == 0


# ---- functions, modes, signatures, threads ---------------------------------------------------------------------------


def test_function_sees_the_mode_of_its_modules(no_grad):
    model = nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.5)).eval()
    run = suan.compile(lambda x: model(x))
    x = suan.randn(4, 32)
    for _ in range(4):
        close(run(x), model(x))
    model.train()
    assert any((run(x) == 0).any().item() for _ in range(4))
    model.eval()
    for _ in range(3):
        close(run(x), model(x))


def test_signatures_share_packed_weights(no_grad):
    model = made()
    run = suan.compile(model)
    for n in (1, 2, 3):
        for _ in range(3):
            x = suan.randn(n, 3, 16, 16)
            close(run(x), model(x))
    assert [s["frozen"] for s in run.stats()] == [12, 12, 12]
    model.conv1.weight.mul_(2.0)
    for n in (3, 1, 2):
        for _ in range(3):
            x = suan.randn(n, 3, 16, 16)
            close(run(x), model(x))


def test_state_that_changes_inside(no_grad):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(32, 64)
            self.register_buffer("total", suan.zeros(64))

        def forward(self, x):
            y = self.fc(x)
            self.total += y.sum(0)
            return y + self.total

    a = Counting().eval()
    b = Counting().eval()
    b.load_state_dict(a.state_dict())
    run = suan.compile(a)
    for _ in range(6):
        x = suan.randn(4, 32)
        close(run(x), b(x))
        close(a.total, b.total)
    assert frozen(run) == 2


def test_returned_weight_is_not_the_packed_one(no_grad):
    model = made()
    run = suan.compile(lambda x: (model(x), model.fc.weight))
    for _ in range(3):
        _, w = run(X)
    w.zero_()
    close(run(X)[0], model(X))


def test_tied_weights(no_grad):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.head = nn.Embedding(64, 32), nn.Linear(32, 64, bias=False)
            self.head.weight = self.token.weight

        def forward(self, i):
            return self.head(self.token(i))

    model = Tied().eval()
    run = suan.compile(model)
    i = suan.arange(10)
    for _ in range(3):
        close(run(i), model(i))
    model.token.weight[3] = 2.0
    close(run(i), model(i))


def test_threads_see_whole_weights(no_grad):
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)).eval()
    model[0].weight.copy_(suan.eye(64))
    model[1].weight.copy_(suan.eye(64))
    run = suan.compile(model)
    x = suan.ones(4, 64)
    for _ in range(3):
        run(x)
    wrong = []

    def call():
        with suan.no_grad():
            for _ in range(200):
                y = run(x)
                if not (y == y[0, 0]).all().item():
                    wrong.append(y)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    def write(w, factor):
        with suan.no_grad():
            w.mul_(factor)

    for k in range(30):
        writer = threading.Thread(target=write, args=(model[k % 2].weight, 2.0 if k % 4 < 2 else 0.5))
        writer.start()
        writer.join()
        for _ in range(1 + k % 3):
            close(run(x), model(x))


def test_calls_while_a_thread_writes(no_grad):
    """Whatever was met on the way, calls after the last write are of the last weights."""
    model = made()
    run = suan.compile(model)
    warm(run)
    done = threading.Event()

    def write():
        with suan.no_grad():
            for k in range(60):
                model.conv2.weight.mul_(1.25 if k % 2 else 0.8)
                model.bn1.running_mean.add_(0.01)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert np.isfinite(run(X).numpy()).all()
    writer.join()
    for _ in range(4):
        close(run(X), model(X))


def test_interpreted(no_grad, monkeypatch):
    monkeypatch.setenv("SUAN_INTERPRET", "1")
    model = made()
    run = suan.compile(model)
    for _ in range(4):
        close(run(X), model(X))
    model.conv1.weight.mul_(2.0)
    close(run(X), model(X))
