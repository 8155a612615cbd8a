"""Batches gathered by threads are those of the loader without, in the same order."""

import threading
from pathlib import Path

import numpy as np
import pytest

import suan
from suan import data


def tensors():
    return data.TensorDataset(suan.arange(103), suan.randn(103, 3, 4), suan.rand(103, 2).to(suan.bfloat16))


def images():
    random = np.random.default_rng(0)
    return data.ImageDataset(random.integers(0, 256, (103, 5, 6), np.uint8), random.integers(0, 10, 103), 0.3, 0.4)


def tokens(folder):
    np.random.default_rng(1).integers(0, 60000, 250).astype(np.uint16).tofile(folder / "train.bin")
    return data.TokenBlocks(folder / "train.bin", block=16, stride=2)


def texts():
    return data.TextBlocks(np.random.default_rng(2).integers(0, 99, 90), block=7)


def batches(dataset, **options):
    return [[t.numpy() if t.dtype != suan.bfloat16 else t.float().numpy() for t in batch]
            for batch in data.DataLoader(dataset, 10, seed=5, **options)]


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert len(x) == len(y)
        for p, q in zip(x, y, strict=True):
            assert p.dtype == q.dtype
            np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize("kind", ["tensors", "images", "tokens", "texts"])
@pytest.mark.parametrize("threads", [1, 3])
def test_same_batches(kind, threads, tmp_path):
    dataset = tokens(tmp_path) if kind == "tokens" else globals()[kind]()
    same(batches(dataset, shuffle=True), batches(dataset, shuffle=True, num_threads=threads))
    same(batches(dataset, drop_last=True), batches(dataset, drop_last=True, num_threads=threads, prefetch_factor=1))


def test_resumes_and_stops_its_threads():
    dataset = tensors()
    plain = batches(dataset, shuffle=True)
    loader = data.DataLoader(dataset, 10, seed=5, shuffle=True, num_threads=2)
    running = threading.active_count(), len(list(Path("/proc/self/task").iterdir()))
    loop = iter(loader)
    for _ in range(4):
        next(loop)
    assert len(list(Path("/proc/self/task").iterdir())) == running[1] + 2
    state = loader.state_dict()
    loop.close()
    assert len(list(Path("/proc/self/task").iterdir())) == running[1]
    resumed = data.DataLoader(dataset, 10, shuffle=True, num_threads=3)
    resumed.load_state_dict(state)
    same(plain[4:], [[t.float().numpy() if t.dtype == suan.bfloat16 else t.numpy() for t in b] for b in resumed])


def test_batches_are_independent():
    first, second = list(data.DataLoader(tensors(), 60, num_threads=1))
    first[1].zero_()
    assert second[1].abs().sum() > 0


def test_bad_requests(tmp_path):
    with pytest.raises(IndexError, match=r"expected 0 to 102, got 103"):
        list(data.DataLoader(tensors(), 2, sampler=[1, 2, 3, 103], num_threads=2))
    loop = iter(data.DataLoader(tensors(), 2, sampler=[1, 2, 103, 4], num_threads=2))
    assert next(loop)[0].tolist() == [1, 2]  # what comes before is not lost
    with pytest.raises(IndexError):
        next(loop)
    with pytest.raises(TypeError, match="expected a dataset with columns"):
        data.DataLoader([1, 2, 3], 2, num_threads=2)
    with pytest.raises(ValueError, match="one of num_threads and num_workers"):
        data.DataLoader(tensors(), 2, num_threads=2, num_workers=1)
    with pytest.raises(ValueError, match="no collate_fn"):
        data.DataLoader(tensors(), 2, num_threads=2, collate_fn=list)
    with pytest.raises(ValueError, match="wrong num_threads"):
        data.DataLoader(tensors(), 2, num_threads=-1)

    class Scattered(data.TensorDataset):
        def columns(self):
            return [data.Column(suan.zeros(103, 4, 3).transpose(1, 2), suan.float32)]

    with pytest.raises(ValueError, match="elements of a row side by side"):
        list(data.DataLoader(Scattered(suan.zeros(103)), 2, num_threads=1))

    class Uneven(data.TensorDataset):
        def columns(self):
            return [data.Column(suan.zeros(103), suan.float32), data.Column(suan.zeros(5), suan.float32)]

    with pytest.raises(ValueError, match="expected 103 rows, got 5"):
        list(data.DataLoader(Uneven(suan.zeros(103)), 2, num_threads=1))

    class WrongTable(data.TensorDataset):
        def columns(self):
            return [data.Column(suan.zeros(103), suan.float32, suan.zeros(256))]

    with pytest.raises(TypeError, match="256 values for uint8 rows"):
        list(data.DataLoader(WrongTable(suan.zeros(103)), 2, num_threads=1))
