"""What the functions of nn share in looking at their arguments."""


def _fail(op, text, error=ValueError):
    raise error(f"[{op}] {text}")


def _tuple(op, what, value, n):
    """An int or a sequence of n ints as a tuple of n ints."""
    if isinstance(value, int):
        return (value,) * n
    value = tuple(value)
    if len(value) == 1:
        return value * n
    if len(value) != n:
        _fail(op, f"wrong {what}: expected an int or {n} ints, got {value}")
    return value
