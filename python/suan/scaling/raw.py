"""Raw logs: what every rank writes, and what the machine is."""

import glob
import json
import os
import platform
from pathlib import Path


NO_RAPL = "no RAPL counters in /sys/class/powercap"


class Log:
    """JSON lines of one rank: DIR/rank<r>.jsonl, written anew."""

    def __init__(self, folder, rank):
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._file = open(Path(folder) / f"rank{rank}.jsonl", "w", encoding="utf-8")

    def write(self, event, **values):
        self._file.write(json.dumps({"event": event, **values}) + "\n")

    def close(self):
        self._file.close()


def read(folder):
    """The events of every rank, in order of rank: a list of lists of dicts. ValueError on a folder that is not
    one run's, or a line that is not whole."""
    files = sorted(Path(folder).glob("rank*.jsonl"), key=lambda p: int(p.stem[4:]))
    if not files or [int(p.stem[4:]) for p in files] != list(range(len(files))):
        raise ValueError(f"[scale] raw logs are missing: expected rank0.jsonl and on in {folder}, "
                         f"got {[p.name for p in files]}")
    ranks = []
    for path in files:
        events = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"[scale] bad line: expected JSON at {path}:{number}, got {error}") from None
        ranks.append(events)
    return ranks


def processor():
    """The processor's name, as /proc/cpuinfo has it."""
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def machine():
    """What a rank runs on: host, processor, CPUs of this process, kernel."""
    return {"host": platform.node(), "processor": processor(), "cpus": len(os.sched_getaffinity(0)),
            "system": platform.platform()}


class Energy:
    """Joules of the whole machine's processors since it was made, from the kernel's RAPL counters. `why_not`
    says why there are none."""

    def __init__(self):
        self._zones = []
        self.why_not = None
        paths = sorted(glob.glob("/sys/class/powercap/intel-rapl:[0-9]*"))
        paths = [p for p in paths if Path(p).name.count(":") == 1]  # packages, not their parts
        if not paths:
            self.why_not = NO_RAPL
        try:
            for p in paths:
                self._zones.append((Path(p) / "energy_uj", int((Path(p) / "max_energy_range_uj").read_text()),
                                    int((Path(p) / "energy_uj").read_text())))
        except OSError as error:
            self._zones, self.why_not = [], f"RAPL counters cannot be read: {error.strerror}"

    def joules(self):
        """Joules, or None where nothing counts them. A counter that wrapped more than once counts too little."""
        if not self._zones:
            return None
        total = 0
        for path, span, first in self._zones:
            total += (int(path.read_text()) - first) % (span + 1)
        return total / 1e6
