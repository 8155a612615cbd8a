"""suan.utils.data.dataloader: where some programs for torch look for the loader."""

from ...data import DataLoader, default_collate

__all__ = ["DataLoader", "default_collate"]
