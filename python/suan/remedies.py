"""What would make a call fit into memory, priced by planning it again in other ways. Nothing is computed; the function is
recorded a few more times."""

import time

from . import _c


def _size(n):
    return f"{n / 2**20:.1f} MiB" if abs(n) >= 1 << 20 else f"{n / 2**10:.1f} KiB"


def _halved(leaves):
    """The arguments with half of the first dimension that most of them share, and its sizes; None where there is none."""
    sizes = [t.shape[0] for t in leaves if len(t.shape)]
    batch = max(set(sizes), key=sizes.count, default=1)
    if batch < 2:
        return None
    return [t[: batch // 2] if len(t.shape) and t.shape[0] == batch else t for t in leaves], batch


def _smallest(planned, peak, refused):
    """The plan with the least memory that recomputing reaches, within 4 % or as far as 5 seconds lead; None when it frees
    nothing. `refused`: bytes that are too few."""
    low, high, best, end = refused / peak, 1.0, None, time.monotonic() + 5
    while high - low > 0.04 and time.monotonic() < end:
        share = (low + high) / 2
        try:
            best, high = planned(int(peak * share)), share
            high = min(high, best["peak_bytes"] / peak)
        except MemoryError:
            low = share
    return best


def priced(planned, leaves, limit):
    """Lines of text: memory_limit, bfloat16 and half the batch, each with what it saves of a call's peak and its price.

    Args:
        planned: planned(leaves, memory_limit) gives the facts of suan.plan for these arguments.
        leaves: the call's tensors.
        limit: what the call may take, in bytes; 0 where that is not known.
    """
    peak = planned(leaves, 0)["peak_bytes"]
    lines = [f"To need less (of {_size(peak)} that a call takes beyond its inputs):"]

    def row(what, price, make):
        try:
            found = make()
        except (RuntimeError, ValueError, TypeError, IndexError, MemoryError, ZeroDivisionError) as error:
            lines.append(f"{what}: not known here ({str(error).splitlines()[0][:160]})")
            return
        if found is None:
            lines.append(f"{what}: saves nothing here")
            return
        saves = peak - found["peak_bytes"]
        over = found["peak_bytes"] - limit
        fits = "" if not limit else "; fits" if over <= 0 else f"; {_size(over)} too much still"
        lines.append(f"{what}: saves {_size(saves)}{price(found)}{fits}" if saves > 0 else f"{what}: saves nothing here")

    row("memory_limit= (values made again), the least found",
        lambda f: (f" (memory_limit={f['peak_bytes']}) for {max(0.0, f['planned_work'] / f['work'] - 1):.1%} more time"
                   " (by operations and bytes)"),
        lambda: _smallest(lambda n: planned(leaves, n), peak, min(limit, peak)))

    def narrow():
        from .amp import autocast

        with autocast("cpu"):
            return planned(leaves, 0)

    if _c.autocast_settings() is None:
        row('suan.autocast("cpu") to bfloat16', lambda f: "; its time is not known beforehand", narrow)
    half = _halved(leaves)
    if half is None:
        lines.append("half the batch: not known here (no arguments share a first dimension above 1)")
    else:
        small, batch = half
        row(f"batches of {batch // 2} instead of {batch}", lambda f: ", the same operations in more calls",
            lambda: planned(small, 0))
    return "\n  ".join(lines)


def with_remedies(error, planned, leaves, limit):
    """The same error with remedies in its text; the error itself where they cannot be found."""
    if "To need less" in str(error):
        return error
    try:
        text = priced(planned, leaves, limit)
    except Exception:  # noqa: BLE001: what was asked for is the first error
        return error
    return type(error)(f"{error}\n{text}")
