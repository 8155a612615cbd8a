"""The data-parallel char-GPT. As one rank, it trains some steps on this rank's rows of fixed batches and writes
losses, final weights and memory:

    distributed_gpt.py OUT STAGE STEPS RANK_INVARIANT [tiny | quickstart [LOCAL_READS]]

The proof starts such ranks itself, with the quickstart's model, data, optimizer and schedule, and prints what
differs between 1, 2 and 4 ranks and stages 0 to 3, what they hold, and what equal bits cost:

    PYTHONPATH=build/release/python .venv/bin/python tests/python/distributed_gpt.py prove [--steps 200]
"""

import argparse
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import suan
from suan import distributed as dist
from suan import nn, optim
from suan.models import GPT, GPTConfig


class Tiny:
    """Two layers, made text, four buckets."""

    batch, clip, bucket_bytes = 8, 0.5, 16384

    def __init__(self, seed):
        suan.manual_seed(seed)
        self.model = GPT(GPTConfig(vocab=31, block=16, layers=2, heads=2, width=32))
        params = list(self.model.parameters())
        self.optimizer = optim.AdamW(
            [
                {"params": [p for p in params if p.dim() >= 2], "weight_decay": 0.1},
                {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
            ],
            lr=1e-2,
        )
        self.numbers = np.random.default_rng(7)

    def feed(self, step):
        """The whole batch of a step, as arrays."""
        text = self.numbers.integers(0, 31, (self.batch, 17))
        return text[:, :-1], text[:, 1:]


class Quickstart:
    """What tools/quickstart trains: 4 layers, 128 wide, on the King James Bible. Buckets small beside its 3 MB, so
    that what stage 3 gathers at a time is."""

    bucket_bytes = 1 << 18

    def __init__(self, seed):
        from suan.train.recipe import find_recipe, load_recipe
        from suan.train.tasks import make_task
        from suan.train.trainer import learning_rate, make_optimizer

        recipe = load_recipe(find_recipe("char_gpt"))
        suan.manual_seed(seed)
        task = make_task(recipe)
        self.model, self.train = task.model, recipe.train
        self.batch, self.clip = recipe.train.batch, recipe.train.clip
        self.optimizer = make_optimizer(self.model, recipe.train)
        self.learning_rate, self.batches = learning_rate, iter(task.loader)

    def feed(self, step):
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.train, step)
        x, y = next(self.batches)
        return x.numpy(), y.numpy()


