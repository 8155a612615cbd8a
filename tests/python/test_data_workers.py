"""Worker processes of the DataLoader: equal batches, exact positions, errors and deaths, nothing left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from loader_cases import Failing, Growing, Mixed, Noisy, Squares, Stream, Where, bad_init, mark

import suan
from suan import data
from suan.data.workers import Memories, Received


def ids(loader):
    return [b[1].tolist() for b in loader]


def streamed(loader):
    return [b.tolist() for b in loader]


def children():
    return [p for p in multiprocessing.active_children() if p.name.startswith("suan-data")]


def test_the_same_batches_with_any_number_of_workers():
    wanted = ids(data.DataLoader(Squares(), 6, shuffle=True, seed=3))
    for n in (1, 3):
        loader = data.DataLoader(Squares(), 6, shuffle=True, seed=3, num_workers=n)
        assert ids(loader) == wanted
        first = next(iter(data.DataLoader(Squares(), 6, seed=3, num_workers=n)))
        assert first[0].tolist() == [[i, i * i] for i in range(6)] and first[1].dtype is suan.int64
    assert not children()


def test_kept_batches_keep_their_values():
    """Workers write into the memory of batches that are gone, and of no others."""
    loader = data.DataLoader(Growing(96), None, num_workers=2, persistent_workers=True)
    kept, parts = [], []
    for epoch in range(2):
        for i, (row, array) in enumerate(loader):
            assert row.shape == (1 + i // 8, 700) and (row == i).all() and (array == i).all()
            if i % 5 == 0:
                kept.append((i, row, array))
            elif i % 5 == 1:
                parts.append((i, row[-1:, 3:5], array[7:9]))  # views hold the memory too
            else:
                row.zero_()
                array[:] = -1
    del row, array
    for i, row, array in kept + parts:
        assert (row == i).all() and (array == i).all()
    made = [len(r._maps) for r in loader._pool._received.values()]
    n = len(kept) + len(parts)
    assert n <= sum(made) < n + 40  # 192 batches came
    loader.close()
    assert all((row == i).all() for i, row, _ in kept)


def test_memory_of_batches_is_used_again():
    here, there = multiprocessing.Pipe()
    memories, received = Memories(), Received()

    def passed(value):
        memories.give_back(received.done())
        message, file = memories.pack(value)
        there.send(("head", *message))
        if file is not None:
            multiprocessing.reduction.send_handle(there, file, None)
        head, got = received.receive(here)
        assert head == "head"
        return got

    def files():
        assert set(memories._files) == set(received._maps)
        return sorted(memories._files)

    assert passed({"few": np.arange(9)})["few"].sum() == 36 and files() == []  # inside the message
    for k in range(5):
        assert (passed(np.full(5000, k)) == k).all()
    assert files() == [0]
    first = passed(np.full(5000, 7))
    part = first[10:20].reshape(2, 5)
    del first
    others = [passed(np.full(5000, 8 + k)) for k in range(12)]
    assert (part == 7).all() and len(files()) == 13
    others[3] = None
    again = passed(np.full(4000, 99))  # smaller: fits into what is free
    assert len(files()) == 13 and (again == 99).all()
    del again, others
    passed(np.zeros(5000))
    assert len(files()) == 9  # eight free ones, and the part's
    large = passed(np.ones(9000))  # what is free is too small and goes
    assert len(files()) == 2 and (part == 7).all() and large.sum() == 9000
    for file in memories._files.values():
        os.close(file)


def test_random_augmentation_depends_on_seed_and_epoch_only():
    def epochs(n, seed):
        loader = data.DataLoader(Noisy(12), 4, shuffle=True, seed=seed, num_workers=n)
        return [[tuple(part.tolist() for part in batch) for batch in loader] for _ in range(2)]

    one, three = epochs(1, 5), epochs(3, 5)
    assert one == three and one[0] != one[1] and epochs(1, 6) != one


def test_all_kinds_of_values_arrive_and_may_be_written():
    for batch, other in zip(data.DataLoader(Mixed(6), 3), data.DataLoader(Mixed(6), 3, num_workers=1)):
        assert batch.keys() == other.keys()
        for key, value in batch.items():
            got = other[key]
            if isinstance(value, suan.Tensor):
                assert got.dtype is value.dtype and got.shape == value.shape and (got == value).all(), key
                got.zero_()
            else:
                assert got == value
    t = suan.randn(300, 20)
    loader = data.DataLoader(data.TensorDataset(t, suan.arange(300)), 100, num_workers=1)
    assert all((x == t[i]).all() for x, i in loader)


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_the_position_is_exact_and_needs_no_workers(stop):
    def make(n):
        return data.DataLoader(Squares(30), 5, shuffle=True, seed=1, num_workers=n)

    stream = make(0).forever()
    wanted = [next(stream)[1].tolist() for _ in range(12)]
    loader = make(2)
    stream = loader.forever()
    got = [next(stream)[1].tolist() for _ in range(stop)]
    state = loader.state_dict()
    stream.close()
    assert not children()
    other = make(1)
    other.load_state_dict(state)
    stream = other.forever()
    got += [next(stream)[1].tolist() for _ in range(12 - stop)]
    stream.close()
    assert got == wanted


def test_persistent_workers_stay_and_a_loop_may_be_left():
    loader = data.DataLoader(Where(24), 4, num_workers=2, persistent_workers=True, worker_init_fn=mark)
    for batch in loader:
        break
    seen = {pid for batch in loader for pid in batch[3].tolist()}
    alive = {p.pid for p in children()}
    again = [batch for batch in loader]
    seen |= {pid for batch in again for pid in batch[3].tolist()}
    # A worker that is still waking up may not have made any.
    assert seen <= alive == {p.pid for p in children()} and len(alive) == 2
    for worker, many, marked, _ in again:
        assert many.tolist() == [2] * 4 and (marked == worker + 100).all()
    loader.close()
    assert not children() and len(list(loader)) == 6
    loader.close()
    assert data.get_worker_info() is None


def test_a_workers_error_is_raised_here_with_its_traceback():
    loader = data.DataLoader(Failing("raise"), 5, num_workers=2)
    with pytest.raises(KeyError, match="no thirteen") as caught:
        list(loader)
    assert "loader_cases.py" in str(caught.value.__cause__) and "in worker process" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="Local: cannot be pickled"):
        list(data.DataLoader(Failing("odd"), 5, num_workers=1))
    with pytest.raises(OSError, match="no disk for"):
        list(data.DataLoader(Squares(), 5, num_workers=2, worker_init_fn=bad_init))
    assert not children()


@pytest.mark.parametrize("how, message", [("exit", "exit status 7"), ("kill", "killed by SIGKILL")])
@pytest.mark.parametrize("n", [1, 3])
def test_a_dead_worker_is_an_error(how, message, n):
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match=f"worker . died: expected a batch, got {message}"):
        list(data.DataLoader(Failing(how), 5, num_workers=n))
    assert time.monotonic() - begun < 30 and not children()


def test_a_worker_killed_from_outside_while_idle():
    loader = data.DataLoader(Squares(100), 2, num_workers=2, persistent_workers=True)
    next(iter(loader))
    for p in children():
        os.kill(p.pid, signal.SIGKILL)
        p.join()
    with pytest.raises(RuntimeError, match="killed by SIGKILL"):
        list(loader)
    assert len(list(loader)) == 50   # new ones
    loader.close()


def test_timeout():
    with pytest.raises(RuntimeError, match="expected one in 1.5 s, got none"):
        list(data.DataLoader(Failing("sleep"), 5, num_workers=1, timeout=1.5))
    assert not children()


def test_refusals():
    def refused(message, *args, **kwargs):
        with pytest.raises((ValueError, TypeError), match=message):
            list(data.DataLoader(Squares(), *args, **kwargs))

    refused("expected an int >= 0, got -1", num_workers=-1)
    refused("expected num_workers >= 1 with persistent_workers", persistent_workers=True)
    refused("expected num_workers >= 1 with timeout", timeout=3)
    refused("wrong prefetch_factor", num_workers=1, prefetch_factor=0)
    refused("expected 'spawn' or 'forkserver', got 'fork'", num_workers=1, multiprocessing_context="fork")
    refused("that pickle .no lambdas", num_workers=1, collate_fn=lambda items: items)
    refused("two orders", shuffle=True, sampler=data.SequentialSampler(Squares()))
    refused("decides alone", 4, batch_sampler=[[1]])
    with pytest.raises(ValueError, match="has its own order"):
        data.DataLoader(Stream(3), shuffle=True)


def test_two_loops_over_one_loader_are_an_error():
    loader = data.DataLoader(Squares(), 4)
    with pytest.raises(RuntimeError, match="a second loop"):
        for _ in zip(loader, loader):
            pass


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_streams(n):
    loader = data.DataLoader(Stream(20), 3, num_workers=n)
    whole = streamed(loader)
    assert sorted(sum(whole, [])) == list(range(20)) and streamed(loader) == whole
    if n == 2:
        assert whole[:3] == [[0, 2, 4], [1, 3, 5], [6, 8, 10]]
    full = streamed(data.DataLoader(Stream(20), 3, num_workers=n, drop_last=True))
    assert full == [b for b in whole if len(b) == 3]
    single = list(data.DataLoader(Stream(5), None, num_workers=n))
    assert sorted(single) == list(range(5))
    with pytest.raises(TypeError):
        len(loader)


@pytest.mark.parametrize("n", [0, 2, 3])
@pytest.mark.parametrize("short", [False, True])
def test_a_stream_resumes_at_its_position(n, short):
    def make():
        return data.DataLoader(Stream(25, short), 2, num_workers=n)

    whole = streamed(make())
    for stop in sorted({0, 1, len(whole) // 2}):
        loader = make()
        iterator = iter(loader)
        got = [next(iterator).tolist() for _ in range(stop)]
        other = make()
        other.load_state_dict(loader.state_dict())
        iterator.close()
        assert got + streamed(other) == whole


def test_nothing_stays_open():
    def count():
        return len(os.listdir("/proc/self/fd"))

    list(data.DataLoader(Mixed(8), 2, num_workers=2))
    before = count()
    for _ in range(2):
        list(data.DataLoader(Mixed(8), 2, num_workers=2))
        next(iter(data.DataLoader(Mixed(8), 2, num_workers=2)))
    assert count() == before and not children()


def script(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}
    return subprocess.Popen([sys.executable, str(path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def test_a_program_without_a_guard_is_told(tmp_path):
    done = script(tmp_path, """
        from suan.data import DataLoader
        from loader_cases import Squares
        list(DataLoader(Squares(), 4, num_workers=2))
    """)
    _, err = done.communicate(timeout=60)
    assert done.returncode == 1 and 'below `if __name__ == "__main__":`' in err.splitlines()[-1]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_go_with_their_program(tmp_path, how):
    done = script(tmp_path, """
        import multiprocessing, time
        from suan.data import DataLoader
        from loader_cases import Squares
        if __name__ == "__main__":
            loader = iter(DataLoader(Squares(), 2, num_workers=2))
            for _ in range(4):
                next(loader)
            print(*[p.pid for p in multiprocessing.active_children()], flush=True)
            time.sleep(60)
    """)
    pids = [int(p) for p in done.stdout.readline().split()]
    assert len(pids) == 2 and not any(gone(p) for p in pids)
    done.send_signal(how)
    done.wait(30)
    deadline = time.monotonic() + 20
    while not all(gone(p) for p in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(gone(p) for p in pids)
    done.communicate()


def test_a_large_dataset_of_python_objects_starts_many_workers_at_once():
    rows = [f"row {i}" for i in range(200_000)]   # megabytes that are no array
    batches = list(data.DataLoader(rows, 50_000, num_workers=4))
    assert [b[0] for b in batches] == ["row 0", "row 50000", "row 100000", "row 150000"]
    assert batches[-1][-1] == "row 199999"
