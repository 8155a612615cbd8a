"""Commands, their options, and how errors are shown: one line, exit status 1."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="suan",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Suan: trains deep-learning models. Each command has its own --help.",
)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A YAML recipe, or a built-in one: char_gpt, cnn.")],
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for log, checkpoints, plot and report.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the folder.")
    ] = False,
    steps: Annotated[
        Optional[int], typer.Option(min=1, help="Train this many steps instead of the recipe's.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train.")] = "cpu",
    compile: Annotated[
        bool, typer.Option(help="Record the step once, then replay its plan.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show steps, peak memory and time; train nothing.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line instead of text.")
    ] = False,
):
    """Train a model as a recipe says. Ctrl-C saves; --resume goes on with the same bits."""
    from .train_command import train_command

    train_command(recipe, out, resume, steps, device, compile, dry_run, json)


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="A YAML recipe, or a built-in one: char_gpt, cnn.")],
    memory_limit: Annotated[
        Optional[int], typer.Option(min=1, help="MiB for a step; recompute values to fit.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Show the memory of a recipe's training step, and what holds it, without computing
    anything."""
    from .train_command import plan_command

    plan_command(recipe, memory_limit, json)


@app.command()
def ops(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False):
    """List every op: data types, how it runs, gradient, ONNX name."""
    from .info import ops_command

    ops_command(json)


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False):
    """Show versions, CPU, threads, memory and devices."""
    from .info import doctor_command

    doctor_command(json)


@app.command("run")
def run_model(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    inputs: Annotated[
        Optional[Path], typer.Option(help="An .npz with inputs by name; the others are random.")
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="Write the outputs to this .npz.")] = None,
    size: Annotated[
        Optional[list[str]], typer.Option(help="Size of a symbolic dimension: name=number.")
    ] = None,
):
    """Run an ONNX model once and show its outputs."""
    from .onnx_command import run_command

    run_command(model, inputs, out, size)


@app.command()
def inspect(
    model: Annotated[Optional[Path], typer.Argument(help="An ONNX file.")] = None,
    supported: Annotated[
        bool, typer.Option("--supported", help="List the operators that can be imported.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Show an ONNX model's inputs, outputs, weights and operators."""
    from .onnx_command import inspect_command

    inspect_command(model, supported, json)


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    vs: Annotated[Optional[str], typer.Option(help="Also time a peer: onnxruntime.")] = None,
    inputs: Annotated[
        Optional[Path], typer.Option(help="An .npz with inputs by name; the others are random.")
    ] = None,
    size: Annotated[
        Optional[list[str]], typer.Option(help="Size of a symbolic dimension: name=number.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to time each.")] = 2.0,
    threads: Annotated[Optional[int], typer.Option(min=1, help="Threads for each.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Time an ONNX model; with --vs, in turn with a peer on the same inputs and threads."""
    from .onnx_command import bench_command

    bench_command(model, vs, inputs, size, seconds, threads, json)


def run(args=None):
    """Runs the command line; errors of the engine and of the user's files end in one line."""
    try:
        app(args)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, TypeError, OSError, MemoryError, RuntimeError, IndexError) as error:
        print(f"suan: {error}", file=sys.stderr)
        sys.exit(1)