def rank_main(out, stage, steps, shards, kind="tiny", local_reads=1):
    suan.set_num_threads(1)
    dist.init_process_group(timeout=60, local_reads=bool(int(local_reads)))
    rank, world = dist.get_rank(), dist.get_world_size()
    before = suan._c.memory_stats()["in_use"]
    task = {"tiny": Tiny, "quickstart": Quickstart}[kind](1 + rank)  # rank 0's weights are the ones that count
    params = list(task.model.parameters())

    def train_step(x, y):
        loss = task.model(x, y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(params, task.clip)
        task.optimizer.step()
        task.optimizer.zero_grad()
        return loss.detach(), norm

    step = dist.data_parallel(
        train_step, params, stage=stage, rank_invariant=shards, bucket_bytes=task.bucket_bytes
    )
    rows = slice(rank * task.batch // world, (rank + 1) * task.batch // world)
    losses, seconds = [], []
    for k in range(steps):
        x, y = (suan.tensor(np.ascontiguousarray(a[rows])) for a in task.feed(k))
        begin = time.perf_counter()
        loss, norm = step(x, y)
        losses.append((loss.item(), norm.item()))
        seconds.append(time.perf_counter() - begin)
    stats, communication = step.stats()[0], suan._c.communication()
    del x, y, loss, norm
    step.trim()
    in_use = suan._c.memory_stats()["in_use"]
    weights = [w.numpy() for w in step.full_parameters()]
    np.savez(
        f"{out}.{rank}.npz",
        losses=np.array(losses),
        digest=hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest(),
        parameter_bytes=sum(w.nbytes for w in weights),
        seconds=np.array(seconds),
        in_use=in_use - before,
        **{k: stats[k] for k in ("state_bytes", "arena_bytes", "gathered_bytes", "collectives", "graph")},
        **{f"communication_{k}": v for k, v in communication.items()},
    )
    dist.destroy_process_group()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(folder, n, stage, steps, shards, local_reads=1):
    """The ranks' results, from n processes over TCP."""
    out = Path(folder) / f"{n}-{stage}-{shards}"
    port = free_port()
    command = [sys.executable, __file__, str(out), str(stage), str(steps), str(shards), "quickstart",
               str(local_reads)]
    ranks = [
        subprocess.Popen(command, env={**os.environ, "RANK": str(r), "WORLD_SIZE": str(n),
                                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
        for r in range(n)
    ]
    if any([p.wait() for p in ranks]):
        sys.exit(f"a rank of {n} ranks at stage {stage} failed")
    return [dict(np.load(f"{out}.{r}.npz")) for r in range(n)]


def prove(steps, only, local_reads):
    """Prints a line for each number of ranks and stage; 1 when a bit differs or bytes are off by over 5 %."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        base = run(folder, 1, 0, steps, 4)[0]
        p = int(base["parameter_bytes"])
        print(f"char-GPT of the quickstart, {p / 4e6:.2f} M parameters, {steps} steps, rank_invariant=4, suan "
              f"{suan.__version__}; loss {base['losses'][0, 0]:.4f} -> {base['losses'][-1, 0]:.4f}; bytes of the "
              "fullest rank")
        print(f"{'ranks':>5} {'stage':>5} {'bits of losses':>14} {'weights':>8} {'state':>9} {'formula':>9} {'off':>6} "
              f"{'working':>9} {'gathered':>9} {'step':>9}")
        for n in (1, 2, 4):
            for stage in range(4):
                if only is not None and (n, stage) not in only:
                    continue
                ranks = [base] if (n, stage) == (1, 0) else run(folder, n, stage, steps, 4, local_reads)
                bits = sum(int((r["losses"].view(np.uint64) != base["losses"].view(np.uint64)).sum()) for r in ranks)
                weights = sum(str(r["digest"]) != str(base["digest"]) for r in ranks)
                state = (p if stage < 3 else p / n) + (2 * p if stage == 0 else 2 * p / n)
                held = max(int(r["in_use"]) for r in ranks)
                off = max(abs(int(r["in_use"]) / state - 1) for r in ranks)
                wrong += bits > 0 or weights > 0 or off > 0.05
                step_time = max(statistics.median(r["seconds"]) for r in ranks)
                print(f"{n:5} {stage:5} {f'{bits} differ':>14} {f'{weights} differ':>8} {held:9} {state:9.0f} {off:6.2%} "
                      f"{max(int(r['arena_bytes']) for r in ranks):9} "
                      f"{max(int(r['gathered_bytes']) for r in ranks):9} {step_time * 1e3:6.1f} ms", flush=True)
        for n in (1, 2):
            rounds = [[max(statistics.median(r["seconds"]) for r in run(folder, n, 0, 40, shards)) * 1e3
                       for shards in (4, n)] for _ in range(3)]
            four, plain = (statistics.median(column) for column in zip(*rounds))
            print(f"cost of equal bits on {n} ranks, stage 0, median of 3 rounds of 40 steps: {four:.1f} ms with 4 shards, "
                  f"{plain:.1f} ms with one a rank, ratio {statistics.median(a / b for a, b in rounds):.2f}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["prove"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("prove")
        parser.add_argument("--steps", type=int, default=200)
        parser.add_argument("--only", nargs="*", help="such as 2:0 4:3: ranks and stage")
        parser.add_argument("--sockets", action="store_true", help="all data through TCP, no local reads")
        options = parser.parse_args()
        local_reads = int(not options.sockets)
        only = options.only and [tuple(map(int, o.split(":"))) for o in options.only]
        sys.exit(prove(options.steps, only, local_reads))
    rank_main(sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:])
