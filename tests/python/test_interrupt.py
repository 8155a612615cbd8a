"""Ctrl-C inside the engine: it ends at once, the engine stays usable, nothing is half committed.

The long work here would take hours, so a test whose interrupt is lost runs into its time limit.
"""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

HEADER = """
import signal
import suan
from suan import nn

def begin():
    print("begun", flush=True)

def usable():
    x = suan.ones(300, 300, requires_grad=True)
    (x @ x).sum().backward()
    assert x.grad[0, 0].item() == 600
    assert suan.ones(1 << 20).sum().item() == 1 << 20
    print("usable", flush=True)
"""


def run(code, again=False):
    """Runs code in another process and sends it SIGINT once it has begun: once, or again and again."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEADER + textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.5)  # to be inside the engine
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 120
        while process.poll() is None:
            assert time.monotonic() < deadline, "the interrupt was lost"
            time.sleep(0.05)
            if again:
                process.send_signal(signal.SIGINT)
        return process.returncode, process.stdout.read()
    finally:
        process.kill()
        process.wait()


ENDLESS = {
    "kernel": """
x = suan.ones(1, 1, 1 << 20, 16)
work = lambda: nn.functional.scaled_dot_product_attention(x, x, x)
""",
    "backward": """
x, place = suan.ones(1 << 24, requires_grad=True), suan.tensor([5])
loss = sum(x.gather(0, place) for _ in range(20000))
work = lambda: loss.backward()
""",
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_work_ends(kind, threads):
    code, out = run(
        ENDLESS[kind]
        + f"""
suan.set_num_threads({threads})
try:
    begin()
    work()
    print("finished")
except KeyboardInterrupt:
    usable()
"""
    )
    assert code == 0 and out == "usable\n"


def test_an_uncaught_interrupt_ends_the_process():
    code, out = run(ENDLESS["kernel"] + "begin()\nwork()\nprint('finished')")
    assert code == -signal.SIGINT and out == ""


def test_a_handler_may_let_the_work_go_on():
    code, out = run(
        """
        seen = []
        signal.signal(signal.SIGINT, lambda *_: seen.append(suan.ones(100, 100).sum().item()))
        a = suan.ones(1500, 1500)
        begin()
        while len(seen) < 3:
            b = a @ a
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert b[7, 9].item() == 1500 and seen[0] == 10000
        usable()
        """,
        again=True,
    )
    assert code == 0 and out == "usable\n"


def test_an_interrupted_plan_commits_nothing():
    # Batch norm writes its statistics early in the plan, the optimizer its state at the end.
    code, out = run(
        """
        suan.set_num_threads(2)

        def make():
            suan.manual_seed(0)
            layers = [nn.Linear(700, 700) for _ in range(12)]
            model = nn.Sequential(nn.BatchNorm1d(700), nn.Dropout(0.1), *layers)
            optimizer = suan.optim.AdamW(model.parameters(), lr=1e-3)

            def step(x):
                loss = model(x).square().mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                return loss.detach()

            def state():
                tensors = [*model.parameters(), *model.buffers(), suan.get_rng_state()]
                for values in optimizer.state.values():
                    tensors += [t for t in values.values() if isinstance(t, suan.Tensor)]
                return [suan._c.to_bytes(t.detach().contiguous()) for t in tensors]

            return suan.compile(step), state

        wait = 1 << 60

        def handler(*_):
            global wait
            wait -= 1
            if wait == 0:
                raise KeyboardInterrupt

        signal.signal(signal.SIGINT, handler)
        x = suan.arange(700 * 700).float().reshape(700, 700).sin()
        step, state = make()
        begin()
        for _ in range(3):
            step(x)
        done, given_up, before = 3, 0, state()
        for trial in range(24):
            try:
                wait = 1 + trial % 6
                step(x)
                wait = 1 << 60
            except KeyboardInterrupt:
                pass
            now = state()
            if now == before:
                given_up += 1
            else:
                done += 1
            before = now
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert given_up >= 4, (given_up, done)
        step(x)
        after = state()
        step, state = make()
        for _ in range(done + 1):
            step(x)
        assert state() == after
        usable()
        """,
        again=True,
    )
    assert code == 0 and out == "usable\n"
