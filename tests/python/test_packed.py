"""Packed sequences: recurrent layers give what each sequence alone gives."""

import numpy as np
import pytest

import suan
from suan import nn
from suan.nn.utils.rnn import (
    PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence, unpack_sequence,
)

LENGTHS = [3, 7, 1, 7, 5]


def sequences(size=4, dtype=suan.float64):
    rng = np.random.default_rng(0)
    return [suan.tensor(rng.standard_normal((n, size)), dtype=dtype) for n in LENGTHS]


def test_packing_is_torchs():
    packed = pack_sequence([suan.tensor([1, 2, 3]), suan.tensor([4, 5]), suan.tensor([6])])
    assert packed.data.tolist() == [1, 4, 6, 2, 5, 3] and packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices is None and packed.unsorted_indices is None
    turned = pack_sequence([suan.tensor([6]), suan.tensor([1, 2, 3]), suan.tensor([4, 5])], enforce_sorted=False)
    assert turned.data.tolist() == packed.data.tolist()
    assert turned.sorted_indices.tolist() == [1, 2, 0] and turned.unsorted_indices.tolist() == [2, 0, 1]
    padded, lengths = pad_packed_sequence(turned, batch_first=True, padding_value=-1, total_length=4)
    assert padded.tolist() == [[6, -1, -1, -1], [1, 2, 3, -1], [4, 5, -1, -1]] and lengths.tolist() == [1, 3, 2]


def test_there_and_back():
    given = sequences()
    packed = pack_sequence(given, enforce_sorted=False)
    assert packed.data.shape == (sum(LENGTHS), 4) and isinstance(packed.to(suan.float32), PackedSequence)
    for a, b in zip(given, unpack_sequence(packed), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("make", [
    lambda: nn.LSTM(4, 3, num_layers=2, bidirectional=True, dtype=suan.float64),
    lambda: nn.LSTM(4, 5, batch_first=True, proj_size=2, bidirectional=True, dtype=suan.float64),
    lambda: nn.GRU(4, 3, num_layers=2, batch_first=True, dtype=suan.float64),
    lambda: nn.GRU(4, 3, bidirectional=True, bias=False, dtype=suan.float64),
    lambda: nn.RNN(4, 3, num_layers=2, bidirectional=True, nonlinearity="relu", dtype=suan.float64),
])
@pytest.mark.parametrize("given_state", [False, True])
def test_each_sequence_is_as_alone(make, given_state):
    suan.manual_seed(1)
    layer, xs = make(), sequences()
    first = layer.batch_first
    runs = layer.num_layers * (2 if layer.bidirectional else 1)
    state = None
    if given_state:
        state = tuple(suan.randn(runs, len(xs), n, dtype=suan.float64) for n in layer._sizes())
    pair = isinstance(layer, nn.LSTM)
    at = lambda b: None if state is None else [s[:, b:b + 1] for s in state]   # noqa: E731
    hand = lambda s: s if s is None or pair else s[0]   # noqa: E731
    packed = pack_sequence(xs, enforce_sorted=False)
    packed = packed._replace(data=packed.data.requires_grad_())
    out, last = layer(packed, hand(state))
    padded, lengths = pad_packed_sequence(out, batch_first=True)
    assert lengths.tolist() == LENGTHS
    loss = padded.square().sum() + sum(s.sum() for s in (last if pair else [last]))
    loss.backward()
    grads = [p.grad.clone() for p in layer.parameters()]
    inner = unpack_sequence(packed._replace(data=packed.data.grad))
    layer.zero_grad()
    alone = 0
    for b, x in enumerate(xs):
        x = x.clone().requires_grad_()
        y, s = layer(x.unsqueeze(0 if first else 1), hand(at(b)))
        np.testing.assert_allclose(padded[b, :LENGTHS[b]].detach().numpy(), y.squeeze(0 if first else 1).detach().numpy(),
                                   rtol=1e-12, atol=1e-14)
        assert not padded[b, LENGTHS[b]:].any()
        for whole, own in zip(last if pair else [last], s if pair else [s], strict=True):
            np.testing.assert_allclose(whole[:, b].detach().numpy(), own[:, 0].detach().numpy(), rtol=1e-12, atol=1e-14)
        part = y.square().sum() + sum(t.sum() for t in (s if pair else [s]))
        part.backward()
        np.testing.assert_allclose(inner[b].numpy(), x.grad.numpy(), rtol=1e-10, atol=1e-12)
        alone += part.item()
    assert loss.item() == pytest.approx(alone, rel=1e-12)
    for a, p in zip(grads, layer.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), p.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_lengths_are_data_that_a_compiled_function_cannot_read():
    layer = nn.GRU(4, 3)
    packed = pack_sequence(sequences(dtype=suan.float32), enforce_sorted=False)
    with pytest.raises(suan.StateError, match="data-dependent value in a compiled function"):
        suan.compile(lambda data: layer(packed._replace(data=data))[0].data)(packed.data)


def test_bad_input():
    x = suan.zeros(4, 2, 3)
    with pytest.raises(ValueError, match=r"expected one for each sequence of \(4, 2, 3\), got 3"):
        pack_padded_sequence(x, [1, 1, 1])
    with pytest.raises(ValueError, match=r"expected 1 to 4, got \[5, 1\]"):
        pack_padded_sequence(x, [5, 1])
    with pytest.raises(ValueError, match=r"expected descending ones or enforce_sorted=False, got \[1, 2\]"):
        pack_padded_sequence(x, suan.tensor([1, 2]))
    packed = pack_padded_sequence(x, [4, 2])
    with pytest.raises(ValueError, match="total_length: expected at least 4, got 3"):
        pad_packed_sequence(packed, total_length=3)
    with pytest.raises(ValueError, match=r"expected \[steps, 5\], got \(6, 3\)"):
        nn.LSTM(5, 2)(packed)
    with pytest.raises(ValueError, match="wrong shape of the hidden state"):
        nn.GRU(3, 2)(packed, suan.zeros(1, 3, 2))
    with pytest.raises(TypeError, match="expected Tensor or PackedSequence, got list"):
        nn.GRU(3, 2)([x])
