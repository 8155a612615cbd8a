"""suan run, inspect and bench of ONNX models."""

import json as jsonlib
import statistics
import threading
import time

import numpy

from .. import onnx as suan_onnx


def inspect_model(model, supported, json):
    if supported:
        for domain, name, since in suan_onnx.supported_ops():
            print(f"{domain + '.' if domain else ''}{name} {since}")
        return
    if model is None:
        raise ValueError("[inspect] no model: expected a path, or --supported")
    session = suan_onnx.load(model)
    if not json:
        print(session.describe(), end="")
        return
    port = lambda p: {"name": p.name, "type": p.type, "shape": p.shape}  # noqa: E731
    print(
        jsonlib.dumps(
            {
                "inputs": [port(p) for p in session.inputs],
                "outputs": [port(p) for p in session.outputs],
                "operators": session.operators,
                "weight_bytes": session.stats["weight_bytes"],
            }
        )
    )


def sizes_of(texts):
    """name=size pairs for symbolic dimensions."""
    sizes = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        if not value.isdigit():
            raise ValueError(f"[onnx] bad size: expected name=number, got '{text}'")
        sizes[name] = int(value)
    return sizes


def made_input(port, sizes, rng):
    """Random values for an input that no file gives: floats are normal, integers 0 or 1."""
    if port.kind != "tensor" or port.shape is None:
        raise ValueError(f"[onnx] input '{port.name}' cannot be made up: expected a tensor with a shape, got {port!r}")
    shape = [d if isinstance(d, int) else sizes.get(d, 1) for d in port.shape]
    dtype = str(port.dtype).removeprefix("suan.")
    if "float" in dtype and dtype != "bfloat16":
        return rng.standard_normal(shape).astype(dtype)
    if dtype == "bfloat16":
        raise ValueError(f"[onnx] input '{port.name}' cannot be made up: expected a type that NumPy has, got bfloat16")
    return rng.integers(0, 2, shape).astype(dtype)


def feed_for(ports, file, sizes):
    """Inputs by name: the file's, else random ones. A symbolic dimension that no size is given for is 1."""
    symbols = sorted({d for p in ports for d in p.shape or () if isinstance(d, str)})
    for name in sizes:
        if name not in symbols:
            known = ", ".join(symbols) or "none, the model has no symbolic dimensions"
            raise ValueError(f"[onnx] no dimension '{name}': expected one of {known}")
    given = dict(numpy.load(file, allow_pickle=False)) if file else {}
    rng = numpy.random.default_rng(0)
    return {p.name: given[p.name] if p.name in given else made_input(p, sizes, rng) for p in ports}


def run_command(model, inputs, out, size):
    session = suan_onnx.InferenceSession(model)
    feed = feed_for(session.get_inputs(), inputs, sizes_of(size))
    values = session.run(None, feed)
    arrays = {}
    for port, value in zip(session.get_outputs(), values):
        if not isinstance(value, numpy.ndarray):
            print(f"{port.name}: {value!r}")
            continue
        arrays[port.name] = value
        text = f"{port.name}: {value.dtype} {list(value.shape)}"
        if value.size and value.dtype.kind in "fiu":
            text += f" min {value.min():.6g} mean {value.mean():.6g} max {value.max():.6g}"
        print(text)
    if out:
        numpy.savez(out, **{k: v for k, v in arrays.items() if v.dtype.kind != "O"})


def calls_per_second(call, callers, seconds):
    """All callers together, each in a thread of its own."""
    counts, start = [0] * callers, time.perf_counter()

    def work(k):
        while time.perf_counter() < start + seconds:
            call()
            counts[k] += 1

    workers = [threading.Thread(target=work, args=(k,)) for k in range(callers)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return sum(counts) / (time.perf_counter() - start)


def bench_command(model, vs, inputs, size, seconds, threads, callers, json):
    from .. import _c

    if threads:
        _c.set_num_threads(threads)
    session = suan_onnx.InferenceSession(model)
    feed = feed_for(session.get_inputs(), inputs, sizes_of(size))
    runs = [("suan", lambda: session.run(None, feed))]
    if vs == "onnxruntime":
        try:
            import onnxruntime
        except ImportError:
            raise ValueError("[bench] --vs onnxruntime: expected the package onnxruntime, got none installed") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _c.num_threads()
        peer = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        runs.append((f"onnxruntime {onnxruntime.__version__}", lambda: peer.run(None, feed)))
    elif vs:
        raise ValueError(f"[bench] unknown peer: expected onnxruntime, got '{vs}'")
    # In turn, a few calls each: the machine drifts. A rest lets the other one's threads, which spin for a while after a
    # call, fall asleep; the first call after it is not counted.
    for _, call in runs:
        call()
    results, end = {name: [] for name, _ in runs}, time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(results["suan"]) < 5:
        for name, call in runs:
            if len(runs) > 1:
                time.sleep(0.05)
            call()
            for _ in range(2):
                start = time.perf_counter()
                call()
                results[name].append(1e3 * (time.perf_counter() - start))
    rows = {name: statistics.median(times) for name, times in results.items()}
    rates = {}
    if callers > 1:
        # One and all in turn, best of three each.
        for _ in range(3):
            for n in (1, callers):
                rates[n] = max(rates.get(n, 0), calls_per_second(runs[0][1], n, seconds / 3))
    if json:
        out = {"threads": _c.num_threads(), "median_ms": rows}
        if rates:
            out["calls_per_second"] = rates
        print(jsonlib.dumps(out))
        return
    for name, ms in rows.items():
        print(f"{name}: {ms:.3f} ms (median, {_c.num_threads()} threads)")
    if len(rows) == 2:
        suan_ms, peer_ms = rows.values()
        print(f"suan runs at {peer_ms / suan_ms:.2f} times the peer's speed")
    if rates:
        ratio = rates[callers] / rates[1]
        print(f"callers: 1 makes {rates[1]:.1f} calls/s, {callers} make {rates[callers]:.1f}: {ratio:.2f} times as many")
