"""Samplers: orders that depend on seed and epoch, their parts on ranks, and the loader's position in them."""

import numpy as np
import pytest

import suan
from suan import data


def test_random_orders():
    source = list(range(10))
    sampler = data.RandomSampler(source, seed=2)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == source and first != second
    assert list(data.RandomSampler(source, seed=2)) == first and list(data.RandomSampler(source, seed=3)) != first
    assert list(data.SequentialSampler(source)) == source
    long = list(data.RandomSampler(source, num_samples=25, seed=1))
    assert len(long) == 25 and sorted(long[:10]) == source
    drawn = list(data.RandomSampler(source, replacement=True, num_samples=500, seed=1))
    assert len(drawn) == 500 and np.bincount(drawn, minlength=10).min() > 20
    assert sorted(data.SubsetRandomSampler([4, 7, 9], seed=1)) == [4, 7, 9]
    orders = []
    for _ in range(2):
        suan.manual_seed(8)
        orders.append(list(data.RandomSampler(source)))
    assert orders[0] == orders[1]


def test_weights():
    drawn = list(data.WeightedRandomSampler([1, 0, 3], 4000, seed=1))
    counts = np.bincount(drawn, minlength=3)
    assert counts[1] == 0 and 2.5 < counts[2] / counts[0] < 3.5
    once = list(data.WeightedRandomSampler(suan.tensor([1.0, 0.0, 3.0]), 2, replacement=False, seed=1))
    assert sorted(once) == [0, 2]
    for bad in ([], [-1.0], [0.0], [float("nan")], [[1.0]]):
        with pytest.raises(ValueError, match="wrong weights"):
            data.WeightedRandomSampler(bad, 1)
    with pytest.raises(ValueError, match="expected at most 2, got 3"):
        data.WeightedRandomSampler([1, 0, 3], 3, replacement=False)


def test_batches():
    batches = data.BatchSampler(data.SequentialSampler(range(7)), 3)
    assert list(batches) == [[0, 1, 2], [3, 4, 5], [6]] and len(batches) == 3
    cut = data.BatchSampler(data.SequentialSampler(range(7)), 3, drop_last=True)
    assert list(cut) == [[0, 1, 2], [3, 4, 5]] and len(cut) == 2


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("shuffle", [False, True])
def test_ranks_share_an_order(ranks, shuffle):
    parts = [data.DistributedSampler(range(10), ranks, r, shuffle) for r in range(ranks)]
    lists = [list(p) for p in parts]
    assert {len(x) for x in lists} == {-(-10 // ranks)} and set(sum(lists, [])) == set(range(10))
    parts[0].set_epoch(1)
    assert (list(parts[0]) != lists[0]) == shuffle
    cut = [list(data.DistributedSampler(range(10), ranks, r, shuffle, drop_last=True)) for r in range(ranks)]
    assert len(set(sum(cut, []))) == sum(map(len, cut)) == 10 // ranks * ranks


def test_more_ranks_than_items():
    lists = [list(data.DistributedSampler(range(2), 5, r, shuffle=False)) for r in range(5)]
    assert lists == [[0], [1], [0], [1], [0]]


@pytest.mark.parametrize("n", [0, 2])
@pytest.mark.parametrize("kind", ["random", "weighted", "batch", "distributed"])
def test_a_loader_resumes_in_a_samplers_order(kind, n):
    source = data.TensorDataset(suan.arange(20))

    def make():
        options = {
            "random": lambda: dict(batch_size=3, sampler=data.RandomSampler(source)),
            "weighted": lambda: dict(batch_size=3, sampler=data.WeightedRandomSampler(range(1, 21), 20)),
            "batch": lambda: dict(batch_sampler=data.BatchSampler(data.RandomSampler(source), 3, drop_last=True)),
            "distributed": lambda: dict(batch_size=3, sampler=data.DistributedSampler(source, 2, 1)),
        }[kind]()
        return data.DataLoader(source, num_workers=n, **options)

    loader = make()
    stream = loader.forever()
    got = [next(stream)[0].tolist() for _ in range(2 * len(loader) - 1)]
    assert got[: len(loader)] != got[len(loader):]       # another order in the next epoch
    other = make()                                       # has drawn a seed of its own
    other.load_state_dict(loader.state_dict())
    wanted = [next(stream)[0].tolist() for _ in range(3)]
    rest = other.forever()
    assert [next(rest)[0].tolist() for _ in range(3)] == wanted
    stream.close(), rest.close()


def test_samplers_of_ones_own():
    source = data.TensorDataset(suan.arange(6))
    loader = data.DataLoader(source, 4, sampler=[5, 3, 1, 0, 2])
    assert [b[0].tolist() for b in loader] == [[5, 3, 1, 0], [2]] and len(loader) == 2
    loader = data.DataLoader(source, batch_sampler=iter([[1, 2], [3]]))
    assert [b[0].tolist() for b in loader] == [[1, 2], [3]]
    single = data.DataLoader([7, 8, 9], None, sampler=[2, 0])
    assert list(single) == [9, 7] and len(single) == 2


def test_random_split():
    suan.manual_seed(1)
    a, b = data.random_split(range(10), [7, 3])
    assert len(a) == 7 and sorted([a[i] for i in range(7)] + [b[i] for i in range(3)]) == list(range(10))
    assert [len(x) for x in data.random_split(range(10), [0.5, 0.25, 0.25])] == [6, 2, 2]
    with pytest.raises(ValueError, match="expected a sum of 10"):
        data.random_split(range(10), [5, 4])
