"""Recipes, the trainer, checkpoints, resuming after kill -9 and after Ctrl-C."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import suan
from suan.train import (
    RecipeError,
    Trainer,
    TrainError,
    builtin_recipes,
    find_recipe,
    load_recipe,
    parse_recipe,
)
from suan.train.checkpoint import RunLog, checkpoints, load_checkpoint, read_log, save_checkpoint
from suan.train.trainer import learning_rate

TEXT = (
    "In the beginning God created the heaven and the earth.\nAnd the earth was without form, and "
    "void.\n" * 60
)
RECIPE = """
task: char_gpt
seed: 3
data: {{path: {path}}}
model: {{layers: 1, width: 16, heads: 2, block: 8, dropout: 0.1}}
train: {{steps: {steps}, batch: 4, lr: 0.01, clip: 1.0, warmup: 3}}
log: {{eval_every: 20, eval_batches: 1, checkpoint_every: 10, sample_chars: 8}}
"""


@pytest.fixture
def recipe_file(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)

    def make(steps=40):
        path = tmp_path / "tiny.yaml"
        path.write_text(RECIPE.format(path=tmp_path / "text.txt", steps=steps))
        return path

    return make


def losses(folder):
    return [
        (e["step"], e["loss"], e["grad_norm"])
        for e in read_log(Path(folder) / "log.jsonl")
        if e["event"] == "train"
    ]


def weights(folder):
    step, path = checkpoints(folder)[-1]
    return step, {k: v.numpy() for k, v in suan.load(path)["model"].items()}


def same_run(a, b):
    assert losses(a) == losses(b)
    (step, x), (other, y) = weights(a), weights(b)
    assert step == other and x.keys() == y.keys()
    assert all(np.array_equal(x[k], y[k]) for k in x)


def command(*args):
    return [sys.executable, "-m", "suan", "train", *map(str, args)]


def run_command(*args):
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=300)


# ---- recipes -------------------------------------------------------------------------------------


def test_builtin_recipes_are_valid():
    found = builtin_recipes()
    assert {"char_gpt", "cnn"} <= set(found)
    for name, path in found.items():
        assert load_recipe(path).task == name and find_recipe(name) == path
    with pytest.raises(
        RecipeError, match="no such file: expected a YAML file or one of char_gpt, cnn"
    ):
        find_recipe("nothing.yaml")


@pytest.mark.parametrize(
    "text,message",
    [
        (
            "task: cnn\ndata: {source: bible}\ntrain:\n  steps: 3\n  batch: 1\n  lrr: 1\n",
            "r.yaml:6: unknown key 'train.lrr': expected one of steps, .*, got 'lrr'; did you "
            "mean 'lr'?",
        ),
        (
            "task: cnn\ndata: {source: bible}\ntrain: {steps: '5', batch: 1}",
            "r.yaml:3: wrong value of 'train.steps': expected a valid integer, got '5'",
        ),
        (
            "task: cn",
            "r.yaml:1: wrong value of 'task': expected one of char_gpt, cnn, got 'cn' .*did you "
            "mean 'cnn'",
        ),
        ("seed: 1", "'task' is missing"),
        ("task: cnn\ndata: {source: bible}", "'train' is missing"),
        (
            "task: cnn\ndata: {}\ntrain: {steps: 1, batch: 1}",
            "expected either source or path, got neither",
        ),
        (
            "task: cnn\ndata: {source: bible}\ntrain: {steps: 0, batch: 1}",
            "greater than or equal to 1, got 0",
        ),
        (
            "task: cnn\ndata: {source: bible}\ntrain: {steps: 1, batch: 1, optimizer: adamm}",
            "expected 'adamw', 'adam' or 'sgd', got 'adamm' .*did you mean 'adam",
        ),
        ("task: cnn\ndata: {source: bible}\ntrain: {steps: 1, batch: 1, lr: 1e-3}", "write 1.0e-3"),
        (
            "task: char_gpt\ndata: {source: bible}\nmodel: {width: 10, heads: 3}\ntrain: {steps: "
            "1, batch: 1}",
            "expected heads to divide width, got heads 3 and width 10",
        ),
        ("task: [", "r.yaml:1: expected YAML"),
        ("just text", "expected keys and values"),
    ],
)
def test_wrong_recipes(text, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(text, "r.yaml")


def test_learning_rate_warms_up_and_decays():
    recipe = load_recipe(find_recipe("char_gpt"))
    train = recipe.train
    assert learning_rate(train, 0) == pytest.approx(train.lr / train.warmup)
    assert learning_rate(train, train.warmup) == pytest.approx(train.lr)
    assert learning_rate(train, train.steps) == pytest.approx(train.lr * train.final_lr)


# ---- running -------------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_its_files(recipe_file, tmp_path, capsys):
    out = tmp_path / "run"
    result = Trainer(load_recipe(recipe_file(60)), out).run()
    values = [loss for _, loss, _ in losses(out)]
    assert len(values) == 60 and sum(values[-5:]) < sum(values[:5]) * 0.9
    assert result["steps"] == 60 and result["metrics"]["val_loss"] > 0
    names = {p.name for p in out.iterdir()}
    assert {
        "log.jsonl",
        "loss.png",
        "report.md",
        "recipe.json",
        "result.json",
        "checkpoint-00000060.safetensors",
    } <= names
    assert len(checkpoints(out)) == 2
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.md").read_text()
    assert "validation loss" in report and "What the model writes" in report
    assert "step 60/60" in capsys.readouterr().out


def test_compiled_and_eager_runs_have_equal_bits(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file(12))
    Trainer(recipe, tmp_path / "a", compile=True).run()
    Trainer(recipe, tmp_path / "b", compile=False).run()
    same_run(tmp_path / "a", tmp_path / "b")


def test_resume_after_kill_9_is_bit_exact(recipe_file, tmp_path):
    path = recipe_file(60)
    assert run_command(path, "--out", tmp_path / "whole").returncode == 0
    broken = tmp_path / "broken"
    process = subprocess.Popen(command(path, "--out", broken), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(step >= 20 for step, _ in checkpoints(broken)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = run_command(path, "--out", broken, "--resume")
    assert done.returncode == 0, done.stderr
    assert "resumed from" in done.stdout
    same_run(tmp_path / "whole", broken)


def test_ctrl_c_saves_and_says_how_to_go_on(recipe_file, tmp_path):
    path = recipe_file(100000)
    process = subprocess.Popen(
        command(path, "--out", tmp_path / "run"), stdout=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run" / "log.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saved" in output and f"suan train {path} --out {tmp_path / 'run'} --resume" in output
    step, _ = checkpoints(tmp_path / "run")[-1]
    assert step == losses(tmp_path / "run")[-1][0]


def test_ctrl_c_inside_a_long_step_saves_after_it(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    path = tmp_path / "wide.yaml"
    path.write_text(
        f"task: char_gpt\ndata: {{path: {tmp_path / 'text.txt'}}}\n"
        "model: {layers: 4, width: 256, heads: 4, block: 128}\n"
        "train: {steps: 100000, batch: 32, clip: 1.0}\n"
    )
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(path, "--out", out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not (out / "log.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(4)  # past the recordings, into a step of several hundred milliseconds
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "stopping after this step" in output and "Traceback" not in output
    step, checkpoint = checkpoints(out)[-1]
    assert f"stopped at step {step}, saved {checkpoint}" in output
    done = run_command(path, "--out", out, "--resume", "--steps", step + 1)
    assert done.returncode == 0 and f"resumed from {checkpoint} at step {step}" in done.stdout
    assert [n for n, _, _ in losses(out)] == list(range(1, step + 2))


def test_a_second_ctrl_c_stops_inside_the_step(tmp_path):
    code = """
