"""`suan ops` and `suan doctor`."""

import json
import os
import platform
import sys

import suan


def _table(rows, headers):
    """Columns as wide as they need to be; the last one is not padded."""
    widths = [max(len(str(row[i])) for row in [headers, *rows]) for i in range(len(headers))]
    for row in [headers, *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def ops_command(as_json):
    rows = suan._c.op_table()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    headers = ("op", "family", "dtypes", "runs", "gradient", "onnx")
    _table([[row.get(h) or "-" for h in headers] for row in rows], headers)
    kernels = sum(row["runs"] == "kernel" for row in rows)
    print(f"{len(rows)} ops, {kernels} with a kernel, {len(rows) - kernels} composed of others")


def _cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def _memory():
    names = ("MemTotal", "MemAvailable")
    with open("/proc/meminfo") as file:
        found = {k: v for k, v in (line.split(":", 1) for line in file) if k in names}
    return tuple(int(found[n].split()[0]) * 1024 for n in names)


def doctor_facts():
    import numpy

    total, available = _memory()
    return {
        "suan": suan.__version__,
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "isa": suan._c.isa(),
        "threads": suan.get_num_threads(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": total,
        "memory_available_bytes": available,
        "devices": ["cpu"],
        "ops": len(suan._c.op_table()),
    }


def doctor_command(as_json):
    facts = doctor_facts()
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    for key, value in facts.items():
        if key.endswith("_bytes"):
            key, value = key[: -len("_bytes")], f"{value / 2**30:.1f} GiB"
        print(f"{key.replace('_', ' '):17} {', '.join(value) if isinstance(value, list) else value}")
