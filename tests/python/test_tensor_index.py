"""Indexing and assignment against NumPy, with gradients."""

import numpy as np
import pytest

import suan

BASE = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
KEYS = [
    0, -1, (0, 1), (slice(None), 1), (slice(0, 2), slice(1, None, 2)), (Ellipsis, 0), (0, Ellipsis, 1),
    None, (None, 0), (slice(None), None, 1), (1, None, slice(1, 3)), (slice(None, None, -1),),
    (slice(None), slice(3, 0, -2)), (slice(5, 9),), (slice(2, 1),), [0, 1, 1], ([0, 1], [2, 0]),
    (slice(None), [2, 0]), (slice(None), slice(None), [[0, 1], [3, 3]]), ([1, 0], slice(None), [1, 2]),
    (Ellipsis, [0, 4, -1]), ([[0], [1]], [0, 2]), (slice(None), [True, False, True]), (0, 1, 2, 3),
    (None, [1, 0], None), (slice(None), [0, 2], slice(1, 3), None), Ellipsis, (), slice(None),
]


def as_key(key):
    """Lists become index tensors for Suan and arrays for NumPy."""
    items = key if isinstance(key, tuple) else (key,)
    ours = tuple(suan.tensor(k) if isinstance(k, list) else k for k in items)
    theirs = tuple(np.array(k) if isinstance(k, list) else k for k in items)
    return ours, theirs


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_read(key):
    ours, theirs = as_key(key)
    x = suan.tensor(BASE)
    got, want = x[ours], BASE[theirs]
    assert tuple(got.shape) == want.shape
    assert got.tolist() == want.tolist()


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_write_number_and_tensor(key):
    ours, theirs = as_key(key)
    x, n = suan.tensor(BASE), BASE.copy()
    x[ours], n[theirs] = -1, -1
    assert x.tolist() == n.tolist()
    if len(set(np.atleast_1d(np.array(key, dtype=object)).ravel().tolist() if isinstance(key, list) else [0])) > 1:
        return  # repeated indices: the winner is not promised
    values = np.random.default_rng(0).standard_normal(BASE[theirs].shape).astype(np.float32)
    x[ours], n[theirs] = suan.tensor(values), values
    assert x.tolist() == n.tolist()


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_gradient_of_read(key):
    ours, theirs = as_key(key)
    x = suan.tensor(BASE, requires_grad=True)
    x[ours].sum().backward()
    want = np.zeros_like(BASE)
    np.add.at(want, theirs, 1)
    assert x.grad.tolist() == want.tolist()


def test_gradient_of_write():
    x = suan.ones(4, 3, requires_grad=True)
    v = suan.ones(3, requires_grad=True)
    y = x * 2
    y[1] = v * 3
    (y * y).sum().backward()
    assert v.grad.tolist() == [18.0] * 3
    assert x.grad.tolist() == [[8.0] * 3, [0.0] * 3, [8.0] * 3, [8.0] * 3]


def test_masks():
    x, n = suan.tensor(BASE), BASE.copy()
    mask = n > 50
    m = suan.tensor(mask)
    assert x[m].tolist() == n[mask].tolist()
    x[m] = 0
    n[mask] = 0
    assert x.tolist() == n.tolist()
    x[m] = suan.arange(int(mask.sum())).float()
    n[mask] = np.arange(mask.sum())
    assert x.tolist() == n.tolist()
    row = suan.tensor([True, False])
    assert x[row].shape == (1, 3, 4, 5)
    x[row] = 7
    assert x[0].min().item() == 7


def test_views_alias():
    x = suan.zeros(3, 4)
    row = x[1]
    row += 5
    assert x[1].tolist() == [5] * 4
    x[:, 0] = 1
    assert row[0].item() == 1
    x.T[2] = 9
    assert x[:, 2].tolist() == [9, 9, 9]
    x[1:, 1:].fill_(-2)
    assert row.tolist() == [1, -2, -2, -2]


def test_errors():
    x = suan.zeros(3, 4)
    for key in (3, (0, 4), (0, 0, 0), suan.tensor([3]), suan.tensor([True] * 4), (Ellipsis, Ellipsis)):
        with pytest.raises(IndexError):
            x[key]
    with pytest.raises(IndexError):
        x[suan.tensor([0.5])]
    with pytest.raises(ValueError):
        x[0] = suan.zeros(5)
    with pytest.raises(ValueError):
        x[::0]
    assert x.sum().item() == 0
