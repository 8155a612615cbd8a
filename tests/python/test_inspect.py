"""`suan inspect` of checkpoints: statistics against NumPy, the page, damaged files."""

import html.parser
import json
import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import suan
from suan import saving
from suan.cli import inspect_page
from suan.cli.checkpoint_facts import checkpoint_facts

RNG = np.random.default_rng(7)


def plain(path, arrays):
    """A safetensors file as other programs write it. arrays: {name: (dtype in the file, array)}."""
    entries, data = {}, b""
    for name, (dtype, array) in arrays.items():
        entries[name] = {"dtype": dtype, "shape": list(array.shape),
                         "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def suan_inspect(*args):
    return subprocess.run([sys.executable, "-m", "suan", "inspect", *map(str, args)], capture_output=True, text=True,
                          timeout=300)


def by_name(facts):
    return {t["name"]: t for t in facts["tensors"]}


@pytest.mark.parametrize("chunk", [1 << 24, 64])  # whole tensors; pieces that must be merged
def test_statistics_are_numpys(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(saving, "_CHUNK", chunk)
    normal = RNG.normal(3.0, 2.0, (7, 11))
    far = 1e6 + RNG.normal(0, 1e-3, 500)  # where a sum of squares would have nothing left
    arrays = {
        "f64": ("F64", normal), "f32": ("F32", normal.astype("f4")), "f16": ("F16", normal.astype("f2")),
        "bf16": ("BF16", normal.astype(ml_dtypes.bfloat16)), "far": ("F64", far),
        "e4m3": ("F8_E4M3", normal.astype(ml_dtypes.float8_e4m3fn)),
        "e5m2": ("F8_E5M2", normal.astype(ml_dtypes.float8_e5m2)),
        "i64": ("I64", RNG.integers(-9, 9, 40)), "u8": ("U8", RNG.integers(0, 255, 9).astype("u1")),
        "bool": ("BOOL", RNG.integers(0, 2, 30).astype(bool)),
    }
    got = by_name(checkpoint_facts(plain(tmp_path / "x.safetensors", arrays)))
    assert list(got) == list(arrays)
    for name, (_, array) in arrays.items():
        x, row = array.astype("f8"), got[name]
        assert (row["min"], row["max"]) == (x.min(), x.max()), name
        assert row["mean"] == pytest.approx(x.mean(), rel=1e-12)
        assert row["std"] == pytest.approx(x.std(), rel=1e-6)
        assert (row["shape"], row["elements"], row["bytes"]) == (list(x.shape), x.size, array.nbytes)
        assert row["nan"] == row["inf"] == 0


def test_every_float8_code_is_decoded(tmp_path):
    codes = np.arange(256, dtype="u1")
    for dtype, file_dtype in (("float8_e4m3fn", "F8_E4M3"), ("float8_e5m2", "F8_E5M2")):
        want = codes.view(getattr(ml_dtypes, dtype)).astype("f8")
        np.testing.assert_array_equal(saving._values(codes.tobytes(), dtype), want)
        row, = checkpoint_facts(plain(tmp_path / "x", {"t": (file_dtype, codes)}))["tensors"]
        assert (row["nan"], row["inf"]) == (np.isnan(want).sum(), np.isinf(want).sum())


def test_what_is_not_finite_is_counted_and_left_out(tmp_path):
    x = suan.tensor([1.0, math.nan, -math.inf, 3.0, math.inf, math.inf])
    suan.save({"m": {"a": x, "nothing": suan.full((3,), math.nan), "empty": suan.zeros(0, 4)}}, tmp_path / "x")
    rows = by_name(checkpoint_facts(tmp_path / "x"))
    a = rows["m.a"]
    assert (a["nan"], a["inf"], a["min"], a["max"], a["mean"], a["std"]) == (1, 3, 1.0, 3.0, 2.0, 1.0)
    assert [rows["m.nothing"][k] for k in ("nan", "min", "max", "mean", "std")] == [3, None, None, None, None]
    assert [rows["m.empty"][k] for k in ("elements", "bytes", "min")] == [0, 0, None]


def test_large_integers_keep_their_digits(tmp_path):
    suan.save({"a": suan.tensor([2**62 + 1, -(2**62) - 3])}, tmp_path / "x")
    row, = checkpoint_facts(tmp_path / "x")["tensors"]
    assert (row["min"], row["max"]) == (-(2**62) - 3, 2**62 + 1)


def test_other_values_and_json(tmp_path):
    suan.save({"step": 3, "model": {"w": suan.ones(2)}, "lr": [0.1, math.inf], "name": "<b>", "type": suan.float16},
              tmp_path / "run")  # no suffix: told by its content
    done = suan_inspect(tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    assert facts["others"] == [["step", 3], ["lr.0", 0.1], ["lr.1", "inf"], ["name", "<b>"], ["type", "suan.float16"]]
    assert [t["name"] for t in facts["tensors"]] == ["model.w"]
    text = suan_inspect(tmp_path / "run").stdout
    assert "model.w  float32  2" in text and "1 tensor, 2 elements, 8 B; 5 other values" in text


class Page(html.parser.HTMLParser):
    """What a browser would fetch, which modules are open, and the words; fails where a tag is not closed."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.links, self.open, self.words = [], [], {}, []
        self.feed(text)
        assert self.stack == ["html"][:len(self.stack)]

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [v for k, v in attrs.items() if k in ("src", "href", "srcset", "data")]
        if tag == "details":
            self._details = "open" in attrs
        if tag not in ("meta", "rect"):
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag in ("meta", "rect"):
            return
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.stack[-1:] == ["b"]:
            self.open.setdefault(data, self._details)


def test_the_page(tmp_path):
    tensors = {f"net.layers.{i}.sub.weight": suan.ones(4, i + 1) for i in range(12)}
    tensors["net.layers.10.sub.bias"] = suan.tensor([math.nan, 1.0])
    tensors["net.<script>alert(1)</script>.w"] = suan.zeros(2)
    suan.save({**tensors, "note": "<img src=x>"}, tmp_path / "run.safetensors")
    done = suan_inspect(tmp_path / "run.safetensors", "--html", tmp_path / "out.html")
    assert done.returncode == 0 and f"page: {tmp_path / 'out.html'}" in done.stdout
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.links and "http" not in text and "<script" not in text and "<img" not in text
    assert "<script>alert(1)</script>" in page.words and "'<img src=x>'" in page.words
    # Two levels are open; below them only what holds a NaN.
    assert page.open["net"] and page.open["layers"] and page.open["10"] and not page.open["9"]
    assert "1 NaN" in page.words and page.words.count("4×12") == 1
    order = [w for w in page.words if w in ("2", "9", "10", "11")]
    assert order.index("9") < order.index("10") < order.index("11")


def test_numbers_of_modules_are_in_order_and_depth_is_bounded():
    rows = [{"name": f"a.{i}.w", "nan": 0, "inf": 0} for i in (10, 2, 1)] + [{"name": "b" + ".c" * 5000}]
    root = inspect_page.tree_of(rows)
    assert list(root.parts["a"].parts) == ["1", "2", "10"]
    depth, at = 0, root.parts["b"]
    while at.parts:
        depth, at = depth + 1, at.parts["c"]
    assert depth == 31 and len(root.all()) == 4


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    suan.save({"a": suan.arange(100)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x01")
    done = suan_inspect(path)
    assert done.returncode == 1 and "checksum of 'a'" in done.stderr
    path.write_bytes(whole[:-1])
    assert "[load] damaged file" in suan_inspect(path, "--html", tmp_path / "out.html").stderr
    assert not (tmp_path / "out.html").exists()
    done = suan_inspect(tmp_path / "nowhere.safetensors")
    assert done.returncode == 1 and "[load] cannot open" in done.stderr


def test_html_is_refused_for_other_files(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09")
    done = suan_inspect(tmp_path / "m.onnx", "--html", tmp_path / "out.html")
    assert done.returncode == 1 and "[onnx] not a model" in done.stderr and not (tmp_path / "out.html").exists()
    done = suan_inspect("--html", tmp_path / "out.html")
    assert done.returncode == 1 and "[inspect] --html shows a file" in done.stderr
