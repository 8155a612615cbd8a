"""suan.utils: where programs written for torch look for the data loader and for checkpointing."""

from . import checkpoint, data

__all__ = ["checkpoint", "data"]
