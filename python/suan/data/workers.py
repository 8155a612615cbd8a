"""Worker processes of a DataLoader.

Each worker is a spawned process at the end of one socket; the parent sends what to load and gets results.
Arrays and tensors travel in anonymous shared memory whose descriptor goes over the socket, so they are written
once and never copied, and nothing is left behind when a process dies. A worker writes a batch into the memory of an
earlier one once nothing in the parent refers to that: new pages cost four times what writing them does. A socket that
closes is how either side learns that the other is gone: no result is waited for that cannot come.
"""

import collections
import io
import mmap
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import weakref
from dataclasses import dataclass
from multiprocessing import connection, reduction
from typing import Any

import numpy as np

import suan

_INLINE = 1 << 12  # bytes below which buffers travel inside the message
_SPARE = 8  # unused memories that a worker keeps


# ---- objects with their arrays in shared memory --------------------------------------------------------


class _Pickler(pickle.Pickler):
    def reducer_override(self, x):
        if type(x) is suan.Tensor and str(x.device) == "cpu":
            whole = x.detach().contiguous()
            shape, name = tuple(x.shape), x.dtype.name
            buffer = pickle.PickleBuffer(suan._c.memory_view(whole)) if x.numel() else b""
            return _tensor, (buffer, name, shape, x.requires_grad)
        return NotImplemented


_NUMPY = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
}


def _tensor(buffer, name, shape, requires_grad):
    if name in _NUMPY and not isinstance(buffer, bytes):
        t = suan.from_numpy(np.frombuffer(buffer, dtype=name).reshape(shape))
    else:
        t = suan._c.from_bytes(bytes(buffer), getattr(suan._c, name), shape)
    return t.requires_grad_() if requires_grad else t


def _views(value):
    """A value's pickle, and the buffers that it refers to."""
    buffers, out = [], io.BytesIO()
    _Pickler(out, protocol=5, buffer_callback=buffers.append).dump(value)
    return [out.getbuffer(), *(b.raw() for b in buffers)]


def _write(file, views):
    """Writes views one after another from the file's beginning on, each at a multiple of 64 bytes."""
    at = 0
    for v in views:
        at += -at % 64
        done = 0
        while done < v.nbytes:
            done += os.pwrite(file, v[done:], at + done)
        at += v.nbytes


def _cut(memory, sizes):
    """The views that _write wrote."""
    at, views = 0, []
    for size in sizes:
        at += -at % 64
        views.append(memory[at : at + size])
        at += size
    return views


def _new_file(views):
    file = os.memfd_create("suan-batch")
    try:
        _write(file, views)
    except OSError:
        os.close(file)
        raise
    return file


def pack(value):
    """(bytes, file, sizes): a value pickled without its buffers, and these; or, unless all is small, a memory file
    with the pickle and then the buffers, of these sizes."""
    views = _views(value)
    sizes = [v.nbytes for v in views]
    if sum(sizes) < _INLINE:
        return [bytes(v) for v in views], None, sizes
    return None, _new_file(views), sizes


def unpack(parts, file, sizes):
    """What pack() was given; arrays lie in the file's memory."""
    if file is None:
        return pickle.loads(parts[0], buffers=[bytearray(b) for b in parts[1:]])
    # A private mapping: who gets it may write, and others that map the file do not see that.
    memory = memoryview(mmap.mmap(file, os.fstat(file).st_size, mmap.MAP_PRIVATE))
    first, *buffers = _cut(memory, sizes)
    return pickle.loads(first, buffers=buffers)


_NOTHING = (None, None, [])


def _close(packed):
    if packed[1] is not None:
        os.close(packed[1])


def _send(conn, head, packed):
    parts, file, sizes = packed
    conn.send((head, parts, sizes))  # small: a socket's buffer holds many
    if file is not None:
        reduction.send_handle(conn, file, None)


def _receive(conn):
    head, parts, sizes = conn.recv()
    if parts is not None:
        return head, unpack(parts, None, sizes)
    file = reduction.recv_handle(conn)
    try:
        return head, unpack(None, file, sizes)
    finally:
        os.close(file)


