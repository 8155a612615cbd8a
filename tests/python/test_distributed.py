"""Ranks as real processes over TCP: bits over numbers of ranks and stages, memory, failures, the
launcher, and what data_parallel refuses.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import suan
from suan import distributed as dist
from suan import nn, optim
from suan.models import GPT, GPTConfig

HERE = Path(__file__).resolve().parent
STEPS, SHARDS = 20, 4


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(n, command, only=None, **variables):
    """n ranks of `python command...`, as torchrun would set them up; or only some of them."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={
                **os.environ,
                "RANK": str(r),
                "WORLD_SIZE": str(n),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for r in (range(n) if only is None else only)
    ]


def finish(processes, timeout=60):
    """[(status, output)] of all; none is left running."""
    try:
        return [(p.returncode, out) for p in processes for out in [p.communicate(timeout=timeout)[0]]]
    finally:
        for p in processes:
            p.kill()


def train(folder, n, stage, steps=STEPS, **variables):
    out = folder / f"{n}-{stage}"
    done = finish(
        start(n, [str(HERE / "distributed_gpt.py"), str(out), str(stage), str(steps), str(SHARDS)],
              **variables)
    )
    assert all(status == 0 for status, _ in done), done
    return [dict(np.load(f"{out}.{r}.npz")) for r in range(n)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone"), 1, 0)[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {(n, stage): train(folder, n, stage) for n in (2, 4) for stage in range(4)}


def test_no_bit_differs_over_ranks_and_stages(alone, runs):
    assert np.isfinite(alone["losses"]).all() and len(set(alone["losses"][:, 0])) == STEPS
    for (n, stage), ranks in runs.items():
        for r, run in enumerate(ranks):
            differing = (run["losses"].view(np.uint64) != alone["losses"].view(np.uint64)).sum()
            assert differing == 0, f"{n} ranks, stage {stage}, rank {r}: {differing} losses or norms"
            assert run["digest"] == alone["digest"], f"{n} ranks, stage {stage}: weights of rank {r}"


def test_bytes_fall_as_the_stages_say(alone, runs):
    # Parameters p; moments 2p sharded from stage 1, parameters at stage 3. Step counts, learning
    # rates and padding are the rest.
    p = alone["state_bytes"] / 3
    for (n, stage), ranks in runs.items():
        state = (p if stage < 3 else p / n) + (2 * p if stage == 0 else 2 * p / n)
        for run in ranks:
            assert run["state_bytes"] == pytest.approx(state, rel=0.01), (n, stage)
            # By the allocator's count, between two steps; some KiB are small tensors and rounding.
            assert run["in_use"] == pytest.approx(state, rel=0.05, abs=6000), (n, stage)


def test_scattered_gradients_take_less_than_whole_ones(runs):
    for n in (2, 4):
        assert runs[n, 1][0]["arena_bytes"] < runs[n, 0][0]["arena_bytes"]
        assert runs[n, 2][0]["arena_bytes"] == runs[n, 1][0]["arena_bytes"]


def test_stage_3_parameters_are_there_only_while_they_are_read(alone, runs):
    # Buckets of 16 KiB: the one in use, as it came and laid out, and the one on its way. Whole, the parameters
    # are several times that.
    p = int(alone["parameter_bytes"])
    for n in (2, 4):
        for run in runs[n, 3]:
            assert 0 < run["gathered_bytes"] <= 3 * 17 * 1024 < 0.5 * p, (n, p)
            # Gathered once for the forward pass of every shard here and once for its backward pass.
            assert run["communication_bytes"] > 2 * (SHARDS // n) * STEPS * p * (n - 1) / n * 0.9


def test_the_interpreter_gives_the_same_bits(alone, tmp_path):
    for run in train(tmp_path, 2, 2, SUAN_INTERPRET="1"):
        assert run["digest"] == alone["digest"]
        assert (run["losses"] == alone["losses"]).all()


def gpt_step(dropout=0.0):
    suan.manual_seed(3)
    model = GPT(GPTConfig(vocab=17, block=8, layers=1, heads=2, width=16, dropout=dropout))
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)

    def step(x, y):
        loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(list(model.parameters()), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return model, step


def batch(rows=8):
    text = np.random.default_rng(1).integers(0, 17, (rows, 9))
    return suan.tensor(text[:, :-1]), suan.tensor(text[:, 1:])


def test_one_shard_is_what_compile_does_bit_for_bit():
    x, y = batch()
    model, step = gpt_step()
    compiled = suan.compile(step)
    expected = [compiled(x, y).item() for _ in range(5)]
    other, step = gpt_step()
    parallel = dist.data_parallel(step, other.parameters(), rank_invariant=1)
    assert [parallel(x, y).item() for _ in range(5)] == expected
    for a, b in zip(model.parameters(), other.parameters()):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())


def test_shards_give_the_whole_batch_s_gradient():
    x, y = batch()
    model, step = gpt_step()
    expected = [step(x, y).item() for _ in range(5)]
    other, step = gpt_step()
    parallel = dist.data_parallel(step, other.parameters(), rank_invariant=4)
    np.testing.assert_allclose([parallel(x, y).item() for _ in range(5)], expected, rtol=1e-5)


# ---- what is refused -----------------------------------------------------------------------------


def refused(error, match, fn, parameters, *args, **options):
    with pytest.raises(error, match=match) as caught:
        dist.data_parallel(fn, parameters, **options)(*args)
    return str(caught.value)


def test_what_cannot_be_sharded_is_refused_with_its_line():
    x, y = batch()
    model, step = gpt_step(dropout=0.5)
    assert "at " in refused(suan.StateError, "random numbers in the step", step, model.parameters(), x, y)
    model, step = gpt_step()
    parameters = list(model.parameters())
    refused(ValueError, "unknown stage: expected 0 to 3, got 4", step, parameters, x, y, stage=4)
    refused(ValueError, "a power of two", step, parameters, x, y, rank_invariant=3)
    refused(suan.ShapeError, "rows in 4 equal shards, got 6x8", step, parameters, *batch(6),
            rank_invariant=4)
    refused(ValueError, "no parameters", step, [], x, y)

    def no_backward(x, y):
        return model(x, y).detach()

    refused(suan.StateError, "no gradient in the step", no_backward, parameters, x, y)

    def scores(x, y):
        model(x, y).backward()
        return x + y

    refused(suan.StateError, "result 0 differs between shards", scores, parameters, x, y)
    norm = nn.BatchNorm1d(8)

    def batch_norm(x):
        loss = norm(x).square().mean()
        loss.backward()
        return loss.detach()

    refused(suan.StateError, "state that follows the batch", batch_norm, norm.parameters(), suan.rand(8, 8))
    counter = iter(range(1000))

    def changing(x, y):
        loss = model(x, y) * float(next(counter))
        loss.backward()
        return loss.detach()

    refused(suan.StateError, "something else at every call", changing, parameters, x, y)
    # Nothing was changed by what was refused.
    assert all(p.grad is None for p in parameters)


READS_GRADIENT = """
import suan
from suan import distributed as dist, nn, optim
dist.init_process_group(timeout=20)
model = nn.Linear(8, 4)
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
def step(x):
    loss = model(x).square().mean()
    loss.backward()
    model.weight.grad.copy_(model.weight.grad.cumsum(0))
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()
try:
    dist.data_parallel(step, model.parameters(), stage=1)(suan.rand(4, 8))
except suan.StateError as e:
    print(e)
"""


def test_a_gradient_read_whole_is_refused_at_stage_1():
    for status, out in finish(start(2, ["-c", READS_GRADIENT])):
        assert status == 0 and "a gradient is read whole" in out and "in step" in out, out


# ---- functions, a world of one -------------------------------------------------------------------


def test_without_a_group_every_collective_is_the_identity():
    assert not dist.is_initialized() and dist.get_rank() == 0 and dist.get_world_size() == 1
    assert dist.transport() == "none"
    x = suan.tensor([1.0, 2.0])
    y = suan.empty(2)
    dist.all_reduce(x)
    dist.broadcast(x)
    dist.barrier()
    dist.all_gather_into_tensor(y, x)
    dist.all_gather([y], x)
    dist.reduce_scatter_tensor(y, x)
    assert x.tolist() == y.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="expected 1, got 2"):
        dist.all_gather([y, y], x)


