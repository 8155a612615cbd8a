"""Packed weights in a file: what they are known by, who writes them, and what is refused."""

import ctypes
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from prepacked_file import TABLE, File, content_hash, data_hash

import suan
import suan.onnx
from suan.cli.app import run as cli

CORPUS = pathlib.Path(__file__).resolve().parent.parent / "corpus" / "onnx"
RNG = np.random.default_rng(7)
IMAGE, TOKENS = RNG.standard_normal((2, 16, 12, 12)).astype("f4"), RNG.integers(0, 512, (3, 5))


def weights(*shape, scale=0.1):
    return RNG.standard_normal(shape).astype("f4") * np.float32(scale)


def network():
    """3×3 and 1×1 convolutions with batch norm, a table that rows are taken of, and products of its rows."""
    init = {"c1": weights(32, 16, 3, 3), "c2": weights(32, 32, 3, 3), "c3": weights(48, 32, 1, 1), "b1": weights(32),
            "scale": 1 + weights(32), "shift": weights(32), "mean": weights(32), "var": 1 + abs(weights(32)),
            "table": weights(512, 64), "w1": weights(64, 512), "w2": weights(512, 64), "wb": weights(512)}
    nodes = [h.make_node("Conv", ["x", "c1", "b1"], ["a"], pads=[1, 1, 1, 1]),
             h.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["n"]),
             h.make_node("Relu", ["n"], ["r"]),
             h.make_node("Conv", ["r", "c2"], ["s"], pads=[1, 1, 1, 1]),
             h.make_node("Conv", ["s", "c3"], ["y"]),
             h.make_node("Gather", ["table", "ids"], ["e"]),
             h.make_node("MatMul", ["e", "w1"], ["m"]),
             h.make_node("Add", ["m", "wb"], ["mb"]),
             h.make_node("MatMul", ["mb", "w2"], ["z"])]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["n", 16, "h", "w"]),
                                      h.make_tensor_value_info("ids", T.INT64, ["b", "s"])],
                         [h.make_tensor_value_info("y", T.FLOAT, None), h.make_tensor_value_info("z", T.FLOAT, None)],
                         [numpy_helper.from_array(v, k) for k, v in init.items()])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


MODEL = network()


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL.SerializeToString())
    return path


def call(source, image=IMAGE, tokens=TOKENS, **options):
    """(outputs as bytes, what was logged)"""
    log = []
    session = suan.onnx.load(source, log=lambda severity, text: log.append((severity, text)), **options)
    out = session.run({"x": image, "ids": tokens})
    return [np.asarray(v.numpy()).tobytes() for v in out], log


def said(log, text, severity=1):
    return [t for s, t in log if s == severity and text in t]


def warned(log):
    return [t for s, t in log if s >= 2]


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"precision": "bf16"}, {"precision": "bf16", "exact": True}, {"threads": 1}])
def test_the_same_bits_with_and_without(model, tmp_path, options):
    pack = tmp_path / "w.pack"
    plain, _ = call(model, **options)
    first, log = call(model, prepacked=pack, **options)
    assert said(log, "wrote") and not warned(log)
    before = pack.read_bytes()
    second, log = call(model, prepacked=pack, **options)
    assert said(log, "prepacked weights:") and not said(log, "wrote") and not warned(log)
    third, _ = call(model, prepacked=str(pack), prepacked_read_only=True, **options)
    assert plain == first == second == third
    assert pack.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "w.pack"]


def test_nothing_is_packed_again(model, tmp_path):
    """What a call needs of packed weights is in the file: with other bytes there, a call gives other results."""
    pack = tmp_path / "w.pack"
    plain, _ = call(model, prepacked=pack)
    f = File(pack.read_bytes())
    kept = [r for r in f.records if r["has_data"]]
    assert len(kept) >= 6 and any(not r["has_data"] for r in f.records)   # steps: only their types
    for r in kept:
        f.data[r["offset"] : r["offset"] + r["bytes"]] = bytes(r["bytes"])
        r["data_low"], r["data_high"] = data_hash(bytes(r["bytes"]))
    pack.write_bytes(f.bytes())
    zeros, log = call(model, prepacked=pack)
    assert not warned(log) and all(not any(out) for out in zeros)


