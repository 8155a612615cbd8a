"""suan.utils: where programs written for torch look for the data loader."""

from . import data

__all__ = ["data"]
