"""Layers and functions of nn against PyTorch's answers (golden/layers.npz): outputs, gradients, second
derivatives; a compiled training step against the same step run op by op; options that are refused."""

import json
import math
import pathlib

import numpy as np
import pytest

import suan
import tensor_cases  # noqa: F401  (adds its cases)
from layer_cases import CASES, flat, weighted
from suan import nn
from suan.nn import functional as F



def load_answers():
    """{case: {result: array}}; the file is one row of numbers and where each result lies in it."""
    with np.load(pathlib.Path(__file__).parent / "golden" / "layers.npz") as file:
        values, index = file["values"], json.loads(str(file["index"]))
    return {name: {key: values[at:at + math.prod(shape)].reshape(shape).astype(kind)
                   for key, (at, shape, kind) in results.items()} for name, results in index.items()}


ANSWERS = load_answers()


def test_every_case_has_answers():
    assert ANSWERS.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_torchs_answers(name):
    found, expected = CASES[name].run(suan, nn, F, suan.float64), dict(ANSWERS[name])
    if not any(key.startswith("dd ") for key in expected):  # torch has no second derivative there
        found = {key: value for key, value in found.items() if not key.startswith("dd ")}
    for key in [key for key in found.keys() ^ expected.keys() if key.startswith("d")]:
        rest = found.pop(key, None), expected.pop(key, None)  # one says zero, the other that there is no path
        assert not any(np.any(value) for value in rest if value is not None), key
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert (found[key].shape, found[key].dtype.kind) == (value.shape, value.dtype.kind), key
        np.testing.assert_allclose(found[key], value, rtol=2e-6, atol=2e-6, err_msg=key)


def train(case, compiled):
    """Losses and final values of four SGD steps on everything that takes a gradient."""
    call, inputs, parameters = case.build(suan, nn, F, suan.float32)
    leaves = [x for x in inputs if getattr(x, "requires_grad", False)] + list(parameters.values())
    optimizer = suan.optim.SGD(leaves, lr=1e-5)
    weights = case.weights(suan, flat(call(*inputs)), suan.float32)

    def step():
        optimizer.zero_grad()
        loss = weighted(flat(call(*inputs)), weights)
        loss.backward()
        optimizer.step()
        return loss

    run = suan.compile(step) if compiled else step
    losses = [float(run()) for _ in range(4)]
    assert not compiled or run.stats()[0]["ready"]
    return losses, [x.detach().numpy() for x in leaves]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.compiled and "d in0" in ANSWERS[name]])
def test_a_compiled_step_has_the_same_bits(name):
    (a, x), (b, y) = train(CASES[name], False), train(CASES[name], True)
    assert a == b and len(set(a)) > 1 and all(map(math.isfinite, a))
    for i, j in zip(x, y):
        np.testing.assert_array_equal(i, j)


ones = suan.ones

