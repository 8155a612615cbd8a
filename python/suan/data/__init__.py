"""suan.data: datasets, a loader with an exact and resumable position, and readers for the example
data."""

from .dataset import ConcatDataset, Dataset, Subset, TensorDataset
from .images import ImageDataset, load_fashion_mnist
from .loader import DataLoader, default_collate
from .text import CharVocab, TextBlocks, read_text

__all__ = [
    "CharVocab",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "ImageDataset",
    "Subset",
    "TensorDataset",
    "TextBlocks",
    "default_collate",
    "load_fashion_mnist",
    "read_text",
]