# ---- results, in memory that is used again -----------------------------------------------------------------


class Memories:
    """A worker's memory files by number, and which of them no batch lies in."""

    def __init__(self):
        self._files, self._free, self._made, self._dropped = {}, [], 0, []

    def give_back(self, numbers):
        """Nothing refers to these batches any longer."""
        self._free += numbers
        while len(self._free) > _SPARE:
            self._drop(self._free[0])

    def _drop(self, number):
        self._free.remove(number)
        os.close(self._files.pop(number))
        self._dropped.append(number)

    def pack(self, value):
        """(what a Received reads, a file to send with it or None): writes the value where there is room."""
        views = _views(value)
        sizes = [v.nbytes for v in views]
        if sum(sizes) < _INLINE:
            return ([bytes(v) for v in views], sizes, None, False, []), None
        need = sum(n + -n % 64 for n in sizes)
        number = next((n for n in self._free if os.fstat(self._files[n]).st_size >= need), None)
        file = None
        if number is None:
            for small in list(self._free):
                self._drop(small)
            file = _new_file(views)
            os.ftruncate(file, need)
            number, self._made = self._made, self._made + 1
            self._files[number] = file
        else:
            self._free.remove(number)
            _write(self._files[number], views)
        dropped, self._dropped = self._dropped, []
        return (None, sizes, number, file is not None, dropped), file


class Received:
    """The other side of a worker's Memories."""

    def __init__(self):
        self._maps = {}
        self._done = collections.deque()  # numbers of batches that are gone; filled by whichever thread drops one

    def receive(self, conn):
        """(head, value) of a message; arrays lie in the worker's memory and keep it from being used again."""
        head, parts, sizes, number, new, dropped = conn.recv()
        if parts is not None:
            return head, unpack(parts, None, sizes)
        for n in dropped:
            self._maps.pop(n, None)
        if new:
            file = reduction.recv_handle(conn)
            try:
                self._maps[number] = mmap.mmap(file, os.fstat(file).st_size)
            finally:
                os.close(file)
        # Every view of this batch refers to this array, which nothing else does.
        whole = np.frombuffer(self._maps[number], np.uint8)
        weakref.finalize(whole, self._done.append, number).atexit = False
        first, *buffers = _cut(whole, sizes)
        return head, pickle.loads(first, buffers=buffers)

    def done(self):
        """Numbers that the worker may write over; each is told once."""
        return [self._done.popleft() for _ in range(len(self._done))]


# ---- in the worker -----------------------------------------------------------------------------------------