REFUSED = {
    "rnn input": (lambda: nn.RNN(3, 4)(ones(5, 2, 2)), r"\[RNN\] wrong shape of input: .* the last of 3, got \(5, 2, 2\)"),
    "rnn state": (lambda: nn.GRU(3, 4)(ones(5, 2, 3), ones(1, 3, 4)),
                  r"\[GRU\] wrong shape of the hidden state: expected \(1, 2, 4\), got \(1, 3, 4\)"),
    "lstm state": (lambda: nn.LSTM(3, 4)(ones(5, 2, 3), ones(1, 2, 4)), r"\[LSTM\] wrong state: expected a pair"),
    "lstm cell state": (lambda: nn.LSTM(3, 4)(ones(5, 2, 3), (ones(1, 2, 4), ones(1, 2, 3))),
                        r"wrong shape of the cell state: expected \(1, 2, 4\), got \(1, 2, 3\)"),
    "packed sequence": (lambda: nn.LSTM(3, 4)((ones(5, 3), [3, 2])), "expected Tensor or PackedSequence, got tuple"),
    "no steps": (lambda: nn.RNN(3, 4)(ones(0, 2, 3)), r"\[RNN\] empty sequence: expected at least 1 step, got 0"),
    "nonlinearity": (lambda: nn.RNN(3, 4, nonlinearity="gelu"), r"\[RNN\] wrong nonlinearity"),
    "projection": (lambda: nn.LSTM(3, 4, proj_size=4), r"\[LSTM\] wrong proj_size: expected 0 to 3, got 4"),
    "dropout": (lambda: nn.GRU(3, 4, dropout=1.5), r"\[GRU\] wrong dropout: expected 0 to 1, got 1.5"),
    "cell input": (lambda: nn.GRUCell(3, 4)(ones(2, 4)), r"\[GRUCell\] wrong input: expected \[batch, 3\]"),
    "cell state": (lambda: nn.RNNCell(3, 4)(ones(2, 3), ones(2, 3)), r"wrong shape of the hidden state"),
    "heads": (lambda: nn.MultiheadAttention(6, 4), "heads do not divide"),
    "attention mask": (lambda: nn.MultiheadAttention(6, 2)(*[ones(4, 2, 6)] * 3, attn_mask=ones(3, 4)),
                       r"wrong shape of attn_mask: expected \(4, 4\) or \(4, 4, 4\), got \(3, 4\)"),
    "attention mask type": (lambda: nn.MultiheadAttention(6, 2)(*[ones(4, 2, 6)] * 3, attn_mask=ones(4, 4).long()),
                            "wrong type of attn_mask: expected a bool or floating Tensor, got int64"),
    "causal without a mask": (lambda: nn.MultiheadAttention(6, 2)(*[ones(4, 2, 6)] * 3, is_causal=True),
                              "is_causal without a mask: expected attn_mask, got None"),
    "key width": (lambda: nn.MultiheadAttention(6, 2)(ones(4, 2, 6), ones(4, 2, 5), ones(4, 2, 5)),
                  "wrong shape of key"),
    "output padding": (lambda: F.conv_transpose2d(ones(1, 2, 3, 3), ones(2, 3, 3, 3), output_padding=1),
                       r"\[conv_transpose2d\] wrong output_padding: expected less than stride \(1, 1\)"),
    "output size": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=3)(ones(1, 2, 2, 3), [9, 9]),
                    r"wrong output_size: expected \[6, 9\] to \[8, 11\], got \[9, 9\]"),
    "padding mode": (lambda: nn.ConvTranspose1d(2, 3, 3, padding_mode="reflect"), "wrong padding_mode"),
    "circular width": (lambda: F.pad(ones(1, 1, 3), (4, 0), mode="circular"), "wrong circular width"),
    "pixel shuffle": (lambda: F.pixel_shuffle(ones(1, 6, 2, 2), 2), r"\[pixel_shuffle\] channels do not divide"),
    "windows": (lambda: F.unfold(ones(1, 1, 2, 2), 3), r"\[unfold\] windows do not fit"),
    "fold": (lambda: F.fold(ones(1, 4, 5), (4, 4), 2), r"\[fold\] wrong input shape: .* got \(1, 4, 5\)"),
    "interpolate rank": (lambda: F.interpolate(ones(1, 1, 3), 4, mode="bilinear"), "wrong input rank for bilinear"),
    "interpolate mode": (lambda: F.interpolate(ones(1, 1, 3), 4, mode="cubic"), "unknown mode"),
    "antialias": (lambda: F.interpolate(ones(1, 1, 3, 3), 2, mode="bilinear", antialias=True), "antialias is not"),
    "size and scale": (lambda: F.interpolate(ones(1, 1, 3), 4, 2.0), "expected one of size and scale_factor, got both"),
    "corners of nearest": (lambda: F.interpolate(ones(1, 1, 3), 4, align_corners=False), "has no meaning"),
    "grid": (lambda: F.grid_sample(ones(1, 1, 3, 3), ones(2, 2, 2, 2)), r"\[grid_sample\] wrong shapes"),
    "grid mode": (lambda: F.grid_sample(ones(1, 1, 3, 3), ones(1, 2, 2, 2), "cubic"), "wrong mode"),
    "theta": (lambda: F.affine_grid(ones(1, 2, 2), (1, 1, 3, 3)), r"\[affine_grid\] wrong shapes"),
    "prelu": (lambda: nn.PReLU(2)(ones(1, 3)), "wrong number of weights: expected 1 or 3, got 2"),
    "celu": (lambda: F.celu(ones(1), 0), "wrong alpha"),
    "channel dropout": (lambda: F.dropout2d(ones(2, 2)), "wrong input rank: expected 3 or 4, got 2"),
    "instance norm": (lambda: nn.InstanceNorm2d(3)(ones(1, 2, 4, 4)), r"wrong input: expected \[batch, 3, ...\]"),
    "one value a channel": (lambda: nn.InstanceNorm1d(2)(ones(3, 2, 1)), "too few values per channel"),
    "sparse bags": (lambda: nn.EmbeddingBag(3, 2, sparse=True), "sparse is not supported"),
    "bags without offsets": (lambda: nn.EmbeddingBag(3, 2)(ones(4).long()), "or of 1 with offsets"),
    "largest by offsets": (lambda: nn.EmbeddingBag(3, 2, mode="max")(ones(4).long(), ones(1).long()),
                           "mode max with offsets is not supported"),
    "regions": (lambda: F.adaptive_max_pool2d(ones(1, 1, 3, 3), (2, 0)), "wrong output_size: expected 2 positive ints"),
    "region rank": (lambda: nn.AdaptiveMaxPool1d(2)(ones(3)), "wrong input rank: expected 3 .* got 1"),
    "unpool indices": (lambda: F.max_unpool1d(ones(1, 1, 3), ones(1, 1, 2).long(), 2), "wrong indices: expected int64 of"),
    "unpool place": (lambda: F.max_unpool1d(ones(1, 1, 1), ones(1, 1, 1).long() * 2, 2), "index out of range"),
    "unpool size": (lambda: F.max_unpool2d(ones(1, 1, 2, 2), ones(1, 1, 2, 2).long(), 2, output_size=(4, 6)),
                    r"wrong output_size: expected within less than stride \(2, 2\) of \(4, 4\), got \(4, 6\)"),
    "response": (lambda: F.local_response_norm(ones(2, 3), 2), "wrong input rank: expected at least 3, got 2"),
    "labels": (lambda: F.multilabel_margin_loss(ones(2, 3), ones(2, 2).long()), "wrong shapes"),
    "bce": (lambda: F.binary_cross_entropy(ones(3), ones(2)), "wrong target shape"),
    "reduction": (lambda: F.soft_margin_loss(ones(3), ones(3), "average"), "wrong reduction"),
    "ctc blank": (lambda: F.ctc_loss(ones(3, 1, 4), ones(1, 2).long(), [3], [2], blank=4), "wrong log_probs or blank"),
    "ctc lengths": (lambda: F.ctc_loss(ones(3, 2, 4), ones(2, 2).long(), [3], [2, 2]),
                    "wrong number of input_lengths: expected 2, got 1"),
    "multi margin": (lambda: F.multi_margin_loss(ones(2, 3), ones(3).long()), "wrong shapes"),
    "kthvalue": (lambda: suan.kthvalue(ones(3), 4), r"\[kthvalue\] k out of range: expected 1 to 3, got 4"),
    "quantile": (lambda: suan.quantile(ones(3), 1.5), "q out of range"),
    "interpolation": (lambda: suan.quantile(ones(3), 0.5, interpolation="cubic"), "wrong interpolation"),
    "searchsorted": (lambda: suan.searchsorted(ones(2, 3), ones(3, 3)), "leading dimensions differ"),
    "bincount": (lambda: suan.bincount(suan.tensor([1, -2])), "negative number: expected 0 or more, got -2"),
    "histc": (lambda: suan.histc(ones(3), 0), "wrong bins"),
    "unique of rows": (lambda: suan.unique(ones(2, 2), dim=0), "dim is not supported"),
    "scatter_reduce": (lambda: suan.scatter_reduce(ones(2), 0, ones(2).long(), ones(2), "max"),
                       r"\[scatter_reduce\] bad reduce: expected 'sum', 'mean', .*, got 'max'"),
    "mean of whole numbers": (lambda: ones(2).long().scatter_reduce(0, ones(2).long(), ones(2).long(), "mean"),
                              "bad dtype for 'mean'"),
    "nextafter": (lambda: suan.nextafter(ones(2), ones(2).double()), r"\[nextafter\] wrong dtypes"),
    "cov": (lambda: suan.cov(ones(1, 2, 3)), r"\[cov\] wrong input rank: expected at most 2, got 3"),
    "weights of cov": (lambda: suan.cov(ones(2, 3), aweights=ones(2)), r"wrong shape of aweights: expected \(3,\)"),
    "vander": (lambda: suan.vander(ones(2, 2)), "wrong input rank: expected 1, got 2"),
    "trapezoid": (lambda: suan.trapezoid(ones(2, 3), ones(4)), r"\[trapezoid\] wrong size of x: expected 3, got 4"),
    "masked_scatter": (lambda: ones(4).masked_scatter(ones(4) > 0, ones(3)), "index out of range"),
    "is_nonzero": (lambda: suan.is_nonzero(ones(2)), "expected one element, got 2"),
    "fill_diagonal_": (lambda: ones(2, 3, 2).fill_diagonal_(0), "expected a matrix or equal sizes"),
    "dirac": (lambda: nn.init.dirac_(ones(3, 2, 2), 2), r"\[dirac_\] wrong shape"),
    "fold in training": (lambda: nn.utils.fuse_conv_bn_eval(nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2)), "layers in training"),
    "fold sizes": (lambda: nn.utils.fuse_linear_bn_eval(nn.Linear(2, 3), nn.BatchNorm1d(2)), "expected a norm of 3"),
    "fold nothing": (lambda: nn.utils.fuse_conv_bn_eval(nn.Conv1d(2, 2, 1).eval(), nn.BatchNorm1d(
        2, track_running_stats=False).eval()), "no running statistics"),
    "cross": (lambda: suan.cross(ones(2), ones(2)), "no dimension of size 3"),
    "cdist": (lambda: suan.cdist(ones(2, 3), ones(2, 4)), r"\[cdist\] wrong shapes"),
    "tensor_split": (lambda: suan.tensor_split(ones(3), 0), "wrong number of pieces"),
    "diff": (lambda: suan.diff(ones(3), -1), "wrong order"),
    "feed-forward": (lambda: nn.TransformerEncoderLayer(6, 2, activation="swish"), "wrong activation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        call()


def test_dropout_between_recurrent_layers_only_in_training():
    suan.manual_seed(0)
    layer, x = nn.LSTM(8, 16, 2, dropout=0.5), suan.randn(6, 4, 8)
    a, b = layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy()
    assert not np.array_equal(a, b)
    layer.eval()
    plain = nn.LSTM(8, 16, 2)
    plain.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), plain(x)[0].detach().numpy())
    one = nn.LSTM(8, 16, 1, dropout=0.5)  # nothing follows the only layer
    np.testing.assert_array_equal(one(x)[0].detach().numpy(), one(x)[0].detach().numpy())


