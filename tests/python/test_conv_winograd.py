"""3×3 convolutions of sessions take Winograd's way unless exact=True: how far that is from the truth."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import suan.onnx


def convolution(x, w, pads):
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])])
    height, width = x.shape[2] - 2, x.shape[3] - 2
    taps = [(i, j) for i in range(3) for j in range(3)]
    return sum(np.einsum("bkhw,ok->bohw", x[:, :, i : i + height, j : j + width], w[:, :, i, j].astype(np.float64)) for i, j in taps)


def model(w, bias, pads, after=(), size=(None, None)):
    """x -> conv -> the operators named."""
    names = ["y0", *(f"y{k + 1}" for k in range(len(after)))]
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y0"], pads=pads)]
    nodes += [helper.make_node(op, [names[k], *more], [names[k + 1]]) for k, (op, *more) in enumerate(after)]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", w.shape[1], *(s or d for s, d in zip(size, "hw", strict=True))])]
    if any("other" in more for _, *more in after):
        given.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n", w.shape[0], "a", "b"]))
    graph = helper.make_graph(
        nodes, "conv", given, [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(bias, "b")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    "batch, inputs, outputs, size, pads",
    [
        (1, 64, 64, (56, 56), (1, 1, 1, 1)),    # a task takes some tiles through
        (2, 20, 35, (9, 30), (1, 1, 1, 1)),     # channels that fill no block, several images
        (1, 160, 128, (14, 13), (1, 1, 1, 1)),  # step by step
        (3, 32, 16, (3, 6), (0, 2, 1, 0)),      # fewer positions than a tile
    ],
)
def test_error_is_near_that_of_the_exact_way(batch, inputs, outputs, size, pads):
    rng = np.random.default_rng(inputs)
    x = np.maximum(rng.standard_normal((batch, inputs, *size), dtype=np.float32), 0)
    w = rng.standard_normal((outputs, inputs, 3, 3), dtype=np.float32) / np.float32(np.sqrt(9 * inputs))
    bias = rng.standard_normal(outputs, dtype=np.float32)
    data = model(w, bias, pads)
    want = convolution(x, w, pads) + bias[:, None, None]
    error = {}
    results = {}
    for exact in (True, False):
        results[exact] = suan.onnx.InferenceSession(data, exact=exact).run(None, {"x": x})[0]
        error[exact] = np.abs(results[exact] - want).max() / np.sqrt((want**2).mean())
    assert not np.array_equal(results[True], results[False])   # it is another way
    assert error[False] < 1e-5 and error[False] < 10 * error[True]


@pytest.mark.parametrize("after", [[("Relu",)], [("Add", "other"), ("Relu",)], [("Sigmoid",)], [("Add", "other")]])
def test_what_follows_a_convolution_is_done_to_each_tile(after):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 32, 11, 22), dtype=np.float32)
    w = rng.standard_normal((40, 32, 3, 3), dtype=np.float32) / 17
    bias = rng.standard_normal(40, dtype=np.float32)
    feed = {"x": x}
    want = convolution(x, w, (1, 1, 1, 1)) + bias[:, None, None]
    for op, *more in after:
        if more:
            feed["other"] = rng.standard_normal(want.shape, dtype=np.float32)
            want = want + feed["other"]
        elif op == "Relu":
            want = np.maximum(want, 0)
        else:
            want = 1 / (1 + np.exp(-want))
    got = suan.onnx.InferenceSession(model(w, bias, (1, 1, 1, 1), after)).run(None, feed)[0]
    np.testing.assert_allclose(got, want, atol=3e-5)


@pytest.mark.parametrize("size, changes", [((6, 30), False), ((7, 13), True), ((12, 21), True)])
def test_many_weights_need_a_picture(size, changes):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 130, *size), dtype=np.float32)
    w = rng.standard_normal((144, 130, 3, 3), dtype=np.float32) / 34
    data = model(w, np.zeros(144, np.float32), (1, 1, 1, 1), size=size)
    quick, exact = (suan.onnx.InferenceSession(data, exact=e).run(None, {"x": x})[0] for e in (False, True))
    assert np.array_equal(quick, exact) != changes
    np.testing.assert_allclose(quick, exact, atol=3e-5)


def test_bits_are_those_of_any_number_of_threads_and_of_either_way_to_a_plan():
    rng = np.random.default_rng(2)
    w = rng.standard_normal((32, 48, 3, 3), dtype=np.float32)
    data = model(w, np.zeros(32, np.float32), (1, 1, 1, 1))
    images = [rng.standard_normal((1, 48, h, 31), dtype=np.float32) for h in (30, 9, 17)]
    alone = [suan.onnx.InferenceSession(data).run(None, {"x": x})[0] for x in images]   # translated for its sizes
    one = suan.onnx.Session(data, threads=1)
    for x, want in zip(images, alone, strict=True):   # the second and third laid out from open sizes
        np.testing.assert_array_equal(one.run({"x": x})[0], want)