@dataclass
class WorkerInfo:
    """In a worker: which one it is of how many, its seed, and its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info = None


def get_worker_info():
    """The WorkerInfo of this worker process; None in any other process."""
    return _info


def seed_all(*numbers):
    """Seeds random, numpy and suan from some numbers."""
    import random

    value = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    random.seed(value)
    np.random.seed(value % 2**32)
    suan.manual_seed(value >> 1)
    return value >> 1


def _main(conn, worker, n_workers):
    global _info
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    suan.set_num_threads(1)
    tasks = queue.Queue()
    broken = None
    try:
        _, parts, sizes = conn.recv()
        file = reduction.recv_handle(conn) if parts is None else None
    except (EOFError, OSError):
        return  # the parent is gone
    try:
        fetcher, seed, init = unpack(parts, file, sizes)
        _close((parts, file))
        _info = WorkerInfo(worker, n_workers, seed_all(seed, worker), fetcher.dataset)
        if init is not None:
            init(worker)
    except Exception as error:
        broken = error
    # From here on another thread reads, so that the parent can always send.
    threading.Thread(target=_read, args=(conn, tasks), daemon=True).start()
    ticket, task, memories = 0, None, Memories()
    while True:
        try:
            if broken is not None:
                raise broken
            # Ticket 0 says that this worker is ready.
            kind, packed = "result", memories.pack(fetcher.worker_task(task, seed, worker) if ticket else None)
        except Exception as error:
            kind, packed = "error", memories.pack(_portable(error, worker))
        message, file = packed
        try:
            conn.send(((ticket, kind), *message))  # small: a socket's buffer holds many
            if file is not None:
                reduction.send_handle(conn, file, None)
        except OSError:  # the parent is gone
            return
        (ticket, done), task = tasks.get()
        memories.give_back(done)


def _read(conn, tasks):
    try:
        while True:
            tasks.put(_receive(conn))
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone, or needs this worker no longer


def _portable(error, worker):
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return error, f"\nin worker process {worker}:\n{text}"


# ---- in the parent -------------------------------------------------------------------------------------------


class WorkerError(RuntimeError):
    """The cause of an exception that a worker passed on: its traceback there."""

    def __str__(self):
        return self.args[0]


class Pool:
    """Some workers, which come to life as there is work and CPUs for them."""

    def __init__(self, fetcher, n_workers, seed, init, timeout, context=None):
        self._conns, self._processes, self._received = {}, {}, {}
        self._backlog = collections.deque()
        self.ready = []  # workers that have spoken
        self._welcome = _NOTHING
        context = "spawn" if context is None else context
        if context not in ("spawn", "forkserver"):
            raise ValueError(
                f"[DataLoader] wrong multiprocessing_context: expected 'spawn' or 'forkserver', got {context!r} "
                "(a forked copy of this process would have no threads)"
            )
        self._context = multiprocessing.get_context(context)
        self.n_workers, self._timeout = n_workers, timeout
        try:
            self._welcome = pack((fetcher, seed, init))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                "[DataLoader] cannot send the dataset to workers: expected dataset, collate_fn and worker_init_fn "
                f"that pickle (no lambdas, no open files), got: {error}"
            ) from error
        self._tickets = 0
        # One a CPU to begin with: more would only delay the first batch. The others follow it.
        for w in range(min(n_workers, suan._c.available_cpus())):
            self._start(w)

    def _start(self, w):
        mine, theirs = self._context.Pipe(duplex=True)
        process = self._context.Process(
            target=_main, args=(theirs, w, self.n_workers), name=f"suan-data-{w}", daemon=True
        )
        try:
            process.start()
        except RuntimeError as error:
            raise RuntimeError(
                "[DataLoader] cannot start workers while a program's file is being imported: expected the loop "
                'below `if __name__ == "__main__":`, got it at the top level'
            ) from error
        finally:
            theirs.close()
        self._conns[w], self._processes[w], self._received[w] = mine, process, Received()
        try:
            _send(mine, None, self._welcome)
        except OSError:
            self._dead(w)
        if len(self._conns) == self.n_workers:
            self._forget()

    @property
    def awake(self):
        """Workers whose processes were started."""
        return list(self._conns)

    def wake(self):
        """Starts those that wait."""
        for w in range(self.n_workers):
            if w not in self._conns:
                self._start(w)

    def send(self, w, task):
        """Gives a worker something to do; returns the ticket under which the result will come."""
        if w not in self._conns:
            self._start(w)
        self._tickets += 1
        packed = pack(task)
        try:
            _send(self._conns[w], (self._tickets, self._received[w].done()), packed)
        except OSError:
            self._dead(w)
        finally:
            _close(packed)
        return self._tickets

    def receive(self):
        """(worker, ticket, kind, value); the ticket is 0 when a worker has become ready."""
        if not self._backlog:
            found = connection.wait(self._conns.values(), self._timeout or None)
            if not found:
                raise RuntimeError(f"[DataLoader] no batch in time: expected one in {self._timeout} s, got none")
            for w in [w for w, conn in self._conns.items() if conn in found]:
                try:
                    (ticket, kind), value = self._received[w].receive(self._conns[w])
                except (EOFError, OSError):
                    self._dead(w)
                if w not in self.ready:
                    self.ready.append(w)
                self._backlog.append((w, ticket, kind, value))
        return self._backlog.popleft()

    def _dead(self, w):
        process = self._processes[w]
        process.join(5)
        code = process.exitcode
        self.close()
        how = "is still running" if code is None else f"exit status {code}"
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        if code == 1:
            hint = (
                "; its error is above. A program that starts workers keeps its loop below "
                '`if __name__ == "__main__":`, and datasets and functions where an import finds them'
            )
        raise RuntimeError(
            f"[DataLoader] worker {w} died: expected a batch, got {how}, process {process.pid}{hint}"
        )

    def close(self):
        """Ends the workers; a second call does nothing."""
        conns, self._conns, self._received = self._conns, {}, {}
        for conn in conns.values():
            conn.close()  # they see it and go
        processes, self._processes = self._processes, {}
        ready, self.ready = self.ready, []
        self._backlog.clear()
        deadline = time.monotonic() + 1
        for w, process in processes.items():
            if w in ready:  # others have begun nothing yet
                process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.terminate()
                process.join()
        self._forget()

    def _forget(self):
        """The dataset's file is not needed any longer: workers have mapped it, or are gone."""
        welcome, self._welcome = self._welcome, _NOTHING
        _close(welcome)

    def __del__(self):
        if not sys.is_finalizing():
            self.close()


