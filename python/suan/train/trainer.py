"""Trainer: runs a recipe from its first or its last saved step to the end.

The state of a run is its weights, optimizer, random state, data position and step number. All of it
is in every checkpoint, so that a resumed run continues with the same bits.
"""

import json
import math
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import suan

from .. import nn, optim
from .checkpoint import (
    RunLog,
    TrainError,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
    write_atomic,
)
from .plot import plot_log
from .progress import make_display, peak_bytes, resident_bytes
from .report import write_report
from .tasks import make_task

# A resumed run may change how long it runs and how it reports, not what it computes up to here.
_FREE_KEYS = {
    "train.steps",
    "log.eval_every",
    "log.eval_batches",
    "log.checkpoint_every",
    "log.sample_chars",
}


def learning_rate(train, step):
    """Rate of a step (from 0) of a recipe's train section: linear warm-up, then the schedule's
    decay."""
    if step < train.warmup:
        return train.lr * (step + 1) / train.warmup
    part = (step - train.warmup) / max(1, train.steps - train.warmup)
    if train.schedule == "cosine":
        shape = (1 + math.cos(math.pi * part)) / 2
    else:
        shape = 1 - part if train.schedule == "linear" else 1.0
    return train.lr * (train.final_lr + (1 - train.final_lr) * shape)


