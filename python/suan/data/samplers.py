"""Samplers: in which order a dataset's items are taken.

The orders here are functions of a seed and an epoch (a counter-based generator), so a position in one is two
numbers. at(epoch) gives the order of an epoch; iterating takes the next epoch each time, as in torch. A sampler
of one's own needs __iter__ only, and __len__ for len(loader).
"""

import itertools

import numpy as np

import suan


def philox(seed, epoch, counter=0):
    """A counter-based generator: any epoch and counter can be had directly."""
    key = np.array([seed, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, counter]))


def new_seed(generator=None):
    """A seed from a generator, or from suan's default one, so that manual_seed() fixes it."""
    return int(suan.randint(0, 2**31 - 1, (1,), generator=generator).item())


def _count(op, n, lowest=1):
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < lowest:
        raise ValueError(f"[{op}] wrong count: expected an int of at least {lowest}, got {n!r}")
    return int(n)


class Sampler:
    """Base class: __iter__ gives indices."""

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} is missing its __iter__()")


class _Epochs(Sampler):
    """A sampler whose at(epoch) is its order; plain iteration counts epochs."""

    epoch = 0

    def __iter__(self):
        order = self.at(self.epoch)
        self.epoch += 1
        return iter(order.tolist())


class SequentialSampler(_Epochs):
    """0, 1, 2, ..."""

    def __init__(self, data_source):
        self.data_source = data_source

    def at(self, epoch):
        return np.arange(len(self.data_source))

    def __len__(self):
        return len(self.data_source)


class RandomSampler(_Epochs):
    """A permutation each epoch (again and again up to num_samples), or independent draws with replacement."""

    def __init__(self, data_source, replacement=False, num_samples=None, generator=None, *, seed=None):
        self.data_source, self.replacement = data_source, replacement
        self.num_samples = len(data_source) if num_samples is None else _count("RandomSampler", num_samples)
        if len(data_source) == 0:
            raise ValueError("[RandomSampler] empty dataset: expected at least one item, got none")
        self.seed = new_seed(generator) if seed is None else _count("RandomSampler", seed, 0)

    def at(self, epoch):
        random, n = philox(self.seed, epoch), len(self.data_source)
        if self.replacement:
            return random.integers(0, n, self.num_samples)
        rounds = [random.permutation(n) for _ in range(-(-self.num_samples // n))]
        return np.concatenate(rounds)[: self.num_samples]

    def __len__(self):
        return self.num_samples


class SubsetRandomSampler(_Epochs):
    """A permutation of the given indices each epoch."""

    def __init__(self, indices, generator=None, *, seed=None):
        self.indices = np.asarray(indices, dtype=np.int64)
        self.seed = new_seed(generator) if seed is None else _count("SubsetRandomSampler", seed, 0)

    def at(self, epoch):
        return philox(self.seed, epoch).permutation(self.indices)

    def __len__(self):
        return len(self.indices)


class WeightedRandomSampler(_Epochs):
    """num_samples indices, each drawn with a probability in proportion to its weight."""

    def __init__(self, weights, num_samples, replacement=True, generator=None, *, seed=None):
        weights = weights.numpy() if isinstance(weights, suan.Tensor) else np.asarray(weights)
        weights = weights.astype(np.float64)
        good = weights.ndim == 1 and len(weights) and np.isfinite(weights).all() and (weights >= 0).all()
        if not good or weights.sum() == 0:
            raise ValueError(
                "[WeightedRandomSampler] wrong weights: expected a row of finite numbers >= 0, not all "
                f"zero, got shape {list(weights.shape)}"
            )
        self.num_samples = _count("WeightedRandomSampler", num_samples)
        if not replacement and self.num_samples > (weights > 0).sum():
            raise ValueError(
                "[WeightedRandomSampler] too many draws without replacement: expected at most "
                f"{(weights > 0).sum()}, got {num_samples}"
            )
        self.weights, self.replacement = weights, replacement
        self.seed = new_seed(generator) if seed is None else _count("WeightedRandomSampler", seed, 0)

    def at(self, epoch):
        p = self.weights / self.weights.sum()
        return philox(self.seed, epoch).choice(len(p), self.num_samples, self.replacement, p)

    def __len__(self):
        return self.num_samples


class DistributedSampler(_Epochs):
    """This rank's part of an order that all ranks share: every num_replicas-th index.

    The end is filled up from the beginning, or cut with drop_last, so that ranks have equally many. In a DataLoader
    the epoch is the loader's unless set_epoch() was called.
    """

    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False):
        if num_replicas is None or rank is None:
            from suan import distributed

            num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
            rank = distributed.get_rank() if rank is None else rank
        if not 0 <= rank < _count("DistributedSampler", num_replicas):
            raise ValueError(f"[DistributedSampler] wrong rank: expected 0 to {num_replicas - 1}, got {rank}")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last = shuffle, _count("DistributedSampler", seed, 0), drop_last
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else -(-n // num_replicas)
        self._set = None

    def set_epoch(self, epoch):
        self.epoch = self._set = _count("DistributedSampler", epoch, 0)

    def at(self, epoch):
        epoch, n = (epoch if self._set is None else self._set), len(self.dataset)
        order = philox(self.seed, epoch).permutation(n) if self.shuffle else np.arange(n)
        order = np.resize(order, self.num_samples * self.num_replicas)  # repeats from the beginning
        return order[self.rank :: self.num_replicas]

    def __iter__(self):
        return iter(self.at(self.epoch).tolist())

    def __len__(self):
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of batch_size indices from a sampler; the last one may be shorter unless drop_last."""

    def __init__(self, sampler, batch_size, drop_last=False):
        self.sampler, self.drop_last = sampler, drop_last
        self.batch_size = _count("BatchSampler", batch_size)

    def __iter__(self):
        return self._batches(iter(self.sampler))

    def at(self, epoch):
        return self._batches(iter(order_of(self.sampler, epoch)))

    def _batches(self, indices):
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self):
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def order_of(sampler, epoch):
    """A sampler's order in an epoch; one without at() is asked for its next order, whatever that is."""
    return sampler.at(epoch) if hasattr(sampler, "at") else iter(sampler)
