"""Large products with constant weights take one level of Strassen's algorithm unless exact=True: how far that is from the truth."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import suan
import suan.onnx
from suan import nn


def model(w, after=(), bias=None):
    """x -> MatMul -> the operators named."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y0"])]
    constants = [numpy_helper.from_array(w, "w")]
    if bias is not None:
        after = [("Add", "b"), *after]
        constants.append(numpy_helper.from_array(bias, "b"))
    nodes += [helper.make_node(op, [f"y{i}", *more], [f"y{i + 1}"]) for i, (op, *more) in enumerate(after)]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", w.shape[0]])]
    if any("other" in more for _, *more in after):
        given.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n", w.shape[1]]))
    graph = helper.make_graph(nodes, "product", given, [helper.make_tensor_value_info(f"y{len(after)}", TensorProto.FLOAT, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def operands(m, k, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k), dtype=np.float32), rng.standard_normal((k, n), dtype=np.float32) / np.float32(np.sqrt(k))


@pytest.mark.parametrize("m, k, n", [
    (96, 256, 512), (128, 768, 768),   # k is cut where the weight's blocks end, and between
    (131, 1024, 512),                  # an odd row
    (253, 800, 576), (600, 320, 512),  # rows in several parts
])
def test_error_is_near_that_of_the_exact_way(m, k, n):
    x, w = operands(m, k, n)
    want = x.astype(np.float64) @ w
    error, results = {}, {}
    for exact in (True, False):
        results[exact] = suan.onnx.InferenceSession(model(w), exact=exact).run(None, {"x": x})[0]
        error[exact] = np.abs(results[exact] - want) / np.sqrt((want**2).mean())
    assert not np.array_equal(results[True], results[False])   # it is another way
    assert error[False].max() < 2e-5 and error[False].max() < 10 * error[True].max()
    rms = {exact: np.sqrt((e**2).mean()) for exact, e in error.items()}
    assert rms[False] < 2e-6 and rms[False] < 5 * rms[True]


@pytest.mark.parametrize("m, k, n", [(97, 272, 320), (253, 800, 576), (505, 1040, 256), (1009, 528, 512)])
def test_small_integers_are_exact(m, k, n):
    rng = np.random.default_rng(m)
    x, w = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((m, k), (k, n)))
    np.testing.assert_array_equal(suan.onnx.InferenceSession(model(w)).run(None, {"x": x})[0], x @ w)


@pytest.mark.parametrize("m, k, n", [(64, 768, 768), (128, 128, 768), (128, 768, 192), (128, 776, 768), (128, 768, 800)])
def test_what_is_small_or_cannot_be_halved_keeps_its_bits(m, k, n):
    x, w = operands(m, k, n)
    exact, free = (suan.onnx.InferenceSession(model(w), exact=e).run(None, {"x": x})[0] for e in (True, False))
    np.testing.assert_array_equal(exact, free)


@pytest.mark.parametrize("row", [0, 70, 130])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6, 0])
def test_rows_unlike_others_take_the_plain_product(row, value):
    x, w = operands(131, 256, 512)
    x[row] = value
    exact, free = (suan.onnx.InferenceSession(model(w), exact=e).run(None, {"x": x})[0] for e in (True, False))
    np.testing.assert_array_equal(exact, free)
    assert np.isfinite(np.delete(free, row, 0)).all()


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("after", [[("Relu",)], [("Add", "other"), ("Relu",)], [("Sigmoid",), ("Mul", "other")]])
def test_what_follows_is_done_to_each_tile(after, biased):
    x, w = operands(133, 512, 576)
    rng = np.random.default_rng(1)
    bias = rng.standard_normal(576, dtype=np.float32) if biased else None
    feed = {"x": x}
    if any("other" in more for _, *more in after):
        feed["other"] = rng.standard_normal((133, 576), dtype=np.float32)
    want = x.astype(np.float64) @ w + (bias if biased else 0)
    for op, *more in after:
        want = {"Relu": lambda y: np.maximum(y, 0), "Sigmoid": lambda y: 1 / (1 + np.exp(-y)),
                "Add": lambda y: y + feed["other"], "Mul": lambda y: y * feed["other"]}[op](want)
    got = suan.onnx.InferenceSession(model(w, after, bias)).run(None, feed)[0]
    np.testing.assert_allclose(got, want, atol=3e-5)


def test_sizes_of_a_session_decide_one_by_one():
    _, w = operands(1, 512, 512)
    exact, free = (suan.onnx.InferenceSession(model(w), exact=e) for e in (True, False))
    for m in (1, 95, 96, 97, 20, 300, 96):
        x = operands(m, 512, 512, m)[0]
        a, b = (s.run(None, {"x": x})[0] for s in (exact, free))
        assert np.array_equal(a, b) == (m < 96)
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_compiled_modules():
    suan.manual_seed(0)
    module = nn.Sequential(nn.Linear(512, 768), nn.GELU(), nn.Linear(768, 512)).eval()
    x = suan.tensor(operands(2 * 70, 512, 8)[0].reshape(2, 70, 512))
    with suan.no_grad():
        want = module(x).numpy()
        exact, free = suan.compile(module, exact=True), suan.compile(module)
        for _ in range(4):
            a, b = exact(x).numpy(), free(x).numpy()
    np.testing.assert_array_equal(a, want)
    assert not np.array_equal(b, want)
    np.testing.assert_allclose(b, want, atol=1e-5)


def digest():
    """Of products of several sizes, in a plan with what follows joined."""
    out = hashlib.sha256()
    for m, k, n in ((129, 768, 768), (128, 1536, 512), (300, 320, 1088)):
        x, w = operands(m, k, n)
        out.update(suan.onnx.InferenceSession(model(w, [("Relu",)], w[0])).run(None, {"x": x})[0].tobytes())
    return out.hexdigest()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_bits_do_not_depend_on_threads(threads):
    before = suan.get_num_threads()
    want = digest()
    try:
        suan.set_num_threads(threads)
        assert digest() == want
    finally:
        suan.set_num_threads(before)


def test_bits_do_not_depend_on_the_instruction_set():
    run = subprocess.run([sys.executable, "-c", "import test_strassen; print(test_strassen.digest())"], capture_output=True, text=True,
                         check=True, cwd=os.path.dirname(__file__),
                         env={**os.environ, "SUAN_ISA": "avx2", "PYTHONPATH": os.pathsep.join(sys.path)})
    assert run.stdout.strip() == digest()