def test_copies_of_a_layer_do_not_share_weights():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2)
    first, second = (layer.linear1.weight for layer in encoder.layers)
    assert isinstance(second, nn.Parameter)
    np.testing.assert_array_equal(first.detach().numpy(), second.detach().numpy())
    with suan.no_grad():
        first.fill_(0)
    assert second.abs().sum().item() > 0


def test_dropout_of_channels():
    suan.manual_seed(0)
    for layer, shape in ((nn.Dropout1d(0.5), (8, 9, 4)), (nn.Dropout2d(0.5), (8, 9, 2, 2)),
                         (nn.Dropout3d(0.5), (8, 9, 2, 2, 1)), (nn.FeatureAlphaDropout(0.5), (8, 9, 4))):
        y = layer(ones(*shape)).numpy().reshape(8, 9, -1)
        assert (y == y[..., :1]).all() and len(np.unique(y)) == 2
        assert layer.eval()(ones(*shape)).numpy().min() == 1
    y = nn.Dropout1d(0.5)(ones(64, 4)).numpy()  # without a batch: one draw a channel
    assert (y == y[:, :1]).all() and len(np.unique(y)) == 2


def test_alpha_dropout_keeps_mean_and_variance():
    suan.manual_seed(0)
    y = nn.AlphaDropout(0.3)(suan.randn(200000)).numpy()
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.02
    assert abs(np.unique(y, return_counts=True)[1].max() / y.size - 0.3) < 0.01  # those dropped share one value


