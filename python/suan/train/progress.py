"""How a run shows itself: a live bar in a terminal or notebook, plain lines elsewhere, JSON on
request."""

import json
import resource
import sys
import time


def resident_bytes():
    """Memory of this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_bytes():
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def clock(seconds):
    seconds = int(round(seconds))
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def size(n):
    return f"{n / 2**30:.2f} GiB" if n >= 2**30 else f"{n / 2**20:.0f} MiB"


class Plain:
    """A line now and then; for files, pipes and CI."""

    every = 5.0  # seconds

    def __init__(self, unit):
        self.unit = unit
        self._next = 0.0

    def start(self, step, total):
        self.total = total

    def message(self, text):
        print(text, flush=True)

    def event(self, event):
        pass

    def update(self, step, loss, rate, left):
        now = time.monotonic()
        if now >= self._next or step == self.total:
            self._next = now + self.every
            self.message(
                f"step {step}/{self.total}  loss {loss:.4f}  {rate:,.0f} {self.unit}/s  "
                f"left {clock(left)}  memory {size(resident_bytes())}"
            )

    def stop(self):
        pass


class Json(Plain):
    """One JSON object a line, the same objects as in log.jsonl."""

    def message(self, text):
        pass

    def event(self, event):
        print(json.dumps(event), flush=True)

    def update(self, step, loss, rate, left):
        pass


class Live(Plain):
    """A bar that is redrawn at most ten times a second; rich draws it in a notebook as well."""

    every = 0.1

    def __init__(self, unit):
        super().__init__(unit)
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(bar_width=None),
            TextColumn("loss [bold]{task.fields[loss]}[/]"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("left {task.fields[left]}"),
            TextColumn("{task.fields[memory]}"),
            auto_refresh=False,
        )

    def start(self, step, total):
        super().start(step, total)
        self._task = self._progress.add_task(
            "", total=total, completed=step, loss="-", rate="", left="-", memory=""
        )
        self._progress.start()

    def message(self, text):
        if self._progress.live.is_started:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def update(self, step, loss, rate, left):
        now = time.monotonic()
        if now >= self._next or step == self.total:
            self._next = now + self.every
            self._progress.update(
                self._task,
                completed=step,
                loss=f"{loss:.4f}",
                rate=f"{rate:,.0f} {self.unit}/s",
                left=clock(left),
                memory=size(resident_bytes()),
                refresh=True,
            )

    def stop(self):
        self._progress.stop()


def _in_notebook():
    shell = sys.modules.get("IPython")
    shell = shell.get_ipython() if shell else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def make_display(unit, as_json=False):
    if as_json:
        return Json(unit)
    return Live(unit) if sys.stdout.isatty() or _in_notebook() else Plain(unit)
