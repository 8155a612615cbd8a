"""suan run, inspect, check, compare and bench of ONNX models."""

import json as jsonlib
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy

from .. import onnx as suan_onnx
from ..onnx import proto
from ..onnx.proto import every, first


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
    import ml_dtypes  # noqa: F401: NumPy then has bfloat16 and the narrow types

    values = rng.standard_normal(shape) if "float" in dtype else rng.integers(0, 2, shape)
    return values.astype(dtype)


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


def as_array(value):
    """A value that .npz files hold: texts become fixed-width ones, so that nothing is pickled."""
    return value.astype(str) if value.dtype.kind == "O" else value


def run_folder(model, folder, out, again, options):
    """Every .npz of a folder through one session, a file on each core at a time. Results appear whole or not at all."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .. import _c

    if out is None or out.resolve() == folder.resolve():
        raise ValueError(f"[run] --folder needs --out: expected another folder for the results, got {out or 'none'}")
    files = sorted(p for p in folder.iterdir() if p.suffix == ".npz")
    if not files:
        raise ValueError(f"[run] nothing to run: expected .npz files in '{folder}', got none")
    alone = suan_onnx.SessionOptions()
    alone.intra_op_num_threads = 1
    session = suan_onnx.InferenceSession(model, alone, **options)
    out.mkdir(parents=True, exist_ok=True)
    names = [p.name for p in session.get_inputs()]
    todo = [p for p in files if again or not (out / p.name).exists()]

    def work(path):
        with numpy.load(path, allow_pickle=False) as given:
            feed = {name: given[name] for name in names if name in given}
        values = dict(zip((p.name for p in session.get_outputs()), session.run(None, feed)))
        for name, value in values.items():
            if not isinstance(value, numpy.ndarray):
                kind = type(value).__name__
                raise TypeError(f"[run] output '{name}' cannot be written: expected a tensor, got a {kind}")
        part = out / f".{path.name}.part"
        try:
            with open(part, "wb") as file:
                numpy.savez(file, **{name: as_array(value) for name, value in values.items()})
            os.replace(part, out / path.name)
        finally:
            part.unlink(missing_ok=True)

    errors = {}
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with (Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
          ThreadPoolExecutor(_c.num_threads()) as pool):
        bar = progress.add_task("", total=len(todo))
        running = {pool.submit(work, path): path for path in todo}
        try:
            for done in as_completed(running):
                error = done.exception()
                if error is not None:
                    errors[running[done].name] = error
                progress.update(bar, advance=1, description=running[done].name)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"{len(todo) - len(errors)} files written, {len(files) - len(todo)} were there, {len(errors)} failed")
    for name, error in sorted(errors.items()):
        print(f"{name}: {one_line(error)}", file=sys.stderr)
    if errors:
        sys.exit(1)


def run_command(model, inputs, out, size, folder, again, exact, precision, prepacked, prepacked_read_only):
    options = {"exact": exact, "precision": precision, "prepacked": prepacked, "prepacked_read_only": prepacked_read_only}
    if folder is not None:
        if inputs or size:
            raise ValueError("[run] --folder takes all inputs from its files: expected neither --inputs nor --size")
        return run_folder(model, folder, out, again, options)
    if again:
        raise ValueError("[run] --again is for --folder: expected a folder, got none")
    session = suan_onnx.InferenceSession(model, **options)
    feed = feed_for(session.get_inputs(), inputs, sizes_of(size))
    values = session.run(None, feed)
    arrays = {}
    for port, value in zip(session.get_outputs(), values):
        if not isinstance(value, numpy.ndarray):
            print(f"{port.name}: {value!r}")
            continue
        arrays[port.name] = as_array(value)
        text = f"{port.name}: {value.dtype} {list(value.shape)}"
        if value.size and value.dtype.kind in "fiu":
            text += f" min {value.min():.6g} mean {value.mean():.6g} max {value.max():.6g}"
        print(text)
    if out:
        numpy.savez(out, **arrays)


def one_line(error):
    return " ".join(f"{error}".split()) or type(error).__name__


# What a file says, read without being run.


def text_of(message, number):
    return bytes(first(message, number)).decode()


def opsets_of(message, number):
    """{domain: version}; ONNX's own domain is ""."""
    found = {text_of(m, 1): first(m, 2, 0) for m in every(message, number)}
    return {"" if domain == "ai.onnx" else domain: version for domain, version in found.items()}


