"""Quantised models by name: what golden/make_quantized.py asks ONNX Runtime and test_onnx_quantized.py asks Suan. Inputs
come from a seeded generator, so only answers are stored."""

import zlib

import numpy as np
from onnx import helper as h

CASES = {}
f32 = lambda *a: np.array(a, np.float32)


def case(name, op, inputs, **attrs):
    CASES[name] = (op, inputs, attrs)


def build(name):
    """The model's bytes, its inputs, and the type of its output."""
    op, inputs, attrs = CASES[name]
    values = inputs(np.random.default_rng(zlib.crc32(name.encode())))
    feeds = {f"i{k}": v for k, v in enumerate(values) if v is not None}
    node = h.make_node(op, [f"i{k}" if v is not None else "" for k, v in enumerate(values)], ["o"], domain="com.microsoft", **attrs)
    infos = [h.make_tensor_value_info(k, h.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feeds.items()]
    graph = h.make_graph([node], name, infos, [h.make_empty_tensor_value_info("o")])
    opsets = [h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)]
    return h.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString(), feeds


def u8(rng, *shape):
    return rng.integers(0, 256, shape).astype("u1")


def i8(rng, *shape):
    return rng.integers(-127, 128, shape).astype("i1")


def point(v, dtype="u1"):
    return np.array(v, dtype)


case("dynamic matmul", "DynamicQuantizeMatMul", lambda r: [r.standard_normal((5, 32)).astype("f4"), i8(r, 32, 7), f32(0.02)])
case("dynamic matmul per column with a bias", "DynamicQuantizeMatMul", lambda r: [
    r.standard_normal((2, 5, 32)).astype("f4"), u8(r, 32, 7), r.uniform(0.01, 0.03, 7).astype("f4"), u8(r, 7), f32(*range(7))])
case("matmul to float", "MatMulIntegerToFloat", lambda r: [
    u8(r, 4, 16), i8(r, 16, 6), f32(0.05), r.uniform(0.01, 0.03, 6).astype("f4"), point([120]), None, f32(*range(6))])
for op in ("QLinearAdd", "QLinearMul"):
    case(op, op, lambda r: [u8(r, 3, 8), point(0.03, "f4"), point(100), u8(r, 8), point(0.05, "f4"), point(128), point(0.1, "f4"), point(90)])
    case(op + " signed", op, lambda r: [i8(r, 3, 8), point(0.03, "f4"), point(3, "i1"), i8(r, 3, 8), point(0.05, "f4"), point(-5, "i1"),
                                        point(0.1, "f4"), point(1, "i1")])
case("sigmoid", "QLinearSigmoid", lambda r: [u8(r, 40), point(0.06, "f4"), point(128), point(1 / 256, "f4"), point(0)])
case("leaky relu", "QLinearLeakyRelu", lambda r: [u8(r, 40), point(0.06, "f4"), point(128), point(0.04, "f4"), point(60)], alpha=0.2)
case("softmax", "QLinearSoftmax", lambda r: [u8(r, 3, 9), point(0.06, "f4"), point(128), point(1 / 256, "f4"), point(0)], axis=-1, opset=13)
case("average pool", "QLinearAveragePool", lambda r: [u8(r, 1, 3, 8, 9), point(0.06, "f4"), point(128), point(0.05, "f4"), point(120)],
     kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
case("average pool channels last", "QLinearAveragePool",
     lambda r: [u8(r, 1, 8, 9, 3), point(0.06, "f4"), point(128), point(0.05, "f4"), point(120)], kernel_shape=[2, 2], channels_last=1)
case("global average pool", "QLinearGlobalAveragePool", lambda r: [u8(r, 2, 3, 8, 9), point(0.06, "f4"), point(128), point(0.02, "f4"), point(120)])
case("global average pool channels last", "QLinearGlobalAveragePool",
     lambda r: [u8(r, 2, 8, 9, 3), point(0.06, "f4"), point(128), point(0.02, "f4"), point(120)], channels_last=1)
case("concat", "QLinearConcat", lambda r: [point(0.07, "f4"), point(110), u8(r, 2, 3), point(0.06, "f4"), point(128), u8(r, 2, 4), point(0.03, "f4"), point(9)],
     axis=1)
case("where", "QLinearWhere", lambda r: [r.random((3, 4)) > 0.5, u8(r, 3, 4), point(0.06, "f4"), point(128), u8(r, 3, 4), point(0.03, "f4"),
                                         point(9), point(0.07, "f4"), point(110)])
case("gemm", "QGemm", lambda r: [u8(r, 4, 16), point(0.03, "f4"), point(110), i8(r, 6, 16), point(0.01, "f4"), point(0, "i1"),
                                 r.integers(-500, 500, 6).astype("i4"), point(0.05, "f4"), point(120)], transB=1)
case("gemm to float", "QGemm", lambda r: [u8(r, 4, 16), point(0.03, "f4"), point(110), i8(r, 16, 6), r.uniform(0.01, 0.03, 6).astype("f4"),
                                          np.zeros(6, "i1"), r.integers(-500, 500, 6).astype("i4")])
case("max pool", "NhwcMaxPool", lambda r: [u8(r, 1, 8, 9, 3)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
case("attention", "QAttention", lambda r: [u8(r, 2, 5, 8), i8(r, 8, 24), r.standard_normal(24).astype("f4"), point(0.02, "f4"), point(0.01, "f4"),
                                           None, point(128), point(0, "i1")], num_heads=2)
for bits, block in ((4, 32), (8, 32)):
    blocks, n = 2, 5
    case(f"{bits}-bit weights", "MatMulNBits", lambda r, bits=bits, block=block: [
        r.standard_normal((3, 50)).astype("f4"), u8(r, n, blocks, block * bits // 8), r.uniform(0.01, 0.03, n * blocks).astype("f4")],
        K=50, N=n, bits=bits, block_size=block)
case("4-bit weights with zero points", "MatMulNBits", lambda r: [
    r.standard_normal((2, 3, 96)).astype("f4"), u8(r, 5, 3, 16), r.uniform(0.01, 0.03, 15).astype("f4"), u8(r, 10)],
    K=96, N=5, bits=4, block_size=32)
