"""Bad input: typed errors that read `[op] problem: expected X, got Y` with the user's line, and
an engine that goes on afterwards: wrong arguments, no memory at any allocation, damaged files,
full disks.
"""

import os
import re
import resource
import signal

import numpy as np
import pytest

import suan
from suan import _c, nn
from suan.nn import functional as F

BIG = 2**62


def bits(t):
    return (str(t.dtype), tuple(t.shape), _c.to_bytes(t.detach().contiguous()))


@pytest.fixture(autouse=True)
def engine_still_works():
    yield
    _c.fail_nth_allocation(0)
    x = suan.ones(3, requires_grad=True)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


WRONG = [
    (ValueError, lambda: suan.ones(2, 3) + suan.ones(2, 4)),
    (ValueError, lambda: suan.ones(2, 3) @ suan.ones(2, 4)),
    (ValueError, lambda: suan.ones(2, 3).reshape(7)),
    (ValueError, lambda: suan.ones(2, 3).reshape(-1, -1)),
    (ValueError, lambda: suan.ones(2, 3).expand(4, 3)),
    (ValueError, lambda: suan.cat([suan.ones(2, 3), suan.ones(3, 4)])),
    (ValueError, lambda: suan.ones(2, 3).permute(0, 0)),
    (ValueError, lambda: suan.stack([suan.ones(2), suan.ones(3)])),
    (ValueError, lambda: suan.einsum("ij,jk->ik", suan.ones(2, 3), suan.ones(4, 5))),
    (ValueError, lambda: F.layer_norm(suan.ones(2, 3), (4,))),
    (ValueError, lambda: F.conv2d(suan.ones(1, 2, 5, 5), suan.ones(3, 4, 3, 3))),
    (ValueError, lambda: F.cross_entropy(suan.ones(4, 3), suan.zeros(5, dtype=suan.int64))),
    (ValueError, lambda: suan.ones(3).clamp()),
    (IndexError, lambda: suan.ones(2, 3).sum(dim=2)),
    (IndexError, lambda: suan.ones(2, 3).softmax(-3)),
    (IndexError, lambda: suan.ones(2, 3)[2]),
    (IndexError, lambda: suan.ones(2, 3)[0, 0, 0]),
    (IndexError, lambda: suan.ones(2, 3).select(1, 3)),
    (IndexError, lambda: suan.ones(3)[suan.tensor([3])]),
    (IndexError, lambda: suan.ones(3).gather(0, suan.tensor([-1]))),
    (IndexError, lambda: suan.ones(3, 2).index_select(0, suan.tensor([5]))),
    (IndexError, lambda: F.embedding(suan.tensor([7]), suan.ones(4, 2))),
    (IndexError, lambda: F.cross_entropy(suan.ones(2, 3), suan.tensor([0, 3]))),
    (TypeError, lambda: suan.ones(3, dtype=suan.int64).softmax(0)),
    (TypeError, lambda: suan.ones(3).gather(0, suan.ones(1))),
    (TypeError, lambda: suan.ones(3) & suan.ones(3)),
    (TypeError, lambda: F.embedding(suan.ones(3), suan.ones(4, 2))),
    (TypeError, lambda: suan.ones(3).sum(dim="x")),
    (TypeError, lambda: suan.ones(3).exp(1, 2, 3)),
    (TypeError, lambda: suan.ones(3).softmax(0, speed=1)),
    (TypeError, lambda: suan.matmul(suan.ones(2, 2), suan.ones(2, 2, dtype=suan.float64))),
    (TypeError, lambda: suan.tensor(object())),
    (suan.DeviceError, lambda: suan.ones(3, device="cuda")),
    (suan.DeviceError, lambda: suan.ones(3).to("gpu:7")),
    (ValueError, lambda: suan.zeros(BIG, BIG)),
    (ValueError, lambda: suan.ones(1).expand(BIG, BIG)),
    (ValueError, lambda: suan.zeros(-1)),
    (ValueError, lambda: suan.ones(1, 1).repeat(BIG, BIG)),
    (ValueError, lambda: suan.arange(0, 1e300)),
    (MemoryError, lambda: suan.zeros(2**45)),
    (MemoryError, lambda: suan.ones(1).expand(2**45).contiguous()),
    (RuntimeError, lambda: suan.ones(3).backward()),
    (ValueError, lambda: suan.ones(3, requires_grad=True).exp().backward()),
    (RuntimeError, lambda: suan.ones(3, requires_grad=True).add_(1)),
]


