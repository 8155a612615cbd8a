"""Damages small ONNX models, and files of their packed weights, and runs them:
python tools/fuzz_onnx.py SECONDS SEED [FOLDER] [--junit FILE].

The models are those of tests/corpus/onnx, which are first run as they are, and of ONNX's own node tests. Each damaged one is
loaded and called in a process of its own, with 4 GiB of address space and 5 seconds of the processor. Errors that Suan
documents are fine; a signal, a hang or another kind of error is printed with its number and the model saved in FOLDER (the
current one, unless given). Exit status 1 if there was any. The same seed gives the same models, so a number found once is
found again. What was found and mended goes into the corpus.

Packed weights (a tenth of the time) are written by some models of the corpus, damaged, with checksums that fit as often as
not, and given to the same model. NAME.WHAT.pack in the corpus is such a file for NAME.onnx.
"""

import argparse
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import time

import google.protobuf.message
import numpy as np
import onnx
import onnx.backend.test.loader
from google.protobuf.descriptor import FieldDescriptor as F

import suan
import suan.onnx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "python"))
import prepacked_file  # noqa: E402

CORPUS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "corpus" / "onnx"
EXPECTED = (ValueError, TypeError, IndexError, OSError, MemoryError, suan.StateError)
NUMBERS = [0, 1, -1, 2, 3, 8, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**63)]
REALS = [0.0, -1.0, 1e-30, 1e30, float("inf"), float("-inf"), float("nan")]
INTEGERS = {F.TYPE_INT64, F.TYPE_INT32, F.TYPE_UINT64, F.TYPE_ENUM}


def messages(m):
    """m and all messages in it."""
    yield m
    for field, value in m.ListFields():
        if field.type == F.TYPE_MESSAGE:
            for child in value if field.is_repeated else [value]:
                yield from messages(child)


def another(rng, field, value, names, ops):
    """A value for a field in place of `value`."""
    if field.type in INTEGERS:
        v = rng.choice([*NUMBERS, value + 1, value - 1, -value])
        if field.type == F.TYPE_ENUM:   # a closed set
            return rng.choice(field.enum_type.values).number
        if field.type == F.TYPE_INT32:
            return (v + 2**31) % 2**32 - 2**31
        return v % 2**64 if field.type == F.TYPE_UINT64 else (v + 2**63) % 2**64 - 2**63
    if field.type in (F.TYPE_FLOAT, F.TYPE_DOUBLE):
        return rng.choice(REALS)
    if field.type == F.TYPE_STRING:
        return rng.choice(ops) if field.name == "op_type" else rng.choice([*names, "", value + "x"])
    return rng.choice([value[:-1], value + b"\0", bytes(rng.randrange(256) for _ in value), b""])


def damage(rng, m, donor, ops):
    """Changes one thing in model m; `donor` is a model to take nodes from."""
    graph = m.graph
    names = [n for node in graph.node for n in [*node.input, *node.output]] or [""]
    what = rng.random()
    if what < 0.15 and donor.graph.node and graph.node:
        new = graph.node.add()
        new.CopyFrom(rng.choice(donor.graph.node))
        for i in range(len(new.input)):
            new.input[i] = rng.choice(names)
        return
    target = rng.choice(list(messages(graph)))
    fields = target.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    if not field.is_repeated:
        if field.type == F.TYPE_MESSAGE or what < 0.25:
            target.ClearField(field.name)
        else:
            setattr(target, field.name, another(rng, field, value, names, ops))
        return
    i = rng.randrange(len(value))
    if what < 0.35:
        del value[i]
    elif field.type == F.TYPE_MESSAGE:
        value.add().CopyFrom(value[i])
    elif what < 0.5:
        value.append(value[i])
    else:
        value[i] = another(rng, field, value[i], names, ops)


