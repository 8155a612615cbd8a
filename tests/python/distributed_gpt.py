"""One rank of the data-parallel char-GPT: trains some steps on this rank's rows of fixed batches and
writes losses, final weights and memory. Arguments: out.npz, stage, steps, rank_invariant."""

import hashlib
import sys

import numpy as np

import suan
from suan import distributed as dist
from suan import nn, optim
from suan.models import GPT, GPTConfig

out, stage, steps, shards = sys.argv[1], *map(int, sys.argv[2:5])
BATCH, BLOCK, VOCAB = 8, 16, 31

suan.set_num_threads(1)
dist.init_process_group(timeout=60)
rank, world = dist.get_rank(), dist.get_world_size()
suan.manual_seed(1 + rank)  # rank 0's weights are the ones that count
model = GPT(GPTConfig(vocab=VOCAB, block=BLOCK, layers=2, heads=2, width=32))
params = list(model.parameters())
optimizer = optim.AdamW(
    [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ],
    lr=1e-2,
)


def train_step(x, y):
    loss = model(x, y)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(params, 0.5)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach(), norm


before = suan._c.memory_stats()["in_use"]
step = dist.data_parallel(train_step, params, stage=stage, rank_invariant=shards, bucket_bytes=16384)
numbers = np.random.default_rng(7)
rows = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
losses = []
for _ in range(steps):
    text = numbers.integers(0, VOCAB, (BATCH, BLOCK + 1))
    x, y = suan.tensor(text[rows, :-1]), suan.tensor(text[rows, 1:])
    loss, norm = step(x, y)
    losses.append((loss.item(), norm.item()))
stats = step.stats()[0]
del x, y, loss, norm
step.trim()
in_use = suan._c.memory_stats()["in_use"]
weights = [w.numpy() for w in step.full_parameters()]
digest = hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest()
np.savez(
    f"{out}.{rank}.npz",
    losses=np.array(losses),
    digest=digest,
    state_bytes=stats["state_bytes"],
    arena_bytes=stats["arena_bytes"],
    collectives=stats["collectives"],
    in_use_before=before,
    in_use=in_use,
    graph=stats["graph"],
)
dist.destroy_process_group()