@pytest.mark.parametrize("kind,call", WRONG, ids=range(len(WRONG)))
def test_wrong_arguments(kind, call):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert re.match(r"\[[\w.]+\] .+: expected .+, got .+", text, re.S), text
    # What the engine raises names the user's line; what the package raises has it in its traceback.
    raised_in = caught.traceback[-1].path.name
    assert "test_bad_input.py" in text or raised_in != "test_bad_input.py", (
        f"names the user's line: {text}"
    )


def test_zero_strided_sizes_need_no_memory():
    assert suan.ones(1).expand(2**45).shape == (2**45,)
    assert suan.zeros(0, BIG).numel() == 0


# ---- no memory -----------------------------------------------------------------------------------


def make_training(compiled):
    suan.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))
    optimizer = suan.optim.AdamW(model.parameters(), lr=1e-2)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return model, optimizer, suan.compile(step) if compiled else step


def batch():
    rng = np.random.default_rng(0)
    return suan.tensor(rng.standard_normal((4, 5)).astype(np.float32)), suan.tensor(
        rng.integers(0, 3, 4)
    )


def until_it_passes(call, after=lambda n: None, limit=3000):
    """Calls with the first, second, ... allocation failing until none is left to fail."""
    for n in range(1, limit):
        _c.fail_nth_allocation(n)
        try:
            result = call()
        except suan.OutOfMemoryError as error:
            assert "expected" in str(error), str(error)
            _c.fail_nth_allocation(0)
            after(n)
            continue
        finally:
            _c.fail_nth_allocation(0)
        return n - 1, result
    raise AssertionError(f"still failing at allocation {limit}")


def check_engine(n):
    x = suan.ones(3, 3, requires_grad=True)
    (x @ x).sum().backward()
    assert x.grad.tolist() == [[6] * 3] * 3, f"after allocation {n}"


def test_no_memory_in_an_eager_step():
    model, optimizer, step = make_training(False)
    x, y = batch()
    step(x, y)
    failures, loss = until_it_passes(lambda: step(x, y), check_engine)
    assert failures > 15 and np.isfinite(loss.item())
    assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())


def test_no_memory_in_a_compiled_step_changes_nothing():
    model, optimizer, step = make_training(True)
    x, y = batch()
    for _ in range(3):
        step(x, y)
    state = lambda: [bits(p) for p in model.parameters()]  # noqa: E731
    # The same training without any failure.
    twin, twin_optimizer, twin_step = make_training(True)
    for _ in range(3):
        twin_step(x, y)
    n, before = 0, state()
    while True:
        n += 1
        step.trim()
        _c.trim_memory()
        _c.fail_nth_allocation(n)
        try:
            loss = step(x, y)
        except MemoryError:
            assert state() == before, f"allocation {n}: a failed replay must not change state"
            continue
        finally:
            _c.fail_nth_allocation(0)
        break
    assert n > 1, "nothing was allocated: nothing was tested"
    assert bits(loss) == bits(twin_step(x, y))
    assert state() == [bits(p) for p in twin.parameters()]


def recovers(n, step):
    """A compiled step whose recording or planning failed still becomes a plan."""
    check_engine(n)
    x, y = batch()
    for _ in range(4 if step else 0):
        assert np.isfinite(step(x, y).item())
    assert step is None or step.stats()[0]["replays"] >= 1, n


def test_no_memory_while_recording_and_planning():
    x, y = batch()

    def run():
        nonlocal step
        step = None
        model, optimizer, step = make_training(True)
        for _ in range(3):
            step(x, y)
        return [bits(p) for p in model.parameters()]

    step = None
    want = run()
    failures, got = until_it_passes(run, lambda n: recovers(n, step))
    assert failures > 100 and got == want


def test_no_memory_in_save_and_load(tmp_path):
    path = tmp_path / "a.safetensors"
    tree = {"w": suan.arange(1000).float(), "t": suan.ones(4, 5).t(), "n": 3}
    suan.save(tree, path)
    old = path.read_bytes()

    def save():
        suan.save({**tree, "t": suan.ones(4, 5).t() * 1, "s": suan.arange(100)[::2]}, path)

    def saved_before(n):
        assert path.read_bytes() == old, f"allocation {n}: what was saved before must stay"
        assert os.listdir(tmp_path) == ["a.safetensors"]

    failures, _ = until_it_passes(save, saved_before)
    assert failures >= 2 and path.read_bytes() != old
    failures, loaded = until_it_passes(lambda: suan.load(path), check_engine)
    assert failures >= 2 and loaded["w"].tolist() == tree["w"].tolist() and loaded["n"] == 3


