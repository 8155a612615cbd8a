"""Training steps, timed. Run by `suan scale train` on every rank; its arguments are one JSON object."""

import json
import sys
import time

import numpy as np

#: What can be trained: GPTConfig's arguments and the sequences in a batch of one rank.
MODELS = {
    "char_gpt_small": (dict(vocab=65, block=64, layers=4, heads=4, width=128), 12),
    "char_gpt": (dict(vocab=65, block=256, layers=6, heads=6, width=384), 12),
    "gpt2": (dict(vocab=50304, block=256, layers=12, heads=12, width=768, fused_head=True), 4),
}


def flops_per_token(config, parameters):
    """6 N + 12 layers width block: Kaplan et al. 2020, with attention's products as in Chowdhery et al. 2022."""
    return 6 * parameters + 12 * config["layers"] * config["width"] * config["block"]


def matmul_ceiling(suan, n=1024, seconds=0.5):
    """FLOP/s of this rank's best product of two n by n float32 matrices: what MFU is a share of."""
    a, b = suan.randn(n, n), suan.randn(n, n)
    best, end = 0.0, time.perf_counter() + seconds
    with suan.no_grad():
        while time.perf_counter() < end or not best:
            begin = time.perf_counter()
            a @ b
            best = max(best, 2 * n**3 / (time.perf_counter() - begin))
    return best


def main():
    import resource

    import suan
    from suan import distributed as dist
    from suan import nn, optim
    from suan.models import GPT, GPTConfig
    from suan.scaling import raw

    o = json.loads(sys.argv[1])
    config, per_rank = MODELS[o["model"]]
    suan.set_num_threads(o["threads"])
    dist.init_process_group()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    batch = per_rank * (ranks if o["scaling"] == "weak" else 1)
    rows = batch // ranks
    log = raw.Log(o["folder"], rank)
    suan.manual_seed(1)
    model = GPT(GPTConfig(**config))
    params = list(model.parameters())
    optimizer = optim.AdamW(params, lr=3e-4, weight_decay=0.1)

    def step(x, y):
        loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    run = dist.data_parallel(step, params, stage=o["stage"])
    n_parameters = sum(p.numel() for p in {id(p): p for p in params}.values())
    log.write("start", ranks=ranks, rank=rank, suan=suan.__version__, options=o, batch=batch, rows=rows,
              config=config, parameters=n_parameters, flops_per_token=flops_per_token(config, n_parameters),
              matmul_flops=matmul_ceiling(suan), **raw.machine())
    numbers = np.random.default_rng(7)
    energy = None
    for i in range(o["warm"] + o["steps"]):
        if i == o["warm"]:
            dist.barrier()
            energy = raw.Energy()
        begin = time.perf_counter()
        text = numbers.integers(0, config["vocab"], (batch, config["block"] + 1))
        mine = text[rank * rows:(rank + 1) * rows]
        x, y = suan.tensor(mine[:, :-1]), suan.tensor(mine[:, 1:])
        fed = time.perf_counter()
        before = suan._c.communication()
        loss = run(x, y).item()
        after = suan._c.communication()
        end = time.perf_counter()
        log.write("step", i=i, warm=i < o["warm"], seconds=end - begin, data=fed - begin, loss=loss,
                  **{k: after[k] - before[k] for k in after})
    stats = run.stats()[0]
    log.write("end", joules=energy.joules(), no_joules=energy.why_not, state_bytes=stats["state_bytes"],
              arena_bytes=stats["arena_bytes"],
              resident_peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    dist.destroy_process_group()
    log.close()


if __name__ == "__main__":
    main()
