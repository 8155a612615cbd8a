"""Datasets over files: JSON lines, CSV, tokens, image folders. A file is opened by whoever reads it, so that these
pickle as paths; what is broken is named by file and line."""

import csv
import json
from pathlib import Path

import numpy as np

import suan

from .dataset import Dataset, window_columns
from .fetch import DataError


def _file(op, path):
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"[{op}] no such file: expected a file, got {path}")
    return path


class JsonLines(Dataset):
    """The rows of one or more files of JSON values, one a line; blank lines are passed over.

    Opening reads the files once to find the lines (8 bytes of memory a row); a row is parsed when it is taken.

    Args:
        fields: names that each row must have; items are then dicts of these alone.
    """

    def __init__(self, paths, fields=None):
        paths = [paths] if isinstance(paths, (str, Path)) else paths
        self.paths = [_file("JsonLines", p) for p in paths]
        self.fields = None if fields is None else tuple(fields)
        self._starts = [_line_starts(p) for p in self.paths]
        self._ends = np.cumsum([len(s) for s in self._starts])
        self._files = {}

    def __len__(self):
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self):
        return {**self.__dict__, "_files": {}}

    def _find(self, index):
        """(number of the file, where the row begins there)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"[JsonLines] index out of range: expected less than {len(self)}, got {index}")
        index %= len(self)
        f = int(np.searchsorted(self._ends, index, side="right"))
        return f, int(self._starts[f][index - (self._ends[f - 1] if f else 0)])

    def where(self, index):
        """Where a row is: "file:line"."""
        f, start = self._find(index)
        return f"{self.paths[f]}:{_line_number(self.paths[f], start)}"

    def __getitem__(self, index):
        f, start = self._find(index)
        file = self._files.get(f)
        if file is None:
            file = self._files[f] = open(self.paths[f], "rb")
        file.seek(start)
        line = file.readline()

        def broken(what, got):
            return DataError(f"[JsonLines] broken row: expected {what}, got {got} at {self.where(index)}")

        try:
            row = json.loads(line)
        except UnicodeDecodeError as error:
            raise broken("UTF-8", f"{error.reason} at byte {error.start} of the line") from None
        except ValueError as error:
            raise broken("JSON", f"{error.msg} (column {error.colno})") from None
        except RecursionError:
            raise broken("JSON of a sane depth", "one nested too deeply") from None
        if self.fields is None:
            return row
        if not isinstance(row, dict):
            raise broken("an object", type(row).__name__)
        for name in self.fields:
            if name not in row:
                raise broken(f"a field '{name}'", f"only {sorted(row)}")
        return {name: row[name] for name in self.fields}


_BLANK = np.zeros(256, bool)
_BLANK[list(b" \t\r\n")] = True


def _line_starts(path, block=1 << 24):
    """Where the lines that are not blank begin, as int64 offsets."""
    found, start, blank, offset = [], 0, True, 0
    with open(path, "rb") as file:
        while part := file.read(block):
            bytes_ = np.frombuffer(part, np.uint8)
            breaks = np.flatnonzero(bytes_ == 10)
            # Of each piece between line breaks: does it hold anything?
            filled = np.add.reduceat(~_BLANK[bytes_], np.concatenate(([0], breaks)))
            begins = np.concatenate(([start], offset + breaks + 1))
            filled = filled > 0
            filled[0] |= not blank
            found.append(begins[:-1][filled[:-1]])
            start, blank, offset = int(begins[-1]), not filled[-1], offset + len(part)
    if not blank:
        found.append(np.array([start]))
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def _line_number(path, start):
    n, left = 1, start
    with open(path, "rb") as file:
        while left > 0 and (part := file.read(min(left, 1 << 24))):
            n += part.count(b"\n")
            left -= len(part)
    return n


class Csv(Dataset):
    """A table from a CSV file, read at once into one array per column; items are dicts by column.

    Args:
        columns: {name: int, float or str} to take these alone; None takes all and finds the types (int where every
            value is one, else float, else str).
        header: names of the columns if the file's first row does not hold them.
    """

    def __init__(self, path, columns=None, *, delimiter=",", header=None):
        path = _file("Csv", path)
        self.path = path
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                rows = csv.reader(file, delimiter=delimiter, strict=True)
                self.columns = self._read(path, rows, header, columns)
        except UnicodeDecodeError as error:
            line = path.read_bytes()
            at = _bad_byte(line)
            raise DataError(
                f"[Csv] not text: expected UTF-8, got {error.reason} at {path}:{line[:at].count(10) + 1}"
            ) from None
        except csv.Error as error:
            raise DataError(f"[Csv] broken row: expected CSV, got {error} at {path}:{rows.line_num}") from None

    @staticmethod
    def _read(path, rows, header, columns):
        names = next(rows, None) if header is None else list(header)
        if not names:
            raise DataError(f"[Csv] no header: expected names of columns, got none at {path}:1")
        if len(set(names)) != len(names):
            raise DataError(f"[Csv] names of columns repeat: expected each once, got {names} at {path}:1")
        if unknown := sorted(set(columns or ()) - set(names)):
            raise DataError(f"[Csv] no such column: expected among {names}, got {unknown} at {path}:1")
        values, lines, before = [[] for _ in names], [], rows.line_num
        for row in rows:
            line, before = before + 1, rows.line_num  # a quoted row may take several lines
            if not row:
                continue
            if len(row) != len(names):
                raise DataError(f"[Csv] broken row: expected {len(names)} values, got {len(row)} at {path}:{line}")
            lines.append(line)
            for column, value in zip(values, row):
                column.append(value)
        out = {}
        for name, column in zip(names, values):
            if columns is None:
                out[name] = _guessed(column)
            elif name in columns:
                out[name] = _typed(path, name, column, columns[name], lines)
        return out

    def __len__(self):
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, index):
        return {name: c[index] if isinstance(c, list) else c[index].item() for name, c in self.columns.items()}

    def get_batch(self, indices):
        return {
            name: [c[i] for i in indices] if isinstance(c, list) else suan.from_numpy(c[indices])
            for name, c in self.columns.items()
        }


def _bad_byte(text):
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(text)


_TYPES = {int: np.int64, float: np.float32, str: None}


def _typed(path, name, column, kind, lines):
    if kind not in _TYPES:
        raise TypeError(f"[Csv] wrong type of column '{name}': expected int, float or str, got {kind!r}")
    if kind is str:
        return column
    out = np.empty(len(column), _TYPES[kind])
    for i, value in enumerate(column):
        try:
            out[i] = kind(value)
        except (ValueError, OverflowError):
            raise DataError(
                f"[Csv] broken row: expected {kind.__name__} in column '{name}', got {value!r} at {path}:{lines[i]}"
            ) from None
    return out


def _guessed(column):
    for kind, dtype in ((int, np.int64), (float, np.float32)):
        try:
            return np.array([kind(v) for v in column], dtype)
        except (ValueError, OverflowError):
            pass
    return column


class TokenBlocks(Dataset):
    """(tokens[i : i + block], tokens[i + 1 : i + block + 1]) for i = 0, stride, 2 stride, ... of a file of token
    numbers, which is mapped into memory, not read: as `suan data prepare` or nanoGPT write it.

    Args:
        dtype: the numbers' NumPy dtype; None takes it from the meta.json beside the file, else uint16.
    """

    def __init__(self, path, block, stride=1, dtype=None):
        self.path = _file("TokenBlocks", path)
        if block < 1 or stride < 1:
            raise ValueError(f"[TokenBlocks] wrong block or stride: expected positive ints, got {block} and {stride}")
        if dtype is None:
            meta = self.path.with_name("meta.json")
            dtype = read_meta(meta)["dtype"] if meta.is_file() else "uint16"
        self.dtype = np.dtype(dtype)
        if self.dtype.kind not in "iu":
            raise TypeError(f"[TokenBlocks] wrong dtype: expected integers, got {self.dtype}")
        size = self.path.stat().st_size
        if size % self.dtype.itemsize:
            raise DataError(
                f"[TokenBlocks] {self.path} is cut off: expected a multiple of {self.dtype.itemsize} bytes "
                f"({self.dtype}), got {size}"
            )
        self.block, self.stride, self.n_tokens = block, stride, size // self.dtype.itemsize
        if self.n_tokens <= block:
            raise ValueError(
                f"[TokenBlocks] too few tokens: expected more than the block of {block}, got {self.n_tokens}"
            )
        self._offsets = np.arange(block + 1)
        self._tokens = None

    def __getstate__(self):
        return {**self.__dict__, "_tokens": None}

    @property
    def tokens(self):
        """All tokens, as a read-only array over the file."""
        if self._tokens is None:
            if self.path.stat().st_size != self.n_tokens * self.dtype.itemsize:
                raise DataError(f"[TokenBlocks] {self.path} has changed: expected {self.n_tokens} tokens")
            self._tokens = np.memmap(self.path, self.dtype, "r")
        return self._tokens

    def __len__(self):
        return (self.n_tokens - self.block - 1) // self.stride + 1

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"[TokenBlocks] index out of range: expected less than {len(self)}, got {index}")
        x, y = self.get_batch(np.array([index % len(self)]))
        return x[0], y[0]

    def get_batch(self, indices):
        rows = self.tokens[(np.asarray(indices) * self.stride)[:, None] + self._offsets].astype(np.int64)
        return suan.from_numpy(rows[:, :-1].copy()), suan.from_numpy(rows[:, 1:].copy())

    def columns(self):
        tokens = suan.from_numpy(np.memmap(self.path, self.dtype, "c"))  # private: never written to
        return window_columns(tokens, len(self), self.block, self.stride)


def read_meta(path):
    """What `suan data prepare` wrote about its files: dtype, tokenizer, chars, number of tokens of each part."""
    try:
        meta = json.loads(Path(path).read_text(encoding="utf-8"))
        if meta["format"] != "suan tokens 1" or meta["dtype"] not in ("uint16", "uint32"):
            raise ValueError("another format")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"[read_meta] {path} is damaged: expected the meta.json of suan data prepare, got {error!r}"
        ) from None
    return meta


_PICTURES = {".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


class ImageFolder(Dataset):
    """root/class/picture files: items are ([3, height, width] float32 in [0, 1], number of the class).

    Classes are the folders' names in order; pictures are found below them at any depth. Pillow reads them.

    Args:
        size: (height, width) to which pictures are resized (bilinear); None leaves them as they are.
        transform: called with the uint8 array [height, width, 3]; what it returns is the item's picture.
    """

    def __init__(self, root, size=None, transform=None):
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"[ImageFolder] no such folder: expected one folder a class, got {root}")
        self.classes = sorted(p.name for p in root.iterdir() if p.is_dir())
        if not self.classes:
            raise DataError(f"[ImageFolder] no classes: expected one folder a class, got none in {root}")
        self.root, self.size, self.transform = root, size, transform
        self.samples = []
        for number, name in enumerate(self.classes):
            found = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in _PICTURES)
            if not found:
                raise DataError(
                    f"[ImageFolder] empty class: expected pictures ({', '.join(sorted(_PICTURES))}), got none in "
                    f"{root / name}"
                )
            self.samples += [(str(p), number) for p in found]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        pixels = read_image(path, self.size)
        if self.transform is not None:
            return self.transform(pixels), label
        return suan.from_numpy((pixels.transpose(2, 0, 1) / np.float32(255)).astype(np.float32)), label


def read_image(path, size=None):
    """A picture file as a uint8 array [height, width, 3], resized to `size` if given."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError("[read_image] Pillow is missing: expected `pip install pillow`") from None
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
            if size is not None:
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.array(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"[read_image] no such file: {path}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"[read_image] {path} cannot be read: expected a picture, got: {error}") from None
