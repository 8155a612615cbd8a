"""Convolutions that become products, products of one weight that become one, transposed convolutions by phases, images of one
dimension in blocks: each gives what the model's own nodes give (`exact=True`)."""

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import suan.onnx
from suan.profiler import profile


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def model(nodes, x, weights, outputs=("y",)):
    graph = h.make_graph([h.make_node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes], "g",
                         [h.make_tensor_value_info("x", T.FLOAT, list(x))], [h.make_tensor_value_info(o, T.UNDEFINED, None) for o in outputs],
                         [numpy_helper.from_array(v, k) for k, v in weights.items()])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()


def ran(session, feed):
    """Outputs, and the ops that made them."""
    session.run(feed)
    with profile() as p:
        outs = [t.numpy() for t in session.run(feed)]
    return outs, [c.op for c in p.calls]


def compared(data, x):
    """The ops of the session, its outputs compared with the exact ones to 1e-5 of their size."""
    got, ops = ran(suan.onnx.Session(data), {"x": x})
    want, _ = ran(suan.onnx.Session(data, exact=True), {"x": x})
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(b).max()))
    return ops


@pytest.mark.parametrize("shape, kernel, attrs", [
    ((2, 8, 5, 1), (5, 3), {"pads": [0, 1, 0, 1]}),            # taps that meet only the padding
    ((1, 16, 4, 6), (4, 6), {}),
    ((3, 20, 7), (5,), {"strides": [4]}),                      # what no window reaches
    ((1, 6, 3, 3), (3, 3), {"strides": [3, 3], "pads": [1, 1, 0, 0]}),
    ((1, 6, 2, 3, 2), (2, 3, 2), {}),
    ((2, 24, 1, 1), (1, 1), {}),                               # as squeeze and excitation has them
])
def test_a_convolution_of_one_position_is_a_product(shape, kernel, attrs):
    weights = {"w": drawn(32, shape[1], *kernel, seed=1), "b": drawn(32, seed=2)}
    ops = compared(model([("Conv", ["x", "w", "b"], ["c"], attrs), ("Relu", ["c"], ["y"])], shape, weights), drawn(*shape))
    assert not any(o.startswith("conv") for o in ops), ops


@pytest.mark.parametrize("shape, kernel, stride", [((2, 1, 400), (96,), [32]), ((1, 1, 1, 333), (1, 80), [1, 7])])
def test_filter_banks_read_one_signal(shape, kernel, stride):
    weights = {"a": drawn(20, 1, *kernel, seed=1), "b": drawn(33, 1, *kernel, seed=2), "bias": drawn(33, seed=3)}
    turned = [0, 2, 1] if len(shape) == 3 else [0, 2, 3, 1]
    nodes = [("Conv", ["x", "a"], ["p"], {"strides": stride}), ("Conv", ["x", "b", "bias"], ["q"], {"strides": stride}),
             ("Transpose", ["p"], ["y"], {"perm": turned}), ("Mul", ["q", "q"], ["z"])]
    ops = compared(model(nodes, shape, weights, ("y", "z")), drawn(*shape))
    assert ops.count("as_strided_copy") == 1 and not any(o.startswith("conv") for o in ops), ops


def unrolled(steps, order, rows=1):
    """h = tanh(x[t] W + h U) over the steps, with x [rows, 96, steps]."""
    nodes, h_now = [], "zero"
    for i, t in enumerate(order):
        nodes += [("Gather", ["x", f"i{t}"], [f"x{i}"], {"axis": 2}), ("Gemm", [f"x{i}", "w", "b"], [f"a{i}"], {"transB": 1}),
                  ("Gemm", [h_now, "u"], [f"r{i}"]), ("Add", [f"a{i}", f"r{i}"], [f"s{i}"]), ("Tanh", [f"s{i}"], [f"h{i}"])]
        h_now = f"h{i}"
    weights = {f"i{t}": np.array(t) for t in range(steps)}
    weights |= {"w": drawn(64, 96, seed=1) / 8, "u": drawn(64, 64, seed=2) / 8, "b": drawn(64, seed=3), "zero": np.zeros((rows, 64), "f4")}
    return model(nodes + [("Identity", [h_now], ["y"])], (rows, 96, steps), weights)


