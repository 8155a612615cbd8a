#!/usr/bin/env python3
"""ONNX models in Suan beside ONNX Runtime and OpenVINO, in turn in one process: Markdown tables with ratios.

    tools/bench onnx [--only fp32 bf16 int8 layers real first] [--names NAME ...] [--threads 2] [--seconds 4]

The real models are those of tools/onnx_models.py; ResNet-50, MobileNetV2 and BERT-base are exported, and quantised, by the
peers' own tools once (build/bench_models). Data are random, but for the real models, whose inputs are the tests'. A turn is 80 ms of rest, one
call that is not counted and three that are. Each cell is the median in ms with the fastest call in brackets; the ratio is the
faster peer's median over Suan's (above 1: Suan is faster), in brackets the fastest calls'.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = ROOT / "build" / "release" / "python"
sys.path.insert(0, str(PYTHON))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import openvino  # noqa: E402

import suan  # noqa: E402
import suan.onnx  # noqa: E402

REST = 0.08   # ONNX Runtime's threads spin for 40 ms after a call, on processors that the next turn needs


def suan_engine(path, feed, threads, precision=None):
    options = suan.onnx.SessionOptions()
    options.intra_op_num_threads = threads
    session = suan.onnx.InferenceSession(str(path), options, **({"precision": precision} if precision else {}))
    return lambda: session.run(None, feed)


def onnxruntime_engine(path, feed, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feed)


def openvino_engine(path, feed, threads, precision="f32"):
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({name: list(value.shape) for name, value in feed.items()})
    request = core.compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    return lambda: [v.copy() for v in request.infer(feed).values()]


def in_turn(engines, seconds, turns=3):
    """Milliseconds of each engine's calls."""
    taken = {name: [] for name in engines}
    for run in engines.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, taken.values())) < turns * 3:
        for name, run in engines.items():
            time.sleep(REST)
            run()
            for _ in range(3):
                start = time.perf_counter()
                run()
                taken[name].append((time.perf_counter() - start) * 1e3)
    return taken


class Table:
    def __init__(self, title, peers):
        self.peers, self.logs = peers, []
        print(f"\n**{title}**\n\n| | Suan | {' | '.join(peers)} | ratio | goal |\n|---|---|{'---|' * len(peers)}---|---|")

    def row(self, name, taken, goal=""):
        cells = [f"{statistics.median(t):.3g} ({min(t):.3g})" if (t := taken.get(who)) else "" for who in ("suan", *self.peers)]
        beside = [taken[who] for who in self.peers if who in taken]
        ratio = min(map(statistics.median, beside)) / statistics.median(taken["suan"])
        self.logs.append(math.log(ratio))
        print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} ({min(map(min, beside)) / min(taken['suan']):.2f}) | {goal} |", flush=True)

    def mean(self, goal):
        ratios = [math.exp(x) for x in self.logs]
        print(f"\nGeometric mean {math.exp(sum(self.logs) / len(ratios)):.2f}, the least {min(ratios):.2f} (goal {goal})", flush=True)


def image():
    return {"input": np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)}


def tokens():
    return {"input_ids": np.random.default_rng(0).integers(1, 1000, (1, 128)), "attention_mask": np.ones((1, 128), np.int64)}


NETWORKS = {"resnet50": image, "mobilenet_v2": image, "bert_base": tokens}


def networks(folder):
    """The exported networks and their quantised forms, made where a file is missing."""
    if any(not (folder / f"{name}.onnx").exists() for name in NETWORKS):
        subprocess.run([sys.executable, str(Path(__file__).with_name("onnx_networks.py")), str(folder)], check=True)
    return folder


def table_fp32(args):
    table = Table("float32, batch 1; BERT-base with 128 tokens", ("ONNX Runtime", "OpenVINO"))
    for name, goal in (("resnet50", "1.10"), ("mobilenet_v2", "1.0"), ("bert_base", "1.05")):
        path, feed = networks(args.networks) / f"{name}.onnx", NETWORKS[name]()
        table.row(name, in_turn({
            "suan": suan_engine(path, feed, args.threads),
            "ONNX Runtime": onnxruntime_engine(path, feed, args.threads),
            "OpenVINO": openvino_engine(path, feed, args.threads)}, args.seconds), goal)


def table_bf16(args):
    table = Table('`precision="bf16"`', ("OpenVINO",))
    for name, goal in (("resnet50", "1.05"), ("mobilenet_v2", "1.0"), ("bert_base", "1.05")):
        path, feed = networks(args.networks) / f"{name}.onnx", NETWORKS[name]()
        table.row(name, in_turn({
            "suan": suan_engine(path, feed, args.threads, "bf16"),
            "OpenVINO": openvino_engine(path, feed, args.threads, "bf16")}, args.seconds), goal)


def table_int8(args):
    table = Table("8 bits: static QDQ (u8, i8 by channel), and dynamic", ("ONNX Runtime", "OpenVINO"))
    for name, network, goal in (("resnet50_qdq", "resnet50", ""), ("mobilenet_v2_qdq", "mobilenet_v2", ""), ("bert_base_dynamic", "bert_base", "1.2")):
        path, feed = networks(args.networks) / f"{name}.onnx", NETWORKS[network]()
        engines = {"suan": suan_engine(path, feed, args.threads), "ONNX Runtime": onnxruntime_engine(path, feed, args.threads)}
        try:
            engines["OpenVINO"] = openvino_engine(path, feed, args.threads)
        except RuntimeError as error:
            print(f"<!-- {name}: OpenVINO: {str(error).splitlines()[0]} -->")
        table.row(name, in_turn(engines, args.seconds), goal)


