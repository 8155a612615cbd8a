"""What is in a checkpoint: tensors with statistics of their values, and their figures in words."""

import math

import numpy

from ..saving import Named, scan


class Statistics:
    """Count, extremes, mean and standard deviation (of the whole population) of finite values; NaN and infinities
    counted beside them. Pieces are merged as Chan, Golub and LeVeque (1979) do, so nothing is read twice."""

    def __init__(self):
        self.nan = self.inf = self.count = 0
        self.min = self.max = None
        self.mean = self._squares = 0.0

    def add(self, values):
        if values.dtype.kind == "f":
            finite = numpy.isfinite(values)
            if not finite.all():
                nan = int(numpy.isnan(values).sum())
                self.nan, self.inf = self.nan + nan, self.inf + int((~finite).sum()) - nan
                values = values[finite]
        n = values.size
        if n == 0:
            return
        # Extremes of integers are taken from integers: float64 holds 53 of their bits.
        low, high = values.min().item(), values.max().item()
        self.min = low if self.min is None else min(self.min, low)
        self.max = high if self.max is None else max(self.max, high)
        values = values.astype("float64", copy=False)
        mean = float(values.mean())
        squares = float(numpy.square(values - mean).sum())
        whole, away = self.count + n, mean - self.mean
        self._squares += squares + away * away * self.count * n / whole
        self.mean += away * n / whole
        self.count = whole

    @property
    def std(self):
        return math.sqrt(self._squares / self.count) if self.count else None


def others(tree, path=""):
    """(path, value) of everything in a checkpoint's tree that is no tensor."""
    if isinstance(tree, Named):
        return
    if isinstance(tree, (dict, list, tuple)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from others(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, float) and not math.isfinite(tree) or not isinstance(tree, (str, int, float, type(None))):
        yield path, repr(tree)  # what JSON has no word for
    else:
        yield path, tree


def checkpoint_facts(path):
    """A dict: file, tensors (a list of dicts: name, dtype, shape, elements, bytes, min, max, mean, std, nan, inf;
    the four in the middle are None without finite values) and others, [path, value] of what is no tensor."""
    tensors, tree = scan(path)
    rows = []
    for name, dtype, shape, pieces in tensors:
        s, elements, size = Statistics(), math.prod(shape), 0
        with numpy.errstate(over="ignore", invalid="ignore"):
            for values in pieces:
                s.add(values)
        rows.append({
            "name": name, "dtype": dtype.name, "shape": shape, "elements": elements, "bytes": elements * dtype.itemsize,
            "min": s.min, "max": s.max, "mean": s.mean if s.count else None, "std": s.std, "nan": s.nan, "inf": s.inf,
        })
    return {"file": str(path), "tensors": rows, "others": [[p, v] for p, v in others(tree)]}


def is_safetensors(path):
    """Whether a file begins as safetensors do: the header's length, then its JSON."""
    try:
        with open(path, "rb") as file:
            begin = file.read(9)
    except OSError:
        begin = b""  # whoever reads it says why it cannot be read
    return str(path).endswith(".safetensors") or begin[8:] == b"{" and int.from_bytes(begin[:8], "little") < 1 << 32


def number(value):
    """A statistic in a few characters."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, (bool, int)) else f"{value:.4g}"


def size(n):
    """Bytes in words."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if n >= unit:
            return f"{n / unit:.1f} {name}"
    return f"{n} B"


def totals(rows):
    """"12 tensors, 3,456 elements, 13.5 KiB", and what is not finite."""
    text = (f"{len(rows)} tensor{'s' * (len(rows) != 1)}, {sum(r['elements'] for r in rows):,} elements, "
            f"{size(sum(r['bytes'] for r in rows))}")
    for key, name in (("nan", "NaN"), ("inf", "infinite")):
        n = sum(r[key] for r in rows)
        text += f", {n:,} {name}" if n else ""
    return text