def operator_of(node, opsets):
    """(domain, operator, opset)"""
    domain = text_of(node, 7)
    domain = "" if domain == "ai.onnx" else domain
    return domain, text_of(node, 4), opsets.get(domain, 0)


def unsupported_operators(model):
    """{(domain, operator, opset): how many} of a model's bytes, sub-graphs and called functions included."""
    since = {(domain, name): version for domain, name, version in suan_onnx.supported_ops()}
    key = lambda domain, name, overload: ("" if domain == "ai.onnx" else domain, name, overload)  # noqa: E731
    functions = {key(text_of(f, 10), text_of(f, 1), text_of(f, 13)): f for f in every(model, 25)}
    found, seen = {}, set()
    todo = [(node, opsets_of(model, 8)) for node in every(first(model, 7), 1)]
    while todo:
        node, opsets = todo.pop(0)
        domain, name, opset = operator_of(node, opsets)
        for attribute in every(node, 5):
            for graph in every(attribute, 6) + every(attribute, 11):
                todo += [(inner, opsets) for inner in every(graph, 1)]
        called = key(domain, name, text_of(node, 8))
        if called in functions:
            if called not in seen:
                seen.add(called)
                todo += [(inner, opsets_of(functions[called], 9)) for inner in every(functions[called], 7)]
        elif (domain, name) not in since or since[domain, name] > opset:
            found[domain, name, opset] = found.get((domain, name, opset), 0) + 1
    return found


def check_command(model):
    try:
        session = suan_onnx.load(model)
    except TypeError as error:
        # The reader has accepted the file as a model and stops at the first operator it lacks: the others follow.
        missing = unsupported_operators(model.read_bytes())
        if not missing:
            raise
        print(f"suan: {one_line(error)}", file=sys.stderr)
        print(f"unsupported operators of {model}:")
        for (domain, name, opset), count in sorted(missing.items()):
            print(f"  {count} {domain + '.' if domain else ''}{name} of opset {opset}")
        sys.exit(1)
    def shape(port):
        return "" if port.shape is None else f" [{', '.join('?' if d is None else str(d) for d in port.shape)}]"

    for kind, ports in (("input ", session.inputs), ("output", session.outputs)):
        for port in ports:
            print(f"{kind} {port.name}: {port.type}{shape(port)}")
    for domain, version in session.metadata["opsets"].items():
        print(f"opset  {domain or 'ai.onnx'} {version}")
    operators = session.operators
    print(f"{sum(operators.values())} nodes of {len(operators)} operators, all of them supported")
    print("ok")


# Two models, or two engines.


def difference(a, b):
    """(greatest |a - b|, greatest |a - b| / (1 + |b|)) of two values; infinite where they cannot be compared: other
    types, shapes or texts, NaN or an infinity in one of them only."""
    far, none = (float("inf"),) * 2, (0.0, 0.0)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        parts = [difference(x, y) for x, y in zip(a, b)]
        return far if len(a) != len(b) else tuple(map(max, zip(none, *parts)))
    if isinstance(a, dict) and isinstance(b, dict):
        return far if a.keys() != b.keys() else difference([a[k] for k in a], [b[k] for k in a])
    if a is None or b is None:
        return none if a is b else far
    a, b = numpy.asarray(a), numpy.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return far
    if a.dtype.kind in "OUSbc":
        return none if numpy.array_equal(a, b) else far
    a, b = (x.astype("f8") if x.dtype.kind != "f" or x.dtype.itemsize < 8 else x for x in (a, b))
    same = (a == b) | (numpy.isnan(a) & numpy.isnan(b))
    if same.all():
        return none
    a, b = a[~same], b[~same]
    if not (numpy.isfinite(a).all() and numpy.isfinite(b).all()):
        return far
    apart = numpy.abs(a - b)
    return float(apart.max()), float((apart / (1 + numpy.abs(b))).max())


