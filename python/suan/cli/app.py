"""Commands, their options, and how errors are shown: one line, exit status 1."""

import re
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


@app.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False}
)
def launch(
    script: Annotated[str, typer.Argument(help="A Python file.")],
    args: Annotated[Optional[list[str]], typer.Argument(help="What it is called with.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Ranks on this machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    node_rank: Annotated[int, typer.Option(min=0, help="Which of them this is.")] = 0,
    master_addr: Annotated[str, typer.Option(help="Where rank 0 runs.")] = "127.0.0.1",
    master_port: Annotated[
        Optional[int], typer.Option(min=1, max=65535, help="Its port; a free one on one machine.")
    ] = None,
    log_dir: Annotated[
        Optional[Path], typer.Option(help="Write rank<r>.log here; then only rank 0 is shown.")
    ] = None,
):
    """Run a script as several ranks (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT
    are set, the CPUs shared out). One that fails ends the others."""
    from .launch import launch as run_ranks

    sys.exit(
        run_ranks(script, args or [], n, nodes, node_rank, master_addr, master_port, log_dir)
    )


scale = typer.Typer(
    no_args_is_help=True,
    help="Measure several ranks: collectives, training; raw logs and a report.",
)
app.add_typer(scale, name="scale")
OUT = typer.Option(help="Folder for raw logs and results; earlier ones of the same kind are replaced.")
JSON = typer.Option("--json", help="Print JSON.")


@scale.command("comm")
def scale_comm(
    ranks: Annotated[int, typer.Option(min=1, help="Ranks on this machine.")] = 2,
    min_bytes: Annotated[int, typer.Option(help="Smallest size; each next one is 4 times it.")] = 1024,
    max_bytes: Annotated[int, typer.Option(help="Largest size.")] = 16 << 20,
    out: Annotated[Path, OUT] = Path("out/scale"),
    json: Annotated[bool, JSON] = False,
):
    """Time all_reduce, all_gather, reduce_scatter and broadcast, and check their results."""
    from .scale_command import comm_command

    comm_command(ranks, min_bytes, max_bytes, out, json)


@scale.command("train")
def scale_train(
    ranks: Annotated[str, typer.Option(help="Numbers of ranks, each a run of its own.")] = "1,2",
    model: Annotated[str, typer.Option(help="char_gpt_small, char_gpt or gpt2.")] = "char_gpt",
    steps: Annotated[int, typer.Option(min=1, help="Steps that count.")] = 20,
    warm: Annotated[int, typer.Option(min=1, help="Steps before them.")] = 3,
    scaling: Annotated[
        str, typer.Option(help="weak: each rank's batch stays; strong: the whole one does.")
    ] = "weak",
    stage: Annotated[int, typer.Option(min=0, max=3, help="ZeRO stage.")] = 0,
    threads: Annotated[
        Optional[int], typer.Option(min=1, help="Per rank; CPUs over the most ranks if not given.")
    ] = None,
    lang: Annotated[str, typer.Option(help="The page's language: en or zh.")] = "en",
    out: Annotated[Path, OUT] = Path("out/scale"),
    json: Annotated[bool, JSON] = False,
):
    """Train with each number of ranks and write a page: speed, efficiency, time, memory, energy."""
    from .scale_command import train_command

    train_command(ranks, model, steps, warm, scaling, stage, threads, lang, out, json)


data = typer.Typer(no_args_is_help=True, help="Prepare data for training.")
app.add_typer(data, name="data")


@data.command("prepare")
def data_prepare(
    inputs: Annotated[list[Path], typer.Argument(help="Text files, or .jsonl files.")],
    out: Annotated[Path, typer.Option(help="Folder for train.bin, val.bin and meta.json.")],
    tokenizer: Annotated[str, typer.Option(help="char, or bytes.")] = "char",
    val: Annotated[float, typer.Option(help="Part of the tokens, at the end, for val.bin.")] = 0.1,
    field: Annotated[str, typer.Option(help="Where a .jsonl row has its text.")] = "text",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Turn text into files of token numbers that suan.data.TokenBlocks maps into memory."""
    from .data_command import prepare_command

    prepare_command(inputs, out, tokenizer, val, field, json)


@app.command()
def ops(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False):
    """List every op: data types, how it runs, gradient, ONNX name."""
    from .info import ops_command

    ops_command(json)


@app.command()
def port(
    script: Annotated[Path, typer.Argument(help="A Python program written for PyTorch.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """List the torch names that a program uses and Suan lacks, with the nearest ones. Names are those
    reached through imports; methods of tensors are not looked at."""
    from .port_command import port_command

    port_command(script, json)


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
    out: Annotated[
        Optional[Path], typer.Option(help="Write the outputs to this .npz; with --folder, to this folder.")
    ] = None,
    size: Annotated[
        Optional[list[str]], typer.Option(help="Size of a symbolic dimension: name=number; 1 if not given.")
    ] = None,
    folder: Annotated[
        Optional[Path], typer.Option(help="Run every .npz in it, which holds all inputs by name; results get its name.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="With --folder: also the files whose results are there.")
    ] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Nothing that rounds elsewhere than the file's operators.")] = False,
    precision: Annotated[str, typer.Option(help="float32, or bf16 for matrix products and attention.")] = "float32",
    prepacked: Annotated[
        Optional[Path], typer.Option(help="File of packed weights: read if it is there, else written for later runs.")
    ] = None,
    prepacked_read_only: Annotated[
        bool, typer.Option("--prepacked-read-only", help="Never write it; an error if it is missing or does not fit.")
    ] = False,
):
    """Run an ONNX model once and show its outputs, or over a folder of inputs, a file on each core at a time. A run
    over a folder that was stopped goes on where it was; what fails is listed at the end, with exit status 1."""
    from .onnx_command import run_command

    run_command(model, inputs, out, size, folder, again, exact, precision, prepacked, prepacked_read_only)


@app.command()
def check(model: Annotated[Path, typer.Argument(help="An ONNX file.")]):
    """Load an ONNX model and show its inputs, outputs and opsets; of one that cannot be loaded, all operators that
    are not supported, with exit status 1. What depends on the inputs' shapes shows only in a run."""
    from .onnx_command import check_command

    check_command(model)


@app.command()
def compare(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    other: Annotated[Optional[Path], typer.Argument(help="Another one with the same inputs.")] = None,
    engine: Annotated[
        Optional[str], typer.Option(help="Instead of another file: run this one there too, onnxruntime.")
    ] = None,
    inputs: Annotated[
        Optional[Path], typer.Option(help="An .npz with inputs by name; the others are random.")
    ] = None,
    size: Annotated[
        Optional[list[str]], typer.Option(help="Size of a symbolic dimension: name=number; 1 if not given.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Differences up to this times 1 + |value| are accepted.")
    ] = 1e-4,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Run two ONNX models, or one in two engines, on the same inputs and show how far the outputs are apart; beyond
    the tolerance also the first node whose value differs, with exit status 1."""
    from .onnx_command import compare_command

    compare_command(model, other, engine, inputs, size, tolerance, json)


@app.command()
def inspect(
    model: Annotated[
        Optional[Path], typer.Argument(help="A checkpoint (safetensors) or an ONNX file.")
    ] = None,
    supported: Annotated[
        bool, typer.Option("--supported", help="List the ONNX operators that can be imported.")
    ] = False,
    html: Annotated[
        Optional[Path], typer.Option(help="Also write it as one page for a browser.")
    ] = None,
    size: Annotated[
        Optional[list[str]],
        typer.Option(help="For the page: size of a symbolic dimension, name=number; 1 if not given."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Show a checkpoint's tensors with statistics of their values, or an ONNX model's inputs, outputs, weights
    and operators; the page of a model also has its plan, memory and graph."""
    from .inspect_command import inspect_command

    inspect_command(model, supported, html, json, size)


@app.command()
def simplify(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    out: Annotated[Path, typer.Argument(help="The file to write; may be the same.")],
    input: Annotated[
        Optional[list[str]], typer.Option(help="Sizes that an input gets: name=1,3,224,224.")
    ] = None,
    size: Annotated[
        Optional[list[str]], typer.Option(help="Size that a symbolic dimension gets: name=number.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep every bit: batch norms stay outside the weights before them.")
    ] = False,
    check: Annotated[
        bool, typer.Option(help="Run both files before writing, here and in ONNX Runtime if installed.")
    ] = True,
    inputs: Annotated[
        Optional[Path], typer.Option(help="An .npz with inputs by name for that; the others are random.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Differences up to this times 1 + |value| are accepted.")
    ] = 1e-4,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Write an ONNX file with fewer nodes that computes the same: what constants (and sizes, where they are fixed) decide
    is computed, identities, equal nodes and unread ones leave, batch norms go into convolutions."""
    from .onnx_command import simplify_command

    simplify_command(model, out, input, size, exact, check, inputs, tolerance, json)


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    vs: Annotated[Optional[str], typer.Option(help="Also time a peer: onnxruntime.")] = None,
    inputs: Annotated[
        Optional[Path], typer.Option(help="An .npz with inputs by name; the others are random.")
    ] = None,
    size: Annotated[
        Optional[list[str]], typer.Option(help="Size of a symbolic dimension: name=number; 1 if not given.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to time each.")] = 2.0,
    threads: Annotated[Optional[int], typer.Option(min=1, help="Threads for each.")] = None,
    callers: Annotated[int, typer.Option(min=1, help="Also time so many threads that call one session.")] = 1,
    exact: Annotated[bool, typer.Option("--exact", help="Nothing that rounds elsewhere than the file's operators.")] = False,
    precision: Annotated[str, typer.Option(help="float32, or bf16 for matrix products and attention.")] = "float32",
    prepacked: Annotated[
        Optional[Path], typer.Option(help="File of packed weights: read if it is there, else written for later runs.")
    ] = None,
    prepacked_read_only: Annotated[
        bool, typer.Option("--prepacked-read-only", help="Never write it; an error if it is missing or does not fit.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Time an ONNX model: median, 90th and 99th percentile of a call, calls per second, loading, memory of a call; with
    --vs, in turn with a peer on the same inputs and threads."""
    from .onnx_command import bench_command

    bench_command(model, vs, inputs, size, seconds, threads, callers, json, exact, precision, prepacked, prepacked_read_only)


def run(args=None):
    """Runs the command line; errors of the engine and of the user's files end in one line."""
    try:
        app(args)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, TypeError, OSError, MemoryError, RuntimeError, IndexError) as error:
        # The line of the caller is the command line's own here.
        print("suan:", re.sub(r" \(at \S*/typer/\S* in \w+\)", "", f"{error}"), file=sys.stderr)
        sys.exit(1)