FUNCTIONS = """
import suan
from suan import distributed as dist
dist.init_process_group(timeout=20)
r, n = dist.get_rank(), dist.get_world_size()
x = suan.tensor([1.0 + r, 2.0])
dist.all_reduce(x)
assert x.tolist() == [6.0, 6.0], x
x = suan.tensor([float(r)])
dist.all_reduce(x, dist.ReduceOp.AVG)
assert x.tolist() == [1.0]
rows = [suan.empty(2) for _ in range(n)]
dist.all_gather(rows, suan.tensor([float(r), -1.0]))
assert [v.tolist() for v in rows] == [[0.0, -1.0], [1.0, -1.0], [2.0, -1.0]]
part = suan.empty(1)
dist.reduce_scatter_tensor(part, suan.tensor([1.0, 2.0, 3.0]), dist.ReduceOp.SUM)
assert part.tolist() == [3.0 * (r + 1)]
dist.broadcast(x.fill_(r), src=2)
assert x.tolist() == [2.0]
# As nodes of a compiled function, with a gradient.
@suan.compile
def f(x):
    return suan._c.ops.all_reduce(x * x, world=n)
w = suan.full((3,), float(r + 1), requires_grad=True)
for _ in range(4):
    assert f(w).tolist() == [14.0] * 3
suan._c.ops.all_reduce(w * w, world=n).sum().backward()
assert w.grad.tolist() == [6.0 * (r + 1)] * 3, w.grad
dist.barrier()
dist.destroy_process_group()
assert dist.get_world_size() == 1
"""


