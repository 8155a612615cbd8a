"""Checkpoints of a run: written whole or not at all, the newest two kept, the newest readable one
loaded.

The folder of a run: checkpoint-00000500.safetensors ..., log.jsonl, recipe.json, loss.png,
report.md.
"""

import json
import os
import re
from pathlib import Path

import suan

_NAME = re.compile(r"checkpoint-(\d{8})\.safetensors")
_KEEP = 2


class TrainError(RuntimeError):
    """A run that cannot begin or go on; the message says why and what to do."""


def checkpoints(folder):
    """(step, path) of all checkpoints in a folder, the newest last."""
    folder = Path(folder)
    found = [(_NAME.fullmatch(p.name), p) for p in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(m.group(1)), p) for m, p in found if m)


def save_checkpoint(folder, step, state):
    """Saves atomically (suan.save writes beside and renames), then removes all but the newest
    two."""
    path = Path(folder) / f"checkpoint-{step:08d}.safetensors"
    try:
        suan.save(state, path)
    except OSError as error:
        raise TrainError(
            f"[checkpoint] cannot write {path}: {error}; earlier checkpoints in {folder} are "
            "untouched"
        ) from error
    for _, old in checkpoints(folder)[:-_KEEP]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder, warn=print):
    """(path, state) of the newest checkpoint that can be read; damaged ones are named and passed
    over."""
    found = checkpoints(folder)
    if not found:
        raise TrainError(
            f"[resume] nothing to resume: expected checkpoint-*.safetensors in {folder}, got none"
        )
    problems = []
    for _, path in reversed(found):
        try:
            state = suan.load(path)
            if not isinstance(state, dict) or "step" not in state:
                raise ValueError("expected a checkpoint of suan train, got another file")
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        for problem in problems:
            warn(f"[resume] passed over a damaged checkpoint: {problem}")
        return path, state
    raise TrainError("[resume] no checkpoint can be read: " + "; ".join(problems))


def write_atomic(path, text):
    """Replaces a small text file as a whole."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class RunLog:
    """log.jsonl: one JSON object a line, in the order of the steps."""

    def __init__(self, path, resume_step=None):
        self.path = Path(path)
        self.events = []
        if resume_step is not None and self.path.exists():
            self.events = [e for e in read_log(self.path) if e.get("step", 0) <= resume_step]
            write_atomic(self.path, "".join(json.dumps(e) + "\n" for e in self.events))
        self._file = open(self.path, "a" if resume_step is not None else "w", encoding="utf-8")

    def write(self, event):
        self.events.append(event)
        self._file.write(json.dumps(event) + "\n")

    def flush(self):
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self):
        self._file.close()


def read_log(path):
    """Events of a log. A last line cut off by a crash is left out."""
    events = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return events
