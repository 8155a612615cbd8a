"""The runtime of device "cuda" over a driver and a cuBLASLt without a card (tests/cuda): the same object code but
for the kernels, which are the emulation's and run when the fake driver's stream is waited for. And the real library
over the same driver, its kernels only noted: every kernel a training step launches has its code and name."""

import os
import pathlib
import subprocess
import sys

import pytest

from suan import _c

BUILD = pathlib.Path(_c.__file__).resolve().parents[2]
FAKE = BUILD / "fake_cuda"
REAL = pathlib.Path(_c.__file__).parent / "libsuan_cuda.so"

START = f"""
import ctypes, os, sys
import numpy as np
import suan
from suan import _c
D = suan.load_backend({str(FAKE / "libsuan_cuda_rehearsal.so")!r}) if os.environ.get("REHEARSE") else "cuda"
driver = ctypes.CDLL("libcuda.so.1")
driver.fake_take_log.restype = ctypes.c_char_p
driver.fake_bytes_in_use.restype = ctypes.c_ulong
def log(): return driver.fake_take_log().decode().splitlines()
"""
GPT = """
from suan.models import GPT, GPTConfig
def make(device, layers=2, width=32):
    suan.manual_seed(0)
    model = GPT(GPTConfig(vocab=17, block=16, layers=layers, heads=2, width=width)).to(device)
    return model, suan.optim.AdamW(model.parameters(), lr=1e-3)
def batch(k, device):
    x = (np.arange(4 * 17).reshape(4, 17) * (k + 3) + k) % 17
    return suan.tensor(x[:, :-1].copy()).to(device), suan.tensor(x[:, 1:].copy()).to(device)
"""


def run(code, tmp_path, rehearse=True, **environment):
    env = {**os.environ, "LD_LIBRARY_PATH": str(FAKE), "SUAN_CACHE": str(tmp_path), **environment}
    if rehearse:
        env["REHEARSE"] = "1"
    return subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, timeout=300, env=env)


def output(*args, **kwargs):
    done = run(*args, **kwargs)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"FAKE_CUDA_VERSION": "12040"}, "driver too old: expected one for CUDA 13.0 or newer, got 12.4"),
        ({"FAKE_CUDA_DEVICES": "0"}, "no device: expected an NVIDIA GPU, got none"),
        ({"FAKE_CUDA_CAPABILITY": "75"}, "expected compute capability 8.0 to 8.9 or 9.0, got 7.5 (Fake GPU)"),
        ({"FAKE_CUDA_CAPABILITY": "120"}, "expected compute capability 8.0 to 8.9 or 9.0, got 12.0"),
        ({"FAKE_CUDA_FAIL": "cuInit"}, "driver does not start: expected success, got CUDA_ERROR_UNKNOWN"),
        ({"FAKE_CUDA_FAIL": "cuStreamCreate"}, "making a stream failed: expected success, got CUDA_ERROR_UNKNOWN"),
    ],
)
@pytest.mark.parametrize("rehearse", [True, False])
def test_why_a_card_cannot_be_used_in_one_line(environment, line, rehearse, tmp_path):
    if not rehearse and not REAL.exists():
        pytest.skip("libsuan_cuda.so is not built here: no nvcc")
    code = "\nsuan.zeros(1, device=D)"
    done = run(code, tmp_path, rehearse, **environment)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "[cuda]" in last and line in last, done.stderr[-2000:]
    if not rehearse:  # the same words
        said = output("\nfrom suan.cli.info import doctor_facts\nprint(doctor_facts()['cuda'])", tmp_path, False, **environment)
        assert line in said and said.count("\n") == 1


def test_memory_copies_and_order(tmp_path):
    out = output(
        """
x = np.arange(12, dtype=np.float32).reshape(3, 4)
a = suan.tensor(x).to(D)
log()
b = (a + a) * a          # nothing has run yet
assert not [l for l in log() if l.startswith("run")]
got = b.t().contiguous().to("cpu").numpy()
assert np.array_equal(got, (2 * x * x).T), got
ran = [l for l in log() if l.startswith("run")]
assert ran[-1] == "run download" and sum("elementwise" in l for l in ran) == 2, ran
before = driver.fake_bytes_in_use()
big = suan.zeros(1000, 1000, device=D)
assert driver.fake_bytes_in_use() - before >= 4_000_000 and _c.device_memory_stats(D if isinstance(D, str) else str(D))["in_use"] >= 4_000_000
del big
assert driver.fake_bytes_in_use() == before
print(_c.describe_device(str(D)))
""",
        tmp_path,
    )
    assert out.startswith("Fake GPU, sm_90, 1.0 GiB, driver for CUDA 13.0; products: cuBLASLt 13.1; fused kernels: /")