def test_functions_on_three_ranks():
    for status, out in finish(start(3, ["-c", FUNCTIONS])):
        assert (status, out) == (0, "")


def test_environments():
    torchrun = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "5"}
    assert dist.environment(torchrun) == {
        "rank": 3, "world_size": 8, "local_rank": 1, "master_addr": "a", "master_port": 5,
    }
    slurm = {"SLURM_PROCID": "2", "SLURM_NTASKS": "16", "SLURM_LOCALID": "2", "SLURM_JOB_ID": "70001",
             "SLURM_STEP_NODELIST": "gpu[07-09,12],login1"}
    assert dist.environment(slurm) == {
        "rank": 2, "world_size": 16, "local_rank": 2, "master_addr": "gpu07", "master_port": 30001,
    }
    for nodes, first in (("n1,n2", "n1"), ("solo", "solo"), ("a-[3,5]", "a-3")):
        assert dist.environment({**slurm, "SLURM_STEP_NODELIST": nodes})["master_addr"] == first
    assert dist.environment({}) is None
    with pytest.raises(ValueError, match="MASTER_PORT is missing"):
        dist.environment({k: v for k, v in torchrun.items() if k != "MASTER_PORT"})
    with pytest.raises(ValueError, match="bad RANK: expected a whole number, got 'x'"):
        dist.environment({**torchrun, "RANK": "x"})


# ---- failures ------------------------------------------------------------------------------------

WAITS = """
import sys, time
import suan
from suan import distributed as dist, nn, optim
dist.init_process_group(timeout=float(sys.argv[1]))
model = nn.Linear(64, 64)
optimizer = optim.SGD(model.parameters(), lr=0.1)
def train_step(x):
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()
step = dist.data_parallel(train_step, model.parameters())
x = suan.rand(4, 64)
step(x)
print("ready", flush=True)
try:
    while True:
        step(x)
        begin = time.time()
except dist.DistributedError as e:
    print(type(e).__name__, time.time() - begin, e, flush=True)
# The engine goes on.
assert model(x).shape == (4, 64)
"""


def fail_one(how, limit):
    """Two ranks train; rank 1 gets the signal; (kind of error, seconds, message) on rank 0."""
    ranks = start(2, ["-c", WAITS, str(limit)])
    try:
        for p in ranks:
            assert p.stdout.readline() == "ready\n"
        time.sleep(0.2)
        begin = time.time()
        ranks[1].send_signal(how)
        kind, since, text = ranks[0].stdout.readline().split(" ", 2)
        return kind, time.time() - begin, text, ranks[0].wait(20)
    finally:
        for p in ranks:
            p.kill()
            p.communicate()


def test_a_killed_rank_is_an_error_within_two_seconds():
    kind, seconds, text, status = fail_one(signal.SIGKILL, 60)
    assert kind == "PeerLostError" and seconds < 2 and status == 0, (kind, seconds, text)
    assert "[all_reduce] rank 1 is gone" in text and "train_step" in text, text


def test_a_stalled_rank_is_named_within_a_second_of_its_limit():
    kind, seconds, text, status = fail_one(signal.SIGSTOP, 1.5)
    assert kind == "PeerTimeoutError" and 1.3 < seconds < 2.5 and status == 0, (kind, seconds, text)
    assert "[all_reduce] rank 1 is late: expected it within 1.5 s" in text and "train_step" in text, text


DIFFERENT = """
import sys
import suan
from suan import distributed as dist, nn, optim
dist.init_process_group(timeout=20)
model = nn.Linear(4, 4)
optimizer = optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1 * dist.get_rank())
def step(x):
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss.detach()
try:
    dist.data_parallel(step, model.parameters())(suan.rand(4, 4))
except dist.MismatchError as e:
    print(e)
x = suan.ones(2)
dist.all_reduce(x)
assert x.tolist() == [2.0, 2.0]
"""


