"""Sampling, box, Fourier, random and recurrent operators of ONNX: what ONNX's own suite leaves out."""

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import suan.onnx


def session(op, inputs, outputs, initializers=(), opset=21, **attrs):
    """One node; inputs: name -> (type, dims)."""
    values = [h.make_tensor_value_info(n, *t) for n, t in inputs.items()]
    names = [*inputs, *initializers]
    weights = [numpy_helper.from_array(np.asarray(v), n) for n, v in initializers.items()] if initializers else []
    out = [h.make_tensor_value_info(n, t, None) for n, t in outputs.items()]
    graph = h.make_graph([h.make_node(op, names, list(outputs), **attrs)], "g", values, out, weights)
    m = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=10)
    return suan.onnx.InferenceSession(m.SerializeToString())


def run(s, *values):
    return s.run(None, {i.name: v for i, v in zip(s.get_inputs(), values)})


@pytest.mark.parametrize("n", [1, 2, 7, 37, 60, 100])
def test_dft_there_and_back(n):
    x = np.random.default_rng(n).standard_normal((3, n, 2)).astype("f4")
    there = session("DFT", {"x": (T.FLOAT, [3, n, 2])}, {"y": T.FLOAT})
    back = session("DFT", {"x": (T.FLOAT, [3, n, 2])}, {"y": T.FLOAT}, inverse=1)
    y = run(there, x)[0]
    want = np.fft.fft(x[..., 0] + 1j * x[..., 1])
    assert np.abs(y[..., 0] + 1j * y[..., 1] - want).max() < 1e-4
    assert np.abs(run(back, y)[0] - x).max() < 1e-5


def test_random_nodes():
    kinds = {"RandomUniform": {"low": 2.0, "high": 4.0}, "RandomNormal": {"mean": 3.0, "scale": 0.5}}
    for op, attrs in kinds.items():
        free = session(op, {}, {"y": T.FLOAT}, shape=[4000], **attrs)
        fixed = session(op, {}, {"y": T.FLOAT}, shape=[4000], seed=5.0, **attrs)
        a, b = run(free)[0], run(free)[0]
        assert a.dtype == np.float32 and not np.array_equal(a, b), op
        assert abs(a.mean() - 3) < 0.05 and 0.4 < a.std() < 0.65, (op, a.mean(), a.std())
        assert np.array_equal(run(fixed)[0], run(fixed)[0]), op


def test_multinomial_follows_the_weights():
    p = np.log(np.array([[0.5, 0.25, 0.25, 1e-30]], "f4"))
    s = session("Multinomial", {"x": (T.FLOAT, [1, 4])}, {"y": T.INT64}, sample_size=4000, dtype=int(T.INT64))
    counts = np.bincount(run(s, p)[0][0], minlength=4) / 4000
    assert np.abs(counts - [0.5, 0.25, 0.25, 0]).max() < 0.05, counts


def test_lstm_with_a_named_length_is_laid_out_anew():
    rng = np.random.default_rng(0)
    w, r, b = (rng.standard_normal(s).astype("f4") * 0.3 for s in ((1, 20, 3), (1, 20, 5), (1, 40)))
    s = session("LSTM", {"x": (T.FLOAT, ["steps", 2, 3])}, {"y": T.FLOAT, "yh": T.FLOAT, "yc": T.FLOAT},
                {"w": w, "r": r, "b": b}, hidden_size=5)
    for steps in (4, 9, 17):
        x = rng.standard_normal((steps, 2, 3)).astype("f4")
        state, cell = np.zeros((2, 5)), np.zeros((2, 5))
        for t in range(steps):
            i, o, f, g = np.split(x[t] @ w[0].T + state @ r[0].T + b[0, :20] + b[0, 20:], 4, 1)
            i, o, f = (1 / (1 + np.exp(-v)) for v in (i, o, f))
            cell = f * cell + i * np.tanh(g)
            state = o * np.tanh(cell)
        y, yh, yc = run(s, x)
        assert np.abs(y[-1, 0] - state).max() < 1e-5 and np.array_equal(y[-1], yh)
        assert np.abs(yc[0] - cell).max() < 1e-5


def test_rnn_function_parameters_go_to_those_that_take_them():
    x = np.array([[[-1.0]], [[2.0]]], "f4")
    s = session("RNN", {"x": (T.FLOAT, [2, 1, 1])}, {"y": T.FLOAT},
                {"w": np.ones((2, 1, 1), "f4"), "r": np.zeros((2, 1, 1), "f4")}, hidden_size=1, direction="bidirectional",
                activations=["Tanh", "LeakyRelu"], activation_alpha=[0.5], clip=1.5)
    y = run(s, x)[0][:, :, 0, 0]
    assert np.allclose(y, [[np.tanh(-1), -0.5], [np.tanh(1.5), 1.5]], atol=1e-6), y
