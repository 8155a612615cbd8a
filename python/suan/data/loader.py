"""DataLoader: batches of a dataset, in this process, in an order that depends on seed, epoch and
position only. Its position is two numbers, so a resumed run sees exactly the batches that an
unbroken one sees."""

import numpy as np

import suan


def default_collate(items):
    """Stacks a list of items: tensors, arrays and numbers into tensors; tuples and dicts item by
    item."""
    first = items[0]
    if isinstance(first, suan.Tensor):
        return suan.stack(items)
    if isinstance(first, np.ndarray):
        return suan.from_numpy(np.stack(items))
    if isinstance(first, (bool, int, float, np.number)):
        return suan.tensor([i.item() if isinstance(i, np.number) else i for i in items])
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(list(part)) for part in zip(*items)))
    if isinstance(first, (tuple, list)):
        return type(first)(default_collate(list(part)) for part in zip(*items))
    if isinstance(first, dict):
        return {key: default_collate([item[key] for item in items]) for key in first}
    if isinstance(first, str):
        return items
    raise TypeError(
        f"[DataLoader] cannot collate: expected tensors, arrays, numbers, tuples, lists or dicts, "
        f"got {type(first).__name__}"
    )


class DataLoader:
    """Iterating gives one epoch of batches.

    shuffle=True goes through a random permutation each epoch; replacement=True instead draws every
    batch independently (for datasets of millions of overlapping windows, where a permutation would
    be large). seed=None takes a seed from suan's default generator, so manual_seed() fixes it.
    state_dict() is exact between two batches: epoch, and batches of it already given out.
    """

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=False,
        *,
        replacement=False,
        drop_last=False,
        collate_fn=None,
        seed=None,
    ):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(
                f"[DataLoader] wrong batch_size: expected a positive int, got {batch_size!r}"
            )
        if shuffle and len(dataset) == 0:
            raise ValueError("[DataLoader] empty dataset: expected at least one item, got none")
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.replacement, self.drop_last = replacement, drop_last
        self.collate_fn = collate_fn
        if seed is None and shuffle:
            seed = int(suan.randint(0, 2**31 - 1, (1,)).item())
        self.seed = seed or 0
        self.epoch = 0
        self.position = 0
        self._resume = False

    def __len__(self):
        n, b = len(self.dataset), self.batch_size
        return n // b if self.drop_last else -(-n // b)

    def _random(self, batch=0):
        # A counter-based generator: any epoch and batch can be had directly.
        key = np.array([self.seed, self.epoch], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, batch]))

    def _batch_indices(self, batch, order):
        if self.shuffle and self.replacement:
            return self._random(batch).integers(0, len(self.dataset), self.batch_size)
        start = batch * self.batch_size
        stop = min(start + self.batch_size, len(self.dataset))
        return np.arange(start, stop) if order is None else order[start:stop]

    def _fetch(self, indices):
        if self.collate_fn is None and hasattr(self.dataset, "get_batch"):
            return self.dataset.get_batch(indices)
        collate = default_collate if self.collate_fn is None else self.collate_fn
        return collate([self.dataset[int(i)] for i in indices])

    def __iter__(self):
        # A loop left early is over: the next one begins a new epoch, unless a position was loaded.
        if not self._resume and self.position > 0:
            self.epoch += 1
            self.position = 0
        self._resume = False
        order = (
            self._random().permutation(len(self.dataset))
            if self.shuffle and not self.replacement
            else None
        )
        while self.position < len(self):
            indices = self._batch_indices(self.position, order)
            self.position += 1
            yield self._fetch(indices)
        self.epoch += 1
        self.position = 0

    def forever(self):
        """Batches of epoch after epoch, without end."""
        while True:
            yield from self

    def state_dict(self):
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state):
        for key in ("seed", "epoch", "position"):
            if not isinstance(state.get(key), int) or state[key] < 0:
                raise ValueError(
                    f"[DataLoader] wrong state: expected a number '{key}', got {state.get(key)!r}"
                )
        self.seed, self.epoch, self.position = state["seed"], state["epoch"], state["position"]
        self._resume = True
