#!/usr/bin/env python3
"""A compiled char-GPT that meets 400 sequence lengths, beside the same function uncompiled: time and memory.

    tools/bench lengths [--rounds N] [--step]

Every round calls both with each length once, in an order of its own. The target is 1.1 of the uncompiled time.
"""

import argparse

import cases
import numpy as np

import suan
from suan import _c
from suan.models import GPT, GPTConfig

LENGTHS = 400


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", action="store_true", help="forward, backward and AdamW instead of forward only")
    args = parser.parse_args()
    suan.set_num_threads(cases.THREADS)
    model = GPT(GPTConfig(vocab=65, block=LENGTHS, layers=4, heads=4, width=128))
    optimizer = suan.optim.AdamW(model.parameters(), lr=cases.LR)

    def step(x, y):
        loss = model(x, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    def forward(x, y):
        with suan.no_grad():
            return model(x, y)

    plain = step if args.step else forward
    functions = {"uncompiled": plain, "compiled": suan.compile(plain)}
    rng = np.random.default_rng(0)
    seconds = dict.fromkeys(functions, 0.0)
    for round in range(args.rounds + 1):
        for length in rng.permutation(np.arange(1, LENGTHS + 1)):
            x, y = (suan.tensor(rng.integers(0, 65, (1, length))) for _ in range(2))
            for name, function in functions.items():
                begin = cases.now()
                float(function(x, y))
                seconds[name] += cases.now() - begin
        if round == 0:  # the first round warms up
            seconds = dict.fromkeys(functions, 0.0)
        memory = _c.memory_stats()["in_use"] / 1e6
        print(f"round {round}: {memory:.1f} MB in use, {cases.resident('VmRSS') / 1e6:.0f} MB resident")
    for name, total in seconds.items():
        print(f"{name}: {total / args.rounds / LENGTHS * 1e3:.3f} ms a call")
    print(f"compiled takes {seconds['compiled'] / seconds['uncompiled']:.3f} of the uncompiled time (target 1.1)")


if __name__ == "__main__":
    main()
