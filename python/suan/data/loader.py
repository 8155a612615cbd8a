"""DataLoader: batches of a dataset, made here or by worker processes, in an order that depends on seed, epoch and
position only. Its position is two numbers, so a resumed run sees exactly the batches that an unbroken one sees,
with any number of workers."""

import itertools

import numpy as np

import suan

from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .samplers import new_seed, order_of, philox
from .workers import Fetcher, Pool, outputs


def _given(name, value):
    return ValueError(f"[DataLoader] {name}: got {value!r}")


class DataLoader:
    """Iterating gives one epoch of batches.

    Args:
        dataset: has a length and items by number (and perhaps get_batch(indices), see Dataset), or is an
            IterableDataset.
        batch_size: items a batch; None gives single items, not collated.
        shuffle: a random permutation each epoch.
        sampler: gives indices instead (see samplers.py); batch_sampler: gives lists of indices.
        num_workers: spawned processes that make the batches, in the same order. 0: this process does.
        collate_fn: makes a batch of a list of items; default_collate if None.
        pin_memory: accepted without effect.
        drop_last: leaves a last, smaller batch out.
        timeout: seconds to wait for a worker's batch; 0: as long as it lives.
        worker_init_fn: called with the worker's number before its first batch.
        multiprocessing_context: "spawn" (the default) or "forkserver".
        generator: where the seed comes from; suan's default one if None.
        prefetch_factor: batches that each worker makes ahead; 2 if None.
        persistent_workers: workers stay from epoch to epoch, with the dataset as it was at their start.
        seed: fixes the order and the workers' random numbers; None takes one from the generator.
        replacement: with shuffle, every batch is drawn independently (for datasets of millions of overlapping
            windows, where a permutation would be large).
        num_threads: threads of this process that gather the batches ahead, in the same order; for datasets whose rows
            lie in arrays (see Dataset.columns: TensorDataset, ImageDataset, TokenBlocks), instead of num_workers.

    In a worker, `random`, numpy and suan are seeded for each batch by seed, epoch and the batch's number, so that
    random augmentation does not depend on how many workers there are. state_dict() is exact between two batches:
    epoch, and batches of it already given out. A worker's error is raised here with its traceback as the cause; a
    worker that dies is an error that says how.
    """

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=None,
        sampler=None,
        batch_sampler=None,
        num_workers=0,
        collate_fn=None,
        pin_memory=False,
        drop_last=False,
        timeout=0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor=None,
        persistent_workers=False,
        seed=None,
        replacement=False,
        num_threads=0,
    ):
        whole = batch_size is None or (
            isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size >= 1
        )
        if not whole:
            raise ValueError(
                f"[DataLoader] wrong batch_size: expected a positive int or None, got {batch_size!r}"
            )
        if not isinstance(num_workers, int) or num_workers < 0:
            raise ValueError(
                f"[DataLoader] wrong num_workers: expected an int >= 0, got {num_workers!r}"
            )
        if num_workers == 0:
            for name, value in (("timeout", timeout), ("prefetch_factor", not num_threads and prefetch_factor),
                                ("persistent_workers", persistent_workers),
                                ("multiprocessing_context", multiprocessing_context)):
                if value:
                    raise _given(f"no workers: expected num_workers >= 1 with {name}", value)
        if not isinstance(num_threads, int) or num_threads < 0:
            raise _given("wrong num_threads: expected an int >= 0", num_threads)
        if num_threads:
            if num_workers:
                raise _given("threads and workers: expected one of num_threads and num_workers", num_workers)
            if not hasattr(dataset, "columns"):
                raise TypeError(
                    "[DataLoader] no columns: expected a dataset with columns() for num_threads, got "
                    f"{type(dataset).__name__}; num_workers takes any"
                )
            if collate_fn is not None or (batch_size is None and batch_sampler is None):
                raise ValueError(
                    "[DataLoader] threads make whole batches: expected a batch_size and no collate_fn, got "
                    f"{'single items' if collate_fn is None else 'collate_fn'}"
                )
        if timeout < 0:
            raise _given("wrong timeout: expected seconds >= 0", timeout)
        if prefetch_factor is not None and (not isinstance(prefetch_factor, int) or prefetch_factor < 1):
            raise _given("wrong prefetch_factor: expected a positive int", prefetch_factor)
        if batch_sampler is not None and (
            batch_size not in (1, None) or shuffle or sampler is not None or drop_last
        ):
            raise ValueError(
                "[DataLoader] batch_sampler decides alone: expected no batch_size, shuffle, sampler or drop_last "
                "beside it, got one"
            )
        if sampler is not None and shuffle:
            raise ValueError("[DataLoader] two orders: expected a sampler or shuffle=True, got both")
        if batch_size is None and drop_last:
            raise ValueError("[DataLoader] no batches: expected drop_last=False with batch_size=None, got True")
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError(
                "[DataLoader] an IterableDataset has its own order: expected no shuffle, sampler or batch_sampler, "
                "got one"
            )
        if shuffle and len(dataset) == 0:
            raise ValueError("[DataLoader] empty dataset: expected at least one item, got none")
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, bool(shuffle)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.num_threads = num_threads
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.prefetch_factor = 2 if prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory = pin_memory
        self.replacement, self.drop_last = replacement, drop_last
        self.collate_fn = collate_fn
        if seed is None and (shuffle or num_workers):
            seed = new_seed(generator)
        self.seed = seed or 0
        self.epoch = 0
        self.position = 0
        self._resume = False
        self._loop = None
        self._pool = None

    def __len__(self):
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        n, b = len(self.dataset if self.sampler is None else self.sampler), self.batch_size
        if b is None:
            return n
        return n // b if self.drop_last else -(-n // b)

    # ---- the order ---------------------------------------------------------------------------------

    def _batches(self):
        """Indices of each batch from the position on; single indices with batch_size=None."""
        at, b = self.position, self.batch_size
        if self.batch_sampler is not None:
            return itertools.islice(order_of(self.batch_sampler, self.epoch), at, None)
        if self.sampler is not None:
            order = order_of(self.sampler, self.epoch)
        elif self.shuffle and self.replacement:
            return self._drawn()
        elif self.shuffle:
            # A counter-based generator: any epoch can be had directly.
            order = philox(self.seed, self.epoch).permutation(len(self.dataset))
        else:
            order = range(len(self.dataset))
        if hasattr(order, "__getitem__"):
            order = order[at * (b or 1):]
        else:
            order = itertools.islice(order, at * (b or 1), None)
        return (int(i) for i in order) if b is None else self._cut(order)

    def _cut(self, order):
        b = self.batch_size
        if hasattr(order, "__getitem__"):
            parts = (order[start:start + b] for start in range(0, len(order), b))
        else:
            parts = iter(lambda: list(itertools.islice(order, b)), [])
        for part in parts:
            if len(part) == b or not self.drop_last:
                yield np.asarray(part)

    def _drawn(self):
        for number in range(self.position, len(self)):
            random = philox(self.seed, self.epoch, number)
            yield random.integers(0, len(self.dataset), self.batch_size)

    # ---- one epoch ----------------------------------------------------------------------------------

    def _fetcher(self):
        single = self.batch_size is None and self.batch_sampler is None
        collate = self.collate_fn
        if collate is None and not (hasattr(self.dataset, "get_batch") and not self._iterable):
            collate = default_collate
        convert = default_convert if self.collate_fn is None else self.collate_fn
        size = None if single else self.batch_size or 1
        return Fetcher(self.dataset, collate, convert, self._iterable, size, self.drop_last)

    def __iter__(self):
        # A loop left early is over: the next one begins a new epoch, unless a position was loaded.
        if not self._resume and self.position > 0:
            self.epoch += 1
            self.position = 0
        self._resume = False
        self._loop = loop = object()
        if self._iterable:
            source = self._streamed()
        else:
            source = self._loaded()
        try:
            for batch in source:
                self.position += 1
                yield batch
                if self._loop is not loop:
                    raise RuntimeError(
                        "[DataLoader] a second loop over the same loader began: expected this one to end first, "
                        "got both; use a loader for each"
                    )
        finally:
            source.close()
        self.epoch += 1
        self.position = 0

    def _workers(self):
        if self._pool is None or not self._pool.awake:
            self._pool = Pool(self._fetcher(), self.num_workers, self.seed, self.worker_init_fn, self.timeout,
                              self.multiprocessing_context)
        return self._pool

    def _loaded(self):
        batches, start, epoch = self._batches(), self.position, self.epoch
        if self.num_threads:
            yield from self._gathered(batches)
            return
        if self.num_workers == 0:
            fetcher = self._fetcher()
            for indices in batches:
                yield fetcher.batch(indices)
            return

        def assign(number):
            indices = next(batches, None)
            return None if indices is None else (None, (epoch, start + number, indices))

        yield from (batch for _, batch in self._made(assign))

    def _gathered(self, batches):
        reader = suan._c.RowReader([tuple(c) for c in self.dataset.columns()], self.num_threads)
        try:
            for indices in batches:
                reader.ask(np.asarray(indices).tolist())
                if reader.pending > self.num_threads * self.prefetch_factor:
                    yield tuple(reader.next())
            while reader.pending:
                yield tuple(reader.next())
        finally:
            reader.close()

    def _made(self, assign):
        pool = self._workers()
        try:
            yield from outputs(pool, assign, self.prefetch_factor)
        except GeneratorExit:  # the loop was left
            raise
        except BaseException:  # among them Ctrl-C, perhaps in the middle of a message
            pool.close()
            raise
        finally:
            if not self.persistent_workers:
                pool.close()

    def _streamed(self):
        """Batches of an IterableDataset. Those before the position are passed over, item by item."""
        skipped, start = 0, self.position
        if self.num_workers == 0:
            fetcher = self._fetcher()
            fetcher.start()
            while (found := fetcher.next(skip=skipped < start)) is not None:
                if skipped < start:
                    skipped += 1
                else:
                    yield found[0]
            return
        # In turn from each worker that has not ended.
        active, turn = list(range(self.num_workers)), 0
        begun, holders, epoch = set(), {}, self.epoch

        def assign(number):
            nonlocal turn
            if not active:
                return None
            while turn not in active:
                turn = (turn + 1) % self.num_workers
            worker, turn = turn, (turn + 1) % self.num_workers
            first = worker not in begun
            begun.add(worker)
            holders[number] = worker
            return worker, (epoch, first, number < start)

        for number, found in self._made(assign):
            worker = holders.pop(number)
            if found is None:
                if worker in active:
                    active.remove(worker)
            elif skipped < start:
                skipped += 1
            else:
                yield found[0]

    def forever(self):
        """Batches of epoch after epoch, without end."""
        while True:
            yield from self

    def close(self):
        """Ends persistent workers; the next loop starts new ones."""
        if self._pool is not None:
            self._pool.close()

    # ---- position ------------------------------------------------------------------------------------

    def _seeded_sampler(self):
        for sampler in (self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None)):
            if isinstance(getattr(sampler, "seed", None), int):
                return sampler
        return None

    def state_dict(self):
        state = {"seed": self.seed, "epoch": self.epoch, "position": self.position}
        if (sampler := self._seeded_sampler()) is not None:
            state["sampler_seed"] = sampler.seed
        return state

    def load_state_dict(self, state):
        sampler = self._seeded_sampler()
        for key in ("seed", "epoch", "position") + (("sampler_seed",) if sampler is not None else ()):
            if not isinstance(state.get(key), int) or state[key] < 0:
                raise ValueError(
                    f"[DataLoader] wrong state: expected a number '{key}', got {state.get(key)!r}"
                )
        self.seed, self.epoch, self.position = state["seed"], state["epoch"], state["position"]
        if sampler is not None:
            sampler.seed = state["sampler_seed"]
        self.close()  # workers know the seed
        self._resume = True