def test_ranks_with_another_configuration_are_refused_before_they_run():
    for status, out in finish(start(2, ["-c", DIFFERENT])):
        assert status == 0 and "[program] ranks disagree" in out and "on rank 1" in out, out


ANOTHER_PLAN = """
import os
import suan
from suan import distributed as dist
dist.init_process_group(timeout=20)
n = dist.get_world_size()
if dist.get_rank() == 1:
    os.environ["SUAN_INTERPRET"] = "1"
@suan.compile
def f(x):
    return suan._c.ops.all_reduce(x * x, world=n)
x = suan.ones(3)
f(x)
try:
    f(x)
except dist.MismatchError as e:
    print(e)
"""


def test_ranks_that_lay_a_program_out_in_another_way_are_refused():
    for status, out in finish(start(2, ["-c", ANOTHER_PLAN])):
        assert status == 0 and "[plan] ranks disagree" in out and "on rank 1" in out, out


def test_meeting_errors():
    meet = "import sys\nfrom suan import distributed as d\nd.init_process_group(init_timeout=1.0)"
    ranks = start(2, ["-c", meet])
    wrong = start(3, ["-c", meet], only=(1, 2))
    done = finish([*ranks, *wrong])
    assert [status for status, _ in done] == [0, 0, 1, 1], done
    assert "PeerTimeoutError" in done[2][1] and "master unreachable" in done[2][1]
    port = str(free_port())
    first = start(2, ["-c", meet], only=(0,), MASTER_PORT=port)
    second = start(4, ["-c", meet], only=(1,), MASTER_PORT=port)
    for status, out in finish([*first, *second]):
        assert status == 1 and "expected 2 as on rank 0, got 4 on rank 1" in out, out
    with pytest.raises(ValueError, match="unknown backend"):
        dist.init_process_group("nccl")
    with pytest.raises(ValueError, match="half a group"):
        dist.init_process_group(rank=1)
    with pytest.raises(ValueError, match="wrong rank: expected 0 to 1, got 2"):
        dist.init_process_group(rank=2, world_size=2)


# ---- suan launch ---------------------------------------------------------------------------------


def launch(*args, timeout=60):
    return subprocess.run([sys.executable, "-m", "suan", "launch", *map(str, args)], text=True,
                          capture_output=True, timeout=timeout)


def test_launch(tmp_path):
    script = tmp_path / "hello.py"
    script.write_text(
        "import os, sys, suan\nfrom suan import distributed as dist\ndist.init_process_group()\n"
        "x = suan.ones(1)\ndist.all_reduce(x)\n"
        "print(os.environ['LOCAL_RANK'], 'of', dist.get_world_size(), x.item(), sys.argv[1:])\n"
    )
    done = launch("-n", 2, script, "-n", "7", "--flag")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "[0] 0 of 2 2.0 ['-n', '7', '--flag']", "[1] 1 of 2 2.0 ['-n', '7', '--flag']",
    ]
    done = launch("-n", 2, "--log-dir", tmp_path / "logs", script)
    assert done.stdout == "[0] 0 of 2 2.0 []\n"
    assert (tmp_path / "logs" / "rank1.log").read_text() == "1 of 2 2.0 []\n"
    done = launch("-n", 2, tmp_path / "missing.py")
    assert done.returncode == 1 and "no such script" in done.stderr and "Traceback" not in done.stderr


def test_a_rank_that_fails_ends_the_others(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text(
        "import os, sys, time\nprint(os.getpid(), flush=True)\n"
        "if os.environ['RANK'] == '1':\n    time.sleep(0.3)\n    sys.exit(7)\ntime.sleep(600)\n"
    )
    begin = time.time()
    done = launch("-n", 3, script)
    assert done.returncode == 7 and time.time() - begin < 10
    assert "[launch] rank 1 failed with status 7, ending the others" in done.stderr
    for line in done.stdout.splitlines():
        with pytest.raises(ProcessLookupError):
            os.kill(int(line.split()[1]), 0)


def test_ranks_do_not_outlive_a_killed_launcher(tmp_path):
    script = tmp_path / "sleeps.py"
    script.write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    process = subprocess.Popen([sys.executable, "-m", "suan", "launch", "-n", "2", str(script)],
                               stdout=subprocess.PIPE, text=True)
    pids = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    process.kill()
    process.communicate()
    deadline = time.time() + 10
    for pid in pids:
        while time.time() < deadline:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                break
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            if state == "Z":  # ended, and nobody collects it here
                break
            time.sleep(0.02)
        else:
            pytest.fail(f"process {pid} still runs")
