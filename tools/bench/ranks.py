"""What ranks cost: the char-GPT step (4 layers, 128 wide, 64 tokens a row) on N processes of one
thread, with communication and, in turn, each process alone on the same rows; and the price of a
fixed number of shards.

    PYTHONPATH=$PWD/build/release/python .venv/bin/python tools/bench/ranks.py [--ranks 2] [--rows 12]
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time


def worker(options):
    import numpy as np

    import suan
    from suan import distributed as dist
    from suan import nn, optim
    from suan.models import GPT, GPTConfig

    suan.set_num_threads(1)
    if options.together:
        dist.init_process_group()
    suan.manual_seed(1)
    model = GPT(GPTConfig(vocab=65, block=64, layers=4, heads=4, width=128))
    params = list(model.parameters())
    optimizer = optim.AdamW(params, lr=1e-3)

    def train_step(x, y):
        loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    shards = options.shards * dist.get_world_size()
    step = dist.data_parallel(train_step, params, stage=options.stage, rank_invariant=shards)
    text = np.random.default_rng(0).integers(0, 65, (options.rows, 65))
    x, y = suan.tensor(text[:, :-1]), suan.tensor(text[:, 1:])
    for _ in range(3):
        step(x, y).item()
    times = []
    for _ in range(options.steps):
        begin = time.perf_counter()
        step(x, y).item()
        times.append(time.perf_counter() - begin)
    print(json.dumps(times))


def measure(options, together, stage, shards):
    """The median step of the slowest of the processes, in seconds."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, __file__, "--worker", f"--stage={stage}", f"--shards={shards}",
               f"--rows={options.rows}", f"--steps={options.steps}"] + ["--together"] * together
    ranks = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env={
            **os.environ, "RANK": str(r), "WORLD_SIZE": str(options.ranks),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
        for r in range(options.ranks)
    ]
    return max(statistics.median(json.loads(p.communicate()[0])) for p in ranks)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rows", type=int, default=12, help="of each rank")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    for hidden in ("--worker", "--together"):
        parser.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--stage", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--shards", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options)
    cases = {"alone": (False, 0, 1), "stage 0": (True, 0, 1), "stage 1": (True, 1, 1),
             "stage 2": (True, 2, 1), "stage 3": (True, 3, 1),
             "alone, 2 shards a rank": (False, 0, 2), "stage 0, 2 shards a rank": (True, 0, 2)}
    times = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, case in cases.items():
            times[name].append(measure(options, *case))
    base = statistics.median(times["alone"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:26s} {median * 1e3:8.2f} ms  speed {base / median:.2f} of alone")


if __name__ == "__main__":
    main()