def made_up(session, rng):
    """Small inputs of the declared types; sizes that are open become 2."""
    out = []
    for i in session.inputs:
        if i.kind != "tensor":
            raise ValueError(f"[fuzz] expected inputs that are tensors, got '{i.name}'")
        shape = [2 if isinstance(d, str) or d is None else min(d, 64) for d in i.shape or []]
        out.append(suan.tensor(rng.standard_normal(shape) * 3, dtype=suan.float32).to(i.dtype))
    return out


def damage_pack(rng, data):
    """Another file of packed weights, of which one to three things were changed."""
    f = prepacked_file.File(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        what = rng.random()
        if what < 0.6 and f.records:
            target = rng.choice(f.records)
            key = rng.choice(list(target))
            high = 255 if key in ("dtype", "rank", "has_data") else 2**64 - 1
            number = rng.choice([*NUMBERS, target[key] + 1, target[key] - 1, rng.choice(f.records)[key], rng.randrange(12)])
            target[key] = number % (high + 1) if key[0] != "d" or key in ("data_low", "data_high", "dtype") else (number + 2**63) % 2**64 - 2**63
        elif what < 0.75:
            key = rng.choice([k for k, v in f.fields.items() if isinstance(v, int)])
            number = rng.choice([*NUMBERS, f.fields[key] + 1, f.fields[key] - 1, len(data)])
            f.fields[key] = number % (2**32 if key in ("format", "reserved") else 2**64)
        elif what < 0.9:
            f.data[rng.randrange(len(f.data))] ^= 1 << rng.randrange(8)
        elif f.records:
            a, b = rng.choice(f.records), rng.choice(f.records)
            for key in ("key_low", "key_high"):
                a[key], b[key] = b[key], a[key]
    out = f.bytes(rng.random() < 0.8, rng.random() < 0.9)
    if rng.random() < 0.1:
        out = out[: rng.randrange(len(out))] if rng.random() < 0.7 else out + bytes(rng.randrange(1, 9000))
    return out


def call(path, inputs, number, pack=None):
    """Runs in the child: its exit status is 0 for an answer or an expected error, 3 for another error."""
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):   # its shadow takes terabytes of addresses
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, 5)   # of processor time: other work on the machine makes no hang
    signal.alarm(120)                          # for one that waits
    try:
        kept = {} if pack is None else {"prepacked": pack, "prepacked_read_only": number % 3 == 0}
        session = suan.onnx.Session(path, memory_limit=1 << 29, **kept)
        session(*(made_up(session, np.random.default_rng(number)) if inputs is None else inputs))
    except EXPECTED as e:
        if not str(e).startswith("["):
            print(type(e), str(e)[:300], flush=True)
            return 3
    except BaseException as e:
        print(type(e), str(e)[:300], flush=True)
        return 3
    return 0


def run(data, inputs, number, name, folder, pack=None):
    """Whether this model (with this file of packed weights) was survived."""
    path = folder / "now" / "model.onnx"   # beside what external data names
    path.write_bytes(data)
    kept = None
    if pack is not None:
        kept = folder / "now" / "model.pack"
        kept.write_bytes(pack)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os._exit(call(path, inputs, number, kept))
    status = os.waitpid(child, 0)[1]
    if status:
        (folder / f"fuzz-{number}.onnx").write_bytes(data)
        if pack is not None:
            (folder / f"fuzz-{number}.pack").write_bytes(pack)
        end_of = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
        print(f"{number} ({name}): {end_of}; saved fuzz-{number}.onnx", flush=True)
    return not status


def report(path, counts):
    """For tools/test: one case for the corpus, one for the damaged models."""
    lines = [f'<testsuites><testsuite name="fuzz" tests="{len(counts)}">']
    for name, (tried, found) in counts.items():
        inside = f'<failure message="{found} of {tried} models"/>' if found or not tried else ""
        lines.append(f'<testcase classname="tools.fuzz_onnx" name="{name}" time="0">{inside}</testcase>')
    pathlib.Path(path).write_text("\n".join([*lines, "</testsuite></testsuites>", ""]))


