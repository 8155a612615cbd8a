"""A device against the CPU: every op's samples, and a small network's training. Used by the tests of the emulated
device and by tools/gpu on a card."""

import numpy as np

import suan
from op_cases import SAMPLES, TABLE, array, dtypes_of, is_refused, laid_out, make_inputs
from suan import _c
from suan.models import GPT, GPTConfig

#: Float32 results of another order of additions or another library function.
TOLERANCE = {"float32": 2e-5, "float64": 1e-11, "float16": 4e-3, "bfloat16": 3e-2}


def chosen_dtypes(name, sample):
    """One dtype of each compute type."""
    have = dtypes_of(name, sample, quick=False)
    return [d for d in ("float32", "bfloat16", "float64", "int32", "bool") if d in have] or have[-1:]


def outputs(name, index, tensors):
    return [None if t is None else t for t in _c.apply_sample(name, index, tensors)]


def close(got, want, context):
    dtype = str(got.dtype).removeprefix("suan.")
    a, b = array(got.to("cpu")), array(want)
    assert a.shape == b.shape, f"{context}: shape {b.shape} expected, got {a.shape}"
    if dtype in TOLERANCE:
        with np.errstate(all="ignore"):
            scale = np.abs(b[np.isfinite(b)]).max(initial=0)
            bad = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= TOLERANCE[dtype] * (np.abs(b) + scale)))
        assert not bad.any(), f"{context}: {b[bad][:3]} expected, got {a[bad][:3]}"
    else:
        assert np.array_equal(a, b), f"{context}: {b} expected, got {a}"


#: How a device says that it does not take a call. Nothing else may be said: a driver's error names a device too.
REFUSALS = ("no kernel on this device", "tensors on two devices", "values are on a device")
#: Their samples' bodies are for the CPU; plans make them.
PLANS_ONLY = {"fused_elementwise", "fused_epilogue"}
OPS = sorted(n for n in TABLE if SAMPLES[n] and n not in PLANS_ONLY)


def compare_op(name, device):
    """Cases that gave the CPU's results, and float32 cases without a kernel. AssertionError on any other result, on a
    result elsewhere, and when a CPU kernel took part."""
    ran = refused = 0
    for index, sample in enumerate(SAMPLES[name]):
        if sample["error"] or not sample["in"]:
            continue
        for dtype in chosen_dtypes(name, sample):
            if is_refused(name, index, dtype):
                continue
            for layout in ("contiguous", "transposed") if dtype in ("float32", None) else ("contiguous",):
                if layout == "transposed" and (name.endswith(("_step", "_steps")) or "update" in name or name == "view"):
                    continue
                context = f"{name}[{index}] {dtype} {layout}"
                values = make_inputs(name, index, dtype)
                here, there = (
                    [None if v is None else laid_out(v, n, layout)[0] for v, n in values] for _ in range(2)
                )
                moved = []
                for t in there:
                    if t is None:
                        moved.append(None)
                    elif layout == "transposed" and t.dim() > 1:  # strides do not survive a move
                        axes = list(range(t.dim()))[::-1]
                        moved.append(t.permute(axes).contiguous().to(device).permute(axes))
                    else:
                        moved.append(t.to(device))
                before = _c.kernel_counts().get("cpu", 0)
                try:
                    got = outputs(name, index, moved)
                except suan.DeviceError as error:
                    assert any(r in str(error) for r in REFUSALS), f"{context}: {error}"
                    refused += dtype in ("float32", None)
                    continue
                made_on_cpu = _c.kernel_counts().get("cpu", 0) - before
                want = outputs(name, index, here)
                assert len(got) == len(want), context
                for j, (g, w) in enumerate(zip(got, want)):
                    assert g.device == next(t.device for t in moved if t is not None), f"{context} output {j} is on {g.device}"
                    close(g, w, f"{context} output {j}")
                assert made_on_cpu == 0, f"{context}: {made_on_cpu} CPU kernels ran"
                ran += 1
    return ran, refused


#: Functions whose element-wise ops become fused nodes in a plan.
FUSED = {
    "truth": lambda t: suan.where((t > 0) & ~(t > 0.5), t.exp(), t * 2).clamp(-1, 1),
    "narrow": lambda t: ((t.to(suan.bfloat16) * 3).tanh() + 1).to(suan.float32) - t.to(suan.float16).exp().to(suan.float32),
    "integers": lambda t: ((t * 9).to(suan.int32) // 3 + (t * 9).to(suan.int32) % 5).to(suan.int8).to(suan.float64).sigmoid(),
    "strides": lambda t: (t.t().contiguous().t() * 2 + t.exp()) * t[:1],
    "ranks": lambda t: (t[:, None, :, None] + t.t()[None, :, None, :] * 2).exp() * t[:, :1, None, None] - t.sum(),
    "bounds": lambda t: (t.clamp(min=-0.3) + t.clamp(max=0.2)).maximum(t * 0.5),
    "unary": lambda t: (t.abs() + 0.1).log() * t.sin() + t.erf() - (t * t + 1).rsqrt() * t.floor(),
    "activations": lambda t: suan.nn.functional.gelu(t * 1.5) * suan.nn.functional.silu(t) + suan.nn.functional.relu(t - 0.1),
    "double": lambda t: (t.to(suan.float64) * 0.3).exp() / (t.to(suan.float64) ** 2.0 + 1.0),
    "logic": lambda t: ((t > 0) == (t < 1)).to(suan.float32) + t.isnan().to(suan.float32),
    "gradient": lambda t: _gradient(t),
}


def _gradient(t):
    """Of a chain of rows: its own rows' gradients, which fuse as well."""
    x = t.detach().clone()
    x.requires_grad_(True)
    with suan.enable_grad():
        ((x * 0.5).tanh() * x.sigmoid() + x.exp()).sum().backward()
    return x.grad


def char_gpt(device, steps=20, compiled=False):
    """Losses, and the CPU kernels that ran in forward, backward and step."""
    suan.manual_seed(0)
    model = GPT(GPTConfig(vocab=65, block=32, layers=4, heads=4, width=128)).to(device)
    optimizer = suan.optim.AdamW(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    words = [rng.integers(0, 65, n) for n in rng.integers(2, 9, 12)]
    text = np.concatenate([words[i] for i in rng.integers(0, 12, 2000)])[:4000]
    losses, on_cpu = [], 0

    def step(x, y):
        optimizer.zero_grad()
        loss = model(x, y)
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        step = suan.compile(step)
    for _ in range(steps):
        starts = rng.integers(0, 4000 - 33, 4)
        x, y = (
            suan.tensor(np.stack([text[j + k : j + k + 32] for j in starts])).to(device) for k in (0, 1)
        )
        before = _c.kernel_counts().get("cpu", 0)
        loss = step(x, y)
        on_cpu += _c.kernel_counts().get("cpu", 0) - before
        losses.append(loss.item())
    if compiled:
        (stats,) = step.stats()
        assert stats["ready"] and stats["replays"] >= steps - 3
    return losses, on_cpu
