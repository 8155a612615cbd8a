#!/usr/bin/env python3
"""Resident memory of one session while it meets random shapes.

    tools/bench onnx_shapes MODEL [--shapes 10000] [--seed 0] NAME=LOW:HIGH...

NAME is a dimension of the model's inputs ("?" for those without a name), drawn from LOW to HIGH for each call. Prints the
resident memory without pages of mapped files, of the session and of the process with Python, after the first 200 shapes,
the range it keeps to from there on, and what trim() leaves. It is no timing: other work on the machine does not matter.
"""

import argparse
import random
import time

import numpy as np

import suan.onnx


def resident():
    """Bytes of anonymous memory."""
    with open("/proc/self/statm") as f:
        fields = f.read().split()
    return (int(fields[1]) - int(fields[2])) * 4096


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("sizes", nargs="+")
    parser.add_argument("--shapes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    ranges = {}
    for text in args.sizes:
        name, _, span = text.partition("=")
        low, _, high = span.partition(":")
        ranges[name] = int(low), int(high or low)
    rng = random.Random(args.seed)
    before = resident()
    session = suan.onnx.InferenceSession(args.model)
    feeds = session.get_inputs()
    unit = np.random.default_rng(args.seed)
    readings, began = np.ones(args.shapes, np.int64), time.monotonic()   # touched: its pages do not come one by one
    for k in range(args.shapes):
        size = {name: rng.randint(*r) for name, r in ranges.items()}
        feed = {}
        for i in feeds:
            shape = [d if isinstance(d, int) else size[d or "?"] for d in i.shape]
            if "float" in i.type:
                feed[i.name] = unit.standard_normal(shape, dtype=np.float32)
            else:
                feed[i.name] = np.zeros(shape, np.int64 if "64" in i.type else np.int32)
        session.run(None, feed)
        del feed   # the call's own arrays are not the session's
        readings[k] = resident() - before
        if k + 1 in (1, 50, 200, 1000) or (k + 1) % 2000 == 0:
            print(f"{k + 1:6} shapes: {readings[k] / 2**20:8.1f} MiB, {time.monotonic() - began:.0f} s", flush=True)
    later = readings[200:] if args.shapes > 200 else readings[-1:]
    for what, beside in (("session", 0), ("whole process", before)):
        at, low, high = (beside + n for n in (int(readings[min(199, len(readings) - 1)]), int(min(later)), int(max(later))))
        print(f"{what}: {at / 2**20:.1f} MiB after 200; from there {low / 2**20:.1f} to {high / 2**20:.1f} MiB "
              f"({100 * (low / at - 1):+.1f} % to {100 * (high / at - 1):+.1f} %)")
    session.trim()
    print(f"trimmed: {(resident() - before) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
