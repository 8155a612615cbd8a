"""Models whose products are of integers: exact sums, the same bits with every instruction set and however they are run."""

import os
import subprocess
import sys

import numpy as np
import onnx
import oracle_quant
import pytest
from onnx import helper as h
from onnx import numpy_helper

import suan
import suan.onnx

F = np.float32


def model(nodes, constants, **inputs):
    """Inputs by name: (dtype, shape). The last node's first result is the output."""
    infos = [h.make_tensor_value_info(k, h.np_dtype_to_tensor_dtype(np.dtype(t)), s) for k, (t, s) in inputs.items()]
    made = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    out = [h.make_empty_tensor_value_info(nodes[-1].output[0])]
    opsets = [h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)]
    return h.make_model(h.make_graph(nodes, "g", infos, out, made), opset_imports=opsets, ir_version=8).SerializeToString()


def dynamic_linear(k, n, per_column, dtype, zero, as_inputs=False):
    """What exporters make of a linear layer, its weights, and what NumPy makes of x."""
    r = np.random.default_rng(k + n)
    limits = np.iinfo(dtype)
    weights = {
        "w": r.integers(limits.min, limits.max + 1, (k, n)).astype(dtype),
        "wz": np.full(n if per_column else (), zero, dtype),
        "ws": r.uniform(0.001, 0.002, n if per_column else ()).astype("f4"),
        "b": r.standard_normal(n).astype("f4"),
    }
    nodes = [
        h.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        h.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["sums"]),
        h.make_node("Cast", ["sums"], ["f"], to=1),
        h.make_node("Mul", ["s", "ws"], ["scale"]),
        h.make_node("Mul", ["f", "scale"], ["scaled"]),
        h.make_node("Add", ["scaled", "b"], ["y"]),
    ]
    inputs = {"x": ("f4", ["m", k])}
    if as_inputs:
        inputs |= {name: (v.dtype, v.shape) for name, v in weights.items()}

    def want(x):
        q, s, z = oracle_quant.dynamic_quantize(x)
        sums = (q - z) @ (weights["w"].astype("i8") - weights["wz"].astype("i8"))
        return F(sums) * (s * weights["ws"]) + weights["b"]

    return model(nodes, {} if as_inputs else weights, **inputs), weights, want


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("dtype,zero", [("i1", 0), ("i1", 5), ("u1", 130)])
def test_a_dynamic_layer_to_the_bit(dtype, zero, per_column):
    k, n = 70, 45
    packed, weights, want = dynamic_linear(k, n, per_column, dtype, zero)
    plain, _, _ = dynamic_linear(k, n, per_column, dtype, zero, as_inputs=True)
    constant, given = suan.onnx.InferenceSession(packed), suan.onnx.InferenceSession(plain)
    for m in (1, 5, 33):
        x = np.random.default_rng(m).standard_normal((m, k)).astype("f4")
        (got,) = constant.run(None, {"x": x})
        assert np.array_equal(got, want(x))
        assert np.array_equal(got, given.run(None, {"x": x, **weights})[0])   # the pass packs no inputs


@pytest.mark.parametrize("shape", [(300, 40, 600), (64, 4096, 40)])
def test_many_panels_and_rows(shape):
    m, k, n = shape
    packed, _, want = dynamic_linear(k, n, True, "i1", 0)
    x = np.random.default_rng(0).standard_normal((m, k)).astype("f4")
    assert np.array_equal(suan.onnx.InferenceSession(packed).run(None, {"x": x})[0], want(x))


def test_a_product_with_two_readers_keeps_both():
    packed, _, want = dynamic_linear(32, 40, False, "i1", 0)
    m = onnx.load_from_string(packed)
    for name in ("sums", "scaled"):
        m.graph.output.append(h.make_empty_tensor_value_info(name))
    x = np.random.default_rng(0).standard_normal((3, 32)).astype("f4")
    y, sums, scaled = suan.onnx.InferenceSession(m.SerializeToString()).run(None, {"x": x})
    assert sums.dtype == np.int32 and np.array_equal(y, want(x)) and (np.abs(scaled) > 0).any()


LSTM = dict(steps=6, batch=2, inputs=12, hidden=21)


def lstm(directions, direction, dtype="i1", **more):
    r = np.random.default_rng(directions)
    size, gates = LSTM, 4 * LSTM["hidden"]
    low = 0 if dtype == "u1" else -127
    constants = {
        "w": r.integers(low, low + 255, (directions, size["inputs"], gates)).astype(dtype),
        "r": r.integers(low, low + 255, (directions, size["hidden"], gates)).astype(dtype),
        "b": r.standard_normal((directions, 2 * gates)).astype("f4"),
        "ws": r.uniform(0.002, 0.004, (directions, gates)).astype("f4"), "wz": np.full((directions, gates), 128 + low % 2, dtype) if low == 0
        else np.zeros((directions, gates), dtype),
        "rs": r.uniform(0.002, 0.004, directions).astype("f4"), "rz": np.full(directions, 128 if low == 0 else 3, dtype),
    }
    node = h.make_node("DynamicQuantizeLSTM", ["x", "w", "r", "b", "", "h0", "c0", "", "ws", "wz", "rs", "rz"], ["y", "h", "c"],
                       domain="com.microsoft", direction=direction, hidden_size=size["hidden"], **more)
    m = onnx.load_from_string(model([node], constants, x=("f4", ["steps", "batch", size["inputs"]]),
                                    h0=("f4", [directions, "batch", size["hidden"]]), c0=("f4", [directions, "batch", size["hidden"]])))
    for name in "hc":
        m.graph.output.append(h.make_empty_tensor_value_info(name))
    return m.SerializeToString(), constants


