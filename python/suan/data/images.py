"""Picture classification data: bytes on disk, normalised float32 batches on demand."""

from pathlib import Path

import numpy as np

import suan

from . import fetch
from .dataset import Column, Dataset


class ImageDataset(Dataset):
    """Pictures [n, height, width] of bytes and their labels [n]; items are ([1, h, w] float32,
    label)."""

    def __init__(self, images, labels, mean, std):
        if len(images) != len(labels):
            raise ValueError(
                f"[ImageDataset] sizes differ: expected {len(images)} labels, got {len(labels)}"
            )
        self.images, self.labels = images, np.asarray(labels, dtype=np.int64)
        # One table instead of arithmetic per pixel.
        self._values = ((np.arange(256) / 255.0 - mean) / std).astype(np.float32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        x, y = self.get_batch(np.array([index]))
        return x[0], y[0]

    def get_batch(self, indices):
        pictures = self._values[self.images[indices]][:, None]
        return suan.from_numpy(pictures), suan.from_numpy(self.labels[indices])

    def columns(self):
        pictures = suan.tensor(np.ascontiguousarray(self.images)[:, None])
        return [Column(pictures, suan.float32, suan.from_numpy(self._values)),
                Column(suan.from_numpy(self.labels), suan.int64)]


FASHION_CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)


def load_fashion_mnist(folder=None):
    """(training set, test set) of Fashion-MNIST (Xiao et al. 2017), fetched when no folder is
    given."""
    folder = fetch.fashion_mnist() if folder is None else Path(folder)
    sets = []
    for part in ("train", "t10k"):
        images = fetch.read_idx(folder / f"{part}-images-idx3-ubyte.gz")
        labels = fetch.read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
        sets.append(ImageDataset(images, labels, mean=0.2860, std=0.3530))
    return tuple(sets)
