"""suan.autocast: which ops change their dtype, what reaches the weights, and that training goes on as in float32."""

import contextlib
import threading

import numpy as np
import pytest

import suan
from suan import nn, optim
from suan.models import GPT, GPTConfig
from suan.nn import functional as F

bf16, f32 = suan.bfloat16, suan.float32


def leaf(*shape):
    return suan.randn(*shape, requires_grad=True)


def test_products_are_narrow_and_losses_wide():
    x, w, b = suan.randn(4, 8), suan.randn(6, 8), suan.randn(6)
    q, picture = suan.randn(2, 3, 5, 8), suan.randn(2, 3, 9, 9)
    labels = suan.tensor([0, 1, 2, 3])
    with suan.autocast("cpu"):
        narrow = [F.linear(x, w, b), x @ w.t(), x.matmul(w.t()), suan.bmm(q[0], q[0].transpose(1, 2)),
                  suan.einsum("ij,kj->ik", x, w), F.scaled_dot_product_attention(q, q, q, is_causal=True),
                  nn.Conv2d(3, 4, 3)(picture), nn.ConvTranspose2d(3, 4, 3)(picture)]
        y = narrow[0]
        wide = [F.cross_entropy(y, labels), F.mse_loss(y, y), F.l1_loss(y, y), F.smooth_l1_loss(y, y),
                F.huber_loss(y, y), F.kl_div(y, y), F.binary_cross_entropy_with_logits(y, y),
                F.nll_loss(y, labels), F.cross_entropy(y, y.softmax(-1)), F.soft_margin_loss(y, y.sign()),
                y.prod(), F.linear_cross_entropy(x.bfloat16(), w.bfloat16(), labels),
                nn.LayerNorm(6)(y), nn.BatchNorm2d(4)(narrow[6]), y + x[:, :6], x.exp()]
        kept = [y.softmax(-1), y.sum(), F.gelu(y), y * 2]
        doubles = x.double() @ w.double().t()
    assert [t.dtype for t in narrow] == [bf16] * len(narrow)
    assert [t.dtype for t in wide] == [f32] * len(wide)
    assert [t.dtype for t in kept] == [bf16] * len(kept)
    assert doubles.dtype == suan.float64
    assert (x @ w.t()).dtype == f32


def test_running_statistics_of_another_dtype_are_still_written():
    norm = nn.BatchNorm2d(3).bfloat16()
    before = norm.running_mean.float().numpy().copy()
    with suan.autocast("cpu"):
        assert norm(suan.randn(4, 3, 5, 5) + 3).dtype == f32
    assert norm.running_mean.dtype == bf16 and (norm.running_mean.float().numpy() > before).all()


def test_a_product_is_that_of_the_rounded_operands():
    x, w = suan.randn(33, 65), suan.randn(17, 65)
    with suan.autocast("cpu"):
        y = F.linear(x, w)
    exact = x.bfloat16().double().numpy() @ w.bfloat16().double().numpy().T
    np.testing.assert_allclose(y.float().numpy(), exact, rtol=2.0**-8, atol=1e-5)


def test_regions_nest_and_decorate():
    x = suan.randn(3, 3)
    with suan.autocast("cpu", dtype=suan.float16):
        assert suan.is_autocast_enabled() and suan.get_autocast_dtype() == suan.float16
        with suan.autocast("cpu", enabled=False):
            assert (x @ x).dtype == f32 and not suan.is_autocast_enabled()
        with suan.autocast("cpu"):
            assert (x @ x).dtype == bf16
        assert (x @ x).dtype == suan.float16
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append((x @ x).dtype))
        thread.start()
        thread.join()
        assert elsewhere == [f32]
        with contextlib.suppress(ZeroDivisionError), suan.autocast("cpu"):
            raise ZeroDivisionError
        assert suan.get_autocast_dtype() == suan.float16

    @suan.amp.autocast("cpu")
    def product(a):
        return a @ a

    assert product(x).dtype == bf16 and (x @ x).dtype == f32 and not suan.is_autocast_enabled()


def test_refusals():
    with pytest.raises(TypeError, match=r"\[autocast\] wrong dtype: expected bfloat16 or float16, got"):
        suan.autocast("cpu", dtype=f32)
    with pytest.raises(suan.DeviceError):
        suan.autocast("tpu")
    if not suan.cuda.is_available():
        with pytest.warns(UserWarning, match=r"\[autocast\] off: expected a CUDA device"):
            region = suan.autocast("cuda")
        x = suan.randn(2, 2)
        with region:
            assert (x @ x).dtype == f32 and not suan.is_autocast_enabled("cuda")


