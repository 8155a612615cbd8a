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


def _dtypes(op):
    """The first input's dtypes in a few words."""
    if not op["inputs"]:
        return "-"
    dtypes = op["inputs"][0]["dtypes"]
    groups = {
        "floats": ["float16", "bfloat16", "float32", "float64"],
        "ints": ["int8", "int16", "int32", "int64"],
        "uints": ["uint8", "uint16", "uint32", "uint64"],
    }
    words, rest = [], list(dtypes)
    for word, members in groups.items():
        if all(m in rest for m in members):
            words.append(word)
            rest = [d for d in rest if d not in members]
    return " ".join(words + rest)


def ops_rows():
    """One dictionary per op: what runs it, and whether it has a gradient."""
    rows = []
    for op in suan._c.op_table():
        if op["view"]:
            runs = "view"
        elif op["kernel"]:
            runs = "fused kernel" if op["composite"] else "kernel"
        else:
            runs = "composed"
        rows.append(
            {
                "op": op["name"],
                "dtypes": _dtypes(op),
                "runs": runs,
                "gradient": "yes" if op["differentiable"] else f"no: {op['no_grad']}",
                "onnx": op["onnx"],
                "samples": op["samples"],
            }
        )
    return rows


def ops_command(as_json):
    rows = ops_rows()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    headers = ("op", "dtypes", "runs", "onnx", "samples", "gradient")
    _table([["-" if row[h] is None else row[h] for h in headers] for row in rows], headers)
    counts = {
        kind: sum(row["runs"] == kind for row in rows)
        for kind in ("kernel", "fused kernel", "composed", "view")
    }
    print(f"{len(rows)} ops: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))


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
        "isa": suan._c.cpu_isa(),
        "threads": suan.get_num_threads(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": total,
        "memory_available_bytes": available,
        "devices": ["cpu", *(d for d in ("cuda", "cuda-emulated") if not suan._c.why_unavailable(d))],
        "cuda": suan._c.why_unavailable("cuda") or suan._c.describe_device("cuda"),
        "cuda-emulated": suan._c.why_unavailable("cuda-emulated") or suan._c.describe_device("cuda-emulated"),
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
        print(
            f"{key.replace('_', ' '):17} {', '.join(value) if isinstance(value, list) else value}"
        )