def nodes_of(model):
    """[(value, "operator 'node'")] of the main graph, in order."""
    out = []
    for node in every(first(model, 7), 1):
        label = f"{text_of(node, 4)} '{text_of(node, 3)}'"
        out += [(bytes(name).decode(), label) for name in every(node, 2) if len(name)]
    return out


def with_outputs(model, names):
    """The model's bytes with more outputs, whose types are left to inference."""
    have = {text_of(port, 1) for port in every(first(model, 7), 12)}
    extra = b"".join(proto.message(12, [proto.text(1, name)]) for name in names if name not in have)
    out = []
    for field, _, value, start, end in proto.fields(model):
        out += proto.data(7, bytes(value), extra) if field == 7 else [model[start:end]]
    return b"".join(out)


def make_session(source, engine, name):
    source = source if isinstance(source, bytes) else str(source)
    if engine == "suan":
        return suan_onnx.InferenceSession(source)
    if engine != "onnxruntime":
        raise ValueError(f"[{name}] unknown engine: expected suan or onnxruntime, got '{engine}'")
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(f"[{name}] no onnxruntime: expected the package onnxruntime, got none installed") from None
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])


def first_difference(a, b, engine, feed, tolerance):
    """A line of text on the first node of `a`, in its order, whose value differs. All values that both files name are
    made outputs, so nothing is fused: what fusing changes does not show here."""
    a, b = a.read_bytes(), b.read_bytes()
    for model in (a, b):
        for tensor in every(first(model, 7), 5):
            if first(tensor, 14, 0) == 1:
                return "the first differing node was not looked for: expected weights within the file, got some beside it"
    there = {value for value, _ in nodes_of(b)}
    common = [(value, label) for value, label in nodes_of(a) if value in there]
    names = [value for value, _ in common]
    if not names:
        return "the first differing node was not looked for: expected values of equal names in both files, got none"
    try:
        ours = make_session(with_outputs(a, names), "suan", "compare").run(names, feed)
        theirs = make_session(with_outputs(b, names), engine, "compare").run(names, feed)
    except Exception as error:  # noqa: BLE001: told; the other engine's errors have types of their own
        return f"the first differing node was not found: {one_line(error)}"
    for (value, label), x, y in zip(common, ours, theirs):
        apart, scaled = difference(x, y)
        if not scaled <= tolerance:
            return f"first differing node: {label}, its value '{value}' differs by {apart:.3g}"
    return f"no node differs among the {len(names)} values that both have, when all of them are kept"


