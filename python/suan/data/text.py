"""Text as numbers: reading, a character vocabulary, and fixed-length blocks for language models."""

from pathlib import Path

import numpy as np

import suan

from .dataset import Dataset, window_columns


def read_text(path):
    """The text of a UTF-8 file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"[read_text] no such file: expected a text file, got {path}"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"[read_text] {path} is not text: expected UTF-8, got {error.reason} at byte "
            f"{error.start}"
        ) from None
    if not text:
        raise ValueError(f"[read_text] {path} is empty: expected text, got 0 bytes")
    return text


class CharVocab:
    """Characters and their numbers, in the order of their code points."""

    def __init__(self, text):
        self.chars = "".join(sorted(set(text)))
        self._points = np.array([ord(c) for c in self.chars], dtype=np.uint32)

    def __len__(self):
        return len(self.chars)

    def encode(self, text):
        """Numbers of the characters as an int64 array."""
        points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        numbers = np.searchsorted(self._points, points)
        known = numbers < len(self._points)
        known[known] = self._points[numbers[known]] == points[known]
        if not known.all():
            at = int(known.argmin())
            raise ValueError(
                f"[CharVocab] unknown character: expected one of {len(self)} known ones, "
                f"got {text[at]!r} at position {at}"
            )
        return numbers.astype(np.int64)

    def decode(self, numbers):
        return "".join(self.chars[int(i)] for i in numbers)


class TextBlocks(Dataset):
    """(tokens[i : i + block], tokens[i + 1 : i + block + 1]) for i = 0, stride, 2 stride, ..."""

    def __init__(self, tokens, block, stride=1):
        self.tokens, self.block, self.stride = np.asarray(tokens, dtype=np.int64), block, stride
        if len(self.tokens) <= block:
            raise ValueError(
                f"[TextBlocks] too few tokens: expected more than the block of {block}, got "
                f"{len(self.tokens)}"
            )
        self._offsets = np.arange(block + 1)

    def __len__(self):
        return (len(self.tokens) - self.block - 1) // self.stride + 1

    def __getitem__(self, index):
        x, y = self.get_batch(np.array([index]))
        return x[0], y[0]

    def get_batch(self, indices):
        rows = self.tokens[(np.asarray(indices) * self.stride)[:, None] + self._offsets]
        return suan.from_numpy(rows[:, :-1].copy()), suan.from_numpy(rows[:, 1:].copy())

    def columns(self):
        return window_columns(suan.tensor(self.tokens), len(self), self.block, self.stride)
