"""Layers and nn.functional against plain NumPy."""

import math

import numpy as np
import pytest

import suan
from suan import nn
from suan.nn import functional as F

rng = np.random.default_rng(0)


def arr(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def t(a):
    return suan.tensor(a)


def close(x, y, tol=1e-5):
    x = x.detach().numpy() if isinstance(x, suan.Tensor) else x
    np.testing.assert_allclose(x, y, rtol=tol, atol=tol)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_linear_and_embedding():
    x, w, b = arr(2, 3, 5), arr(4, 5), arr(4)
    close(F.linear(t(x), t(w), t(b)), x @ w.T + b)
    e = nn.Embedding(7, 3, padding_idx=2)
    i = np.array([[0, 2], [6, 2]])
    y = e(suan.tensor(i))
    close(y, e.weight.detach().numpy()[i])
    y.sum().backward()
    close(e.weight.grad, np.array([[1], [0], [0], [0], [0], [0], [1]]) * np.ones((7, 3)))


def test_activations():
    x = arr(50) * 3
    erf = np.vectorize(math.erf)
    close(F.gelu(t(x)), 0.5 * x * (1 + erf(x / math.sqrt(2))))
    close(
        F.gelu(t(x), "tanh"),
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    )
    close(F.silu(t(x)), x / (1 + np.exp(-x)))
    close(F.softplus(t(x)), np.log1p(np.exp(x)))
    close(F.leaky_relu(t(x), 0.1), np.where(x > 0, x, 0.1 * x))
    close(F.elu(t(x), 0.7), np.where(x > 0, x, 0.7 * np.expm1(x)))
    close(F.logsigmoid(t(x)), -np.log1p(np.exp(-x)))
    close(F.relu6(t(x)), np.clip(x, 0, 6))
    y = arr(3, 4)
    close(F.softmax(t(y), 0), softmax(y, 0))
    close(nn.LogSoftmax(1)(t(y)), np.log(softmax(y, 1)))
    close(F.glu(t(y)), y[:, :2] / (1 + np.exp(-y[:, 2:])))
    with pytest.raises(ValueError, match="wrong approximate"):
        F.gelu(t(x), "fast")


def conv2d(x, w, b, stride, pad, groups=1):
    x = np.pad(x, ((0, 0), (0, 0), pad[0], pad[1]))
    n, _, h, wd = x.shape
    o, ig, kh, kw = w.shape
    oh, ow = (h - kh) // stride + 1, (wd - kw) // stride + 1
    out = np.zeros((n, o, oh, ow))
    for g in range(groups):
        xs, ws = x[:, g * ig : (g + 1) * ig], w[g * o // groups : (g + 1) * o // groups]
        for i in range(oh):
            for j in range(ow):
                patch = xs[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
                out[:, g * o // groups : (g + 1) * o // groups, i, j] = np.einsum(
                    "nchw,ochw->no", patch, ws
                )
    return out + b[None, :, None, None]


@pytest.mark.parametrize(
    "stride,padding,groups,pads",
    [
        (1, "same", 1, ((1, 1), (1, 1))),
        (2, 1, 1, ((1, 1), (1, 1))),
        (1, 0, 2, ((0, 0), (0, 0))),
    ],
)
def test_conv2d(stride, padding, groups, pads):
    x, w, b = arr(2, 4, 7, 6), arr(6, 4 // groups, 3, 3), arr(6)
    layer = nn.Conv2d(4, 6, 3, stride, padding, groups=groups)
    layer.load_state_dict({"weight": t(w), "bias": t(b)})
    expected = conv2d(x, w, b, stride, pads, groups)
    close(layer(t(x)), expected, 1e-4)
    close(layer(t(x)[0]), expected[0], 1e-4)


def test_conv1d_matches_conv2d():
    x, w = arr(2, 3, 9), arr(4, 3, 4)
    y = F.conv1d(t(x), t(w), padding="same")
    close(y, conv2d(x[:, :, None], w[:, :, None], np.zeros(4), 1, ((0, 0), (1, 2)))[:, :, 0], 1e-4)
    with pytest.raises(ValueError, match="does not allow strides"):
        F.conv1d(t(x), t(w), stride=2, padding="same")
    with pytest.raises(ValueError, match="do not group"):
        nn.Conv2d(3, 4, 3, groups=2)


def test_pooling():
    x = arr(2, 3, 6, 8)
    blocks = x.reshape(2, 3, 3, 2, 4, 2)
    close(F.max_pool2d(t(x), 2), blocks.max((3, 5)))
    close(nn.AvgPool2d(2)(t(x)), blocks.mean((3, 5)))
    close(F.adaptive_avg_pool2d(t(x), (3, 4)), blocks.mean((3, 5)))
    close(nn.AdaptiveAvgPool2d(1)(t(x)), x.mean((2, 3), keepdims=True))
    values, indices = F.max_pool2d(t(x), 2, return_indices=True)
    flat = x.reshape(2, 3, -1)
    taken = np.take_along_axis(flat, indices.numpy().reshape(2, 3, -1), 2)
    close(values, taken.reshape(2, 3, 3, 4))
    close(F.max_pool1d(t(x[:, :, 0]), 2), x[:, :, 0].reshape(2, 3, 4, 2).max(3))
    with pytest.raises(ValueError, match="at most half"):
        F.max_pool2d(t(x), 2, padding=2)


def test_pad():
    x = arr(2, 3, 4)
    close(
        F.pad(t(x), (1, 2, 0, 1), value=7.0),
        np.pad(x, ((0, 0), (0, 1), (1, 2)), constant_values=7.0),
    )
    close(F.pad(t(x), (1, 2)), np.pad(x, ((0, 0), (0, 0), (1, 2))))
    close(F.pad(t(x), (1, 2), mode="reflect"), np.pad(x, ((0, 0), (0, 0), (1, 2)), mode="reflect"))
    close(F.pad(t(x), (1, 2), mode="replicate"), np.pad(x, ((0, 0), (0, 0), (1, 2)), mode="edge"))


def test_norms():
    x = arr(4, 6, 5)
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    close(nn.LayerNorm(5)(t(x)), (x - mean) / np.sqrt(var + 1e-5))
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    close(F.layer_norm(t(x), (6, 5)), (x - mean) / np.sqrt(var + 1e-5))
    close(nn.RMSNorm(5, eps=1e-6)(t(x)), x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6))
    g = x.reshape(4, 3, -1)
    expected = (g - g.mean(-1, keepdims=True)) / np.sqrt(g.var(-1, keepdims=True) + 1e-5)
    close(nn.GroupNorm(3, 6)(t(x)), expected.reshape(x.shape))
    with pytest.raises(ValueError, match="wrong trailing dimensions"):
        F.layer_norm(t(x), (6,))


def test_batch_norm_statistics_and_evaluation():
    x = arr(8, 3, 4, 4)
    m = nn.BatchNorm2d(3, momentum=0.2)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    shape = (1, 3, 1, 1)
    close(m(t(x)), (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5), 1e-4)
    close(m.running_mean, 0.2 * mean)
    close(m.running_var, 0.8 + 0.2 * x.var((0, 2, 3), ddof=1))
    assert int(m.num_batches_tracked) == 1
    m.eval()
    rm, rv = m.running_mean.numpy().reshape(shape), m.running_var.numpy().reshape(shape)
    close(m(t(x)), (x - rm) / np.sqrt(rv + 1e-5), 1e-4)
    assert list(m.state_dict()) == [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]
    with pytest.raises(ValueError, match="wrong input rank"):
        m(t(x[0, 0]))
    with pytest.raises(ValueError, match="too few values"):
        nn.BatchNorm1d(3)(suan.ones(1, 3))


@pytest.mark.parametrize("mask", ["none", "causal", "bool", "added"])
def test_attention(mask):
    q, k, v = arr(2, 4, 5, 8), arr(2, 4, 5, 8), arr(2, 4, 5, 8)
    s = q @ k.swapaxes(-1, -2) / math.sqrt(8)
    options = {}
    if mask == "causal":
        s = np.where(np.tril(np.ones((5, 5), bool)), s, -np.inf)
        options["is_causal"] = True
    elif mask == "bool":
        keep = rng.random((2, 1, 5, 5)) < 0.7
        keep[..., 0] = True
        s = np.where(keep, s, -np.inf)
        options["attn_mask"] = suan.tensor(keep)
    elif mask == "added":
        bias = arr(5, 5)
        s = s + bias
        options["attn_mask"] = t(bias)
    close(F.scaled_dot_product_attention(t(q), t(k), t(v), **options), softmax(s) @ v, 1e-4)


def test_attention_grouped_queries_scale_and_three_dimensions():
    q, k, v = arr(2, 4, 5, 8), arr(2, 2, 6, 8), arr(2, 2, 6, 8)
    kk, vv = k.repeat(2, 1), v.repeat(2, 1)
    expected = softmax(q @ kk.swapaxes(-1, -2) * 0.3) @ vv
    close(
        F.scaled_dot_product_attention(t(q), t(k), t(v), scale=0.3, enable_gqa=True), expected, 1e-4
    )
    close(F.scaled_dot_product_attention(t(q[0]), t(kk[0]), t(vv[0]), scale=0.3), expected[0], 1e-4)
    close(F._composed_attention(t(q), t(kk), t(vv), None, 0.0, False, 0.3), expected, 1e-4)
    with pytest.raises(ValueError, match="both a mask and is_causal"):
        F.scaled_dot_product_attention(t(q), t(kk), t(vv), suan.ones(5, 6), is_causal=True)


def test_cross_entropy_forms():
    x, y = arr(6, 5), np.array([0, 4, 2, -100, 1, 1])
    logp = np.log(softmax(x))
    rows = -logp[np.arange(6), np.where(y < 0, 0, y)] * (y >= 0)
    close(F.cross_entropy(t(x), suan.tensor(y)), rows.sum() / 5)
    close(F.cross_entropy(t(x), suan.tensor(y), reduction="none"), rows)
    close(F.cross_entropy(t(x), suan.tensor(y), reduction="sum"), rows.sum())
    w = np.abs(arr(5))
    wy = w[np.where(y < 0, 0, y)] * (y >= 0)
    close(F.cross_entropy(t(x), suan.tensor(y), t(w)), (rows * wy).sum() / wy.sum())
    smooth = 0.9 * rows + 0.1 * -logp.mean(1) * (y >= 0)
    close(F.cross_entropy(t(x), suan.tensor(y), label_smoothing=0.1), smooth.sum() / 5)
    close(F.nll_loss(t(logp), suan.tensor(y)), rows.sum() / 5)
    p = softmax(arr(6, 5))
    close(F.cross_entropy(t(x), t(p)), (-(p * logp).sum(1)).mean())
    img, lab = arr(2, 3, 4, 5), rng.integers(0, 3, (2, 4, 5))
    logq = np.log(softmax(img, 1))
    picked = -np.take_along_axis(logq, lab[:, None], 1)[:, 0]
    close(F.cross_entropy(t(img), suan.tensor(lab), reduction="none"), picked)
    with pytest.raises(ValueError, match="wrong target shape"):
        F.cross_entropy(t(x), suan.tensor(y[:3]))
    with pytest.raises(ValueError, match="wrong reduction"):
        F.cross_entropy(t(x), suan.tensor(y), reduction="average")


def test_linear_cross_entropy_equals_the_pair():
    x, w, y = arr(2, 7, 8), arr(11, 8), rng.integers(0, 11, (2, 7))
    a, b = suan.tensor(x, requires_grad=True), suan.tensor(w, requires_grad=True)
    c, d = suan.tensor(x, requires_grad=True), suan.tensor(w, requires_grad=True)
    fused = F.linear_cross_entropy(a, b, suan.tensor(y))
    plain = F.cross_entropy(F.linear(c, d).reshape(-1, 11), suan.tensor(y).reshape(-1))
    close(fused, plain.detach().numpy())
    fused.backward()
    plain.backward()
    close(a.grad, c.grad.numpy())
    close(b.grad, d.grad.numpy())


def test_regression_losses():
    x, y = arr(4, 3), arr(4, 3)
    d = x - y
    close(F.mse_loss(t(x), t(y)), (d * d).mean())
    close(nn.L1Loss(reduction="sum")(t(x), t(y)), abs(d).sum())
    close(
        F.huber_loss(t(x), t(y), delta=0.5),
        np.where(abs(d) < 0.5, d * d / 2, 0.5 * (abs(d) - 0.25)).mean(),
    )
    close(
        F.smooth_l1_loss(t(x), t(y), beta=0.5), np.where(abs(d) < 0.5, d * d, abs(d) - 0.25).mean()
    )
    z = (y > 0).astype(np.float32)
    bce = np.maximum(x, 0) - x * z + np.log1p(np.exp(-abs(x)))
    close(F.binary_cross_entropy_with_logits(t(x), t(z)), bce.mean())
    pos = np.array([1.0, 2.0, 3.0], np.float32)
    close(
        F.binary_cross_entropy_with_logits(t(x), t(z), pos_weight=t(pos)),
        (z * pos * np.log1p(np.exp(-x)) + (1 - z) * (x + np.log1p(np.exp(-x)))).mean(),
        1e-4,
    )
    p, logq = softmax(x), np.log(softmax(y))
    close(F.kl_div(t(logq), t(p), reduction="batchmean"), (p * (np.log(p) - logq)).sum() / 4)


def test_dropout():
    suan.manual_seed(3)
    x = suan.ones(10000)
    y = F.dropout(x, 0.25).numpy()
    assert set(np.unique(y)) <= {0.0, np.float32(1 / 0.75)} and abs((y == 0).mean() - 0.25) < 0.03
    suan.manual_seed(3)
    assert np.array_equal(F.dropout(x, 0.25).numpy(), y)
    assert not np.array_equal(F.dropout(x, 0.25).numpy(), y)
    assert nn.Dropout(0.5).eval()(x) is x
    with pytest.raises(ValueError, match="wrong probability"):
        nn.Dropout(1.5)


def test_clipping_and_vectors():
    a, b = suan.tensor(arr(3, 4), requires_grad=True), suan.tensor(arr(5), requires_grad=True)
    ga, gb = arr(3, 4) * 5, arr(5) * 5
    a.grad, b.grad = t(ga), t(gb)
    norm = math.sqrt((ga**2).sum() + (gb**2).sum())
    close(nn.utils.clip_grad_norm_([a, b], 1.0), norm)
    close(a.grad, ga / (norm + 1e-6))
    close(nn.utils.clip_grad_norm_([a, b], 10.0), 1.0, 1e-4)
    close(nn.utils.get_total_norm([t(ga), t(gb)], float("inf")), max(abs(ga).max(), abs(gb).max()))
    nn.utils.clip_grad_value_([a, b], 0.01)
    assert abs(a.grad.numpy()).max() <= np.float32(0.01)
    v = nn.utils.parameters_to_vector([a, b])
    assert tuple(v.shape) == (17,)
    nn.utils.vector_to_parameters(v.detach() * 0, [a, b])
    assert float(a.abs().sum()) == 0.0
    a.grad = t(ga * np.inf)
    with pytest.raises(RuntimeError, match="not finite"):
        nn.utils.clip_grad_norm_([a], 1.0, error_if_nonfinite=True)
