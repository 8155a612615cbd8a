"""suan.utils.data: the names of suan.data under torch's path."""

from ..data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, default_collate

__all__ = ["ConcatDataset", "DataLoader", "Dataset", "Subset", "TensorDataset", "default_collate"]