def test_numeric_options_share_a_file(model, tmp_path):
    pack = tmp_path / "w.pack"
    for options in ({}, {"exact": True}, {"precision": "bf16"}):
        _, log = call(model, prepacked=pack, **options)
        assert said(log, "wrote") and not warned(log)
    for options in ({}, {"exact": True}, {"precision": "bf16"}):
        out, log = call(model, prepacked=pack, prepacked_read_only=True, **options)
        assert out == call(model, **options)[0] and not said(log, "lacks")


def test_given_sizes_share_a_file(model, tmp_path):
    pack = tmp_path / "w.pack"
    call(model, prepacked=pack)
    before = pack.read_bytes()
    out, log = call(model, prepacked=pack, sizes={"n": 2, "h": 12})
    assert out == call(model)[0] and not warned(log) and not said(log, "wrote") and pack.read_bytes() == before


def test_a_model_without_weights_has_a_file_too(tmp_path):
    """So that sessions that only read need not know which models pack something."""
    model, pack = CORPUS / "old_opset.onnx", tmp_path / "w.pack"
    session = suan.onnx.load(model, prepacked=pack)
    inputs = [np.ones([2 if not isinstance(d, int) else d for d in p.shape], "f4") for p in session.inputs]
    session(*inputs)
    suan.onnx.load(model, prepacked=pack, prepacked_read_only=True)(*inputs)
    assert File(pack.read_bytes()).records == []


def test_other_shapes_add_what_they_pack(model, tmp_path):
    pack = tmp_path / "w.pack"
    large = np.concatenate([IMAGE] * 3, axis=2)[:, :, :, :9]
    call(model, prepacked=pack)
    expected, _ = call(model, image=large)
    assert call(model, image=large, prepacked=pack)[0] == expected
    log = []
    session = suan.onnx.load(model, prepacked=pack, log=lambda *a: log.append(a))
    plain = suan.onnx.load(model)
    for image in (IMAGE, large, IMAGE[:1], large[:1, :, :5]):
        for got, want in zip(session.run({"x": image, "ids": TOKENS}), plain.run({"x": image, "ids": TOKENS})):
            assert np.array_equal(got.numpy(), want.numpy())
    assert not warned(log)


def test_read_only_packs_what_is_not_there(model, tmp_path):
    pack = tmp_path / "w.pack"
    call(model, prepacked=pack)
    before = pack.read_bytes()
    out, log = call(model, prepacked=pack, prepacked_read_only=True, exact=True)
    assert said(log, "lacks") and out == call(model, exact=True)[0] and pack.read_bytes() == before


def test_models_given_as_bytes(tmp_path):
    pack, data = tmp_path / "w.pack", MODEL.SerializeToString()
    first, log = call(data, prepacked=pack)
    assert said(log, "wrote")
    second, log = call(data, prepacked=pack)
    assert first == second == call(data)[0] and said(log, "known by its content")


def test_stamps_stand_for_content(model, tmp_path):
    """A model that lies there unchanged is not read; a copy is known by what it holds, and then by its stamp too."""
    pack, settled = tmp_path / "w.pack", CORPUS / "convolutions.onnx"   # not written a moment ago
    copy = shutil.copy(settled, tmp_path / "copy.onnx")

    def load(path, **options):
        log = []
        session = suan.onnx.load(path, prepacked=pack, log=lambda *a: log.append(a), **options)
        inputs = [np.ones([2 if not isinstance(d, int) else d for d in p.shape], "f4") for p in session.inputs]
        session(*inputs)
        return log

    assert said(load(copy), "wrote")
    assert said(load(settled, prepacked_read_only=True), "known by its content")
    assert said(load(settled, prepacked_read_only=True), "known by its content")
    assert said(load(settled), "known by its content")
    assert said(load(settled), "known by its files' stamps")
    assert said(load(copy), "known by its content")


