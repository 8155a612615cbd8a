"""report.md: what a run was, what it reached, and how to repeat it."""

import platform

import suan

from .checkpoint import write_atomic
from .progress import clock, size


def write_report(path, recipe, result, sample):
    lines = [
        f"# {recipe.task}: {result['score']}",
        "",
        "![loss](loss.png)",
        "",
        "| | |",
        "|---|---|",
        f"| steps | {result['steps']:,} |",
        f"| final training loss (smoothed) | {result['loss']:.4f} |",
        *(f"| {key.replace('_', ' ')} | {value:.4f} |" for key, value in result["metrics"].items()),
        f"| training time | {clock(result['seconds'])} |",
        f"| speed | {result['rate']:,.0f} {result['unit']} per second, {result['step_ms']:.2f} ms "
        "a step |",
        f"| peak memory of the process | {size(result['peak_bytes'])} |",
        f"| parameters | {result['parameters']:,} |",
        f"| suan | {getattr(suan, '__version__', 'unknown')}, Python {platform.python_version()}, "
        f"{suan.get_num_threads()} threads, {'compiled' if result['compiled'] else 'eager'} |",
        "",
    ]
    if sample:
        lines += ["## What the model writes", "", "```text", sample.strip("\n"), "```", ""]
    lines += [
        "## Recipe",
        "",
        "```json",
        recipe.model_dump_json(indent=2),
        "```",
        "",
        f"Every loss is in `log.jsonl`; the weights are in `{result['checkpoint']}`.",
        "",
    ]
    write_atomic(path, "\n".join(lines))
