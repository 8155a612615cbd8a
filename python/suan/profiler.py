"""What takes the time: by op, by Python line, and as a trace for chrome://tracing or Perfetto."""

import dataclasses
import json
import pathlib
from collections import defaultdict

from . import _c
from .pages.memory import seen_holders

__all__ = ["Call", "MemoryEvent", "profile"]

_MOST_CALLS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Call:
    """One kernel, or one step of a compiled program. Times are seconds since the profile began."""

    op: str
    line: str       # "train.py:12 in step" of the call that it serves (a gradient's: of the forward call); may be ""
    begin: float
    seconds: float
    thread: int     # the calling one; an op may use more inside
    planned: bool   # a step of a program, not an eager call


@dataclasses.dataclass(frozen=True)
class MemoryEvent:
    """A block of more than 64 KiB that was taken (``bytes`` above 0) or given back. Blocks held when the profile began
    come first, at 0 seconds."""

    at: float       # seconds since the profile began
    bytes: int
    in_use: int     # bytes of tensor memory in use in the process, after it; small blocks included
    line: str       # that asked for the block, of a gradient the forward line; may be ""
    block: int      # the same number when it is given back


class profile:
    """Notes every kernel that the process runs inside the block: of eager ops, backward passes, compiled functions,
    ONNX sessions and collectives.

    An op that is defined by others appears as these; a fused group as ``fused_elementwise`` or ``fused_epilogue``.
    On a GPU the time is that of the launch, not of the kernel. One profile at a time, in the whole process.

    Args:
        most_calls: calls kept (some 48 bytes each); those after them are counted in ``dropped``. Memory events have the
            same limit of their own.
        memory: True notes the blocks of memory that are taken and given back, too.

    Attributes, once the block has ended:
        calls: list of :class:`Call`, in the order in which they began.
        memory: list of :class:`MemoryEvent`, as they happened; empty unless asked for.
        seconds: length of the block.
        dropped: calls and memory events past ``most_calls``.

    Raises:
        StateError: a profile is being taken already; or the results are asked for inside the block.
    """

    def __init__(self, *, most_calls=_MOST_CALLS, memory=False):
        if most_calls < 1:
            raise ValueError(f"[profile] wrong most_calls: expected 1 or more, got {most_calls}")
        self._most_calls, self._memory = most_calls, bool(memory)
        self._calls = None

    def __enter__(self):
        _c.start_profile(self._most_calls, self._memory)
        self._calls = None
        return self

    def __exit__(self, *exc):
        rows, nanoseconds, self.dropped, memory = _c.stop_profile()
        rows.sort(key=lambda r: r[2])
        self._calls = [Call(op, line, b * 1e-9, (e - b) * 1e-9, thread, planned) for op, line, b, e, thread, planned in rows]
        self._events = [MemoryEvent(at * 1e-9, n, in_use, line, block) for block, n, in_use, at, line in memory]
        self.seconds = nanoseconds * 1e-9
        return False

    @property
    def calls(self):
        if self._calls is None:
            raise _c.StateError("[profile] no result yet: expected the with block to have ended, got a request before")
        return self._calls

    @property
    def memory(self):
        self.calls  # noqa: B018: raises before the end
        return self._events

    def peak_holders(self):
        """(bytes in use at the highest point, [(bytes, line, blocks)] that held them, largest first); the lines past 12 and
        small blocks are one row.

        Raises:
            ValueError: the profile was taken without memory=True.
        """
        if not self._memory:
            raise ValueError("[profile] no memory in this profile: expected memory=True, got False")
        top, _, rows = seen_holders(self.memory)
        return top, rows

    def save_page(self, path):
        """Writes one HTML page: memory over time if it was asked for, and the totals by line and by op."""
        from .pages.function import profile_page

        pathlib.Path(path).write_text(profile_page(self), encoding="utf-8")

    def totals(self, by="op"):
        """Rows (name, calls, seconds), longest first.

        Args:
            by: "op" or "line".
        """
        if by not in ("op", "line"):
            raise ValueError(f"[profile] unknown grouping: expected 'op' or 'line', got {by!r}")
        count, seconds = defaultdict(int), defaultdict(float)
        for c in self.calls:
            name = getattr(c, by) or "(no Python line)"
            count[name] += 1
            seconds[name] += c.seconds
        return [(name, count[name], seconds[name]) for name in sorted(seconds, key=seconds.get, reverse=True)]

    def table(self, by="op", rows=20):
        """The totals as text; its last lines say how much of the block was inside kernels, and outside of them."""
        totals = self.totals(by)
        inside = sum(c.seconds for c in self.calls if c.thread == self._main_thread)
        shown = totals[:rows]
        width = max([len(by), *(len(name) for name, _, _ in shown)])
        text = [f"{by:<{width}}  {'calls':>8}  {'ms':>10}  {'µs a call':>10}  {'share':>6}"]
        for name, n, seconds in shown:
            share = seconds / self.seconds if self.seconds else 0
            text.append(f"{name:<{width}}  {n:>8}  {seconds * 1e3:>10.3f}  {seconds / n * 1e6:>10.2f}  {share:>6.1%}")
        if len(totals) > rows:
            rest = totals[rows:]
            text.append(f"{len(rest)} more: {sum(n for _, n, _ in rest)} calls, {sum(s for _, _, s in rest) * 1e3:.3f} ms")
        text.append(f"{self.seconds * 1e3:.3f} ms in all; {inside * 1e3:.3f} ms in kernels of the busiest thread, the rest "
                    "outside of them: Python, dispatch, waiting")
        if self.dropped:
            text.append(f"{self.dropped} calls were dropped: see most_calls")
        return "\n".join(text)

    @property
    def _main_thread(self):
        seconds = defaultdict(float)
        for c in self.calls:
            seconds[c.thread] += c.seconds
        return max(seconds, key=seconds.get, default=0)

    def export_chrome_trace(self, path):
        """Writes the calls, and memory in use as a counter, as trace events (JSON) for chrome://tracing or
        ui.perfetto.dev."""
        events = [
            {"name": c.op, "cat": "planned" if c.planned else "eager", "ph": "X", "pid": 0, "tid": c.thread,
             "ts": c.begin * 1e6, "dur": c.seconds * 1e6, "args": {"line": c.line}}
            for c in self.calls
        ]
        events += [{"name": "memory in use", "ph": "C", "pid": 0, "ts": e.at * 1e6, "args": {"bytes": e.in_use}}
                   for e in self.memory]
        pathlib.Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
