"""The CUDA kernels on the emulated device: every op's samples against the CPU, the char-GPT's training,
memory that the host cannot reach, and what each device says when it cannot be used."""

import ctypes
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import suan
from device_cases import FUSED, OPS, char_gpt, compare_op
from suan import _c
from suan.models import GPT, GPTConfig

DEVICE = "cuda-emulated"
#: Ops that must run there: by a kernel, or by their definition in ops that have one.
MUST_RUN = {
    "add", "sub", "mul", "div", "exp", "tanh", "gelu_tanh", "gelu_tanh_grad", "where", "clamp", "cast", "copy",
    "clone", "full", "cat", "sum", "mean", "max", "min", "softmax", "softmax_grad", "log_softmax",
    "log_softmax_grad", "layer_norm", "layer_norm_grad", "embedding", "embedding_grad", "cross_entropy_grad",
    "attention_grad", "adamw_step", "adamw_steps", "matmul", "linear", "expand", "transpose", "reshape", "stack",
    "mse_loss", "group_norm", "pow", "remainder", "left_shift", "bitwise_not", "logical_and",
}

@pytest.mark.parametrize("name", OPS)
def test_op(name):
    """The CPU's result, or a DeviceError or TypeError that names the missing kernel."""
    ran, refused = compare_op(name, DEVICE)
    if name in MUST_RUN:
        assert ran and not refused, f"{name}: {ran} cases ran, {refused} of float32 were refused"


def emulated(name):
    library = ctypes.CDLL(str(pathlib.Path(_c.__file__).parent / "libsuan_cuda_emulated.so"))
    count = getattr(library, f"suan_emulated_{name}")
    count.restype = ctypes.c_uint64
    return count()


def attention_by_hand(q, k, v, g, g_lse, causal, scale):
    """Output, logsumexp, dq, dk, dv in float64."""
    q, k, v, g, g_lse = (np.asarray(x, np.float64) for x in (q, k, v, g, g_lse))
    group = q.shape[1] // k.shape[1]
    kk, vv = np.repeat(k, group, 1), np.repeat(v, group, 1)
    s = q @ kk.swapaxes(2, 3) * scale
    if causal:
        s = np.where(np.tril(np.ones(s.shape[2:], bool)), s, -np.inf)
    lse = np.log(np.exp(s - s.max(-1, keepdims=True)).sum(-1)) + s.max(-1)
    w = np.exp(s - lse[..., None])
    out = w @ vv
    ds = w * (g @ vv.swapaxes(2, 3) - (g * out).sum(-1, keepdims=True) + g_lse[..., None]) * scale

    def shared(x):
        return x.reshape(x.shape[0], k.shape[1], group, *x.shape[2:]).sum(2)

    return out, lse, ds @ kk, shared(ds.swapaxes(2, 3) @ q), shared(w.swapaxes(2, 3) @ g)


