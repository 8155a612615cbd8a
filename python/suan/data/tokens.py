"""Text files to files of tokens (`suan data prepare`), in two passes and little memory."""

import codecs
import json
import os
from pathlib import Path

import numpy as np

from .fetch import DataError
from .files import JsonLines, _file
from .text import CharVocab

_BLOCK = 1 << 20


def prepare(paths, out, tokenizer="char", val=0.1, field="text", progress=None):
    """Writes train.bin, val.bin and meta.json into the folder `out`; returns what meta.json says.

    Args:
        paths: text files (UTF-8) and .jsonl files (a document in `field` of each row, a line break after each).
        tokenizer: "char" numbers the characters that occur, in the order of their code points; "bytes" takes the
            bytes of UTF-8.
        val: the part of the tokens, at the end, that goes to val.bin; 0 for none.
        progress: called with (pass, bytes done, bytes in all), pass "count" or "write".

    Tokens are uint16, as nanoGPT reads them (uint32 beyond 65,536 characters). Files appear under their names when
    all is written.
    """
    if tokenizer not in ("char", "bytes"):
        raise ValueError(f"[prepare] wrong tokenizer: expected 'char' or 'bytes', got {tokenizer!r}")
    if not 0 <= val < 1:
        raise ValueError(f"[prepare] wrong val: expected a part from 0 to below 1, got {val}")
    paths = [_file("prepare", p) for p in paths]
    size = sum(p.stat().st_size for p in paths)
    told = progress or (lambda *args: None)

    known, total = set(), 0
    for text, done in _texts(paths, field):
        if tokenizer == "char":
            known.update(text)
            total += len(text)
        else:
            total += len(text.encode("utf-8"))
        told("count", done, size)
    if total == 0:
        raise DataError(f"[prepare] no text: expected characters, got none in {', '.join(map(str, paths))}")
    vocab = CharVocab("".join(known)) if tokenizer == "char" else None
    dtype = np.dtype("uint16" if vocab is None or len(vocab) <= 1 << 16 else "uint32")
    n_val = int(total * val)
    parts = {"train": total - n_val, **({"val": n_val} if n_val else {})}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    scratch = {name: out / f".{name}.bin.{os.getpid()}" for name in parts}
    meta = {
        "format": "suan tokens 1", "dtype": dtype.name, "tokenizer": tokenizer,
        "vocabulary": len(vocab) if vocab else 256, "chars": vocab.chars if vocab else None, "tokens": parts,
        "sources": [p.name for p in paths],
    }
    try:
        written, left = 0, dict(parts)
        names = iter(parts)
        name = next(names)
        file = open(scratch[name], "wb")
        try:
            for text, done in _texts(paths, field):
                if vocab:
                    tokens = vocab.encode(text).astype(dtype)
                else:
                    tokens = np.frombuffer(text.encode("utf-8"), np.uint8).astype(dtype)
                written += len(tokens)
                while len(tokens):
                    if left[name] == 0:
                        file.close()
                        name = next(names, None)
                        if name is None:
                            break
                        file = open(scratch[name], "wb")
                    part, tokens = tokens[:left[name]], tokens[left[name]:]
                    file.write(part.tobytes())
                    left[name] -= len(part)
                told("write", done, size)
        finally:
            file.close()
        if written != total:
            raise DataError(f"[prepare] files changed meanwhile: expected {total} tokens, got {written}")
        for name in parts:
            os.replace(scratch[name], out / f"{name}.bin")
        if "val" not in parts:
            (out / "val.bin").unlink(missing_ok=True)  # an earlier run's
        (out / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    finally:
        for path in scratch.values():
            path.unlink(missing_ok=True)
    return meta


def _texts(paths, field):
    """(piece of text, bytes of all files done) of every file in turn."""
    before = 0
    for path in paths:
        if path.suffix == ".jsonl":
            rows = JsonLines(path, [field])
            size = path.stat().st_size
            for i in range(len(rows)):
                text = rows[i][field]
                if not isinstance(text, str):
                    raise DataError(
                        f"[prepare] broken row: expected text in field '{field}', got {type(text).__name__} at "
                        f"{rows.where(i)}"
                    )
                yield text + "\n", before + size * (i + 1) // len(rows)
        else:
            yield from _plain(path, before)
        before += path.stat().st_size


def _plain(path, before):
    decoder, lines, done = codecs.getincrementaldecoder("utf-8")(), 1, 0
    with open(path, "rb") as file:
        while True:
            part = file.read(_BLOCK)
            try:
                text = decoder.decode(part, final=not part)
            except UnicodeDecodeError as error:
                lines += error.object[: error.start].count(b"\n")
                raise DataError(
                    f"[prepare] not text: expected UTF-8, got {error.reason} at {path}:{lines}"
                ) from None
            lines += text.count("\n")
            done += len(part)
            if text:
                yield text, before + done
            if not part:
                return