def test_errors_of_the_device(tmp_path):
    output(
        """
def error(kind, f):
    try: f()
    except kind as e: return str(e)
    raise AssertionError("no error")
a = suan.ones(100, device=D)
said = error(MemoryError, lambda: suan.zeros(1 << 20, device=D))
assert "out of memory: expected 4194304 bytes free" in said, said
assert (a + a).sum().item() == 200                      # usable afterwards
table = suan.ones(3, 2, device=D)
picked = _c.ops.embedding(table, suan.tensor([0, 7]).to(D))   # found when the card is waited for
said = error(IndexError, lambda: picked.to("cpu"))
assert "[embedding] index out of range: expected 0 to 2, got 7" in said, said
assert (a + a).sum().item() == 200
""",
        tmp_path,
        FAKE_CUDA_MEMORY=str(2 << 20),
    )
    output(
        """
a = suan.ones(100, device=D)
b = suan.nn.functional.softmax(a, 0)
try: b.to("cpu")
except suan.DeviceError as e: assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(e), e
else: raise AssertionError
""",
        tmp_path,
        FAKE_CUDA_FAULT="softmax",
    )


def test_products_as_the_library_sees_them(tmp_path):
    """Layouts, transposes, batches and biases of the cuBLASLt adapter, against NumPy."""
    out = output(
        """
rng = np.random.default_rng(0)
def on(x, axes=None):
    t = suan.tensor(x).to(D)
    if axes is None: return t
    back = np.argsort(axes)
    return suan.tensor(np.ascontiguousarray(x.transpose(axes))).to(D).permute(*[int(i) for i in back])
n = 0
def check(got, want, what):
    global n
    got = got.to("cpu").numpy()
    assert got.shape == want.shape and np.allclose(got, want, rtol=1e-5, atol=1e-5), (what, got, want)
    n += 1
shapes = [((3, 5), (5, 7)), ((5,), (5,)), ((4, 5), (5,)), ((5,), (2, 5, 3)), ((2, 3, 4, 5), (5, 6)), ((4, 5), (3, 5, 2)),
          ((2, 1, 4, 5), (3, 5, 2)), ((3, 0), (0, 4)), ((0, 3), (3, 4)), ((2, 2, 3, 1, 4), (2, 1, 4, 3)), ((1, 5), (5, 1)),
          ((6, 1, 5), (5, 2)), ((0, 2, 3), (3, 4)), ((2, 3, 4), (2, 4, 5))]
for a, b in shapes:
    for dtype in (np.float32, np.float64):
        x, y = rng.standard_normal(a).astype(dtype), rng.standard_normal(b).astype(dtype)
        want = x @ y
        for ax in (None, tuple(range(len(a)))[::-1]):
            for bx in (None, tuple(range(len(b)))[::-1]):
                check(on(x, ax) @ on(y, bx), want, (a, b, ax, bx))
x, y = rng.standard_normal((6, 8)).astype(np.float32), rng.standard_normal((8, 9)).astype(np.float32)
check(on(x)[1:5:2, 1:6] @ on(y)[1:6, 3:], x[1:5:2, 1:6] @ y[1:6, 3:], "offsets and steps")
check(on(x)[:, :1].expand(6, 8) @ on(y), np.broadcast_to(x[:, :1], (6, 8)) @ y, "broadcast")
linear = suan.nn.functional.linear
for rows in ((3,), (2, 3), (), (0,), (1,)):
    for k in (5, 0):
        v, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((*rows, k), (7, k), (7,)))
        check(linear(on(v), on(w), on(b)), v @ w.T + b, ("linear", rows, k))
        check(linear(on(v), on(w)), v @ w.T, ("linear", rows, k))
wide = rng.standard_normal((7, 3)).astype(np.float32)
v, w = rng.standard_normal((4, 5)).astype(np.float32), rng.standard_normal((7, 5)).astype(np.float32)
check(linear(on(v), on(w), on(wide)[:, 1]), v @ w.T + wide[:, 1], "a bias with steps")
padded = rng.standard_normal(9).astype(np.float32)
check(linear(on(v), on(w), on(padded)[1:8]), v @ w.T + padded[1:8], "a bias at no multiple of 16 bytes")
half = suan.tensor(x).to(suan.bfloat16)
check((half.to(D) @ half.t().contiguous().to(D)).to(suan.float32), (half.to(suan.float32) @ half.t().to(suan.float32)).to(suan.bfloat16).to(suan.float32).numpy(), "bfloat16")
try: suan.ones(2, 2, device=D).to(suan.int32) @ suan.ones(2, 2, device=D).to(suan.int32)
except suan.DeviceError as e: assert "no kernel on this device" in str(e)
else: raise AssertionError
print(n)
""",
        tmp_path,
    )
    assert int(out) > 120


