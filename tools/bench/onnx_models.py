#!/usr/bin/env python3
"""The real models of tools/onnx_models.py beside ONNX Runtime, in turn in one process.

    FOLDER/bin/python tools/bench/onnx_models.py MODELS [--threads 2] [--seconds 2.5] [NAME...]

FOLDER is the environment that tools/peers makes, MODELS where tools/onnx_models.py keeps the files; Suan comes from
build/release/python. Inputs are those of the tests. Prints medians, their ratio (above 1: Suan is faster), that of the
fastest calls, and the time from the file to a session and to the first answer.
"""

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "build" / "release" / "python"))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

import suan  # noqa: E402
import suan.onnx  # noqa: E402


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def compare(path, case, threads, seconds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    open_session = {
        "suan": lambda: suan.onnx.InferenceSession(path),
        "peer": lambda: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]),
    }
    loads, sessions = {"suan": [], "peer": []}, {}
    for _ in range(3):
        for who, make in open_session.items():
            took, sessions[who] = timed(make)
            loads[who].append(took)
    given = [case[f"in_{k}"] for k in range(sum(f.startswith("in_") for f in case.files))]
    feed = dict(zip([p.name for p in sessions["suan"].get_inputs()], given, strict=True))
    first = {who: timed(lambda: s.run(None, feed))[0] for who, s in sessions.items()}
    runs, end = {"suan": [], "peer": []}, time.perf_counter() + seconds
    while time.perf_counter() < end or len(runs["suan"]) < 8:
        for who, session in sessions.items():
            time.sleep(0.08)   # ONNX Runtime's threads spin for 40 ms before they sleep, on a processor that this turn needs
            session.run(None, feed)
            runs[who] += [timed(lambda: session.run(None, feed))[0] for _ in range(3)]
    return {who: min(t) for who, t in loads.items()}, first, runs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.5)
    args = parser.parse_intermixed_args()
    suan.set_num_threads(args.threads)
    print(f"Suan {suan.__version__}, ONNX Runtime {onnxruntime.__version__}, {args.threads} threads; Suan / ONNX Runtime")
    logs = {"run": [], "load": []}
    for path in sorted(args.models.glob("*.onnx")):
        if args.names and path.stem not in args.names:
            continue
        case = np.load(ROOT / "tests" / "python" / "golden" / "onnx_models" / f"{path.stem}.npz")
        try:
            loads, first, runs = compare(path, case, args.threads, args.seconds)
        except TypeError as error:
            print(f"{path.stem:24} {error}")
            continue
        median = {who: statistics.median(t) for who, t in runs.items()}
        ratio = median["peer"] / median["suan"]
        logs["run"].append(math.log(ratio))
        logs["load"].append(math.log(loads["suan"] / loads["peer"]))
        pair = lambda d: f"{1e3 * d['suan']:8.2f} / {1e3 * d['peer']:8.2f} ms"  # noqa: E731
        print(f"{path.stem:24} {pair(median)}  ratio {ratio:.2f}  fastest {min(runs['peer']) / min(runs['suan']):.2f}"
              f"  load {pair(loads)}  first {pair(first)}", flush=True)
    if logs["run"]:
        mean = {k: math.exp(sum(v) / len(v)) for k, v in logs.items()}
        print(f"geometric means: speed {mean['run']:.2f}, load time {mean['load']:.2f} of ONNX Runtime's")


if __name__ == "__main__":
    main()