def compare_command(a, b, engine, inputs, size, tolerance, json):
    if (b is None) == (engine is None):
        raise ValueError("[compare] nothing to compare with: expected either a second file or --engine")
    ours, theirs = make_session(a, "suan", "compare"), make_session(b or a, engine or "suan", "compare")
    names = [[p.name for p in s.get_inputs()] for s in (ours, theirs)]
    if set(names[0]) != set(names[1]):
        raise ValueError(f"[compare] other inputs: expected {names[0]} in both files, got {names[1]}")
    feed = feed_for(ours.get_inputs(), inputs, sizes_of(size))
    outputs = [[p.name for p in s.get_outputs()] for s in (ours, theirs)]
    if set(outputs[0]) == set(outputs[1]):
        outputs[1] = outputs[0]
    elif len(outputs[0]) != len(outputs[1]):
        raise ValueError(f"[compare] other outputs: expected as many in both files, got {outputs[0]} and {outputs[1]}")
    pairs = zip(outputs[0], outputs[1], ours.run(outputs[0], feed), theirs.run(outputs[1], feed))
    rows = [(x if x == y else f"{x} and {y}", *difference(u, v)) for x, y, u, v in pairs]
    equal = all(scaled <= tolerance for _, _, scaled in rows)
    note = None if equal else first_difference(a, b or a, engine or "suan", feed, tolerance)
    if json:
        # JSON has no infinity: null for what cannot be compared.
        number = lambda n: n if numpy.isfinite(n) else None  # noqa: E731
        out = {"equal": equal, "tolerance": tolerance, "note": note}
        out["outputs"] = [{"name": n, "max_abs": number(x), "max_scaled": number(y)} for n, x, y in rows]
        print(jsonlib.dumps(out))
    else:
        for name, apart, scaled in rows:
            text = "other type, shape, texts, NaN or infinity" if scaled == float("inf") else (
                f"differs by {apart:.3g} at most, {scaled:.3g} of 1 + |value|" if scaled else "equal")
            print(f"{name}: {text}{'' if scaled <= tolerance else '  beyond the tolerance'}")
        print(note or f"within {tolerance:g}")
    if not equal:
        sys.exit(1)


def shapes_of(texts):
    """name=1,3,224,224 pairs."""
    shapes = {}
    for text in texts or ():
        name, _, value = text.rpartition("=")
        if not name or not all(d.isdigit() for d in value.split(",")):
            raise ValueError(f"[onnx] bad sizes: expected name=number,number,..., got '{text}'")
        shapes[name] = [int(d) for d in value.split(",")]
    return shapes


def same_answers(before, after, inputs, size, tolerance, report):
    """Runs both files on the same inputs in every engine there is; ValueError where outputs are apart."""
    engines = ["suan"]
    try:
        import onnxruntime  # noqa: F401
        engines.append("onnxruntime")
    except ImportError:
        pass
    try:
        import onnx
    except ImportError:
        pass
    else:
        try:
            onnx.checker.check_model(str(before))
        except onnx.checker.ValidationError as error:
            print(f"onnx.checker not asked, which refuses the first file: {one_line(error)[:200]}", file=sys.stderr)
        else:
            onnx.checker.check_model(str(after))
            report.checked.append("onnx.checker")
    feed = None
    for engine in engines:
        try:
            old = make_session(before, engine, "simplify")
        except Exception as error:  # noqa: BLE001: the peer's errors have types of their own
            if engine == "suan":
                raise
            print(f"not compared in {engine}, which does not load the first file: {one_line(error)}", file=sys.stderr)
            continue
        new = make_session(after, engine, "simplify")
        names = [p.name for p in new.get_outputs()]
        if names != [p.name for p in old.get_outputs()] or [p.name for p in new.get_inputs()] != [p.name for p in old.get_inputs()]:
            raise ValueError(f"[simplify] names differ in {engine}: expected those of the first file, got "
                             f"{[p.name for p in new.get_inputs()]} and {names}")
        if feed is None:
            feed = feed_for(new.get_inputs(), inputs, size)
        try:
            expected = old.run(names, feed)
        except Exception as error:  # noqa: BLE001
            raise ValueError("[simplify] the first file does not run on these inputs: expected answers to compare with "
                             f"(--inputs gives others, --no-check writes without them), got {one_line(error)}") from None
        for name, x, y in zip(names, new.run(names, feed), expected):
            _, scaled = difference(x, y)
            if not scaled <= tolerance:
                raise ValueError(f"[simplify] output '{name}' differs in {engine}: expected at most {tolerance:g} of 1 + |value|, "
                                 f"got {scaled:.3g}; nothing was written")
            report.apart = max(report.apart, scaled)
        report.checked.append(engine)


