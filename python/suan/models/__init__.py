"""suan.models: the example models as plain modules, written to be read and copied."""

from .cnn import CNN
from .gpt import GPT, GPTConfig

__all__ = ["CNN", "GPT", "GPTConfig"]
