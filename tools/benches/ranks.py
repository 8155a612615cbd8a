"""What ranks cost: a char-GPT step on N processes of one thread with communication and, in turn, on the
same processes without; and the price of a fixed number of shards.

    tools/bench ranks [--ranks 2] [--model char_gpt]
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
    from suan.scaling.train import MODELS

    config = MODELS[options.model][0]
    suan.set_num_threads(1)
    if options.together:
        dist.init_process_group()
    suan.manual_seed(1)
    model = GPT(GPTConfig(**config))
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
    step = dist.data_parallel(train_step, params, stage=options.stage, rank_invariant=shards,
                              bucket_bytes=options.bucket_bytes)
    text = np.random.default_rng(0).integers(0, 65, (options.rows, config["block"] + 1))
    x, y = suan.tensor(text[:, :-1]), suan.tensor(text[:, 1:])
    for _ in range(3):
        step(x, y).item()
    times, before, cpu = [], suan._c.communication(), time.process_time()
    for _ in range(options.steps):
        begin = time.perf_counter()
        step(x, y).item()
        times.append(time.perf_counter() - begin)
    after = suan._c.communication()
    print(json.dumps({"times": times, "step": statistics.median(times), "cpu": (time.process_time() - cpu) / options.steps,
                      **{k: (after[k] - before[k]) / options.steps for k in after}}))


def measure(options, together, stage, shards):
    """What the slower of the processes says: its median step in seconds, the quartile of its fastest steps, its
    processor time and communication a step."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, __file__, "--worker", f"--stage={stage}", f"--shards={shards}",
               f"--rows={options.rows}", f"--steps={options.steps}", f"--model={options.model}",
               f"--bucket-bytes={options.bucket_bytes}"] + ["--together"] * together
    ranks = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env={
            **os.environ, "RANK": str(r), "WORLD_SIZE": str(options.ranks),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
        for r in range(options.ranks)
    ]
    results = [json.loads(p.communicate()[0]) for p in ranks]
    slower = max(results, key=lambda r: r["step"])
    # As if each step began together: what the slower one of every step costs, with no communication at all.
    slower["in_step"] = statistics.median(map(max, zip(*(r["times"] for r in results))))
    slower["quiet"] = max(statistics.quantiles(r.pop("times"), n=4)[0] for r in results)
    return slower


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--model", default="char_gpt_small", help="as in `suan scale train`")
    parser.add_argument("--bucket-bytes", type=int, default=1 << 20)
    parser.add_argument("--cases", help="only those whose name contains this")
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
    rounds = {name: [] for name in cases if name == "alone" or not options.cases or options.cases in name}
    for _ in range(options.rounds):
        for name in rounds:
            rounds[name].append(measure(options, *cases[name]))
    print(f"{options.model}, {options.ranks} ranks of one thread, {options.rows} rows each, {options.rounds} rounds of "
          f"{options.steps} steps\nspeed: over that of the same processes without communication, median of the rounds' "
          "ratios (least, most); quiet: the same for the quartile of fastest steps; ms of the median round")
    waits = sorted(r["step"] / r["in_step"] for r in rounds["alone"])
    print(f"alone, if every step took as long as its slower process: speed {statistics.median(waits):.2f} "
          f"({waits[0]:.2f}, {waits[-1]:.2f})")
    for name, results in rounds.items():
        def ratios(key):
            return sorted(a[key] / r[key] for a, r in zip(rounds["alone"], results))

        speeds, at = ratios("step"), {k: statistics.median(r[k] for r in results) * 1e3 for k in results[0]}
        print(f"{name:26s} step {at['step']:8.2f}  speed {statistics.median(speeds):.2f} ({speeds[0]:.2f}, {speeds[-1]:.2f})  "
              f"quiet {statistics.median(ratios('quiet')):.2f}  CPU {at['cpu']:8.2f}  collectives "
              f"{at['waited'] + at['moved']:6.2f}  of that exposed {at['exposed_waited']:5.2f} waiting, "
              f"{at['exposed_moved']:5.2f} moving")


if __name__ == "__main__":
    main()
