"""Collectives, timed: the columns of nccl-tests. Run by `suan scale comm` on every rank.

Sizes are bytes of the whole result (all_gather), of the whole input (reduce_scatter) or of the tensor. algbw is
size over time, busbw that times 2(n-1)/n for all_reduce and (n-1)/n for the scattered ones, 1 for broadcast. A
call takes as long as its slowest rank.
"""

import sys
import time

import numpy as np

OPS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast")


def bus_factor(op, ranks):
    """busbw over algbw."""
    return {"all_reduce": 2 * (ranks - 1) / ranks, "broadcast": 1.0}.get(op, (ranks - 1) / ranks)


def calls_for(size):
    """How often a size is timed: all ranks must do the same."""
    return int(min(200, max(5, 2e8 // max(size, 1))))


def values(rank, count):
    """Whole numbers small enough that every sum over ranks is exact in float32."""
    return (np.arange(count, dtype=np.float32) % 97) + rank


def expected(op, rank, ranks, count):
    """What a rank must get from values()."""
    if op == "all_reduce":
        return sum(values(r, count) for r in range(ranks))
    if op == "all_gather":
        return np.concatenate([values(r, count // ranks) for r in range(ranks)])
    if op == "reduce_scatter":
        part = count // ranks
        return sum(values(r, count) for r in range(ranks))[rank * part:(rank + 1) * part]
    return values(0, count)


def main():
    import suan
    from suan import distributed as dist
    from suan.scaling import raw

    folder, least, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    dist.init_process_group()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    log = raw.Log(folder, rank)
    log.write("start", ranks=ranks, rank=rank, suan=suan.__version__, least=least, most=most, **raw.machine())
    ops = suan._c.ops
    call = {
        "all_reduce": lambda t: ops.all_reduce(t, op="sum", world=ranks),
        "all_gather": lambda t: ops.all_gather(t, world=ranks),
        "reduce_scatter": lambda t: ops.reduce_scatter(t, op="sum", world=ranks),
        "broadcast": lambda t: ops.broadcast(t, src=0, world=ranks),
    }
    for op in OPS:
        size = least
        while size <= most:
            count = size // 4 // ranks * ranks
            tensor = suan.tensor(values(rank, count // ranks if op == "all_gather" else count))
            with suan.no_grad():
                for _ in range(3):
                    result = call[op](tensor)
                wrong = int((result.numpy() != expected(op, rank, ranks, count)).sum())
                seconds = []
                for _ in range(calls_for(size)):
                    begin = time.perf_counter()
                    call[op](tensor)
                    seconds.append(time.perf_counter() - begin)
            log.write("collective", op=op, size=count * 4, count=count, type="float32", wrong=wrong, seconds=seconds)
            size *= 4
    dist.destroy_process_group()
    log.close()


if __name__ == "__main__":
    main()