def test_gradients_reach_the_float32_weights():
    w, x = leaf(6, 8), suan.randn(4, 8)
    with suan.autocast("cpu"):
        loss = (F.linear(x, w).float() ** 2).sum()
    loss.backward()
    exact, = suan.autograd.grad((F.linear(x, w) ** 2).sum(), w)
    assert w.grad.dtype == f32
    assert (w.grad - exact).abs().max().item() < 0.02 * exact.abs().max().item()


def test_a_weight_is_cast_once_in_a_region():
    w, x = leaf(8, 8), suan.randn(4, 8).bfloat16()

    def calls(**options):
        before = suan.debug.apply_counters()["calls"]
        with suan.autocast("cpu", **options):
            F.linear(F.linear(x, w), w)
        return suan.debug.apply_counters()["calls"] - before

    calls()  # the first of a signature also learns what backward needs
    assert calls() == 3 and calls(cache_enabled=False) == 4
    with suan.autocast("cpu"):
        first = F.linear(x, w)
        with suan.no_grad():
            assert not F.linear(x, w).requires_grad  # nor does it come into the cache
            w.mul_(2.0)
        second = F.linear(x, w)
        assert (second.float() == 2 * first.float()).all()
        second.sum().backward()
        F.linear(x, w).sum().backward()  # the kept cast's history is gone: a new one
    assert w.grad.dtype == f32 and np.isfinite(w.grad.numpy()).all()


@pytest.mark.parametrize("where", ["inside", "around"])
def test_a_compiled_step_gives_the_same_bits(where):
    def run(compiled):
        suan.manual_seed(3)
        model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 5))
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)
        x, labels = suan.randn(24, 16), suan.randint(0, 5, (24,))

        def step(x, labels):
            with suan.autocast("cpu") if where == "inside" else contextlib.nullcontext():
                loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        call = suan.compile(step) if compiled else step
        with suan.autocast("cpu") if where == "around" else contextlib.nullcontext():
            return [call(x, labels).item() for _ in range(8)]

    assert run(True) == run(False)


def test_a_compiled_function_knows_whether_autocast_is_on():
    w = leaf(8, 8)
    product = suan.compile(lambda x: x @ w)
    x = suan.randn(4, 8)
    for _ in range(4):
        assert product(x).dtype == f32
        with suan.autocast("cpu"):
            assert product(x).dtype == bf16


def test_a_checkpointed_part_is_computed_again_in_the_same_dtypes():
    def grads(checkpointed):
        suan.manual_seed(1)
        part = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        x = suan.randn(4, 8, requires_grad=True)
        with suan.autocast("cpu"):
            y = suan.utils.checkpoint.checkpoint(part, x) if checkpointed else part(x)
        assert y.dtype == bf16
        y.float().sum().backward()
        return [g.grad.numpy() for g in [x, *part.parameters()]]

    for a, b in zip(grads(True), grads(False)):
        np.testing.assert_array_equal(a, b)


def test_char_gpt_trains_as_in_float32():
    rng = np.random.default_rng(0)
    words = [rng.integers(1, 27, n) for n in rng.integers(1, 9, 500)]
    text = np.concatenate([np.append(words[i], 0) for i in np.minimum(rng.zipf(1.3, 20000) - 1, 499)])
    starts = rng.integers(0, len(text) - 33, (200, 8))

    def losses(enabled):
        suan.manual_seed(0)
        model = GPT(GPTConfig(vocab=27, block=32, layers=2, heads=2, width=64))
        optimizer = optim.AdamW(model.parameters(), lr=1e-3)

        @suan.compile
        def step(x, y):
            with suan.autocast("cpu", enabled=enabled):
                loss = model(x, y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        out = []
        for at in starts:
            x = np.stack([text[i:i + 32] for i in at])
            y = np.stack([text[i + 1:i + 33] for i in at])
            out.append(step(suan.tensor(x), suan.tensor(y)).item())
        return np.array(out)

    wide, narrow = losses(False), losses(True)
    assert np.isfinite(narrow).all() and wide[-20:].mean() < 0.75 * wide[0]
    assert (wide != narrow).any()
    assert np.abs(narrow / wide - 1).max() < 0.02