def table_layers(args):
    import onnx
    from onnx import TensorProto, helper
    table = Table("DynamicQuantizeMatMul alone", ("ONNX Runtime",))
    rng = np.random.default_rng(0)
    for m in (1, 16, 128, 512):
        for k, n in ((768, 768), (768, 3072), (3072, 768)):
            constants = {"w": rng.integers(-127, 128, (k, n), dtype=np.int8), "s": rng.random(n, dtype=np.float32), "z": np.zeros(n, np.int8)}
            graph = helper.make_graph(
                [helper.make_node("DynamicQuantizeMatMul", ["x", "w", "s", "z"], ["y"], domain="com.microsoft")], "layer",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [m, k])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [m, n])],
                [onnx.numpy_helper.from_array(v, name) for name, v in constants.items()])
            model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)])
            with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
                onnx.save(model, file.name)
                feed = {"x": rng.standard_normal((m, k), dtype=np.float32)}
                table.row(f"{m} × {k} × {n}", in_turn({
                    "suan": suan_engine(file.name, feed, args.threads),
                    "ONNX Runtime": onnxruntime_engine(file.name, feed, args.threads)}, args.seconds / 4), "1.2")


def table_real(args):
    subprocess.run([sys.executable, str(ROOT / "tools" / "onnx_models.py"), str(args.models)], check=True, stdout=subprocess.DEVNULL)
    table = Table("real models of PyPI packages (OpenVINO where it reads them)", ("ONNX Runtime", "OpenVINO"))
    loads, worst = [], (math.inf, "")
    for path in sorted(args.models.glob("*.onnx")):
        if args.names and path.stem not in args.names:
            continue
        case = np.load(ROOT / "tests" / "python" / "golden" / "onnx_models" / f"{path.stem}.npz")
        names = [p.name for p in suan.onnx.InferenceSession(str(path)).get_inputs()]
        feed = dict(zip(names, [case[f"in_{k}"] for k in range(len(names))], strict=True))
        loads.append(statistics.median(in_turn_loads(path)))
        engines = {"suan": suan_engine(path, feed, args.threads), "ONNX Runtime": onnxruntime_engine(path, feed, args.threads)}
        try:
            engines["OpenVINO"] = openvino_engine(path, feed, args.threads)
            engines["OpenVINO"]()
        except RuntimeError as error:
            engines.pop("OpenVINO", None)
            print(f"<!-- {path.stem}: OpenVINO: {' '.join(str(error).split())[:160]} -->")
        if args.threads > 1:
            engines["one thread"] = suan_engine(path, feed, 1)
        taken = in_turn(engines, args.seconds)
        one = taken.pop("one thread", None)
        if one:
            worst = min(worst, (statistics.median(one) / statistics.median(taken["suan"]), path.stem))
        table.row(path.stem, taken, "0.8")
    table.mean("1.0, none below 0.8")
    print(f"Load time {math.exp(sum(map(math.log, loads)) / len(loads)):.2f} of ONNX Runtime's in the geometric mean (goal 0.5).")
    if worst[1]:
        print(f"{args.threads} threads over one, the least: {worst[0]:.2f} ({worst[1]}; goal 0.95)")


def in_turn_loads(path):
    """Suan's session creation over ONNX Runtime's, three times."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for _ in range(3):
        start = time.perf_counter()
        suan.onnx.InferenceSession(str(path))
        middle = time.perf_counter()
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        yield (middle - start) / (time.perf_counter() - middle)


FIRST = """
import sys
import numpy as np
import {module} as runtime
options = runtime.SessionOptions()
options.intra_op_num_threads = {threads}
session = runtime.InferenceSession({path!r}, options, providers=["CPUExecutionProvider"])
session.run(None, {{"input": np.ones((1, 3, 224, 224), np.float32)}})
"""


def table_first(args):
    table = Table("a fresh Python process to its first answer of MobileNetV2", ("ONNX Runtime",))
    path = str(networks(args.networks) / "mobilenet_v2.onnx")
    taken = {"suan": [], "ONNX Runtime": []}
    with tempfile.TemporaryDirectory() as cache:   # compiled Python is kept, as an installed package's is
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment.update(PYTHONPYCACHEPREFIX=cache, PYTHONPATH=str(PYTHON))
        for turn in range(9):
            for who, module in (("suan", "suan.onnx"), ("ONNX Runtime", "onnxruntime")):
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", FIRST.format(module=module, threads=args.threads, path=path)], check=True, env=environment)
                if turn:
                    taken[who].append((time.perf_counter() - start) * 1e3)
    table.row("MobileNetV2", taken, "1.25")


TABLES = {"fp32": table_fp32, "bf16": table_bf16, "int8": table_int8, "layers": table_layers, "real": table_real, "first": table_first}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--names", nargs="+", help="of the real models, these")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4, help="a row takes so long")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "onnx_models", help="the real models' folder")
    parser.add_argument("--networks", type=Path, default=ROOT / "build" / "bench_models", help="the exported networks' folder")
    args = parser.parse_args()
    suan.set_num_threads(args.threads)
    print(f"Suan {suan.__version__}, ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}, {args.threads} threads; "
          "ms, median (fastest); ratio: the faster peer / Suan")
    for name in args.only:
        TABLES[name](args)


if __name__ == "__main__":
    main()
