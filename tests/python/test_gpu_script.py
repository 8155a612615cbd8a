"""tools/gpu without a GPU: what it says, and its own paths on the emulated device."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def gpu(*args):
    return subprocess.run([sys.executable, ROOT / "tools/gpu", *args], capture_output=True, text=True, timeout=600)


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="this machine has an NVIDIA GPU")
def test_says_why_there_is_no_gpu():
    done = gpu()
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("no GPU: [") and "driver" in done.stdout and done.stdout.count("\n") == 1


def test_check_goes_through_every_part(tmp_path):
    done = gpu("--check", "--out", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = tmp_path.glob("*-emulated.json")
    record = json.loads(path.read_text())
    assert record["facts"]["emulated"] and "mean nothing" not in done.stdout and "not a card's" in done.stdout
    assert record["ops"]["cases"] > 50 and not record["ops"]["wrong"]
    assert record["training"]["agrees"] and record["training"]["compiled"]["cpu_kernels"] == 0
    assert all(run["exit"] == 0 for run in record["sanitizer"].values()), record["sanitizer"]
    assert len(record["kernels"]) >= 13 and all(k["seconds"] > 0 and k["share_of_ceiling"] > 0 for k in record["kernels"])
    assert record["char_gpt_step"]["captured"]["seconds"] > 0


def test_what_stops_is_told_and_the_rest_kept(tmp_path, monkeypatch, capsys):
    loader = importlib.machinery.SourceFileLoader("gpu_script", str(ROOT / "tools/gpu"))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_script", loader))
    loader.exec_module(script)

    def stops(*args):
        raise RuntimeError("an illegal address")

    for step in ("compare_ops", "compare_training", "measure_kernels", "sanitize"):
        monkeypatch.setattr(script, step, stops)
    monkeypatch.setattr(sys, "argv", ["gpu", "--check", "--out", str(tmp_path)])
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert script.main() == 1
    assert "**training: stopped: RuntimeError: an illegal address**" in capsys.readouterr().out
    (path,) = tmp_path.glob("*-emulated.json")
    record = json.loads(path.read_text())
    assert set(record["errors"]) == {"ops", "training", "kernels", "sanitizer"}
    assert record["char_gpt_step"]["eager"]["seconds"] > 0
