"""The suan command apart from training: help, ops, doctor, plan; and what importing costs."""

import json
import subprocess
import sys

import pytest


def suan(*args):
    return subprocess.run(
        [sys.executable, "-m", "suan", *args], capture_output=True, text=True, timeout=120
    )


def test_help_names_every_command():
    done = suan("--help")
    assert done.returncode == 0
    for command in ("train", "plan", "ops", "doctor"):
        assert command in done.stdout
        assert suan(command, "--help").returncode == 0


def test_unknown_command_and_option():
    assert suan("trian").returncode == 2 and suan("train", "cnn", "--stepz", "3").returncode == 2


def test_ops_table():
    rows = json.loads(suan("ops", "--json").stdout)
    by_name = {row["op"]: row for row in rows}
    assert len(rows) >= 130
    assert by_name["add"]["runs"] == "kernel" and by_name["add"]["gradient"] == "yes"
    assert by_name["reshape"]["runs"] == "view" and by_name["mse_loss"]["runs"] == "composed"
    assert by_name["argmax"]["gradient"].startswith("no: ")
    text = suan("ops").stdout
    assert text.splitlines()[0].split()[:3] == ["op", "dtypes", "runs"]
    assert text.splitlines()[-1].startswith(f"{len(rows)} ops: ")


def test_doctor():
    facts = json.loads(suan("doctor", "--json").stdout)
    assert facts["threads"] >= 1 and facts["isa"] in ("avx2", "avx512")
    assert {"cpu", "cuda-emulated"} <= set(facts["devices"])
    assert "memory available" in suan("doctor").stdout


def test_plan(tmp_path):
    (tmp_path / "text.txt").write_text("abc def\n" * 100)
    (tmp_path / "r.yaml").write_text(
        f"task: char_gpt\ndata: {{path: {tmp_path / 'text.txt'}}}\n"
        "model: {layers: 1, width: 16, heads: 2, block: 8}\ntrain: {steps: 5, batch: 4, clip: "
        "1.0}\n"
    )
    facts = json.loads(suan("plan", str(tmp_path / "r.yaml"), "--json").stdout)
    assert facts["peak_bytes"] > 0 and facts["captured_bytes"] > 0 and facts["nodes"] > 10
    text = suan("plan", str(tmp_path / "r.yaml")).stdout
    assert text.startswith("peak ") and "models/gpt.py:" in text and "typer" not in text
    # Each tensor is put down to a line of the model or of the training loop, not of the command line's library.
    lines = [where for _, what, where in facts["holders"] if what != "workspace"]
    assert lines and all("/suan/models/" in w or "/suan/train/" in w for w in lines), lines
    assert any("models/gpt.py:" in w for w in lines), lines


@pytest.mark.parametrize(
    "module", ["typer", "rich", "pydantic", "matplotlib", "yaml", "suan.nn", "suan.train"]
)
def test_import_suan_loads_no_heavy_module(module):
    code = f"import sys, suan; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
