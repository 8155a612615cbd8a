"""Makes quantized.npz: ONNX Runtime's answers for tests/python/test_onnx_quantized.py, and small networks quantised by
its tools with their answers. Needs onnx and onnxruntime (1.32 was used); run it from this folder."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper as h
from onnx import numpy_helper as nh
from onnxruntime import quantization as q

sys.path.insert(0, "..")
import quantized_cases

RNG = np.random.default_rng(0)
OPTIONS = ort.SessionOptions()
OPTIONS.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL


def answer(model, feeds):
    return ort.InferenceSession(model, OPTIONS, providers=["CPUExecutionProvider"]).run(None, feeds)


def weight(name, *shape):
    return nh.from_array((RNG.standard_normal(shape) * 0.3).astype("f4"), name)


def network():
    nodes = [
        h.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]), h.make_node("Relu", ["c0"], ["r0"]),
        h.make_node("Conv", ["r0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]), h.make_node("Add", ["c1", "r0"], ["s"]),
        h.make_node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        h.make_node("Sigmoid", ["p"], ["g"]), h.make_node("Mul", ["p", "g"], ["m"]),
        h.make_node("GlobalAveragePool", ["m"], ["a"]), h.make_node("Flatten", ["a"], ["f"]),
        h.make_node("Gemm", ["f", "w2", "b2"], ["y"], transB=1),
    ]
    weights = [weight("w0", 8, 3, 3, 3), weight("b0", 8), weight("w1", 8, 8, 3, 3), weight("b1", 8), weight("w2", 5, 8), weight("b2", 5)]
    graph = h.make_graph(nodes, "cnn", [h.make_tensor_value_info("x", 1, ["n", 3, 12, 12])], [h.make_tensor_value_info("y", 1, ["n", 5])], weights)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


class Reader(q.CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": RNG.standard_normal((4, 3, 12, 12)).astype("f4")} for _ in range(4)]

    def get_next(self):
        return self.left.pop() if self.left else None


out = {}
for name in sorted(quantized_cases.CASES):
    try:
        out[f"case/{name}"] = answer(*quantized_cases.build(name))[0]
    except Exception as e:
        sys.exit(f"{name}: {e}")
with tempfile.TemporaryDirectory() as folder:
    plain = Path(folder) / "plain.onnx"
    onnx.save(network(), plain)
    x = RNG.standard_normal((3, 3, 12, 12)).astype("f4")
    out["x"] = x
    made = {
        "qdq": dict(quant_format=q.QuantFormat.QDQ, per_channel=True),
        "operators": dict(quant_format=q.QuantFormat.QOperator),
        "signed": dict(quant_format=q.QuantFormat.QDQ, activation_type=q.QuantType.QInt8),
    }
    for name, options in made.items():
        q.quantize_static(plain, Path(folder) / name, Reader(), **options)
    q.quantize_dynamic(plain, Path(folder) / "dynamic", op_types_to_quantize=["MatMul", "Gemm"])
    for name in [*made, "dynamic"]:
        data = (Path(folder) / name).read_bytes()
        out[f"model/{name}"] = np.frombuffer(data, "u1")
        out[f"answer/{name}"] = answer(data, {"x": x})[0]
    out["answer/plain"] = answer(plain.read_bytes(), {"x": x})[0]
np.savez_compressed("quantized.npz", **out)
