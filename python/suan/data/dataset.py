"""Datasets: anything with a length and items by number, or (IterableDataset) items in a row.

A dataset may also define get_batch(indices), which returns a whole collated batch from an integer
array: the loader then makes one call per batch instead of one per item.
"""

import bisect
from typing import NamedTuple

import numpy as np

import suan


class Column(NamedTuple):
    """One tensor of a batch that lies in an array (see Dataset.columns): rows[index] for each index, as dtype; with a
    table of 256 values, table[rows[index]] of uint8 rows. The elements of a row lie together; rows may overlap."""

    rows: suan.Tensor
    dtype: suan.dtype
    table: suan.Tensor | None = None


def window_columns(tokens, count, block, stride):
    """Columns of the windows of `block` tokens and of those one further on, int64."""
    windows = tokens.as_strided((count, block + 1), (stride, 1))
    return [Column(windows[:, :-1], suan.int64), Column(windows[:, 1:], suan.int64)]


class Dataset:
    """May have `columns()`, a list of Column, if a batch is the tuple of its columns' rows: a DataLoader then gathers
    batches with `num_threads` threads."""

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} is missing its __getitem__()")

    def __add__(self, other):
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Items come from __iter__, for data that is a stream. Each worker of a DataLoader iterates a copy of its own:
    get_worker_info() says which part is whose."""

    def __getitem__(self, index):
        raise TypeError(
            f"[{type(self).__name__}] no items by number: expected iteration over an IterableDataset, got an index"
        )

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} is missing its __iter__()")

    def __add__(self, other):
        return ChainDataset([self, other])


class ChainDataset(IterableDataset):
    """The items of several iterable datasets, one after another."""

    def __init__(self, datasets):
        self.datasets = list(datasets)

    def __iter__(self):
        for dataset in self.datasets:
            yield from dataset


class TensorDataset(Dataset):
    """Items are tuples of the tensors' rows; all tensors have the same first dimension."""

    def __init__(self, *tensors):
        sizes = {t.shape[0] for t in tensors}
        if len(sizes) != 1:
            raise ValueError(
                "[TensorDataset] sizes differ: expected one first dimension, got "
                f"{[t.shape[0] for t in tensors]}"
            )
        self.tensors = tensors

    def __getitem__(self, index):
        return tuple(t[index] for t in self.tensors)

    def __len__(self):
        return self.tensors[0].shape[0]

    def get_batch(self, indices):
        rows = suan.from_numpy(indices)
        return tuple(suan.index_select(t, 0, rows) for t in self.tensors)

    def columns(self):
        return [Column(t.detach().contiguous(), t.dtype) for t in self.tensors]


class Subset(Dataset):
    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index):
        return self.dataset[self.indices[index]]

    def __len__(self):
        return len(self.indices)


class ConcatDataset(Dataset):
    def __init__(self, datasets):
        self.datasets = list(datasets)
        self.ends = []
        for dataset in self.datasets:
            self.ends.append((self.ends[-1] if self.ends else 0) + len(dataset))

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"[ConcatDataset] index out of range: expected less than {len(self)}, got {index}"
            )
        index %= len(self)
        i = bisect.bisect_right(self.ends, index)
        return self.datasets[i][index - (self.ends[i - 1] if i else 0)]

    def __len__(self):
        return self.ends[-1] if self.ends else 0


class StackDataset(Dataset):
    """Items of several datasets of one length side by side: tuples, or dicts if they are given by name."""

    def __init__(self, *args, **kwargs):
        if bool(args) == bool(kwargs):
            raise ValueError(f"[StackDataset] expected datasets by place or by name, got {len(args)} and {len(kwargs)}")
        self.datasets = kwargs or args
        sizes = {len(d) for d in (kwargs.values() if kwargs else args)}
        if len(sizes) != 1:
            raise ValueError(f"[StackDataset] sizes differ: expected one length, got {sorted(sizes)}")
        self._length, = sizes

    def __getitem__(self, index):
        if isinstance(self.datasets, dict):
            return {k: d[index] for k, d in self.datasets.items()}
        return tuple(d[index] for d in self.datasets)

    def __len__(self):
        return self._length


def random_split(dataset, lengths, generator=None):
    """Subsets of the given lengths (or of fractions that sum to 1), without overlap, at random."""
    from .samplers import new_seed, philox

    n = len(dataset)
    if all(isinstance(x, float) for x in lengths) and abs(sum(lengths) - 1) < 1e-9:
        sizes = [int(n * x) for x in lengths]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
        lengths = sizes
    if sum(lengths) != n:
        raise ValueError(f"[random_split] wrong lengths: expected a sum of {n} or fractions of 1, got {list(lengths)}")
    order = philox(new_seed(generator), 0).permutation(n).tolist()
    ends = np.cumsum([0, *lengths])
    return [Subset(dataset, order[a:b]) for a, b in zip(ends, ends[1:])]