def another_weight():
    other = onnx.ModelProto()
    other.CopyFrom(MODEL)
    data = bytearray(other.graph.initializer[1].raw_data)
    data[100] ^= 1
    other.graph.initializer[1].raw_data = bytes(data)
    return other


def test_another_model(model, tmp_path):
    pack = tmp_path / "w.pack"
    call(model, prepacked=pack)
    other = tmp_path / "other.onnx"
    other.write_bytes(another_weight().SerializeToString())
    with pytest.raises(ValueError, match="do not fit: expected those of model"):
        call(other, prepacked=pack, prepacked_read_only=True)
    out, log = call(other, prepacked=pack)
    assert len(warned(log)) == 1 and "will be written anew: expected those of model" in warned(log)[0] and said(log, "wrote")
    assert out == call(other)[0] != call(model)[0]
    assert not warned(call(other, prepacked=pack)[1])


def test_written_in_place(model, tmp_path):
    """The same file of the same size with another byte: content decides, not the path."""
    pack = tmp_path / "w.pack"
    call(model, prepacked=pack)
    with open(model, "r+b") as f:
        f.write(another_weight().SerializeToString())
    out, log = call(model, prepacked=pack)
    assert len(warned(log)) == 1 and out == call(model)[0]


def test_external_data_and_given_initializers_belong_to_the_model(model, tmp_path):
    folder = tmp_path / "external"
    folder.mkdir()
    beside = onnx.ModelProto()
    beside.CopyFrom(MODEL)
    onnx.save(beside, folder / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    pack = tmp_path / "w.pack"
    first, _ = call(folder / "m.onnx", prepacked=pack)
    assert call(folder / "m.onnx", prepacked=pack)[0] == first == call(model)[0]
    data = bytearray((folder / "m.bin").read_bytes())
    data[5000] ^= 1
    (folder / "m.bin").write_bytes(data)
    assert warned(call(folder / "m.onnx", prepacked=pack)[1])
    given = {"w2": weights(512, 64)}
    out, log = call(model, prepacked=tmp_path / "g.pack", initializers=given)
    assert out == call(model, initializers=given)[0] != first
    assert not warned(call(model, prepacked=tmp_path / "g.pack", initializers=given)[1])
    assert warned(call(model, prepacked=tmp_path / "g.pack")[1])


def test_a_model_written_to_while_a_session_reads_it(model, tmp_path):
    """What is packed may be of the content before or after: nothing is written."""
    pack = tmp_path / "w.pack"
    log = []
    session = suan.onnx.load(model, prepacked=pack, log=lambda *a: log.append(a))
    with open(model, "r+b") as f:
        f.write(another_weight().SerializeToString())
    os.utime(model, (1, 1))
    session.run({"x": IMAGE, "ids": TOKENS})
    assert len(warned(log)) == 1 and "changed while a session reads it" in warned(log)[0] and not pack.exists()


@pytest.mark.parametrize("field, value, text", [
    ("format", 99, "expected format 1, got 99"),
    ("made_by", b"9.9.9 abc", "expected those of Suan"),
    ("processor", b"avx1024", "got avx1024"),
])
def test_other_versions_and_processors(model, tmp_path, field, value, text):
    pack = tmp_path / "w.pack"
    plain, _ = call(model, prepacked=pack)
    f = File(pack.read_bytes())
    f.fields[field] = value
    pack.write_bytes(f.bytes())
    with pytest.raises(ValueError, match=r"^\[onnx\] prepacked weights .* do not fit: .*" + text):
        call(model, prepacked=pack, prepacked_read_only=True)
    out, log = call(model, prepacked=pack)
    assert out == plain and len(warned(log)) == 1 and text in warned(log)[0]
    assert not warned(call(model, prepacked=pack)[1])


def change(i, **fields):
    def to(f):
        f.records[i].update(fields)
        return f.bytes()
    return to


def header(**fields):
    def to(f):
        f.fields.update(fields)
        return f.bytes()
    return to


def overlapping(f):
    kept = [r for r in f.records if r["has_data"]]
    kept[1]["offset"] = kept[0]["offset"]
    return f.bytes()


def twice(f):
    f.records[1].update(key_low=f.records[0]["key_low"], key_high=f.records[0]["key_high"])
    return f.bytes()


def in_table(f):
    next(r for r in f.records if r["has_data"])["offset"] = TABLE
    return f.bytes()


def flipped(at):
    def to(f):
        data = bytearray(f.bytes())
        data[at] ^= 4
        return bytes(data)
    return to


DAMAGES = {
    "truncated": (lambda f: f.bytes()[:-1], "expected .* bytes, got"),
    "a header alone": (lambda f: f.bytes()[:100], "expected at least 8192 bytes, got 100"),
    "magic alone": (lambda f: f.bytes()[:8], "expected at least 8192 bytes, got 8"),
    "longer": (lambda f: f.bytes() + b"\0", "expected .* bytes, got"),
    "a bit of the header": (flipped(48), "the header's checksum"),
    "a bit of the table": (flipped(TABLE + 200), "the table's checksum"),
    "many entries": (header(n_entries=1 << 60), "expected a table of at most"),
    "entries beyond the end": (header(n_entries=1 << 20), "expected a table of at most"),
    "data before the table": (header(data_at=0), "expected data behind the table"),
    "dtype": (change(0, dtype=200), "entry 0: expected a tensor's type"),
    "rank": (change(0, rank=9), "entry 0: expected a tensor's type"),
    "flag": (change(2, has_data=2), "entry 2: expected a tensor's type"),
    "negative size": (change(0, d0=-1), "entry 0: expected a size, got -1"),
    "sizes that overflow": (change(0, rank=8, d0=1 << 40, d1=1 << 40), "entry 0: expected a size"),
    "bytes": (change(1, bytes=12), "entry 1: expected .* bytes, got 12"),
    "overlap": (overlapping, "expected bytes of its own within the file"),
    "data in the table": (in_table, "expected bytes of its own within the file"),
    "offset beyond the end": (lambda f: change(next(i for i, r in enumerate(f.records) if r["has_data"]), offset=1 << 62)(f),
                              "expected bytes of its own within the file"),
    "a key twice": (twice, "expected a key of its own"),
    "not one of these": (lambda f: MODEL.SerializeToString(), "not a file of prepacked weights"),
    "empty": (lambda f: b"", "not a file of prepacked weights"),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("read_only", [False, True])
def test_damaged_files_are_refused(model, tmp_path, name, read_only):
    """And left as they are: nothing of another's is overwritten."""
    pack = tmp_path / "w.pack"
    call(model, prepacked=pack)
    damage, text = DAMAGES[name]
    data = damage(File(pack.read_bytes()))
    pack.write_bytes(data)
    with pytest.raises(ValueError, match=text) as error:
        suan.onnx.load(model, prepacked=pack, prepacked_read_only=read_only)
    assert str(error.value).startswith("[onnx] ") and "\n" not in str(error.value) and "w.pack" in str(error.value)
    assert pack.read_bytes() == data


def test_a_damaged_byte_of_data(model, tmp_path):
    """Is found when a plan first uses it. Steps that nobody reads are not there at all."""
    pack = tmp_path / "w.pack"
    plain, _ = call(model, prepacked=pack)
    f = File(pack.read_bytes())
    largest = max((r for r in f.records if r["has_data"]), key=lambda r: r["d0"] * r["d1"] if r["rank"] == 4 else 0)
    data = bytearray(pack.read_bytes())
    data[largest["offset"] + 1000] ^= 1
    pack.write_bytes(data)
    session = suan.onnx.load(model, prepacked=pack)
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged: expected the checksum of"):
            session.run({"x": IMAGE, "ids": TOKENS})
    os.unlink(pack)
    assert call(model, prepacked=pack)[0] == plain


def test_types_are_not_taken_from_the_file(model, tmp_path):
    """Entries under each other's keys: kernels would read past their ends."""
    pack = tmp_path / "w.pack"
    call(model, prepacked=pack)
    f = File(pack.read_bytes())
    kept = sorted((r for r in f.records if r["has_data"]), key=lambda r: r["bytes"])
    small, large = kept[0], kept[-1]
    for k in ("key_low", "key_high"):
        small[k], large[k] = large[k], small[k]
    pack.write_bytes(f.bytes())
    with pytest.raises(ValueError, match="damaged: expected .* f32, got"):
        call(model, prepacked=pack)


def test_no_file_and_no_place(model, tmp_path):
    with pytest.raises(OSError, match="none.pack"):
        suan.onnx.load(model, prepacked=tmp_path / "none.pack", prepacked_read_only=True)
    with pytest.raises(ValueError, match="prepacked_read_only without prepacked"):
        suan.onnx.load(model, prepacked_read_only=True)
    with pytest.raises(OSError, match="a folder"):
        suan.onnx.load(model, prepacked=tmp_path)
    out, log = call(model, prepacked=tmp_path / "nowhere" / "w.pack")
    assert out == call(model)[0] and len(warned(log)) == 1 and "are not kept" in warned(log)[0]


def test_a_file_cut_while_it_is_used(model, tmp_path):
    pack = tmp_path / "w.pack"
    call(model, prepacked=pack)
    session = suan.onnx.load(model, prepacked=pack)
    session.run({"x": IMAGE, "ids": TOKENS})
    os.truncate(pack, 9000)
    with pytest.raises(OSError, match="file was cut"):
        session.run({"x": IMAGE, "ids": TOKENS})


CHILD = """
import sys, numpy as np, suan.onnx
model, pack, folder = sys.argv[1:4]
log = []
s = suan.onnx.load(model, prepacked=pack, prepacked_read_only=len(sys.argv) > 4, log=lambda *a: log.append(a))
out = s.run(dict(np.load(folder + "/in.npz")))
assert not [t for severity, t in log if severity > 1], log
np.savez(sys.stdout.buffer, *[v.numpy() for v in out])
"""


def child(*args):
    return subprocess.Popen([sys.executable, "-c", CHILD, *map(str, args)], stdout=subprocess.PIPE)


def test_processes_share_the_file(model, tmp_path):
    """Writers at once, then readers: all have the same bits, and there is one whole file."""
    np.savez(tmp_path / "in.npz", x=IMAGE, ids=TOKENS)
    plain = suan.onnx.load(model).run({"x": IMAGE, "ids": TOKENS})
    pack = tmp_path / "w.pack"
    for options in ((), ("read only",)):
        running = [child(model, pack, tmp_path, *options) for _ in range(4)]
        for p in running:
            with open(tmp_path / "out.npz", "wb") as f:
                f.write(p.communicate()[0])
            assert p.returncode == 0
            got = np.load(tmp_path / "out.npz")
            assert all(np.array_equal(got[f"arr_{k}"], want.numpy()) for k, want in enumerate(plain))
    assert sorted(os.listdir(tmp_path)) == ["in.npz", "model.onnx", "out.npz", "w.pack"]


def mapped(path):
    """(resident, private) bytes of this process's mappings of a file."""
    resident = private = 0
    inside = False
    for line in open("/proc/self/smaps"):
        if "-" in line.split()[0]:
            inside = line.rstrip().endswith(str(path))
        elif inside and line.startswith("Rss:"):
            resident += int(line.split()[1]) * 1024
        elif inside and line.startswith("Anonymous:"):
            private += int(line.split()[1]) * 1024
    return resident, private


def measured(model, pack, queue):
    session = suan.onnx.load(model, prepacked=pack)
    session.run({"x": IMAGE, "ids": TOKENS})
    queue.put((mapped(model), mapped(pack)))


def test_the_model_stays_unread(tmp_path):
    """Weights that only packing reads, and the table that lies unaligned in the model, come from the file."""
    big = onnx.ModelProto()
    big.CopyFrom(MODEL)
    table = next(t for t in big.graph.initializer if t.name == "table")
    table.CopyFrom(numpy_helper.from_array(weights(1 << 15, 64), "table"))   # 8 MiB
    model, pack = tmp_path / "big.onnx", tmp_path / "w.pack"
    model.write_bytes(big.SerializeToString())
    call(model, prepacked=pack)
    assert pack.stat().st_size > 8 << 20
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    p = context.Process(target=measured, args=(model, pack, queue))
    p.start()
    (model_resident, _), (resident, private) = queue.get()
    p.join()
    assert model_resident < 1 << 20
    assert 0 < resident < 6 << 20 and private == 0   # not the whole table either


def test_threads_and_sessions_of_one_process(model, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    pack = tmp_path / "w.pack"
    plain, _ = call(model)
    with ThreadPoolExecutor(4) as pool:
        for out, log in pool.map(lambda _: call(model, prepacked=pack), range(8)):
            assert out == plain and not warned(log)
    assert len(os.listdir(tmp_path)) == 2


def test_onnx_runtimes_session_and_the_command_line(model, tmp_path, capsys):
    pack = tmp_path / "w.pack"
    session = suan.onnx.InferenceSession(model, prepacked=pack)
    want = session.run(None, {"x": IMAGE, "ids": TOKENS})
    np.savez(tmp_path / "in.npz", x=IMAGE, ids=TOKENS)
    for arguments in (["run", str(model), "--inputs", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")],
                      ["bench", str(model), "--inputs", str(tmp_path / "in.npz"), "--seconds", "0.1"]):
        before = pack.read_bytes()
        with pytest.raises(SystemExit) as stopped:
            raise SystemExit(cli([*arguments, "--prepacked", str(pack), "--prepacked-read-only"]))
        assert not stopped.value.code
        assert pack.read_bytes() == before
    got = np.load(tmp_path / "out.npz")
    assert np.array_equal(got["y"], want[0]) and np.array_equal(got["z"], want[1])


def test_from_c(model, tmp_path):
    lib = ctypes.CDLL(str(pathlib.Path(suan.__file__).parent / "libsuan_onnx.so"))
    lib.suan_last_error.restype = ctypes.c_char_p
    lib.suan_session_free.argtypes = lib.suan_options_free.argtypes = [ctypes.c_void_p]
    pack = tmp_path / "w.pack"
    options, session = ctypes.c_void_p(), ctypes.c_void_p()
    assert lib.suan_options_create(ctypes.byref(options)) == 0
    assert lib.suan_options_set_text(options, b"speed", b"fast") == 1 and b"expected prepacked, got 'speed'" in lib.suan_last_error()
    assert lib.suan_options_set_text(options, b"prepacked", None) == 1 and b"a path" in lib.suan_last_error()
    assert lib.suan_options_set_text(options, b"prepacked", os.fsencode(pack)) == 0
    assert lib.suan_options_set(options, b"prepacked_read_only", ctypes.c_int64(1)) == 0
    assert lib.suan_session_open(os.fsencode(model), options, ctypes.byref(session)) == 3   # none there
    call(model, prepacked=pack)
    assert lib.suan_session_open(os.fsencode(model), options, ctypes.byref(session)) == 0
    lib.suan_session_free(session)
    os.truncate(pack, 10000)
    assert lib.suan_session_open(os.fsencode(model), options, ctypes.byref(session)) == 1 and b"damaged" in lib.suan_last_error()
    lib.suan_options_free(options)


def test_hashes_are_the_engines(model, tmp_path):
    pack = tmp_path / "w.pack"
    call(model, prepacked=pack)
    data = pack.read_bytes()
    f = File(data)
    assert f.bytes() == data
    for r in f.records:
        if r["has_data"]:
            assert data_hash(data[r["offset"] : r["offset"] + r["bytes"]]) == (r["data_low"], r["data_high"])
    assert len({content_hash(b"\0" * n) for n in range(300)}) == 300