import os, signal, suan
from suan.train import Trainer, load_recipe
import sys
trainer = Trainer(load_recipe(sys.argv[1]), sys.argv[2])
q = suan.ones(1, 1, 1 << 20, 16)

def step(x, y):
    print("inside", flush=True)
    suan.nn.functional.scaled_dot_product_attention(q, q, q)  # takes hours

trainer._step_fn = step
trainer.run()
"""
    (tmp_path / "text.txt").write_text(TEXT)
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(path=tmp_path / "text.txt", steps=5))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        text = ""
        while "inside" not in text:
            text += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        while "press Ctrl-C again" not in text:  # shown while the step runs
            text += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        text += process.communicate(timeout=60)[0]
        assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in text
    finally:
        process.kill()


def test_a_full_disk_ends_the_run_and_loses_nothing(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file(40))
    Trainer(recipe, tmp_path / "whole").run()
    out, limit = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)

    class FullDisk(Trainer):
        def _record(self, event):
            super()._record(event)
            if event["step"] == 25:
                room = checkpoints(out)[-1][1].stat().st_size // 2
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))

    try:
        with pytest.raises(TrainError, match=r"cannot write .*00000030.* untouched"):
            FullDisk(recipe, out).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [step for step, _ in checkpoints(out)] == [10, 20]
    assert not [p.name for p in out.iterdir() if "tmp" in p.name]
    Trainer(recipe, out).run(resume=True)
    same_run(tmp_path / "whole", out)


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(recipe_file, tmp_path, capsys):
    recipe = load_recipe(recipe_file(40))
    Trainer(recipe, tmp_path / "a").run()
    Trainer(recipe, tmp_path / "b").run()
    _, newest = checkpoints(tmp_path / "b")[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    Trainer(recipe, tmp_path / "b").run(resume=True)
    assert "passed over a damaged checkpoint: checkpoint-00000040" in capsys.readouterr().out
    same_run(tmp_path / "a", tmp_path / "b")


def test_resume_refuses_what_it_cannot_continue(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file(10))
    with pytest.raises(TrainError, match="nothing to resume"):
        Trainer(recipe, tmp_path / "none").run(resume=True)
    Trainer(recipe, tmp_path / "run").run()
    other = recipe.model_copy(deep=True)
    other.model.width = 32
    with pytest.raises(TrainError, match="another recipe: expected model.width = 16 .*, got 32"):
        Trainer(other, tmp_path / "run").run(resume=True)


def test_a_new_run_moves_the_old_one_aside(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file(10))
    Trainer(recipe, tmp_path / "run").run()
    Trainer(recipe, tmp_path / "run").run()
    same_run(tmp_path / "run", tmp_path / "run.old-1")


def test_json_output_and_dry_run(recipe_file, tmp_path):
    path = recipe_file(10)
    done = run_command(path, "--out", tmp_path / "run", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["event"] for e in events] == ["train"] * 10 + ["eval", "done"]
    facts = json.loads(
        run_command(path, "--dry-run", "--json", "--steps", "77", "--out", tmp_path / "no").stdout
    )
    assert facts["steps"] == 77 and facts["peak_bytes"] > 0 and facts["seconds"] > 0
    assert not (tmp_path / "no").exists()


def test_errors_are_one_line_with_status_1(tmp_path):
    done = run_command(tmp_path / "none.yaml")
    assert done.returncode == 1 and done.stderr.startswith("suan: [recipe] no such file")
    assert "Traceback" not in done.stderr


def test_full_disk_keeps_earlier_checkpoints(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, {"step": 1, "x": suan.ones(3)})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(suan, "save", full)
    with pytest.raises(TrainError, match="cannot write .*No space left on device.*untouched"):
        save_checkpoint(tmp_path, 2, {"step": 2})
    monkeypatch.undo()
    _, state = load_checkpoint(tmp_path)
    assert state["step"] == 1


def test_log_is_cut_to_the_resumed_step(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "train", "step": 1}\n{"event": "train", "step": 2}\n{"event": "tra')
    log = RunLog(path, resume_step=1)
    log.write({"event": "train", "step": 2, "again": True})
    log.close()
    assert [e["step"] for e in read_log(path)] == [1, 2] and read_log(path)[1]["again"]
