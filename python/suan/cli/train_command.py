"""`suan train` and `suan plan`."""

import json
import sys
from pathlib import Path

from ..train.progress import clock, size
from ..train.recipe import find_recipe, load_recipe
from ..train.trainer import Trainer


def train_command(name, out, resume, steps, device, compile, dry_run, as_json):
    path = find_recipe(name)
    recipe = load_recipe(path)
    if steps is not None:
        recipe.train.steps = steps
    out = Path("runs") / path.stem if out is None else out
    trainer = Trainer(
        recipe, out, compile=compile, as_json=as_json, device=device, recipe_name=name
    )
    if dry_run:
        facts = trainer.dry_run()
        if as_json:
            print(json.dumps(facts))
        else:
            print(
                f"{recipe.task}: {facts['parameters']:,} parameters, {facts['steps']:,} steps of "
                f"{facts['step_ms']:.2f} ms, {clock(facts['seconds'])} in all, peak memory "
                f"{size(facts['peak_bytes'])}"
            )
        return
    result = trainer.run(resume)
    if result is None:
        sys.exit(130)
    if not as_json:
        print(
            f"{result['score']} after {result['steps']:,} steps in {clock(result['seconds'])} "
            f"({result['step_ms']:.2f} ms a step)"
        )
        print(
            f"report {out / 'report.md'}, plot {out / 'loss.png'}, weights "
            f"{out / result['checkpoint']}, "
            f"log {out / 'log.jsonl'}"
        )


def plan_command(name, memory_limit, as_json):
    recipe = load_recipe(find_recipe(name))
    report = Trainer(recipe, "", compile=False).plan(memory_limit and memory_limit << 20)
    if as_json:
        facts = ("peak_bytes", "captured_bytes", "argument_bytes", "nodes", "flops", "holders")
        print(json.dumps({key: getattr(report, key) for key in facts}))
    else:
        print(report)