def raised(value):
    """The exception that a worker passed on."""
    error, text = value
    error.__cause__ = WorkerError(text)
    return error


def outputs(pool, assign, n_ahead):
    """Results of tasks in their order.

    assign(number) -> (worker or None for any, task), or None at the end. Up to n_ahead tasks a worker are out at
    once. Yields (number, result)."""
    tickets, load, done = {}, collections.Counter(), {}
    sent = given = 0
    ended = False
    while True:
        # Workers that do not live yet would delay the first batch; those that are not ready would delay others.
        crew = pool.ready or pool.awake
        room = n_ahead * len(crew) if given else len(crew)
        while not ended and sent - given < room:
            step = assign(sent)
            if step is None:
                ended = True
                break
            worker, task = step
            if worker is None:
                worker = min(crew, key=lambda w: load[w])
            tickets[pool.send(worker, task)] = sent
            load[worker] += 1
            sent += 1
        if given == sent:
            return
        while given not in done:
            worker, ticket, kind, value = pool.receive()
            if ticket == 0 and kind == "error":
                raise raised(value)
            if ticket not in tickets:  # ready, or of a loop that was left early
                continue
            number = tickets.pop(ticket)
            load[worker] -= 1
            done[number] = kind, value
        kind, value = done.pop(given)
        if kind == "error":
            raise raised(value)
        yield given, value
        given += 1
        if len(pool.awake) < pool.n_workers:
            pool.wake()


class Fetcher:
    """What makes a batch: shared by the loader in this process and by its workers."""

    def __init__(self, dataset, collate, convert, iterable, batch_size, drop_last):
        self.dataset, self.collate, self.convert = dataset, collate, convert
        self.iterable, self.batch_size, self.drop_last = iterable, batch_size, drop_last
        self._items = None

    def __getstate__(self):
        return {**self.__dict__, "_items": None}

    def batch(self, indices):
        """Of a map-style dataset: an array or list of indices, or one index without batching."""
        if self.batch_size is None:
            return self.convert(self.dataset[indices])
        if self.collate is None:
            return self.dataset.get_batch(np.asarray(indices))
        return self.collate([self.dataset[int(i)] for i in indices])

    def start(self):
        """A new pass over an iterable dataset."""
        self._items = iter(self.dataset)

    def next(self, skip=False):
        """(batch,), or None at the end; (None,) for a batch that is only passed over."""
        items = []
        for item in self._items:
            if self.batch_size is None:
                return (None if skip else self.convert(item),)
            items.append(item)
            if len(items) == self.batch_size:
                break
        if not items or (len(items) < self.batch_size and self.drop_last):
            return None
        return (None if skip else self.collate(items),)

    def worker_task(self, task, seed, worker):
        if self.iterable:
            epoch, first, skip = task
            if first:
                seed_all(seed, epoch, worker)
                self.start()
            return self.next(skip)
        epoch, number, indices = task
        # The random numbers of a batch do not depend on who makes it.
        seed_all(seed, epoch, number)
        return self.batch(indices)