@pytest.mark.parametrize("rows, order", [(1, range(6)), (1, [5, 4, 3, 2, 1, 0]), (1, [0, 1, 2, 5]), (3, range(6))])
def test_the_inputs_of_unrolled_steps_meet_their_weight_once(rows, order):
    order = list(order)
    ops = compared(unrolled(6, order, rows), drawn(rows, 96, 6))
    assert sum(o in ("linear", "linear_panels") for o in ops) == 1, ops   # U's products end in tanh: fused
    assert ops.count("as_strided_copy") == (rows == 1 and order != [0, 1, 2, 5]), ops


def test_products_that_wait_for_one_another_stay_apart():
    nodes = [("MatMul", ["x", "w"], ["a"]), ("Tanh", ["a"], ["b"]), ("MatMul", ["b", "w"], ["c"]), ("Tanh", ["c"], ["d"]),
             ("MatMul", ["d", "w"], ["e"]), ("Add", ["e", "a"], ["y"])]
    ops = compared(model(nodes, (2, 64), {"w": drawn(64, 64, seed=1) / 8}), drawn(2, 64))
    assert "cat" not in ops


@pytest.mark.parametrize("shape, to, kernel, attrs", [
    ((1, 32, 5, 4), 16, (4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((2, 20, 6, 7), 3, (2, 2), {"strides": [2, 2]}),
    ((1, 20, 6, 7), 1, (5, 3), {"strides": [3, 2], "pads": [2, 0, 1, 1], "output_padding": [1, 1]}),
    ((1, 16, 1, 1), 24, (4, 3), {}),                            # of one pixel
    ((2, 16, 1, 1), 5, (4, 3), {"strides": [2, 2], "pads": [1, 0, 2, 1]}),
    ((2, 16, 1, 1), 5, (2, 3), {"strides": [2, 2], "output_padding": [1, 0]}),
    ((2, 24, 9), 17, (8,), {"strides": [4], "pads": [2, 2]}),
    ((1, 24, 9), 17, (3,), {"pads": [1, 1]}),
    ((1, 8, 5, 5), 4, (3, 3), {"strides": [2, 2], "dilations": [2, 2]}),
    ((1, 8, 5, 5), 4, (2, 2), {"strides": [3, 3]}),             # gaps between the windows
    ((1, 8, 5, 5), 4, (3, 3), {"group": 2}),
])
def test_transposed_convolutions(shape, to, kernel, attrs):
    weights = {"w": drawn(shape[1], to // attrs.get("group", 1), *kernel, seed=1), "b": drawn(to, seed=2)}
    compared(model([("ConvTranspose", ["x", "w", "b"], ["c"], attrs), ("Relu", ["c"], ["y"])], shape, weights), drawn(*shape))


@pytest.mark.parametrize("channels", [32, 12])
def test_one_dimension_is_a_picture_of_height_one(channels):
    """The same bits as with the height written out, through poolings, sums by channel and concatenations."""
    def built(flat):
        lift = (lambda a: a) if flat else (lambda a: a[..., None, :])
        size = (lambda v: [v]) if flat else (lambda v: [1, v])
        weights = {"w": lift(drawn(channels, 10, 5, seed=1)), "b": drawn(channels, seed=2), "d": lift(drawn(channels, 1, 3, seed=3)),
                   "v": lift(drawn(16, channels, 3, seed=4)), "s": drawn(*((channels, 1) if flat else (channels, 1, 1)), seed=5)}
        pads = (lambda p: [p, p]) if flat else (lambda p: [0, p, 0, p])
        nodes = [("Conv", ["x", "w", "b"], ["c"], {"pads": pads(4), "dilations": size(2), "strides": size(2)}), ("Relu", ["c"], ["r"]),
                 ("Conv", ["r", "d"], ["e"], {"group": channels, "pads": pads(1)}), ("Mul", ["e", "s"], ["f"]), ("Add", ["f", "r"], ["g"]),
                 ("MaxPool", ["g"], ["m"], {"kernel_shape": size(3), "strides": size(2), "pads": pads(1)}),
                 ("Conv", ["m", "v"], ["n"], {"pads": pads(1)}), ("Concat", ["n", "n"], ["y"], {"axis": 1})]
        return model(nodes, (2, 10, 41) if flat else (2, 10, 1, 41), weights)
    x = drawn(2, 10, 41)
    flat, flat_ops = ran(suan.onnx.Session(built(True), exact=True), {"x": x})
    tall, _ = ran(suan.onnx.Session(built(False), exact=True), {"x": x[:, :, None]})
    assert np.array_equal(flat[0], tall[0][:, :, 0])
    assert "conv" not in flat_ops, flat_ops
    compared(built(True), x)


@pytest.mark.parametrize("kernel, attrs", [((2, 2), {"strides": [2, 2]}), ((3, 3), {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
                                           ((2, 3), {"strides": [1, 3], "dilations": [2, 2], "pads": [0, 1, 0, 1]})])
def test_max_pool_without_places_gives_the_same_values(kernel, attrs):
    x = drawn(2, 5, 13, 18)
    x[0, 1, 3, 4], x[1, 2, 5, 6] = np.nan, -np.inf
    x[0, 0, :4] = 0.0
    x[0, 0, 1::2] = -0.0
    attrs = attrs | {"kernel_shape": list(kernel)}
    alone, _ = ran(suan.onnx.Session(model([("MaxPool", ["x"], ["y"], attrs)], x.shape, {})), {"x": x})
    placed, _ = ran(suan.onnx.Session(model([("MaxPool", ["x"], ["y", "z"], attrs)], x.shape, {}, ("y", "z"))), {"x": x})
    assert np.array_equal(alone[0].view("u4"), placed[0].view("u4"))


def test_convolutions_of_halves():
    x = drawn(2, 24, 9, 8).astype("f2")
    weights = {"w": drawn(40, 24, 3, 3, seed=1).astype("f2") / 16, "b": drawn(40, seed=2).astype("f2")}
    data = model([("Cast", ["x"], ["h"], {"to": T.FLOAT16}), ("Conv", ["h", "w", "b"], ["c"], {"pads": [1] * 4}), ("Cast", ["c"], ["y"], {"to": T.FLOAT})],
                 x.shape, weights)
    got, ops = ran(suan.onnx.Session(data), {"x": x.astype("f4")})
    want, _ = ran(suan.onnx.Session(data, exact=True), {"x": x.astype("f4")})
    np.testing.assert_allclose(got[0], want[0], rtol=2e-3, atol=1e-3)
    assert "conv" not in ops, ops


def test_open_sizes():
    """One program for all batches: windows and phases whose sizes are formulas."""
    weights = {"a": drawn(20, 1, 64, seed=1), "t": drawn(20, 6, 4, seed=2), "u": drawn(24, 6, 3, seed=3)}
    nodes = [("Conv", ["x", "a"], ["p"], {"strides": [16]}), ("ConvTranspose", ["p", "t"], ["q"], {"strides": [2], "pads": [1, 1]}),
             ("Conv", ["q", "u"], ["y"], {"pads": [1, 1]})]
    data = model(nodes, ("n", 1, 320), weights)
    session, exact = suan.onnx.Session(data), suan.onnx.Session(data, exact=True)
    for n in (2, 3, 1, 7, 4):
        x = drawn(n, 1, 320, seed=n)
        a, b = session.run({"x": x})[0].numpy(), exact.run({"x": x})[0].numpy()
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_hard_swish_leaves_the_registers_with_the_sums():
    """The same bits as the formula on the convolution's own result."""
    x, weights = 4 * drawn(1, 8, 9, 7), {"w": drawn(40, 8, 3, 3, seed=1), "b": drawn(40, seed=2)}
    x[0, 0, 0, 0] = np.nan
    conv = ("Conv", ["x", "w", "b"], ["c"], {"pads": [1] * 4})
    plain, _ = ran(suan.onnx.Session(model([conv], x.shape, weights, ("c",)), exact=True), {"x": x})
    nodes = [conv, ("HardSwish", ["c"], ["y"])]
    got, ops = ran(suan.onnx.Session(model(nodes, x.shape, weights), exact=True), {"x": x})
    c = plain[0]
    want = c * np.clip(c * np.float32(1 / 6) + np.float32(0.5), np.float32(0), np.float32(1))
    assert np.array_equal(got[0], want, equal_nan=True) and np.isnan(got[0]).any()
    assert ops.count("fused_epilogue") == 1 and "fused_elementwise" not in ops