def test_rrelu_draws_slopes_in_training():
    suan.manual_seed(0)
    y = -nn.RReLU(0.1, 0.4)(-ones(10000)).numpy()
    assert 0.1 <= y.min() < 0.11 and 0.39 < y.max() <= 0.4 and abs(y.mean() - 0.25) < 0.01


def test_gumbel_softmax_draws_by_probability():
    suan.manual_seed(0)
    p = np.array([0.2, 0.7, 0.1], np.float32)
    logits = suan.tensor(np.log(p)).expand(20000, 3).contiguous().requires_grad_()
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    assert set(np.unique(hard.detach().numpy().round(6))) == {0.0, 1.0}
    np.testing.assert_allclose(hard.detach().numpy().mean(0), p, atol=0.015)
    (hard * suan.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert logits.grad.abs().sum().item() > 0  # the soft one's gradient
    soft = F.gumbel_softmax(logits.detach(), tau=2.0)
    np.testing.assert_allclose(soft.numpy().sum(1), 1, rtol=1e-5)


def test_losses_at_the_edge_are_finite():
    x = suan.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(x, suan.tensor([1.0, 0.0, 0.0, 1.0]), reduction="none")
    np.testing.assert_array_equal(loss.detach().numpy(), [100, 100, 0, 0])
    loss.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    zero = suan.zeros(2, 3, requires_grad=True)
    F.cosine_similarity(zero, ones(2, 3)).sum().backward()
    assert np.isfinite(zero.grad.numpy()).all()
    short = suan.zeros(2, 1, 3, requires_grad=True)  # two steps cannot hold a label twice
    assert float(F.ctc_loss(short, suan.tensor([[1, 1]]), [2], [2])) == math.inf
    F.ctc_loss(short, suan.tensor([[1, 1]]), [2], [2], zero_infinity=True).backward()
    np.testing.assert_array_equal(short.grad.numpy(), 0)


def test_a_compiled_module_has_eager_gradients():
    x = suan.randn(5, 2, 3)
    layer = nn.LSTM(3, 4, 2)
    compiled = suan.compile(layer)
    for _ in range(4):
        grads = []
        for call in (layer, compiled):
            layer.zero_grad()
            y, (h, c) = call(x)
            ((y * y).sum() + c.sum()).backward()
            grads.append([p.grad.numpy().copy() for p in layer.parameters()])
        for a, b in zip(*grads):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_float32_limits():
    big = suan.tensor([1e30, 3e38])
    np.testing.assert_allclose(suan.hypot(big, big).numpy()[0], 2**0.5 * 1e30, rtol=1e-6)
    limits = suan.finfo(suan.float32)
    edges = suan.tensor([math.nan, math.inf, -math.inf, 2.0])
    np.testing.assert_array_equal(suan.nan_to_num(edges).numpy(), np.float32([0, limits.max, limits.min, 2]))


def test_a_grid_of_nan_samples_nan_and_nothing_breaks():
    grid = suan.tensor([[[[math.nan, 0.0], [0.0, 0.0]]]])
    y = F.grid_sample(ones(1, 1, 3, 3), grid, padding_mode="border").numpy().ravel()
    assert math.isnan(y[0]) and y[1] == 1


def test_functions_that_torch_has_twice():
    for name in suan._NN_NAMES:
        assert getattr(suan, name) is getattr(F, name)


def test_nextafter_steps_one_bit_in_every_dtype():
    for dtype in ("float16", "float32", "float64"):
        x = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.finfo(dtype).max, np.finfo(dtype).tiny, 2], dtype)
        y = x[::-1].copy()
        with np.errstate(over="ignore"):
            expected = np.nextafter(x, y)
        got = suan.nextafter(suan.tensor(x), suan.tensor(y)).numpy()
        different = x != y  # of two equal zeros NumPy's float16 gives the first, C and torch the second
        np.testing.assert_array_equal(got[different].view(f"i{got.itemsize}"),
                                      expected[different].view(f"i{got.itemsize}"))
    one = ones(1).bfloat16()
    assert suan.nextafter(one, one * 2).item() == 1 + 2**-7 and suan.nextafter(one, one * 0).item() == 1 - 2**-8


def test_sparse_weights():
    suan.manual_seed(0)
    w = nn.init.sparse_(suan.empty(10, 400), 0.25, 2.0).numpy()
    assert ((w == 0).sum(0) == 3).all() and abs(w[w != 0].std() - 2) < 0.1
    assert len({tuple(np.flatnonzero(column == 0)) for column in w.T}) > 50
    with pytest.raises(ValueError, match="wrong rank: expected 2 dimensions"):
        nn.init.sparse_(suan.empty(3), 0.5)


@pytest.mark.parametrize("norm", [0.5, 100.0])
def test_clipping_with_a_norm_found_before(norm):
    a, b = (suan.ones(3, requires_grad=True) for _ in range(2))
    for p in (a, b):
        (p * suan.tensor([1.0, 2.0, 4.0])).sum().backward()
    nn.utils.clip_grads_with_norm_([a], norm, nn.utils.get_total_norm([a.grad]))
    nn.utils.clip_grad_norm_([b], norm)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-6)
    assert (a.grad.numpy()[2] == 4) == (norm == 100.0)
