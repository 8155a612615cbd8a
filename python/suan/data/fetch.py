"""Real data for the examples, from two Debian packages that are unpacked but never installed.

`bible()` gives a folder with bible.txt, train.txt and val.txt (ASCII; one verse a line, references
stripped, the last tenth of the text held out); `fashion_mnist()` one with the four IDX files. Both keep
everything in `cache_dir()`, check every file against a pinned SHA-256 on each call, and need the
network only the first time. This module imports nothing of Suan, so that data can be fetched
before anything is built.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

# Package: (version, SHA-256 of the .deb).
_PACKAGES = {
    "bible-kjv-text": (
        "4.38",
        "d61b6aad4c51ba9e2800b825325fa6a09e99a0d02a9bb6dc4724fcc4995a1b7a",
    ),
    "dataset-fashion-mnist": (
        "0.0~git20200523.55506a9-1",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    ),
}
_BIBLE = {
    "bible.txt": "b5c4940bcfeee072c0935b5200d0f9d88a00a0199cb0961d16133458fcdfae5d",
    "train.txt": "1f4280a0698ce258f121702651580febc35fbdb8e62628c116d991cb29c52c29",
    "val.txt": "f43b15e17e3f473de96b22158861b81ed216b9fb048db765372ecc288daed815",
}
_FASHION = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}


class DataError(RuntimeError):
    """Data that is missing, damaged or cannot be had; the message says what to do."""


def cache_dir() -> Path:
    """$SUAN_CACHE, else ~/.cache/suan."""
    chosen = os.environ.get("SUAN_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "suan"


def bible(cache: Path | None = None) -> Path:
    """The King James Bible as plain text: a folder with bible.txt, train.txt and val.txt."""
    return _ready("bible", _BIBLE, "bible-kjv-text", _unpack_bible, cache)


def fashion_mnist(cache: Path | None = None) -> Path:
    """Fashion-MNIST: a folder with its four gzipped IDX files (see `read_idx`)."""
    return _ready("fashion-mnist", _FASHION, "dataset-fashion-mnist", _unpack_fashion, cache)


def read_idx(path: str | os.PathLike):
    """A gzipped IDX file of bytes as a NumPy uint8 array; never reads past what its header says."""
    import numpy

    path = Path(path)
    limit = 1 << 31
    try:
        with gzip.open(path, "rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
                raise DataError(
                    f"[read_idx] {path} is no IDX file of bytes: expected a first word of "
                    f"00 00 08 0n, got {magic.hex(' ')}"
                )
            head = file.read(4 * magic[3])
            if len(head) < 4 * magic[3]:
                raise EOFError
            shape = struct.unpack(f">{magic[3]}I", head)
            size = 1
            for extent in shape:
                size *= extent
            if size > limit:
                raise DataError(
                    f"[read_idx] {path} is too large: expected at most {limit} bytes, "
                    f"got shape {shape}"
                )
            data = file.read(size)
            rest = file.read(1)  # also makes gzip compare its checksum
    except FileNotFoundError:
        raise DataError(f"[read_idx] no such file: {path}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"[read_idx] {path} is truncated or damaged: {error}") from None
    if len(data) != size or rest:
        more = "more" if rest else str(len(data))
        raise DataError(f"[read_idx] {path}: expected {size} bytes for {shape}, got {more}")
    return numpy.frombuffer(data, dtype=numpy.uint8).reshape(shape)


def _ready(name, files, package, unpack, cache) -> Path:
    cache = cache_dir() if cache is None else Path(cache)
    folder = cache / name
    if not _damaged(folder, files):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache), tempfile.TemporaryDirectory(dir=cache) as scratch:
            damaged = _damaged(folder, files)
            if not damaged:  # another process made it while we waited
                return folder
            tree = _unpacked(package, cache, Path(scratch))
            made = Path(scratch) / "made"
            made.mkdir()
            unpack(tree, made)
            damaged = _damaged(made, files)
            if damaged:
                raise DataError(f"[data] unpacking {package} gave a wrong file: {damaged}")
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
    except OSError as error:
        raise DataError(f"[data] cannot write to {cache}: {error}") from error
    return folder


def _damaged(folder: Path, files: dict[str, str]) -> str:
    """The first file that is missing or wrong, in words; empty when all are right."""
    for name, wanted in files.items():
        try:
            got = _sha256(folder / name)
        except OSError as error:
            return f"{folder / name}: {error.strerror}"
        if got != wanted:
            return f"{folder / name}: expected SHA-256 {wanted}, got {got}"
    return ""


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(cache: Path):
    with open(cache / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpacked(package: str, cache: Path, scratch: Path) -> Path:
    deb = cache / f"{package}.deb"
    wanted = _PACKAGES[package][1]
    if not deb.exists() or _sha256(deb) != wanted:
        had = "a damaged copy" if deb.exists() else "no copy"
        fetched = _download(package, scratch, had, deb)
        got = _sha256(fetched)
        if got != wanted:
            raise DataError(
                f"[data] download of {package} is truncated, damaged or another version: "
                f"expected SHA-256 {wanted}, got {got}"
            )
        os.replace(fetched, deb)
    tree = scratch / "tree"
    done = _run(["dpkg-deb", "-x", str(deb), str(tree)], scratch)
    if done.returncode:
        raise DataError(f"[data] dpkg-deb could not unpack {deb}: {done.stderr.strip()}")
    return tree


def _download(package: str, scratch: Path, had: str, deb: Path) -> Path:
    version = _PACKAGES[package][0]
    # As root, apt would lower itself to a user that cannot write here, and warn.
    command = ["apt-get", "-o", "APT::Sandbox::User=root", "-q", "download", f"{package}={version}"]
    done = _run(command, scratch)
    if done.returncode and os.geteuid() == 0:  # the package lists may never have been fetched
        _run(["apt-get", "-q", "update"], scratch)
        done = _run(command, scratch)
    found = list(scratch.glob("*.deb"))
    if done.returncode or len(found) != 1:
        raise DataError(
            f"[data] cannot download {package}: expected Debian package {version}, apt-get said: "
            f"{done.stderr.strip() or 'nothing'}\n"
            f"The cache holds {had} of it. Connect to the network (`apt-get update` as root, if "
            f"the lists are missing) and try again, or put the package's file at {deb}"
        )
    return found[0]


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(
            command, cwd=folder, text=True, capture_output=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise DataError(
            f"[data] the data come as Debian packages: expected {command[0]} on PATH, got none"
        ) from None


def _unpack_fashion(tree: Path, made: Path) -> None:
    for name in _FASHION:
        shutil.copyfile(tree / "usr/share/datasets/fashion-mnist" / name, made / name)


def _unpack_bible(tree: Path, made: Path) -> None:
    text = _decode_bible((tree / "usr/lib/bible.data").read_bytes()).decode("ascii")
    text = "".join(re.findall(r"^\w+\d+:\d+ (.*\n)", text, re.MULTILINE))
    cut = text.rindex("\n", 0, len(text) * 9 // 10) + 1  # whole verses on both sides
    for name, part in [("bible.txt", text), ("train.txt", text[:cut]), ("val.txt", text[cut:])]:
        (made / name).write_text(part, encoding="ascii")


def _decode_bible(data: bytes) -> bytes:
    """The package's own format: a table of windows of 64 KiB, each compressed apart."""
    n_windows, table = struct.unpack_from(">I", data, 0x58)[0], 0x5C
    starts = struct.unpack_from(f">{n_windows + 1}I", data, table)
    return b"".join(_lzw(data[a:b]) for a, b in zip(starts, starts[1:]))


def _lzw(data: bytes) -> bytes:
    """Unix compress, block mode without its header: codes of 9 to 16 bits, low bit first, 256
    empties the table; a change of width starts at a multiple of eight codes."""
    fresh = [bytes([i]) for i in range(256)] + [b""]
    table, out = fresh.copy(), []
    width, at, group, previous = 9, 0, 0, b""
    while at + width <= 8 * len(data):
        code = int.from_bytes(data[at >> 3 : (at >> 3) + 4], "little") >> (at & 7)
        code &= (1 << width) - 1
        at += width
        if code == 256:
            group = at = at + -(at - group) % (8 * width)
            table, width, previous = fresh.copy(), 9, b""
            continue
        if code > len(table) or (code == len(table) and not previous):
            raise DataError(
                f"[data] bible.data is damaged: expected a code <= {len(table)}, got {code}"
            )
        entry = table[code] if code < len(table) else previous + previous[:1]
        out.append(entry)
        if previous and len(table) < 1 << 16:
            table.append(previous + entry[:1])
        previous = entry
        if len(table) == 1 << width and width < 16:
            group = at = at + -(at - group) % (8 * width)
            width += 1
    return b"".join(out)