def test_a_network_trains_and_its_steps_replay(tmp_path):
    """Losses of the CPU within 1e-5, eager and compiled; the compiled step is captured once and then replayed, though
    its arguments move; and no CPU kernel runs."""
    out = output(
        GPT
        + """
def train(device, compiled, steps=8):
    model, optimizer = make(device)
    def step(x, y):
        optimizer.zero_grad()
        loss = model(x, y)
        loss.backward()
        optimizer.step()
        return loss
    if compiled: step = suan.compile(step)
    losses, kept = [], []
    for k in range(steps):
        x, y = batch(k, device)
        before = _c.kernel_counts().get("cpu", 0)
        kept.append(step(x, y))            # results of earlier calls stay as they were
        if device != "cpu": assert _c.kernel_counts().get("cpu", 0) == before
    return [l.item() for l in kept]
want = train("cpu", False)
for compiled in (False, True):
    log()
    got = train(D, compiled)
    off = max(abs(a - b) / abs(b) for a, b in zip(got, want))
    assert off <= 1e-5, (compiled, got, want)
    lines = log()
    assert (lines.count("replay") > 0) == compiled
    assert lines.count("capture begin") == sum(l.startswith("capture end") for l in lines)
    print(compiled, off, lines.count("capture begin"), lines.count("replay"))
counters = _c.apply_counters()
assert 1 <= counters["captures"] <= 2 and counters["unit_replays"] >= 4, counters
import gc; gc.collect()
_c.synchronize(str(D))
assert driver.fake_bytes_in_use() < 4 << 20, driver.fake_bytes_in_use()
""",
        tmp_path,
    )
    print(out)


def test_a_plans_products_have_aligned_scratch(tmp_path):
    """An arena's buffers lie 64 bytes apart, where cuBLASLt wants 256 for its scratch (the fake one refuses less)."""
    output(
        """
rng = np.random.default_rng(0)
given = [suan.tensor(rng.standard_normal(s).astype(np.float32)) for s in ((3, 5), (5, 7), (1, 70017))]
def f(a, b, x):
    y = x.softmax(1)          # greater than the scratch, so before it in the arena, and no multiple of 256 bytes
    c = a @ b
    return c.tanh() * y.softmax(1).sum(), y.sum()
want = f(*given)
given = [t.to(D) for t in given]
g = suan.compile(f)
for _ in range(4): got = g(*given)
for x, y in zip(got, want): assert np.allclose(x.to("cpu").numpy(), y.numpy(), rtol=1e-5, atol=1e-6)
""",
        tmp_path,
    )


def test_captured_inputs_and_results(tmp_path):
    output(
        """
total = suan.zeros(3, device=D)
f = suan.compile(lambda x: (total.add_(x), (x * 2.0).exp())[1])
xs = [suan.tensor(np.array([k, 1.0, -k], dtype=np.float32)).to(D) for k in range(9)]
with suan.no_grad():
    got = [f(x) for x in xs]
for k, g in enumerate(got):
    want = np.exp(2 * np.array([k, 1.0, -k], dtype=np.float32))
    assert np.allclose(g.to("cpu").numpy(), want, rtol=1e-6), (k, g.tolist(), want)
assert total.tolist() == [36.0, 9.0, -36.0], total.tolist()
assert "fused_elementwise" in f.stats()[0]["graph"] and "launch fused_elementwise" in log()
assert _c.apply_counters()["unit_replays"] >= 5
a, b = (_c.event_record(str(D)) for _ in range(2))
assert _c.event_milliseconds(str(D), a, b) >= 0
""",
        tmp_path,
    )


@pytest.mark.skipif(not REAL.exists(), reason="libsuan_cuda.so is not built here: no nvcc")
def test_the_real_library_has_every_kernel(tmp_path):
    """Its kernels are found by name in its own code, and the fused ones come from NVRTC; the fake driver does not
    run them, so that values mean nothing here."""
    out = output(
        GPT
        + """
model, optimizer = make("cuda")
def step(x, y):
    optimizer.zero_grad()
    loss = model(x, y)
    loss.backward()
    optimizer.step()
    return loss
log()
x, y = batch(0, "cuda")
step(x, y)
_c.synchronize("cuda")
eager = [l for l in log() if l.startswith("launch")]
assert len(eager) > 50 and all(l.startswith("launch _ZN4suan4cuda") for l in eager), eager[:5]
compiled, fused = suan.compile(step), suan.compile(lambda t: (t * 2 + 1).tanh() * t)
t = suan.ones(3, 4).to("cuda")
for k in range(4): compiled(x, y), fused(t)
_c.synchronize("cuda")
lines = log()
assert lines.count("replay") >= 1
generated = [l for l in lines if l == "launch suan_generated"]
print(len(eager), len({l for l in eager}), len(generated))
""",
        tmp_path,
        rehearse=False,
    )
    eager, distinct, generated = map(int, out.split())
    assert distinct >= 15 and generated > 0
    assert list((tmp_path / "kernels").glob("*.cubin"))
