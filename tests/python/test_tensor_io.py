"""save and load: round trips, plain safetensors, hostile files."""

import json
import math
import os

import pytest

import suan


def test_round_trip(tmp_path):
    shared = suan.randn(3)
    tree = {
        "w": suan.randn(2, 3), "step": 7, "lr": 1e-3, "name": "算", "none": None, "flag": True, "inf": math.inf,
        "list": [suan.arange(4), {"x": suan.ones(2, dtype=suan.bfloat16)}], "pair": (1, shared), "again": shared,
        "big": 2**70, 5: "int key", "dtype": suan.float16, "empty": suan.zeros(0, 3), "scalar": suan.tensor(2.5),
        "strided": suan.randn(4, 3).T,
    }
    path = tmp_path / "tree.suan"
    suan.save(tree, path)
    back = suan.load(path)
    assert list(back) == list(tree)
    for k in ("step", "lr", "name", "none", "flag", "inf", "big", 5):
        assert back[k] == tree[k]
    assert back["w"].tolist() == tree["w"].tolist() and back["strided"].tolist() == tree["strided"].tolist()
    assert back["list"][1]["x"].dtype is suan.bfloat16 and back["dtype"] is suan.float16
    assert back["pair"][1] is back["again"] and isinstance(back["pair"], tuple)
    assert back["empty"].shape == (0, 3) and back["scalar"].item() == 2.5
    assert os.listdir(tmp_path) == ["tree.suan"]


def test_plain_safetensors(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "plain.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + suan.tensor([1.5, 2.5]).numpy().tobytes())
    assert suan.load(path)["a"].tolist() == [1.5, 2.5]


def test_refuses_objects(tmp_path):
    with pytest.raises(TypeError, match=r"\[save\] cannot save 'a.b'"):
        suan.save({"a": {"b": object()}}, tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_every_cut_and_flip_is_caught(tmp_path):
    path = tmp_path / "t.suan"
    suan.save({"w": suan.arange(20), "n": [1, "two"]}, path)
    whole = path.read_bytes()
    bad = tmp_path / "bad.suan"
    for cut in range(0, len(whole), 7):
        bad.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"\[load\]"):
            suan.load(bad)
    for at in range(0, len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << (at % 8)
        bad.write_bytes(flipped)
        try:
            back = suan.load(bad)
        except ValueError as e:
            assert "[load]" in str(e)
        else:  # a flip in insignificant JSON white space
            assert back["w"].tolist() == list(range(20)) and back["n"] == [1, "two"]


@pytest.mark.parametrize("entries,size", [
    ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
      "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, 12),
    ({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, 8),
    ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, 8),
    ({"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}, 8),
    ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 16),
    ({"a": 3}, 0),
])
def test_hostile_headers(tmp_path, entries, size):
    header = json.dumps(entries).encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    with pytest.raises(ValueError, match=r"\[load\]"):
        suan.load(path)


def test_missing_file_and_failed_write(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\[load\]"):
        suan.load(tmp_path / "none")
    with pytest.raises(OSError, match=r"\[save\]"):
        suan.save({"a": suan.ones(1)}, tmp_path / "no" / "folder")
    path = tmp_path / "kept"
    suan.save({"a": suan.ones(1)}, path)
    with pytest.raises(TypeError):
        suan.save({"a": object()}, path)
    assert suan.load(path)["a"].tolist() == [1]
