"""Looking inside: where NaN begins, counters, saved bytes, memory, the user's line."""

import contextlib

from . import _c

apply_counters = _c.apply_counters
saved_bytes = _c.saved_bytes
user_line = _c.user_line
cpu_isa = _c.cpu_isa
memory_stats = _c.memory_stats
reset_peak_memory = _c.reset_peak_memory
trim_memory = _c.trim_memory
set_memory_limit = _c.set_memory_limit


class nan_guard(contextlib.ContextDecorator):
    """Raises StateError where a NaN or an infinity is made: the op, the output and its shape, the element, the line.

    An op is at fault when an output holds a NaN and no input does, or an infinity while all inputs are finite; a
    mask filled with ``-inf`` by hand is therefore none. For the op of a gradient the message also names the
    forward line. Every result of this thread inside the block is read once more: for finding a fault, not for
    training.

    A compiled function called inside runs as plain Python, op by op, so that each op is seen (its captured tensors
    change as they would); the backward pass of a module that was compiled runs node by node. The guard itself must
    be around the call, not inside the compiled function.

    Args:
        enabled: False switches the check off for a part of a guarded block.
    """

    def __init__(self, enabled=True):
        self._enabled = bool(enabled)
        self._before = []

    def __enter__(self):
        self._before.append(_c.set_nan_guard(self._enabled))
        return self

    def __exit__(self, *exc):
        _c.set_nan_guard(self._before.pop())
        return False
