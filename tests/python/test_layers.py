"""Layers and functions of nn against PyTorch's answers (golden/layers.npz): outputs, gradients, second
derivatives; a compiled training step against the same step run op by op; options that are refused."""

import json
import math
import pathlib

import numpy as np
import pytest

import suan
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
    optimizer = suan.optim.SGD(leaves, lr=1e-3)
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
    assert a == b
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
    "packed sequence": (lambda: nn.LSTM(3, 4)((ones(5, 3), [3, 2])), "packed sequences are not supported"),
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
    "feed-forward": (lambda: nn.TransformerEncoderLayer(6, 2, activation="swish"), "wrong activation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=message):
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