def cases():
    """(name, model, inputs of its first data set), for models of at most 20,000 bytes and inputs that are tensors."""
    out = []
    for case in onnx.backend.test.loader.load_model_tests(kind="node"):
        folder = pathlib.Path(case.model_dir)
        model = onnx.load(folder / "model.onnx")
        tensors = [onnx.load_tensor(p) for p in sorted((folder / "test_data_set_0").glob("input_*.pb"), key=lambda p: int(p.stem[6:]))
                   if p.stat().st_size]
        if model.ByteSize() > 20_000 or not all(i.type.HasField("tensor_type") for i in model.graph.input):
            continue
        arrays = [onnx.numpy_helper.to_array(t) for t in tensors]
        if len(arrays) == len(model.graph.input) and all(a.dtype.kind in "fiub" and a.dtype.isbuiltin for a in arrays):
            out.append((case.name, model, [np.ascontiguousarray(a) for a in arrays]))
    return out


def packs(folder):
    """(name, model, its file of packed weights), for models of the corpus that pack some."""
    out = []
    for name in ("convolutions", "qdq_conv", "microsoft_quantised", "int4_blocks"):
        path, pack = CORPUS / f"{name}.onnx", folder / "now" / "fresh.pack"
        pack.unlink(missing_ok=True)
        child = os.fork()   # packing threads here would be lost in later forks
        if not child:
            os._exit(call(path, None, 1, pack))
        os.waitpid(child, 0)
        if pack.exists():
            out.append((name, path.read_bytes(), pack.read_bytes()))
    if not out:
        raise SystemExit("[fuzz] no model of the corpus wrote packed weights")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", type=float)
    parser.add_argument("seed", type=int)
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default=pathlib.Path("."))
    parser.add_argument("--junit")
    args = parser.parse_args()
    (args.folder / "now").mkdir(parents=True, exist_ok=True)
    for path in CORPUS.glob("*.bin"):
        shutil.copy(path, args.folder / "now")
    corpus = [(path.stem, path.read_bytes()) for path in sorted(CORPUS.glob("*.onnx"))]
    found = sum(not run(data, None, k, name, args.folder) for k, (name, data) in enumerate(corpus))
    damaged_packs = sorted(CORPUS.glob("*.pack"))
    found += sum(not run((CORPUS / (p.name.split(".")[0] + ".onnx")).read_bytes(), None, k, p.stem, args.folder, p.read_bytes())
                 for k, p in enumerate(damaged_packs))
    counts = {"corpus": (len(corpus) + len(damaged_packs), found)}
    kept = []
    for name, data in corpus:
        m = onnx.ModelProto()
        try:
            m.ParseFromString(data)
        except google.protobuf.message.DecodeError:
            continue
        kept.append((name, m, None))
    models = cases()
    ops = sorted({n.op_type for _, m, _ in models + kept for n in m.graph.node})
    fresh = packs(args.folder)
    end, tried, found = time.monotonic() + args.seconds * 0.1, 0, 0
    while time.monotonic() < end:
        number = args.seed * 1_000_000 + tried
        rng = random.Random(number)
        name, model, pack = rng.choice(fresh)
        tried += 1
        found += not run(model, None, number, name, args.folder, damage_pack(rng, pack))
    counts["packed weights"] = (tried, found)
    end, tried, found = time.monotonic() + args.seconds * 0.9, 0, 0
    while time.monotonic() < end:
        number = args.seed * 1_000_000 + tried
        rng = random.Random(number)
        name, model, inputs = rng.choice(kept if kept and rng.random() < 0.3 else models)
        m = onnx.ModelProto()
        m.CopyFrom(model)
        for _ in range(rng.choice([1, 1, 2, 4])):
            damage(rng, m, rng.choice(models)[1], ops)
        tried += 1
        found += not run(m.SerializeToString(), inputs, number, name, args.folder)
    counts["damaged"] = (tried, found)
    print(", ".join(f"{name}: {n} models, {bad} found" for name, (n, bad) in counts.items()))
    if args.junit:
        report(args.junit, counts)
    return 1 if any(bad for _, bad in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
