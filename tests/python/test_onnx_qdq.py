"""Graphs through 8-bit integers: DequantizeLinear, something, QuantizeLinear, and the integer operators. With the pass, without
it (exact=True), and against the integers that they stand for, in NumPy."""

import functools

import numpy as np
import onnx
import pytest
from onnx import helper as h
from onnx import numpy_helper

import oracle_nn
import suan
import suan.onnx
from suan.profiler import profile

LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}


class Net:
    """A quantised network, node by node: what a method returns is the name of a real value that was rounded."""

    def __init__(self, activations="uint8", weights="int8", per_channel=True, seed=0):
        self.rng = np.random.default_rng(seed)
        self.act, self.weights, self.per_channel = np.dtype(activations), np.dtype(weights), per_channel
        self.nodes, self.constants, self.n = [], [], 0

    def name(self, what="v"):
        self.n += 1
        return f"{what}{self.n}"

    def constant(self, value):
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, **attrs):
        out = self.name()
        self.nodes.append(h.make_node(op, inputs, [out], name=f"node {out}", **attrs))
        return out

    def rounded(self, x, scale=0.04, zero=None):
        zero = (120 if self.act == np.uint8 else -7) if zero is None else zero
        p = [self.constant(np.float32(scale)), self.constant(np.array(zero, self.act))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *p]), *p])

    def weight(self, *shape, axis=0):
        lo, hi = LIMITS[self.weights.name]
        n = shape[axis] if self.per_channel else None
        middle = 128 if self.weights == np.uint8 else 0
        scale = np.asarray(self.rng.uniform(0.002, 0.006, n), "f4")
        q = self.rng.integers(lo, hi + 1, shape).astype(self.weights)
        zero = np.full(scale.shape, middle, self.weights)
        return self.node("DequantizeLinear", [self.constant(q), self.constant(scale), self.constant(zero)], **({"axis": axis} if n else {}))

    def conv(self, x, inputs, outputs, kernel, group=1, bias=True, **attrs):
        w = [self.weight(outputs, inputs // group, *kernel)]
        if bias:
            w.append(self.constant(self.rng.uniform(-1, 1, outputs).astype("f4")))
        return self.node("Conv", [x, *w], group=group, kernel_shape=kernel, **attrs)

    def model(self, shape, out, opset=17):
        port = functools.partial(h.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
        graph = h.make_graph(self.nodes, "g", [port("x", shape=shape)], [port(out, shape=None)], self.constants)
        return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8).SerializeToString()


def both(net, out, shape, quantum=0.04, most=1, part=0.02):
    """The answer with the pass, where no value may be more than `most` quanta from that without, and only a `part` of them other;
    and the names of the ops that ran."""
    model = net.model(shape, out)
    x = np.random.default_rng(1).standard_normal(shape).astype("f4")
    plain = suan.onnx.InferenceSession(model, exact=True).run(None, {"x": x})[0]
    session = suan.onnx.InferenceSession(model)
    session.run(None, {"x": x})
    with profile() as p:
        got = session.run(None, {"x": x})[0]
    assert got.shape == plain.shape and got.dtype == plain.dtype and np.ptp(plain) > 4 * quantum
    off = np.abs(got - plain) / quantum
    assert off.max() <= most + 1e-3 and (off > 0.5).mean() <= part, (off.max(), (off > 0.5).mean())
    return got, [c.op for c in p.calls]


CONVOLUTIONS = {
    "1x1": (8, 24, (1, 1), {}),
    "3x3": (8, 40, (3, 3), {"pads": [1, 1, 1, 1]}),
    "3x3 of 3 channels, stride 2": (3, 10, (3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "1x1, stride 2": (16, 8, (1, 1), {"strides": [2, 2]}),
    "uneven, dilated": (5, 7, (3, 2), {"pads": [2, 0, 1, 1], "dilations": [2, 1], "strides": [1, 2]}),
    "groups": (12, 18, (3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    "depthwise": (72, 72, (3, 3), {"group": 72, "pads": [1, 1, 1, 1]}),
    "depthwise 5x5, stride 2, no bias": (9, 9, (5, 5), {"group": 9, "pads": [2, 2, 2, 2], "strides": [2, 2], "bias": False}),
    "two outputs of each channel": (4, 8, (3, 3), {"group": 4}),
}
KINDS = [("uint8", "int8", True), ("int8", "int8", False), ("uint8", "uint8", False)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k[0]} {k[1]} {'each' if k[2] else 'one'}")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name, kind):
    inputs, outputs, kernel, attrs = CONVOLUTIONS[name]
    net = Net(*kind)
    y = net.conv(net.rounded("x", 0.03), inputs, outputs, kernel, **attrs)
    _, ops = both(net, net.rounded(y), (2, inputs, 11, 13))
    assert ops.count("int8_conv") == 1 and not {"conv", "conv_blocked"} & set(ops)


def test_convolution_of_integers_is_exact():
    """QLinearConv and ConvInteger: the integers themselves, on one thread and on two."""
    rng = np.random.default_rng(3)
    for w_type, w_zero in (("i1", 0), ("u1", 128), ("u1", 113)):
        x, w = rng.integers(0, 256, (2, 6, 9, 8)).astype("u1"), rng.integers(0, 256, (10, 3, 3, 3)).astype("u1").view(w_type)
        bias, scale = rng.integers(-4000, 4000, 10).astype("i4"), rng.uniform(0.001, 0.003, 10).astype("f4")
        attrs = dict(group=2, pads=[1, 0, 1, 2], strides=[2, 1])
        want = oracle_nn.conv(x - 77.0, w - float(w_zero), None, [2, 1], [1, 0, 1, 2], [], 2).astype("i8")
        constants = dict(w=w, wz=np.full((), w_zero, w_type), xz=np.uint8(77), b=bias, sx=np.float32(0.05), sw=scale,
                         sy=np.float32(0.09), yz=np.uint8(99))
        named = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
        for op, inputs, out in (("ConvInteger", ["x", "w", "xz", "wz"], "i4"),
                                ("QLinearConv", ["x", "sx", "xz", "w", "sw", "wz", "sy", "yz", "b"], "u1")):
            port = h.make_tensor_value_info("x", onnx.TensorProto.UINT8, x.shape)
            end = h.make_tensor_value_info("y", h.np_dtype_to_tensor_dtype(np.dtype(out)), None)
            graph = h.make_graph([h.make_node(op, inputs, ["y"], **attrs)], "g", [port], [end], [t for t in named if t.name in inputs])
            model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()
            right = want
            if op == "QLinearConv":
                factor = np.float32(0.05) * scale / np.float32(0.09)
                sums = (want + bias[:, None, None]).astype("f4")
                right = np.clip(np.round(sums * factor[:, None, None]) + 99, 0, 255)
            for threads in (1, 2):
                session = suan.onnx.Session(model, threads=threads)
                assert np.array_equal(session(x).numpy(), right), (op, w_type)


def test_network():
    """A residual block, poolings, a concatenation and a product: no real value between the first and the last rounding."""
    net = Net()
    x = net.rounded("x", 0.03)
    a = net.rounded(net.node("Relu", [net.conv(x, 3, 16, (3, 3), pads=[1] * 4, strides=[2, 2])]), 0.03, 0)
    a = net.rounded(net.node("MaxPool", [a], kernel_shape=[2, 2], strides=[2, 2]), 0.03, 0)
    b = net.rounded(net.node("Clip", [net.conv(a, 16, 16, (3, 3), group=16, pads=[1] * 4), net.constant(np.float32(0)),
                                      net.constant(np.float32(6))]), 0.03, 100)
    b = net.rounded(net.conv(b, 16, 16, (1, 1)), 0.05)
    s = net.rounded(net.node("Relu", [net.node("Add", [a, b])]), 0.04, 0)
    gate = net.rounded(net.node("GlobalAveragePool", [s]), 0.02)
    gate = net.rounded(net.node("Sigmoid", [net.rounded(net.conv(gate, 16, 16, (1, 1)), 0.05)]), 1 / 256, 0)
    m = net.rounded(net.node("Mul", [s, gate]), 0.04)
    c = net.rounded(net.node("Concat", [m, a], axis=1), 0.05)
    c = net.rounded(net.node("GlobalAveragePool", [c]), 0.04)
    f = net.rounded(net.node("Reshape", [c, net.constant(np.array([0, -1]))]), 0.04)
    bias = net.constant(net.rng.uniform(-1, 1, 10).astype("f4"))
    y = net.rounded(net.node("Gemm", [f, net.weight(10, 32), bias], transB=1), 0.02)
    _, ops = both(net, y, (2, 3, 20, 24), quantum=0.02, most=2, part=0.5)
    assert not {"conv", "conv_blocked", "linear", "matmul", "max_pool", "mean", "fused_elementwise", "cat_f32"} & set(ops), ops
    assert {"int8_conv", "int8_max_pool", "int8_add", "int8_mul", "int8_mean", "int8_matmul", "int8_lookup"} <= set(ops), ops


@pytest.mark.parametrize("op", ["Sigmoid", "LeakyRelu", "HardSwish", "Tanh", "Relu", "Identity"])
def test_tables_keep_every_bit(op):
    net = Net("int8")
    y = net.rounded(net.node(op, [net.rounded("x", 0.03)]), 0.02, 5)
    model = net.model((3, 50), y)
    x = np.random.default_rng(1).standard_normal((3, 50)).astype("f4")
    got = suan.onnx.InferenceSession(model).run(None, {"x": x})[0]
    q = np.clip(np.round(x / np.float32(0.03)) - 7, -128, 127)
    real = (q + 7).astype("f4") * np.float32(0.03)
    f = {"Sigmoid": lambda v: 1 / (1 + np.exp(-v)), "LeakyRelu": lambda v: np.where(v < 0, v * np.float32(0.01), v), "Tanh": np.tanh,
         "HardSwish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1), "Relu": lambda v: np.maximum(v, 0), "Identity": lambda v: v}[op]
    want = np.clip(np.round(f(real) / np.float32(0.02)) + 5, -128, 127)
    off = np.abs(got / np.float32(0.02) + 5 - want)
    assert off.max() < 1.01 and (off > 0.01).mean() < 0.02     # exp and tanh of NumPy round otherwise
    assert np.array_equal(got, suan.onnx.InferenceSession(model, exact=True).run(None, {"x": x})[0])


def test_values_are_moved_as_integers():
    net = Net()
    x = net.rounded("x", 0.03)
    y = net.rounded(net.node("Transpose", [x], perm=[0, 2, 3, 1]), 0.03)
    y = net.rounded(net.node("Slice", [y, *(net.constant(np.array([v])) for v in (1, 9, 2))]), 0.03)
    _, ops = both(net, y, (2, 3, 12, 10), quantum=0.03, most=0)
    assert ops.count("quantize") == ops.count("dequantize") == 1


def test_real_results():
    """Convolutions whose sums are used as real values, one of them with a zero point of its weights."""
    net = Net()
    x = net.rounded("x", 0.03)
    a = net.node("Tanh", [net.conv(x, 4, 8, (3, 3))])
    w = net.node("DequantizeLinear", [net.constant(net.rng.integers(0, 256, (8, 4, 3, 3)).astype("u1")), net.constant(np.float32(0.004)),
                                      net.constant(np.uint8(117))])
    b = net.node("Conv", [x, w])
    y = net.rounded(net.node("Add", [a, b]))
    _, ops = both(net, y, (1, 4, 9, 9))
    assert ops.count("int8_conv") == 2 and {"tanh", "fused_elementwise"} & set(ops) and ops.count("quantize") == 2


def test_open_sizes_share_packed_weights():
    """A batch of any size, planned again: the same answers row by row."""
    net = Net()
    y = net.rounded(net.conv(net.rounded(net.conv(net.rounded("x", 0.03), 3, 8, (3, 3), pads=[1] * 4), 0.05), 8, 8, (3, 3), group=8))
    session = suan.onnx.InferenceSession(net.model(("n", 3, 9, 10), y))
    x = np.random.default_rng(1).standard_normal((7, 3, 9, 10)).astype("f4")
    (whole,) = session.run(None, {"x": x})
    for n in (1, 2, 5):
        assert np.array_equal(session.run(None, {"x": x[:n]})[0], whole[:n])
