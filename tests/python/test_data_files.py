"""Datasets over files, and suan data prepare: values, rows named by file and line, workers."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import suan
from suan import data


def test_json_lines(tmp_path):
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    a.write_bytes(b'{"x": 1, "t": "\xc3\xa4"}\n\n  \n{"x": 2, "t": "b"}\r\n')
    b.write_text('[3]\n{"x": 4}')          # no line break at the end
    rows = data.JsonLines([a, b])
    assert [rows[i] for i in range(4)] == [{"x": 1, "t": "ä"}, {"x": 2, "t": "b"}, [3], {"x": 4}]
    assert len(rows) == 4 and rows[-1] == {"x": 4} and pickle.loads(pickle.dumps(rows))[1]["x"] == 2
    with pytest.raises(IndexError, match="less than 4, got 4"):
        rows[4]
    picked = data.JsonLines([a], fields=["x"])
    assert data.DataLoader(picked, 2).__iter__().__next__()["x"].tolist() == [1, 2]
    with pytest.raises(data.DataError, match=r"expected an object, got list at .*b.jsonl:1"):
        data.JsonLines(b, fields=["x"])[0]
    with pytest.raises(data.DataError, match=r"expected a field 't', got only \['x'\] at .*b.jsonl:2"):
        data.JsonLines(b, fields=["t"])[1]
    (tmp_path / "empty.jsonl").write_text("")
    assert len(data.JsonLines(tmp_path / "empty.jsonl")) == 0
    with pytest.raises(FileNotFoundError):
        data.JsonLines(tmp_path / "none.jsonl")


@pytest.mark.parametrize("row, message", [
    (b'{"x": ', "expected JSON, got"), (b'\xff"a"', "expected UTF-8"), (b"[" * 100000, "sane depth"),
    (b"nope", "expected JSON"),
])
def test_a_broken_json_row_is_named(tmp_path, row, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"x": 1}\n\n' + row + b'\n{"x": 2}\n')
    rows = data.JsonLines(path)
    assert len(rows) == 3 and rows[2] == {"x": 2}
    with pytest.raises(data.DataError, match=message + ".*rows.jsonl:3"):
        rows[1]
    with pytest.raises(data.DataError, match="rows.jsonl:3"):
        list(data.DataLoader(rows, 1, num_workers=1))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_line_starts_do_not_depend_on_how_a_file_is_read(tmp_path, block):
    from suan.data.files import _line_starts

    path = tmp_path / "f"
    text = b" \n\nab\n\r\n c\n\t\nd d\n  e"
    path.write_bytes(text)
    wanted, at = [], 0
    for line in text.split(b"\n"):
        if line.strip():
            wanted.append(at)
        at += len(line) + 1
    assert _line_starts(path, block).tolist() == wanted


def test_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('name,x,n\nann,1.5,3\n"b, ""c""\nd",2,4\n\ne,-1e3,5\n')
    table = data.Csv(path)
    assert len(table) == 3 and table[1] == {"name": 'b, "c"\nd', "x": 2.0, "n": 4}
    batch = next(iter(data.DataLoader(table, 3)))
    assert batch["name"][0] == "ann" and batch["x"].dtype is suan.float32 and batch["n"].dtype is suan.int64
    assert batch["x"].tolist() == [1.5, 2.0, -1000.0]
    some = data.Csv(path, columns={"n": float})
    assert some[2] == {"n": 5.0}
    path.write_text("1;2\n3;4\n")
    assert data.Csv(path, delimiter=";", header=["a", "b"])[1] == {"a": 3, "b": 4}


@pytest.mark.parametrize("text, message, columns", [
    ("a,b\n1,2\n\n3\n", "expected 2 values, got 1 at .*t.csv:4", None),
    ('a,b\n1,"x\ny"\n3,4,5\n', "expected 2 values, got 3 at .*t.csv:4", None),
    ("a,b\n1,2\n3,four\n", "expected int in column 'b', got 'four' at .*t.csv:3", {"b": int}),
    ('a,b\n"x\ny",2\nz,2.5\n', "expected int in column 'b', got '2.5' at .*t.csv:4", {"b": int}),
    ("a,b\n99999999999999999999,2\n", "expected int in column 'a'.*t.csv:2", {"a": int}),
    ('a,b\n1,"2\n', "unexpected end of data at .*t.csv:2", None),
    ("a,a\n1,2\n", "repeat", None), ("", "no header", None), ("a,b\n", r"no such column.*\['c'\]", {"c": int}),
])
def test_a_broken_csv_row_is_named(tmp_path, text, message, columns):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(data.DataError, match=message):
        data.Csv(path, columns)
    path.write_bytes(b"a,b\n1,2\n\xff,2\n")
    with pytest.raises(data.DataError, match="expected UTF-8.*t.csv:3"):
        data.Csv(path)


def suan_command(*args):
    return subprocess.run([sys.executable, "-m", "suan", *map(str, args)], capture_output=True, text=True, timeout=120)


def test_prepare_and_blocks(tmp_path):
    text = "".join(f"line {i} — ünïcode\n" for i in range(3000))
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"body": f"doc {i}"}) + "\n" for i in range(50)))
    done = suan_command("data", "prepare", tmp_path / "a.txt", tmp_path / "b.jsonl", "--out", tmp_path / "o",
                        "--val", "0.2", "--field", "body", "--json")
    assert done.returncode == 0, done.stderr
    meta = json.loads(done.stdout)
    assert meta == data.read_meta(tmp_path / "o" / "meta.json") and meta["dtype"] == "uint16"
    whole = text + "".join(f"doc {i}\n" for i in range(50))
    vocab = data.CharVocab(meta["chars"])
    got = [np.fromfile(tmp_path / "o" / f"{part}.bin", np.uint16) for part in ("train", "val")]
    assert vocab.decode(np.concatenate(got)) == whole and len(got[1]) == int(len(whole) * 0.2)
    assert meta["tokens"] == {"train": len(got[0]), "val": len(got[1])}
    blocks = data.TokenBlocks(tmp_path / "o" / "train.bin", 8, stride=3)
    same = data.TextBlocks(got[0].astype(np.int64), 8, stride=3)
    assert len(blocks) == len(same) and (blocks[-1][1] == same[len(same) - 1][1]).all()
    pairs = zip(data.DataLoader(blocks, 64, num_workers=2), data.DataLoader(same, 64))
    assert all((a == b).all() for got, want in pairs for a, b in zip(got, want))
    assert len(pickle.dumps(blocks)) < 2000
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["meta.json", "train.bin", "val.bin"]


def test_prepare_bytes_and_progress(tmp_path):
    (tmp_path / "a.txt").write_bytes("aé".encode())
    seen = []
    meta = data.prepare([tmp_path / "a.txt"], tmp_path, "bytes", val=0, progress=lambda *a: seen.append(a))
    assert np.fromfile(tmp_path / "train.bin", np.uint16).tolist() == [97, 0xC3, 0xA9]
    assert meta["tokens"] == {"train": 3}
    assert seen == [("count", 3, 3), ("write", 3, 3)] and not (tmp_path / "val.bin").exists()


def test_prepare_refuses(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"one\ntwo\nth\xffree\n" + b"x" * (3 << 20))
    done = suan_command("data", "prepare", bad, "--out", tmp_path / "o")
    assert done.returncode == 1 and "expected UTF-8" in done.stderr and "bad.txt:3" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "o").exists()
    bad.write_bytes(b"y\n" * (1 << 20) + b"\xff")
    with pytest.raises(data.DataError, match=f"bad.txt:{(1 << 20) + 1}"):
        data.prepare([bad], tmp_path / "o")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n{"text": 3}\n')
    with pytest.raises(data.DataError, match="expected text in field 'text', got int at .*rows.jsonl:2"):
        data.prepare([rows], tmp_path / "o")
    rows.write_text("")
    with pytest.raises(data.DataError, match="no text"):
        data.prepare([rows], tmp_path / "o")
    with pytest.raises(ValueError, match="'char' or 'bytes', got 'bpe'"):
        data.prepare([rows], tmp_path / "o", "bpe")


def test_token_files_that_are_wrong(tmp_path):
    path = tmp_path / "t.bin"
    path.write_bytes(b"\0" * 21)
    with pytest.raises(data.DataError, match="cut off: expected a multiple of 2 bytes .uint16., got 21"):
        data.TokenBlocks(path, 4)
    assert len(data.TokenBlocks(path, 4, dtype="uint8")) == 17
    with pytest.raises(ValueError, match="too few tokens: expected more than the block of 30, got 21"):
        data.TokenBlocks(path, 30, dtype="uint8")
    with pytest.raises(TypeError, match="expected integers"):
        data.TokenBlocks(path, 4, dtype="float16")
    blocks = data.TokenBlocks(path, 4, dtype="uint8")
    path.write_bytes(b"\0" * 10)
    with pytest.raises(data.DataError, match="has changed"):
        blocks[0]
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(data.DataError, match="is damaged"):
        data.TokenBlocks(path, 4)


def test_image_folder(tmp_path):
    from PIL import Image

    for name, value in (("cat", 255), ("dog", 51)):
        (tmp_path / name / "deep").mkdir(parents=True)
        for i in range(2):
            pixels = np.full((6 + i, 8, 3), value, np.uint8)
            pixels[..., 0] = 0
            Image.fromarray(pixels).save(tmp_path / name / ("deep" if i else ".") / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    folder = data.ImageFolder(tmp_path)
    assert folder.classes == ["cat", "dog"] and len(folder) == 4
    x, label = folder[3]
    assert label == 1 and x.dtype is suan.float32 and x[:, 0, 0].tolist() == pytest.approx([0, 0.2, 0.2])
    sized = data.ImageFolder(tmp_path, size=(4, 5))
    x, y = next(iter(data.DataLoader(sized, 4, num_workers=1)))
    assert tuple(x.shape) == (4, 3, 4, 5) and y.tolist() == [0, 0, 1, 1]
    raw = data.ImageFolder(tmp_path, transform=lambda pixels: pixels.shape)
    assert {raw[i][0] for i in range(4)} == {(6, 8, 3), (7, 8, 3)}
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "dog" / "0.png")
    whole = (tmp_path / "dog" / "0.png").read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:20], b"no picture"):
        (tmp_path / "dog" / "0.png").write_bytes(broken)
        at = [path for path, _ in folder.samples].index(str(tmp_path / "dog" / "0.png"))
        with pytest.raises(data.DataError, match="dog/0.png cannot be read"):
            folder[at]
    (tmp_path / "empty").mkdir()
    with pytest.raises(data.DataError, match="empty class.*empty"):
        data.ImageFolder(tmp_path)
    with pytest.raises(data.DataError, match="no classes"):
        data.ImageFolder(tmp_path / "empty")
