"""`suan launch`: one process a rank on this machine, their output, and one exit status."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

GRACE = 3.0  # seconds between SIGTERM and SIGKILL
PR_SET_PDEATHSIG = 1


def free_port():
    """A TCP port that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpus_of(local_rank, n, cpus):
    """The CPUs of one of n ranks: equal shares, or one each in turn when there are too few."""
    return cpus[local_rank::n] if n <= len(cpus) else [cpus[local_rank % len(cpus)]]


def _copy_lines(rank, pipe, log, show, lock):
    with pipe, log or open(os.devnull, "wb") as file:
        for line in pipe:
            file.write(line)
            file.flush()
            if show:
                with lock:
                    sys.stdout.buffer.write(b"[%d] " % rank + line.rstrip(b"\n") + b"\n")
                    sys.stdout.flush()


def launch(script, args, n, nodes, node_rank, master_addr, master_port, log_dir):
    """Runs `python script args` as n ranks here, of nodes * n in all; returns the exit status: 0,
    or that of the first rank that failed (128 + signal), whose failure ends the others."""
    if not Path(script).is_file():
        raise FileNotFoundError(f"[launch] no such script: expected a Python file, got '{script}'")
    if node_rank >= nodes:
        raise ValueError(f"[launch] wrong --node-rank: expected 0 to {nodes - 1}, got {node_rank}")
    if nodes > 1 and master_port is None:
        raise ValueError("[launch] --master-port is missing: expected one for several nodes, got none")
    if master_port is None:
        master_port = free_port()
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
    cpus = sorted(os.sched_getaffinity(0))
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork
    processes, readers, lock = [], [], threading.Lock()

    def start(local_rank):
        rank = node_rank * n + local_rank
        env = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(local_rank),
            "WORLD_SIZE": str(nodes * n),
            "LOCAL_WORLD_SIZE": str(n),
            "MASTER_ADDR": master_addr,
            "MASTER_PORT": str(master_port),
        }
        mine = cpus_of(local_rank, n, cpus)

        def prepare():
            os.sched_setaffinity(0, mine)
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # no rank outlives its launcher

        process = subprocess.Popen(
            [sys.executable, "-u", script, *args],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=prepare,
        )
        processes.append(process)
        log = open(log_dir / f"rank{rank}.log", "wb") if log_dir is not None else None
        show = log_dir is None or rank == 0
        reader = threading.Thread(
            target=_copy_lines, args=(rank, process.stdout, log, show, lock), daemon=True
        )
        reader.start()
        readers.append(reader)

    def stop():
        for process in processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + GRACE
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def terminated(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminated)
    status = 0
    try:
        for local_rank in range(n):
            start(local_rank)
        running = set(range(n))
        while running and not status:
            for r in sorted(running):
                code = processes[r].poll()
                if code is None:
                    continue
                running.discard(r)
                if code:
                    status = code if code > 0 else 128 - code
                    how = f"status {code}" if code > 0 else signal.Signals(-code).name
                    others = ", ending the others" if running else ""
                    print(
                        f"[launch] rank {node_rank * n + r} failed with {how}{others}",
                        file=sys.stderr,
                    )
                    break
            else:
                time.sleep(0.02)
    except KeyboardInterrupt:
        status = 130
    finally:
        stop()
        for reader in readers:
            reader.join(GRACE)
        signal.signal(signal.SIGTERM, before)
    return status