def test_no_memory_in_a_checkpoint_keeps_the_earlier_ones(tmp_path):
    from suan.train.checkpoint import checkpoints, load_checkpoint, save_checkpoint

    save_checkpoint(tmp_path, 1, {"step": 1, "w": suan.arange(50)})

    def earlier(n):
        assert [step for step, _ in checkpoints(tmp_path)] == [1], n
        assert load_checkpoint(tmp_path)[1]["w"].tolist() == list(range(50))

    state = {"step": 2, "w": suan.arange(50).reshape(5, 10).t()}
    failures, _ = until_it_passes(lambda: save_checkpoint(tmp_path, 2, state), earlier)
    assert failures >= 1
    failures, (path, loaded) = until_it_passes(lambda: load_checkpoint(tmp_path), check_engine)
    assert failures >= 1 and loaded["w"].tolist() == state["w"].tolist()


def test_memory_limit_and_recovery():
    _c.trim_memory()
    _c.set_memory_limit(_c.memory_stats()["in_use"] + (1 << 20))
    try:
        with pytest.raises(suan.OutOfMemoryError, match="expected"):
            suan.zeros(1 << 20).exp()
        assert suan.ones(10).sum().item() == 10
    finally:
        _c.set_memory_limit(0)
    assert suan.zeros(1 << 20).exp().sum().item() == 1 << 20


# ---- files ---------------------------------------------------------------------------------------


def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    tree = {
        "weights": [suan.arange(50).float(), suan.ones(3, 4)],
        "step": 7,
        "name": "x",
        "lr": 0.1,
    }
    suan.save(tree, path)
    return path, tree


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\[load\].*expected.*got"):
        suan.load(tmp_path / "none.safetensors")
    with pytest.raises(OSError, match=r"\[load\].*expected.*got"):
        suan.load(tmp_path)


def test_every_truncation_is_refused(tmp_path):
    path, _ = saved(tmp_path)
    whole = path.read_bytes()
    for n in [*range(0, 64), *range(64, len(whole), 13), len(whole) - 1]:
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"\[load\]"):
            suan.load(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(ValueError, match=r"\[load\]"):
        suan.load(path)


def test_every_flipped_byte_is_refused(tmp_path):
    path, tree = saved(tmp_path)
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for at in [*range(0, 16), *map(int, rng.integers(0, len(whole), 400))]:
        broken = bytearray(whole)
        broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            loaded = suan.load(path)
        except ValueError as error:
            assert "[load]" in str(error)
            continue
        # A flip in the padding or in the spelling of the header may change nothing.
        assert loaded["step"] == 7 and loaded["name"] == "x" and loaded["lr"] == 0.1
        assert [t.tolist() for t in loaded["weights"]] == [t.tolist() for t in tree["weights"]]


def test_hostile_headers(tmp_path):
    path = tmp_path / "bad.safetensors"
    headers = [
        b"[]",
        b"{",
        b'{"a": 1}',
        b"[" * 100_000,
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,9]}}',
        b'{"a":{"dtype":"F32","shape":[99999999999,99999999999],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
    ]
    for header in headers:
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
        with pytest.raises(ValueError, match=r"\[load\]"):
            suan.load(path)
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match=r"\[load\]"):
        suan.load(path)


def test_full_disk_keeps_the_old_file(tmp_path):
    path, tree = saved(tmp_path)
    old = path.read_bytes()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limit[1]))
    try:
        with pytest.raises(OSError, match=r"\[save\].*expected.*got"):
            suan.save({"big": suan.zeros(1 << 16)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == old and os.listdir(tmp_path) == [path.name]
    suan.save({"big": suan.zeros(1 << 16)}, path)
    assert suan.load(path)["big"].shape == (1 << 16,)


def test_missing_folder(tmp_path):
    with pytest.raises(OSError, match=r"\[save\].*expected.*got"):
        suan.save({"a": 1}, tmp_path / "none" / "a.safetensors")


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match=r"\[save\] cannot save 'a.f': expected .*, got function"):
        suan.save({"a": {"f": lambda: 0}}, tmp_path / "x")
    assert os.listdir(tmp_path) == []


# ---- in place, autograd --------------------------------------------------------------------------


def test_overwritten_value_names_both_lines():
    x = suan.ones(3, requires_grad=True)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="overwritten") as caught:
        z.sum().backward()
    assert len(re.findall(r"test_bad_input\.py:\d+", str(caught.value))) >= 2, str(caught.value)


def test_second_backward_is_refused():
    x = suan.ones(3, requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_load_state_dict_of_another_model():
    model = nn.Linear(3, 4)
    before = [bits(p) for p in model.parameters()]
    with pytest.raises(Exception, match="size mismatch|expected"):
        model.load_state_dict({"weight": suan.ones(5, 3), "bias": suan.ones(4)})
    with pytest.raises(Exception, match="issing|expected"):
        model.load_state_dict({"weight": suan.ones(4, 3)})
    assert before[1] == bits(model.bias)
