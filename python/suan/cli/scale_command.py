"""`suan scale`: measurements of ranks, and their report."""

import json
import os
import shutil
import sys
from pathlib import Path

from ..scaling import comm, raw, report, train
from .launch import launch


def _run(script, args, ranks, folder):
    """The ranks of one measurement; their raw logs and output are in folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    status = launch(script.__file__, args, ranks, 1, 0, "127.0.0.1", None, folder / "output")
    if status:
        raise RuntimeError(f"[scale] a rank failed: expected all {ranks} to finish, got status {status} "
                           f"(their output is in {folder / 'output'})")


def _command():
    return " ".join(["suan", *sys.argv[1:]])


def comm_command(ranks, least, most, out, as_json):
    if not 4 * ranks <= least <= most:
        raise ValueError(f"[scale] bad sizes: expected {4 * ranks} <= --min-bytes <= --max-bytes, got {least}, {most}")
    folder = out / "raw" / f"comm-{ranks}"
    _run(comm, [str(folder), str(least), str(most)], ranks, folder)
    rows, fits = report.collectives(folder)
    summary = {"command": _command(), "ranks": ranks, **raw.machine(), "rows": rows,
               "fits": {op: {"latency": a, "bandwidth": b} for op, (a, b) in fits.items()}}
    (out / "comm.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    if as_json:
        print(json.dumps(summary))
        return
    print(f"{ranks} ranks, {raw.processor()}; time of the slowest rank, bandwidths in GB/s")
    print(f"{'op':15}{'size (B)':>12}{'count':>11}{'type':>9}{'time (us)':>12}{'algbw':>9}{'busbw':>9}{'#wrong':>8}"
          f"{'p50 (us)':>11}{'p99 (us)':>11}")
    for r in rows:
        print(f"{r['op']:15}{r['size']:>12}{r['count']:>11}{r['type']:>9}{r['seconds'] * 1e6:>12.1f}"
              f"{r['algbw'] / 1e9:>9.3f}{r['busbw'] / 1e9:>9.3f}{r['wrong']:>8}{r['p50'] * 1e6:>11.1f}"
              f"{r['p99'] * 1e6:>11.1f}")
    for op, (latency, bandwidth) in fits.items():
        wide = "not bounded by these sizes" if bandwidth is None else f"{bandwidth / 1e9:.3f} GB/s"
        print(f"fit {op}: {latency * 1e6:.1f} us + size / ({wide})")
    print(f"raw logs: {folder}; numbers: {out / 'comm.json'}")
    if any(r["wrong"] for r in rows):
        raise RuntimeError("[scale] wrong results: expected 0 wrong elements, got some (column #wrong)")


def train_command(ranks, model, steps, warm, scaling, stage, threads, lang, out, as_json):
    if model not in train.MODELS:
        raise ValueError(f"[scale] unknown model: expected one of {', '.join(train.MODELS)}, got {model!r}")
    if lang not in ("en", "zh"):
        raise ValueError(f"[scale] unknown language: expected en or zh, got {lang!r}")
    if scaling not in ("weak", "strong"):
        raise ValueError(f"[scale] unknown scaling: expected weak or strong, got {scaling!r}")
    try:
        counts = sorted({int(n) for n in ranks.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 1:
        raise ValueError(f"[scale] bad --ranks: expected numbers like 1,2,4, got {ranks!r}")
    batch = train.MODELS[model][1]
    if scaling == "strong" and any(batch % n for n in counts):
        raise ValueError(f"[scale] batch does not divide: expected ranks that divide {batch} sequences, got {counts}")
    threads = threads or max(1, len(os.sched_getaffinity(0)) // counts[-1])
    shutil.rmtree(out / "raw", ignore_errors=True)
    for n in counts:
        folder = out / "raw" / str(n)
        options = {"folder": str(folder), "model": model, "steps": steps, "warm": warm, "scaling": scaling,
                   "stage": stage, "threads": threads}
        if not as_json:
            print(f"{n} rank{'s' if n > 1 else ''} x {threads} thread{'s' if threads > 1 else ''}: "
                  f"{warm} + {steps} steps of {model}", flush=True)
        _run(train, [json.dumps(options)], n, folder)
    summary = report.write(out, _command(), lang)
    if as_json:
        print(json.dumps(summary))
        return
    for r in summary["runs"]:
        split, total = r["split_seconds"], sum(r["split_seconds"].values())
        print(f"{r['ranks']:4} ranks  {r['tokens_per_second']:>10,.0f} tokens/s  efficiency {r['efficiency']:.1%}  "
              f"MFU {r['mfu']:.1%}  step {r['step_seconds'] * 1e3:.1f} ms  "
              + "  ".join(f"{k} {v / total:.0%}" for k, v in split.items()))
    print(f"report: {out / 'report.html'}; numbers: {out / 'report.json'}; raw logs: {out / 'raw'}")