def make_optimizer(model, train):
    """The recipe's optimizer; weight decay on matrices only."""
    params = list(model.parameters())
    groups = [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if train.optimizer == "sgd":
        return optim.SGD(groups, lr=train.lr, momentum=train.momentum)
    kind = optim.AdamW if train.optimizer == "adamw" else optim.Adam
    return kind(groups, lr=train.lr, betas=tuple(train.betas))


def _flat(value, path=""):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


class Trainer:
    def __init__(
        self, recipe, out, *, compile=True, as_json=False, device="cpu", recipe_name="RECIPE"
    ):
        self.recipe, self.out, self.compiled = recipe, Path(out), compile
        self.recipe_name = recipe_name  # for the line that says how to go on
        suan.manual_seed(recipe.seed)
        self.task = make_task(recipe)
        self.model = self.task.model
        if str(device) != "cpu":
            self.model.to(device=device)
        self.device = device
        self.params = list(self.model.parameters())
        self.optimizer = make_optimizer(self.model, recipe.train)
        self.display = make_display(self.task.unit, as_json)
        self.step = 0
        self.seconds = 0.0
        self._interrupted = False
        self._step_fn = suan.compile(self._train_step) if compile else self._train_step

    def _train_step(self, x, y):
        loss = self.task.loss(x, y)
        loss.backward()
        clip = self.recipe.train.clip
        norm, scale = nn.utils.clip_scale(self.params, math.inf if clip is None else clip)
        self.optimizer.step(grad_scale=scale)
        self.optimizer.zero_grad()
        return loss.detach(), norm

    def _batches(self):
        for batch in self.task.loader.forever():
            yield (
                batch
                if str(self.device) == "cpu"
                else tuple(t.to(device=self.device) for t in batch)
            )

    # ---- state -----------------------------------------------------------------------------------

    def _state(self):
        return {
            "format": 1,
            "step": self.step,
            "seconds": self.seconds,
            "recipe": self.recipe.model_dump(mode="json"),
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "loader": self.task.loader.state_dict(),
            "random": suan.get_rng_state(),
            **self.task.extra_state(),
        }

    def save(self):
        self.log.flush()
        return save_checkpoint(self.out, self.step, self._state())

    def _check_same_recipe(self, saved, path):
        ours, theirs = (dict(_flat(r)) for r in (self.recipe.model_dump(mode="json"), saved))
        for key in ours:
            if key not in _FREE_KEYS and ours[key] != theirs.get(key):
                raise TrainError(
                    f"[resume] another recipe: expected {key} = {theirs.get(key)!r} as in {path}, "
                    f"got {ours[key]!r}"
                )

    def resume(self):
        """Takes all state from the newest readable checkpoint."""
        path, state = load_checkpoint(self.out, warn=self.display.message)
        self._check_same_recipe(state["recipe"], path)
        if state["step"] > self.recipe.train.steps:
            raise TrainError(
                f"[resume] the run is past its end: expected at most {self.recipe.train.steps} "
                "steps, "
                f"got {state['step']} in {path}"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.task.loader.load_state_dict(state["loader"])
        suan.set_rng_state(state["random"])
        self.step, self.seconds = state["step"], state["seconds"]
        return path

    def _keep_earlier_run(self):
        """A fresh run in a used folder moves the earlier run aside."""
        if not checkpoints(self.out):
            return
        n = 1
        while (aside := self.out.with_name(f"{self.out.name}.old-{n}")).exists():
            n += 1
        self.out.rename(aside)
        self.display.message(f"the earlier run in {self.out} is now {aside}")

    # ---- running ---------------------------------------------------------------------------------

    @contextmanager
    def _ctrl_c(self):
        """The first Ctrl-C ends the run after the current step; the second is an ordinary one."""

        def handler(signum, frame):
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            self.display.message(
                "stopping after this step; press Ctrl-C again to stop at once, without saving"
            )

        try:
            before = signal.signal(signal.SIGINT, handler)
        except ValueError:  # not in the main thread: Ctrl-C is not ours to handle
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def evaluate(self, max_batches=None):
        self.model.eval()
        try:
            with suan.no_grad():
                return self.task.evaluate(max_batches)
        finally:
            self.model.train()

    def plan(self, memory_limit=None):
        """The memory plan of one training step (see suan.plan); computes nothing."""
        x, y = next(self._batches())
        return suan.plan(self._train_step, x, y, memory_limit=memory_limit)

    def dry_run(self, steps=8):
        """What the run will take: memory from its plan, time from a few steps that are not kept."""
        # The process as it is now holds the weights and optimizer state; a step adds the plan's
        # peak.
        peak = resident_bytes() + self.plan().peak_bytes
        batches, times = self._batches(), []
        for _ in range(steps):
            x, y = next(batches)
            begin = time.perf_counter()
            self._step_fn(x, y)
            times.append(time.perf_counter() - begin)
        # The first steps also record and plan.
        times = sorted(times[steps // 2 :])
        step_s, total = times[len(times) // 2], self.recipe.train.steps
        return {
            "steps": total,
            "parameters": sum(p.numel() for p in self.params),
            "step_ms": step_s * 1e3,
            "seconds": step_s * total,
            "peak_bytes": peak,
        }

    def run(self, resume=False):
        """Trains to the end. Returns the results, or None after Ctrl-C (the run is saved then)."""
        path = self.resume() if resume else None
        if not resume:
            self._keep_earlier_run()
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomic(self.out / "recipe.json", self.recipe.model_dump_json(indent=2) + "\n")
        self.log = RunLog(self.out / "log.jsonl", self.step if resume else None)
        self.display.start(self.step, self.recipe.train.steps)
        if path:
            self.display.message(f"resumed from {path} at step {self.step}")
        try:
            with self._ctrl_c():
                finished = self._loop()
            if not finished:
                return None
            return self._finish()
        finally:
            self.display.stop()
            self.log.close()

    def _loop(self):
        train, log = self.recipe.train, self.recipe.log
        batches = self._batches()
        begin = lap = time.monotonic()
        earlier, first = self.seconds, self.step
        recent = step_s = None
        while self.step < train.steps:
            x, y = next(batches)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(train, self.step)
            loss, norm = self._step_fn(x, y)
            loss, norm = loss.item(), norm.item()
            self.step += 1
            now = time.monotonic()
            step_s = (
                now - lap
                if step_s is None or self.step < first + 5
                else 0.95 * step_s + 0.05 * (now - lap)
            )
            self.seconds = earlier + now - begin
            if not math.isfinite(loss):
                raise TrainError(
                    f"[train] the loss is {loss} at step {self.step}: expected a finite number; "
                    f"lower train.lr or set train.clip, then --resume from the last checkpoint (where it "
                    f"begins: suan.debug.nan_guard)"
                )
            recent = loss if recent is None else 0.95 * recent + 0.05 * loss
            event = {
                "event": "train",
                "step": self.step,
                "loss": loss,
                "grad_norm": norm,
                "lr": self.optimizer.param_groups[0]["lr"],
            }
            self._record(event)
            self.display.update(
                self.step,
                recent,
                self.task.items_per_step / step_s,
                step_s * (train.steps - self.step),
            )
            last = self.step == train.steps
            if self.step % log.eval_every == 0 and not last:
                self._evaluate(log.eval_batches)
            if self._interrupted and not last:
                path = self.save()
                self.display.message(
                    f"stopped at step {self.step}, saved {path}; go on with: "
                    f"suan train {self.recipe_name} --out {self.out} --resume"
                )
                return False
            if self.step % log.checkpoint_every == 0 and not last:
                self.save()
            lap = time.monotonic()
        return True

    def _record(self, event):
        self.log.write(event)
        self.display.event(event)

    def _evaluate(self, max_batches):
        metrics = self.evaluate(max_batches)
        sample = self.task.sample(self.step)
        event = {"event": "eval", "step": self.step, **metrics}
        self._record({**event, "sample": sample} if sample else event)
        self.display.message(f"step {self.step}: {self.task.score(metrics)}")
        if sample:
            self.display.message("  | " + sample.strip("\n").replace("\n", "\n  | "))
        return metrics, sample

    def _finish(self):
        checkpoint = self.save()
        metrics, sample = self._evaluate(None)
        losses = [e["loss"] for e in self.log.events if e["event"] == "train"]
        steps = max(1, self.step)
        result = {
            "event": "done",
            "step": self.step,
            "steps": self.step,
            "score": self.task.score(metrics),
            "metrics": metrics,
            "loss": sum(losses[-100:]) / max(1, len(losses[-100:])),
            "seconds": self.seconds,
            "step_ms": self.seconds / steps * 1e3,
            "rate": self.task.items_per_step * steps / max(self.seconds, 1e-9),
            "unit": self.task.unit,
            "peak_bytes": peak_bytes(),
            "parameters": sum(p.numel() for p in self.params),
            "compiled": bool(self.compiled),
            "checkpoint": checkpoint.name,
            "out": str(self.out),
        }
        plot_log(self.log.events, self.out / "loss.png")
        write_report(self.out / "report.md", self.recipe, result, sample)
        self._record(result)
        self.log.flush()
        write_atomic(self.out / "result.json", json.dumps(result, indent=2) + "\n")
        return result
