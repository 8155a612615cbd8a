"""Quantised operators and networks against ONNX Runtime's answers (golden/make_quantized.py)."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper as h
from quantized_cases import CASES, build

import suan.onnx

GOLDEN = np.load(Path(__file__).parent / "golden" / "quantized.npz")


@pytest.mark.parametrize("name", CASES)
def test_operator(name):
    model, feeds = build(name)
    got, want = suan.onnx.InferenceSession(model).run(None, feeds)[0], GOLDEN[f"case/{name}"]
    assert got.shape == want.shape and got.dtype == want.dtype
    if want.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
        return
    off = np.abs(got.astype("i4") - want.astype("i4"))
    assert off.max() <= 1 and (off > 0).mean() < 0.1     # a half may be rounded the other way


@pytest.mark.parametrize("name", sorted(f[6:] for f in GOLDEN.files if f.startswith("model/")))
def test_network(name):
    want, plain = GOLDEN[f"answer/{name}"], GOLDEN["answer/plain"]
    (got,) = suan.onnx.InferenceSession(GOLDEN[f"model/{name}"].tobytes()).run(None, {"x": GOLDEN["x"]})
    lost = np.abs(want - plain).max()      # what quantising costs
    assert got.shape == want.shape and got.dtype == want.dtype
    assert np.abs(got - want).max() < 0.5 * lost + 1e-5


@pytest.mark.parametrize("shape", [(), (3,), (3, 4)])
def test_integer_convolution_of_too_few_dimensions(shape):
    port = lambda name: h.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape)  # noqa: E731
    out = h.make_tensor_value_info("y", onnx.TensorProto.INT32, None)
    graph = h.make_graph([h.make_node("ConvInteger", ["x", "w"], ["y"])], "g", [port("x"), port("w")], [out])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10).SerializeToString()
    with pytest.raises(ValueError, match="wrong rank"):
        suan.onnx.InferenceSession(model).run(None, dict.fromkeys("xw", np.zeros(shape, "u1")))
