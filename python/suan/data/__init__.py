"""suan.data: datasets, a loader with worker processes and an exact, resumable position, and readers for files."""

from .collate import default_collate, default_convert
from .dataset import (
    ChainDataset, Column, ConcatDataset, Dataset, IterableDataset, StackDataset, Subset, TensorDataset, random_split,
)
from .fetch import DataError
from .files import Csv, ImageFolder, JsonLines, TokenBlocks, read_image, read_meta
from .images import ImageDataset, load_fashion_mnist
from .loader import DataLoader
from .tokens import prepare
from .samplers import (
    BatchSampler, DistributedSampler, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler,
    WeightedRandomSampler,
)
from .text import CharVocab, TextBlocks, read_text
from .workers import WorkerError, WorkerInfo, get_worker_info

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "CharVocab",
    "Column",
    "ConcatDataset",
    "Csv",
    "DataError",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "ImageDataset",
    "ImageFolder",
    "IterableDataset",
    "JsonLines",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "TextBlocks",
    "TokenBlocks",
    "WeightedRandomSampler",
    "WorkerError",
    "WorkerInfo",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "load_fashion_mnist",
    "prepare",
    "random_split",
    "read_image",
    "read_meta",
    "read_text",
]