@pytest.mark.parametrize("directions,direction,dtype", [(1, "forward", "i1"), (1, "reverse", "u1"), (2, "bidirectional", "i1")])
def test_dynamic_quantize_lstm(directions, direction, dtype):
    file, v = lstm(directions, direction, dtype)
    steps, batch, hidden = LSTM["steps"], LSTM["batch"], LSTM["hidden"]
    r = np.random.default_rng(7)
    x = r.standard_normal((steps, batch, LSTM["inputs"])).astype("f4")
    h0, c0 = r.uniform(-1, 1, (2, directions, batch, hidden)).astype("f4")
    got = suan.onnx.InferenceSession(file).run(None, {"x": x, "h0": h0, "c0": c0})
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    q, s, z = oracle_quant.dynamic_quantize(x)
    y, last_h, last_c = np.zeros((steps, directions, batch, hidden)), h0.astype("f8"), c0.astype("f8")
    for d in range(directions):
        w = (v["w"][d].astype("f8") - v["wz"][d]) * v["ws"][d]
        u = (v["r"][d].astype("f8") - v["rz"][d]) * v["rs"][d]
        bias = v["b"][d].reshape(2, -1).sum(0)
        for t in reversed(range(steps)) if direction == "reverse" or d else range(steps):
            for b in range(batch):
                state, scale, zero = oracle_quant.dynamic_quantize(last_h[d, b])
                i, o, f, g = (((q[t, b] - z) * float(s)) @ w + ((state - zero) * float(scale)) @ u + bias).reshape(4, hidden)
                last_c[d, b] = sigmoid(f) * last_c[d, b] + sigmoid(i) * np.tanh(g)
                last_h[d, b] = y[t, d, b] = sigmoid(o) * np.tanh(last_c[d, b])
    for a, b in zip(got, (y, last_h, last_c)):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-3)      # a state may be rounded the other way


def test_an_lstm_of_other_functions_is_widened():
    file, _ = lstm(1, "forward", clip=0.5)
    x = np.zeros((3, 1, LSTM["inputs"]), "f4")
    y, *_ = suan.onnx.InferenceSession(file).run(None, {"x": x, **dict.fromkeys(("h0", "c0"), np.zeros((1, 1, LSTM["hidden"]), "f4"))})
    assert y.shape == (3, 1, 1, LSTM["hidden"]) and np.abs(y).max() > 0


@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize("m", [1, 3, 8, 20])
def test_weights_of_four_bits(m, points):
    k, n, block = 200, 37, 32
    blocks, r = -(-k // block), np.random.default_rng(m)
    v = {"w": r.integers(0, 256, (n, blocks, block // 2)).astype("u1"), "s": r.uniform(0.01, 0.03, n * blocks).astype("f4")}
    if points:
        v["z"] = r.integers(0, 256, n * ((blocks + 1) // 2)).astype("u1")
    x = r.standard_normal((m, k)).astype("f4")
    node = h.make_node("MatMulNBits", ["x", *v], ["y"], domain="com.microsoft", K=k, N=n, bits=4, block_size=block)
    (got,) = suan.onnx.InferenceSession(model([node], v, x=("f4", ["m", k]))).run(None, {"x": x})
    q = np.stack([v["w"] & 15, v["w"] >> 4], -1).reshape(n, blocks, block).astype("f8")
    z = np.stack([v["z"] & 15, v["z"] >> 4], -1).reshape(n, -1)[:, :blocks, None] if points else 8
    w = ((q - z) * v["s"].reshape(n, blocks, 1)).reshape(n, -1)[:, :k]
    np.testing.assert_allclose(got, x.astype("f8") @ w.T, rtol=0, atol=2e-5)


def test_weights_of_four_bits_of_a_wrong_size():
    v = {"w": np.zeros((4, 2, 16), "u1"), "s": np.ones(7, "f4")}
    node = h.make_node("MatMulNBits", ["x", *v], ["y"], domain="com.microsoft", K=64, N=4, bits=4, block_size=32)
    with pytest.raises(ValueError, match="scales do not fit: expected 8"):
        suan.onnx.InferenceSession(model([node], v, x=("f4", [1, 64]))).run(None, {"x": np.zeros((1, 64), "f4")})


DIGEST = """
import hashlib
import numpy as np
from test_onnx_int8 import LSTM, dynamic_linear, lstm
import suan.onnx
digest = hashlib.sha256()
r = np.random.default_rng(0)
for dtype, zero in (("i1", 5), ("u1", 130)):
    session = suan.onnx.InferenceSession(dynamic_linear(70, 45, True, dtype, zero)[0])
    for m in (1, 20):
        digest.update(session.run(None, {"x": r.standard_normal((m, 70)).astype("f4")})[0].tobytes())
x = r.standard_normal((6, 9, LSTM["inputs"])).astype("f4")
state = np.zeros((2, 9, LSTM["hidden"]), "f4")
for out in suan.onnx.InferenceSession(lstm(2, "bidirectional")[0]).run(None, {"x": x, "h0": state, "c0": state}):
    digest.update(out.tobytes())
print(digest.hexdigest())
"""


def test_the_same_bits_on_every_processor():
    """VNNI or products in 16 bits, AVX-512 or AVX2."""
    def digest(**more):
        paths = [os.path.dirname(__file__), *sys.path]
        env = {**os.environ, **more, "PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.run([sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True, check=True).stdout

    here = digest()
    assert len(here) == 65
    for more in ({"SUAN_INT8": "wide"}, {"SUAN_ISA": "avx2"}, {"SUAN_ISA": "avx2", "SUAN_INT8": "wide"}):
        assert digest(**more) == here, more
