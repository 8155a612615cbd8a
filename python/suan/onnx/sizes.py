"""Sizes that stay open in an exported graph. The function is recorded at a few sizes; an integer that differs
between the recordings is a Size, and is written as the formula of the open dimensions that explains all of
them, or as a dimension of a value that is there when the graph runs."""

import itertools

#: Recordings. Primes first: what follows one formula at all of them does so by more than chance.
N_SAMPLES = 4
_PRIMES = [(5, 7, 11, 19), (13, 23, 37, 31), (29, 17, 47, 23), (43, 31, 19, 53)]
#: For functions that take only some sizes: multiples of the example's.
_FACTORS = [(1, 2, 3, 5), (2, 1, 5, 3), (3, 5, 1, 2), (5, 3, 2, 1)]
MOST_SYMBOLS = len(_PRIMES)


def sample_sizes(examples):
    """Two ways to choose sizes, each a list of one tuple per symbol."""
    n = len(examples)
    yield _PRIMES[:n]
    yield [tuple(max(e, 2) * f for f in _FACTORS[i]) for i, e in enumerate(examples)]


class Size:
    """An integer by recording."""

    def __init__(self, values):
        self.values = tuple(values)

    @staticmethod
    def of(values):
        """A plain int where all agree."""
        values = tuple(values)
        return values[0] if all(v == values[0] for v in values) else Size(values)

    def _with(self, other, f):
        others = other.values if isinstance(other, Size) else (other,) * len(self.values)
        return Size.of(f(a, b) for a, b in zip(self.values, others))

    def __mul__(self, other):
        return self._with(other, lambda a, b: a * b)

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other):
        return self._with(other, lambda a, b: b - a)

    __rmul__, __radd__ = __mul__, __add__

    def __eq__(self, other):
        return isinstance(other, Size) and self.values == other.values

    def __hash__(self):
        return hash(self.values)

    def __repr__(self):
        return "/".join(map(str, self.values))


def linear(values, base):
    """(scale, shift) with values = scale * base + shift, integers and a positive scale; None where there are none."""
    step = base[1] - base[0]
    if step == 0 or (values[1] - values[0]) % step:
        return None
    scale = (values[1] - values[0]) // step
    shift = values[0] - scale * base[0]
    return (scale, shift) if scale > 0 and all(v == scale * b + shift for v, b in zip(values, base)) else None


def formula(values, symbols):
    """(indices of symbols to multiply, scale, shift) for values that follow from the symbols' sizes in one way."""
    found = []
    for degree in (1, 2, 3):
        for factors in itertools.combinations_with_replacement(range(len(symbols)), degree):
            base = [1] * len(values)
            for f in factors:
                base = [b * s for b, s in zip(base, symbols[f])]
            fit = linear(values, base)
            if fit:
                found.append((factors, *fit))
        if found:
            break
    return found[0] if len(found) == 1 else None
