#!/usr/bin/env python3
"""Loading a model and answering once, with and without a file of packed weights, and the memory of two processes.

    PYTHONPATH=build/release/python python tools/bench onnx_prepacked MODEL... [--rounds N] [--precision bf16]

Each reading has a process of its own, in turn: without the file, writing it, with it, and with it where the model's files
look changed (their content is hashed then). Milliseconds of load and of the first call, and the median of 20 calls after it;
medians over the rounds (fastest). Then two processes at once, without and with it: the sum of their Pss, and what of the
model's own mapping is resident. Inputs are random, 1 for open sizes of pictures and 128 for those of tokens.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = ("without", "writing", "with", "with, hashed")


def child(model, options):
    from onnx_memory import inputs_of

    import suan.onnx

    start = time.perf_counter()
    session = suan.onnx.InferenceSession(model, **options)
    loaded = time.perf_counter()
    feed = inputs_of(session, Path(model).stem)
    begun = time.perf_counter()
    session.run(None, feed)
    first = time.perf_counter() - begun
    later = []
    for _ in range(20):
        begun = time.perf_counter()
        session.run(None, feed)
        later.append(time.perf_counter() - begun)
    pss = own = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            inside = line.endswith(str(Path(model).resolve()))
        elif line.startswith("Rss:") and inside:
            own += int(line.split()[1])
    print(json.dumps([1e3 * (loaded - start), 1e3 * first, 1e3 * statistics.median(later)]), flush=True)
    sys.stdin.readline()   # all are there
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            pss = int(line.split()[1])
    print(json.dumps([pss / 1024, own / 1024]), flush=True)
    sys.stdin.readline()


def start(model, options):
    return subprocess.Popen([sys.executable, __file__, "--child", str(model), json.dumps(options)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)


def tell(p):
    p.stdin.write("\n")
    p.stdin.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="float32")
    args = parser.parse_args()
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            pack = Path(folder) / "w.pack"
            base = {"precision": args.precision}
            kept = {**base, "prepacked": str(pack)}
            readings = {k: [] for k in KINDS}
            for _ in range(args.rounds):
                pack.unlink(missing_ok=True)
                for kind in KINDS:
                    if kind == "with, hashed":   # an empty stamp
                        with open(pack, "r+b") as f:
                            f.seek(4096)
                            f.write(bytes(32))
                    p = start(model, base if kind == "without" else {**kept, "prepacked_read_only": kind != "writing"})
                    readings[kind].append(json.loads(p.stdout.readline()))
                    p.communicate("\n\n")
            print(f"{model.stem}: packed weights {pack.stat().st_size / 2**20:.1f} MiB, model {model.stat().st_size / 2**20:.1f}")
            for kind, rows in readings.items():
                both = [load + first for load, first, _ in rows]
                later = statistics.median(r[2] for r in rows)
                print(f"  {kind:13} load {statistics.median(r[0] for r in rows):.1f}, first {statistics.median(r[1] for r in rows):.1f}, "
                      f"both {statistics.median(both):.1f} ({min(both):.1f}) ms; later {later:.2f} ms", flush=True)
            for kind, options in (("without", base), ("with", kept)):
                running = [start(model, options) for _ in range(2)]
                for p in running:
                    p.stdout.readline()
                sums = []
                for p in running:
                    tell(p)
                    sums.append(json.loads(p.stdout.readline()))
                for p in running:
                    p.communicate("\n")
                print(f"  two processes {kind}: Pss {sum(s[0] for s in sums):.0f} MiB, of the model's own pages "
                      f"{sum(s[1] for s in sums):.1f} MiB resident", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        child(sys.argv[2], json.loads(sys.argv[3]))
    else:
        main()
