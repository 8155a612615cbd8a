"""What a profile costs while it is taken: training steps with and without one, in turn, in one process.

    tools/bench profiler [--case char_gpt_small] [--rounds 40]
"""

import argparse
import contextlib
import statistics

import cases
import worker_suan

import suan
from suan import optim
from suan.profiler import profile


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="char_gpt_small", choices=list(cases.GPTS))
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    suan.set_num_threads(cases.THREADS)
    model, _ = worker_suan.build(arguments.case)
    optimizer = optim.AdamW(model.parameters(), lr=cases.LR, weight_decay=cases.WEIGHT_DECAY)
    x, y = (suan.tensor(v) for v in cases.batch(arguments.case))

    def step(x, y):
        loss = model(x, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    for name, run in (("eager", step), ("compiled", suan.compile(step))):
        for _ in range(6):
            run(x, y)
        times = {False: [], True: []}
        for _ in range(arguments.rounds):
            for on in times:
                with profile() if on else contextlib.nullcontext() as p:
                    for _ in range(3):
                        began = cases.now()
                        run(x, y)
                        times[on].append(cases.now() - began)
                if on:
                    calls = len(p.calls) // 3
        off, on = (statistics.median(times[k]) for k in (False, True))
        print(f"{arguments.case} {name}: {off * 1e3:.2f} ms a step, with a profile {on * 1e3:.2f} ms "
              f"({(on / off - 1) * 100:+.1f} %), {calls} calls a step")


if __name__ == "__main__":
    main()
