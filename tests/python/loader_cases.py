"""Datasets that worker processes of the loader tests import by name."""

import os
import random
import signal
import time

import numpy as np

import suan
from suan import data


class Squares(data.Dataset):
    def __init__(self, n=40):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return suan.tensor([float(i), float(i * i)]), i


class Noisy(Squares):
    """Random augmentation from all three generators."""

    def __getitem__(self, i):
        return suan.rand(3), np.random.rand(2), random.random()


class Mixed(Squares):
    def __getitem__(self, i):
        return {
            "big": suan.full((64, 64), i), "bf16": suan.full((50, 40), i).bfloat16(), "empty": suan.zeros(0, 3),
            "text": f"row {i}", "flag": i % 2 == 0, "array": np.full((3, 5), i, np.int16),
        }


class Growing(Squares):
    """Rows of more and more numbers, each the row's own."""

    def __getitem__(self, i):
        return suan.full((1 + i // 8, 700), float(i)), np.full(900 + 40 * (i % 3), i)


class Failing(Squares):
    """Does something else at item 13."""

    def __init__(self, how, n=40):
        super().__init__(n)
        self.how = how

    def __getitem__(self, i):
        if i == 13:
            if self.how == "raise":
                raise KeyError("no thirteen")
            if self.how == "exit":
                os._exit(7)
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "sleep":
                time.sleep(60)
            if self.how == "odd":
                raise type("Local", (Exception,), {})("cannot be pickled")
        return i


class Where(Squares):
    """Who made it: (worker, how many, marked by init(), pid)."""

    def __getitem__(self, i):
        info = data.get_worker_info()
        return info.id, info.num_workers, getattr(info.dataset, "mark", -1), os.getpid()


def mark(worker):
    data.get_worker_info().dataset.mark = 100 + worker


def bad_init(worker):
    raise OSError(f"no disk for {worker}")


class Stream(data.IterableDataset):
    """0 to n - 1, every worker its share; worker 0 ends early if asked."""

    def __init__(self, n, short=False):
        self.n, self.short = n, short

    def __iter__(self):
        info = data.get_worker_info()
        worker, many = (info.id, info.num_workers) if info else (0, 1)
        for k, i in enumerate(range(worker, self.n, many)):
            if self.short and worker == 0 and k == 2:
                return
            yield i
