"""What tools/benches/train.py measures: sizes, random data, first weights, the same for all libraries.

Needs NumPy only, so that each library's worker, in its own environment, can import it.
"""

import json
import os
import statistics
import sys
import time

import numpy as np

THREADS = int(os.environ.get("SUAN_BENCH_THREADS", 2))
# With one thread the process's CPU time is a fair clock on a machine that others use too.
now = time.process_time if os.environ.get("SUAN_BENCH_CLOCK") == "cpu" else time.perf_counter
LR, WEIGHT_DECAY, CLIP = 3e-4, 0.1, 1.0

GPTS = {
    "char_gpt_small": dict(vocab=65, block=64, layers=4, heads=4, width=128, batch=12),
    "char_gpt": dict(vocab=65, block=256, layers=6, heads=6, width=384, batch=12),
    "gpt2": dict(vocab=50304, block=256, layers=12, heads=12, width=768, batch=4),
}


def batch(case):
    """The random inputs and targets of one step."""
    rng = np.random.default_rng(7)
    if case in GPTS:
        g = GPTS[case]
        shape = (g["batch"], g["block"])
        return rng.integers(0, g["vocab"], shape), rng.integers(0, g["vocab"], shape)
    if case == "cnn":
        return rng.random((128, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 128)
    if case == "mlp":
        return (rng.standard_normal((32, 64), dtype=np.float32),
                rng.standard_normal((32, 64), dtype=np.float32))
    known = ["mlp", "cnn", *GPTS]
    raise ValueError(f"[bench] unknown case: expected one of {known}, got {case!r}")


def first_weight(name, shape):
    """A parameter's first value, from its name alone; embeddings get scale 0.02."""
    rng = np.random.default_rng([ord(c) for c in name])
    if len(shape) == 1:
        ones = "norm" in name and name.endswith("weight")
        return np.full(shape, 1.0 if ones else 0.0, np.float32)
    fan_in = int(np.prod(shape[1:]))
    scale = 0.02 if name in ("token.weight", "position.weight", "head.weight") else fan_in ** -0.5
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def resident(field):
    """VmRSS or VmHWM of this process in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"[bench] /proc/self/status: expected a line {field}, got none")


def measure(step, seconds, group=1, warm=5):
    """Runs step() for about that many seconds: times per call and the first losses."""
    losses = [float(step()) for _ in range(warm)]
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = now()
        for _ in range(group):
            loss = step()
        float(loss)
        times.append((now() - begin) / group)
    return {"median": statistics.median(times), "min": min(times), "n": len(times) * group,
            "losses": losses}


def report(values):
    json.dump(values, sys.stdout)
    print()
