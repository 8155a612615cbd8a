#!/usr/bin/env python3
"""Products with packed constant weights, plain and by one level of Strassen's algorithm, in turn in one process.

    .venv/bin/python tools/bench strassen [--threads 2] [--rows 128 384] [--rounds 9]

SUAN_ISA=avx2 measures the other kernels. A product's weights come from twelve copies or more, so from memory as a model's
do. Prints times, medians and fastest, and their ratio (above 1: Strassen's is faster); then errors beside float64, the
largest and the root mean square over the results' own: of normal data, of what follows a ReLU, and where one row and one
column in 64 are a hundred times larger.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "build" / "release" / "python"))

import numpy as np  # noqa: E402

import suan  # noqa: E402

SIZES = [(768, 768), (768, 2304), (768, 3072), (3072, 768), (256, 1024), (384, 1536), (512, 512), (1024, 4096)]   # in, out


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(m, k, n, rounds):
    rng = np.random.default_rng(0)
    x = suan.tensor(rng.standard_normal((m, k), dtype=np.float32))
    weight = suan.tensor(rng.standard_normal((n, k), dtype=np.float32))
    copies = [suan.weight_panels(weight) for _ in range(max(12, 64_000_000 // (4 * n * k)))]

    def run(strassen):
        for w in copies:
            suan.linear_panels(x, w, None, n, strassen)

    times = {False: [], True: []}
    for _ in range(rounds + 1):
        for way, taken in times.items():
            taken.append(timed(lambda way=way: run(way)) / len(copies))
    plain, fewer = (t[1:] for t in times.values())
    work = 2e-9 * m * n * k
    print(f"| {m} x {k} x {n} | {statistics.median(plain) * 1e6:.0f} / {min(plain) * 1e6:.0f} | {work / min(plain):.0f} | "
          f"{statistics.median(fewer) * 1e6:.0f} / {min(fewer) * 1e6:.0f} | "
          f"{statistics.median(plain) / statistics.median(fewer):.3f} / {min(plain) / min(fewer):.3f} |", flush=True)


def errors(name, x, weight):
    panels = suan.weight_panels(suan.tensor(weight))
    want = x.astype(np.float64) @ weight.T.astype(np.float64)
    rms = np.sqrt((want**2).mean())
    cells = []
    for strassen in (False, True):
        wrong = suan.linear_panels(suan.tensor(x), panels, None, len(weight), strassen).numpy() - want
        cells += [f"{np.abs(wrong).max() / rms:.1e}", f"{np.sqrt((wrong**2).mean()) / rms:.1e}"]
    print(f"| {name}, {x.shape[0]} x {x.shape[1]} x {len(weight)} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="+", default=[128, 384])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    suan.set_num_threads(args.threads)
    print("| rows x in x out | plain µs, median / fastest | GFLOP/s | Strassen µs | ratio |\n|---|---|---|---|---|")
    with suan.inference_mode():
        for m in args.rows:
            for k, n in SIZES:
                measure(m, k, n, args.rounds)
        print("\n| data | plain: largest | rms | Strassen: largest | rms |\n|---|---|---|---|---|")
        rng = np.random.default_rng(1)
        for k, n in ((768, 768), (3072, 768)):
            x, w = rng.standard_normal((128, k), dtype=np.float32), rng.standard_normal((n, k), dtype=np.float32)
            errors("normal", x, w)
            errors("after ReLU", np.maximum(x, 0), w)
            x[::64] *= 100
            x[:, ::64] *= 100
            errors("uneven", x, w)


if __name__ == "__main__":
    main()