#: batches, heads, key heads, queries, keys, width, value width, causal, scale
ATTENTION = [
    (1, 2, 2, 70, 70, 64, 64, True, None),
    (2, 4, 2, 33, 65, 128, 128, False, None),
    (1, 2, 1, 5, 100, 33, 20, True, 0.3),  # rows that are no multiple of 16 bytes
    (1, 1, 1, 130, 40, 100, 128, True, -0.1),
    (2, 3, 3, 64, 64, 16, 16, False, None),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", ATTENTION)
def test_attention_by_tiles(case, dtype):
    """Forward and backward on tensor-core tiles against float64: heads that lie between each other's rows, lengths
    that end inside a tile, both gradients that can arrive."""
    b, h, kv, lq, lk, d, dv, causal, scale = case
    rng = np.random.default_rng(lq)

    def given(heads, length, width):  # [batch, length, heads, width] in memory, as a projection leaves it
        x = suan.tensor(rng.standard_normal((b, length, heads, width)).astype(np.float32)).to(getattr(suan, dtype))
        return x.to(DEVICE).transpose(1, 2), x.float().numpy().swapaxes(1, 2)

    (q, q_), (k, k_), (v, v_), (g, g_) = given(h, lq, d), given(kv, lk, d), given(kv, lk, dv), given(h, lq, dv)
    g_lse_ = rng.standard_normal((b, h, lq)).astype(np.float32)
    g_lse = suan.tensor(g_lse_).to(DEVICE)
    options = {"is_causal": causal, "scale": scale}
    before, launches = _c.kernel_counts().get("cpu", 0), emulated("launches")
    out, lse = _c.ops.attention(q, k, v, **options)
    assert emulated("launches") == launches + 1
    got = [out, lse, *_c.ops.attention_grad(g, q, k, v, None, out, lse, g_lse, **options)]
    assert emulated("launches") == launches + 4
    assert _c.kernel_counts().get("cpu", 0) == before
    want = attention_by_hand(q_, k_, v_, g_, g_lse_, causal, scale or d**-0.5)
    for name, a, x in zip(("out", "logsumexp", "dq", "dk", "dv"), got, want):
        off = np.abs(a.to("cpu").float().numpy() - x).max() / np.abs(x).max()
        print(f"{name} {off:.1e}", end=" ")
        assert off <= (5e-6 if dtype == "float32" else 2e-2), f"{name}: {off:.1e}"


def test_adamw_of_many_tensors_is_one_launch():
    rng = np.random.default_rng(5)
    sizes = [0, 1, 3, 4095, 4096, 4097, 9000, *rng.integers(1, 300, 93)]
    values = [rng.standard_normal((2, n)).astype(np.float32) for n in sizes]

    def trained(device):
        params = [suan.tensor(p).to(device).requires_grad_() for p, _ in values]
        optimizer = suan.optim.AdamW(params, lr=0.01, weight_decay=0.1)
        for step in range(3):
            for p, (_, g) in zip(params, values):
                p.grad = suan.tensor(g * (step + 1)).to(device)
            launches = emulated("launches")
            optimizer.step(grad_scale=suan.tensor(0.5).to(device))
            launches = emulated("launches") - launches
        return [p.detach().to("cpu").numpy() for p in params], launches

    suan.zeros(1, device=DEVICE)
    (want, none), (got, launches) = trained("cpu"), trained(DEVICE)
    assert none == 0 and launches == 2, launches  # the step count, and the update
    for w, g in zip(want, got):
        np.testing.assert_allclose(g, w, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("compiled", [False, True])
def test_char_gpt_trains_as_on_the_cpu(compiled):
    want, _ = char_gpt("cpu")
    suan.zeros(1, device=DEVICE)
    before = emulated("products")
    got, on_cpu = char_gpt(DEVICE, compiled=compiled)
    off = max(abs(a - b) / abs(b) for a, b in zip(got, want))
    print(f"20 steps: largest relative difference {off:.2e}, {emulated('products') - before} products by the host")
    assert off <= 1e-5
    assert got[-1] < 0.9 * got[0]
    assert on_cpu == 0, f"{on_cpu} CPU kernels ran"
    assert emulated("products") > before  # matmul and linear alone are the library's, here the host's


def test_plans_have_the_bits_of_eager():
    """Every loss and every parameter, after some steps in one arena."""

    def train(compiled):
        suan.manual_seed(1)
        model = GPT(GPTConfig(vocab=17, block=12, layers=1, heads=2, width=24)).to(DEVICE)
        optimizer = suan.optim.AdamW(model.parameters(), lr=1e-2)
        x = suan.tensor(np.arange(36).reshape(3, 12) * 5 % 17).to(DEVICE)

        def step(x):
            optimizer.zero_grad()
            loss = model(x, x)
            loss.backward()
            optimizer.step()
            return loss

        if compiled:
            step = suan.compile(step)
        losses = [step(x).item() for _ in range(6)]
        return losses, [p.detach().to("cpu").numpy() for p in model.parameters()]

    (a, p), (b, q) = train(False), train(True)
    assert a == b
    assert all(np.array_equal(x, y) for x, y in zip(p, q))


def test_planned_backward_on_the_device():
    """The third equal backward pass runs as a plan, with the gradients of the first."""
    suan.manual_seed(0)
    model = suan.nn.Sequential(suan.nn.Linear(8, 16), suan.nn.GELU(), suan.nn.Linear(16, 3)).to(DEVICE)
    x = suan.randn(5, 8).to(DEVICE)
    grads = []
    for _ in range(6):
        model.zero_grad()
        (model(x) * 2.0).sum().backward()
        grads.append([p.grad.to("cpu").numpy() for p in model.parameters()])
    assert suan._c.backward_plans()["replays"] > 0
    assert all(np.array_equal(a, b) for later in grads[1:] for a, b in zip(later, grads[0]))


def test_compiled_module_and_memory_limit():
    suan.manual_seed(0)
    net = suan.nn.Sequential(suan.nn.Linear(6, 32), suan.nn.Tanh(), suan.nn.Linear(32, 2)).to(DEVICE)
    x = suan.randn(4, 6).to(DEVICE)
    fast = suan.compile(net)
    for _ in range(4):
        fast.zero_grad()
        out = fast(x)
        out.sum().backward()
    got = [p.grad.tolist() for p in net.parameters()]
    net.zero_grad()
    want = net(x)
    want.sum().backward()
    assert out.tolist() == want.tolist() and got == [p.grad.tolist() for p in net.parameters()]
    with pytest.raises(suan.DeviceError, match="two devices"):
        suan.compile(lambda a, b: (a + 1.0, b + 1.0))(x, suan.ones(2)), suan.compile(net)(suan.ones(4, 6))


@pytest.mark.parametrize("name", FUSED)
def test_fused_nodes_have_the_bits_of_their_rows(name):
    f = FUSED[name]
    t = (suan.randn(7, 11) * 2).to(DEVICE)
    with suan.no_grad():
        want = f(t)
        g = suan.compile(f)
        for _ in range(4):
            got = g(t)
    assert "fused_elementwise" in g.stats()[0]["graph"]
    assert got.dtype == want.dtype and got.tolist() == want.tolist()


def test_the_host_cannot_reach_device_memory():
    code = (
        "import suan, ctypes; t = suan.ones(4, device='cuda-emulated'); print(t.sum().item(), flush=True);"
        "ctypes.string_at(t.data_ptr(), 4)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "4.0" and run.returncode == -11


def test_memory_is_counted_apart():
    before = _c.device_memory_stats(DEVICE)["in_use"]
    t = suan.zeros(1000, 1000, device=DEVICE)
    assert _c.device_memory_stats(DEVICE)["in_use"] - before >= 4_000_000
    del t
    assert _c.device_memory_stats(DEVICE)["in_use"] == before


def test_errors_name_the_device():
    a, b = suan.ones(3, device=DEVICE), suan.ones(3)
    with pytest.raises(suan.DeviceError, match="two devices"):
        a + b
    with pytest.raises(suan.DeviceError, match=r"numpy.*cuda-emulated"):
        a.numpy()
    with pytest.raises(suan.DeviceError, match=r"nonzero.*cuda-emulated"):
        suan._c.ops.nonzero(a)
    with pytest.raises(suan.DeviceError, match=r"cumsum.*no kernel"):
        suan._c.ops.cumsum(a, 0)
    with pytest.raises(IndexError, match=r"expected 0 to 2, got 7"):
        suan._c.ops.embedding(suan.ones(3, 2, device=DEVICE), suan.tensor([0, 7], device=DEVICE))
    assert (a + a).tolist() == [2.0, 2.0, 2.0]  # usable after every error
    with pytest.raises(suan.DeviceError, match="no such device"):
        suan.zeros(1, device="cuda-emulated:1")
    with pytest.raises(suan.DeviceError, match="unknown device"):
        suan.zeros(1, device="npu")


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="this machine has an NVIDIA GPU")
def test_cuda_without_a_gpu_says_why_in_one_line():
    with pytest.raises(suan.DeviceError) as error:
        suan.zeros(1, device="cuda")
    assert "\n" not in str(error.value).split(" (at ")[0]
    assert "driver" in str(error.value)
    assert _c.why_unavailable("cuda") and not _c.why_unavailable(DEVICE)


def test_checker_build_finds_nothing_in_the_kernels():
    """A small training run with every load and store of the kernels reported to the race checker."""
    code = """
import suan, numpy as np
from suan.models import GPT, GPTConfig
suan.manual_seed(0)
m = GPT(GPTConfig(vocab=17, block=40, layers=1, heads=2, width=40)).to("cuda-emulated")
o = suan.optim.AdamW(m.parameters(), lr=1e-3)
x = suan.tensor(np.arange(74).reshape(2, 37) % 17).to("cuda-emulated")
for _ in range(2):
    o.zero_grad(); loss = m(x, x); loss.backward(); o.step()
t = suan.randn(70, 130).to("cuda-emulated")
for f in (lambda: t.sum(0), lambda: t.sum(1), lambda: t.sum(), lambda: t.mean(1), lambda: t.softmax(0), lambda: t.t().contiguous(), lambda: suan.cat([t, t], 1)):
    f()
print("clean", loss.item())
"""
    env = {**os.environ, "SUAN_CUDA_EMULATED": "check"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
    assert run.returncode == 0 and run.stdout.startswith("clean"), run.stderr[-2000:]