def simplify_command(model, out, input, size, exact, check, inputs, tolerance, json):
    sizes, shapes = sizes_of(size), shapes_of(input)

    def compare(part, report):
        same_answers(model, part, inputs, sizes_left(part, sizes), tolerance, report)

    report = suan_onnx.simplify(model, out, shapes=shapes, sizes=sizes, exact=exact, check=compare if check else None)
    if json:
        print(jsonlib.dumps(vars(report)))
        return
    print(f"{report.nodes_before} nodes became {report.nodes_after}; {report.bytes_before:,} bytes became {report.bytes_after:,}")
    print("; ".join(f"{what}: {n}" for what, n in sorted(report.rewrites.items(), key=lambda r: -r[1])) or "nothing to do")
    if report.open_inputs:
        print(f"sizes are open in {', '.join(report.open_inputs)}: what follows from them stays (--input name=1,3,224,224 or "
              "--size name=1 fixes them)")
    if check:
        print(f"checked: {', '.join(report.checked)}; outputs differ by {report.apart:.3g} of 1 + |value| at most")


def sizes_left(model, sizes):
    """Of the sizes asked for, those that the file still leaves open: none once they are part of it."""
    symbols = {d for p in suan_onnx.load(model).inputs for d in p.shape or () if isinstance(d, str)}
    return {name: n for name, n in sizes.items() if name in symbols}


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


def bench_command(model, vs, inputs, size, seconds, threads, callers, json, exact, precision, prepacked, prepacked_read_only):
    from .. import StateError, _c

    if threads:
        _c.set_num_threads(threads)
    start = time.perf_counter()
    session = suan_onnx.InferenceSession(model, exact=exact, precision=precision, prepacked=prepacked,
                                         prepacked_read_only=prepacked_read_only)
    load_ms = 1e3 * (time.perf_counter() - start)
    feed = feed_for(session.get_inputs(), inputs, sizes_of(size))
    try:
        peak = session.peak_memory({name: value.shape for name, value in feed.items()})
    except StateError:
        peak = None  # shapes within the model depend on data
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
                time.sleep(0.08)
            call()
            for _ in range(2):
                start = time.perf_counter()
                call()
                results[name].append(1e3 * (time.perf_counter() - start))
    points = {name: numpy.percentile(times, (50, 90, 99)).tolist() for name, times in results.items()}
    rows = {name: p[0] for name, p in points.items()}
    throughput = {name: 1e3 * len(times) / sum(times) for name, times in results.items()}
    rates = {}
    if callers > 1:
        # One and all in turn, best of three each.
        for _ in range(3):
            for n in (1, callers):
                rates[n] = max(rates.get(n, 0), calls_per_second(runs[0][1], n, seconds / 3))
    if json:
        out = {"threads": _c.num_threads(), "median_ms": rows, "load_ms": load_ms, "peak_memory_bytes": peak,
               "percentiles_ms": {n: dict(zip(("p50", "p90", "p99"), p)) for n, p in points.items()},
               "calls": {n: len(times) for n, times in results.items()}, "throughput": throughput}
        if rates:
            out["calls_per_second"] = rates
        print(jsonlib.dumps(out))
        return
    for name, ms in rows.items():
        _, p90, p99 = points[name]
        print(f"{name}: {ms:.3f} ms (median, {_c.num_threads()} threads); p90 {p90:.3f}, p99 {p99:.3f} of "
              f"{len(results[name])} calls; {throughput[name]:.1f} calls/s")
    print(f"loaded in {load_ms:.1f} ms; peak memory of a call: "
          + ("depends on data" if peak is None else f"{peak / 2**20:.2f} MiB beyond inputs and weights"))
    if len(rows) == 2:
        suan_ms, peer_ms = rows.values()
        print(f"suan runs at {peer_ms / suan_ms:.2f} times the peer's speed")
    if rates:
        ratio = rates[callers] / rates[1]
        print(f"callers: 1 makes {rates[1]:.1f} calls/s, {callers} make {rates[callers]:.1f}: {ratio:.2f} times as many")
