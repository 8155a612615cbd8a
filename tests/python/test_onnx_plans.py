"""Plans for models whose branches, trips or shapes depend on a few integers among the inputs, and recurrent layers in plans."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import suan
import suan.onnx

info = h.make_tensor_value_info


def floats(name, *dims):
    return info(name, T.FLOAT, list(dims))


def model(nodes, inputs, outputs, weights=None):
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    m = h.make_model(h.make_graph(nodes, "g", inputs, outputs, initializers), opset_imports=[h.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(m)
    return m.SerializeToString()


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def choosing():
    """y = x w + 1 for rate 16000, else relu(x v); then times a whole number that decides nothing."""
    branch = lambda node, name: h.make_graph(node, name, [], [floats("out", None, None)])  # noqa: E731
    then = branch([h.make_node("MatMul", ["x", "w"], ["a"]), h.make_node("Add", ["a", "one"], ["out"])], "then")
    other = branch([h.make_node("MatMul", ["x", "v"], ["a"]), h.make_node("Relu", ["a"], ["out"])], "else")
    nodes = [h.make_node("Equal", ["rate", "known"], ["same"]),
             h.make_node("If", ["same"], ["z"], then_branch=then, else_branch=other, name="which"),
             h.make_node("Cast", ["times"], ["f"], to=T.FLOAT), h.make_node("Mul", ["z", "f"], ["y"])]
    return model(nodes, [floats("x", "n", 6), info("rate", T.INT64, []), info("times", T.INT32, [1])], [floats("y", "n", 4)],
                 {"w": drawn(6, 4), "v": drawn(6, 4, seed=1), "one": np.float32(1), "known": np.int64(16000)})


def chosen(x, rate, times):
    return (x @ drawn(6, 4) + 1 if rate == 16000 else np.maximum(x @ drawn(6, 4, seed=1), 0)) * times


def test_a_number_that_decides_is_part_of_the_key():
    s = suan.onnx.Session(choosing())
    for k, (n, rate) in enumerate([(2, 16000), (2, 8000), (3, 16000), (2, 16000), (5, 8000), (7, 16000), (1, 8000)]):
        x, times = drawn(n, 6, seed=k), 3 + k
        np.testing.assert_allclose(s(x, np.int64(rate), np.int32([times])).numpy(), chosen(x, rate, times), rtol=1e-5, atol=1e-5)
    assert s.stats["stepped"] == 0 and s.stats["replayed"] == 7
    assert s.stats["plans"] == 6   # by shape and rate; `times` is data
    assert "content of input 'rate'" in s.describe()


def test_outputs_do_not_follow_a_number_that_changes_later():
    s = suan.onnx.Session(model([h.make_node("Identity", ["k"], ["same"]), h.make_node("Range", ["zero", "k", "step"], ["y"])],
                                [info("k", T.INT64, [])], [info("same", T.INT64, []), info("y", T.INT64, ["k"])],
                                {"zero": np.int64(0), "step": np.int64(1)}))
    k = np.array(4)
    same, y = s(k)
    k[...] = 7
    assert same.item() == 4 and y.tolist() == [0, 1, 2, 3]
    assert [v.tolist() for v in s(k)] == [7, list(range(7))]


def test_numbers_that_keep_changing_run_node_by_node():
    nodes = [h.make_node("ConstantOfShape", ["k"], ["c"], value=numpy_helper.from_array(np.float32([2]))),
             h.make_node("Mul", ["c", "x"], ["y"])]
    s = suan.onnx.Session(model(nodes, [floats("x", 1), info("k", T.INT64, [1])], [floats("y", "m")]))
    want = lambda x, k: np.full(k, 2 * x[0], "f4")  # noqa: E731
    for k in range(1, 301):
        x = drawn(1, seed=k)
        np.testing.assert_array_equal(s(x, np.int64([k])).numpy(), want(x, k))
    stats = s.stats
    assert stats["plans"] <= 16 and stats["stepped"] > 200 and stats["translated"] < 60
    for _ in range(8):   # one that stays gets its plan
        np.testing.assert_array_equal(s(np.float32([1]), np.int64([777])).numpy(), want([1], 777))
    assert s.stats["replayed"] > stats["replayed"]
    rounds = np.tile(np.arange(1000, 1040), 8)   # nor may going round make a plan for each call
    for k in rounds:
        assert s(np.float32([1]), np.int64([k])).shape == (k,)
    assert s.stats["translated"] - stats["translated"] < len(rounds) / 2


@pytest.mark.parametrize("trips", [0, 1, 5])
def test_loops_of_a_given_length_become_plans(trips):
    body = h.make_graph([h.make_node("Add", ["h", "x"], ["out"]), h.make_node("Identity", ["c"], ["c_out"])], "body",
                        [info("i", T.INT64, []), info("c", T.BOOL, []), floats("h", 3)], [info("c_out", T.BOOL, []), floats("out", 3)])
    m = model([h.make_node("Loop", ["n", "go", "x"], ["y"], body=body)],
              [floats("x", 3), info("n", T.INT64, []), info("go", T.BOOL, [])], [floats("y", 3)])
    s, x = suan.onnx.Session(m), drawn(3)
    for go in (True, False):
        np.testing.assert_allclose(s(x, np.int64(trips), np.bool_(go)).numpy(), x * (trips + 1 if go else 1), rtol=1e-6)
    assert s.stats["stepped"] == 0


def test_numbers_that_lead_to_where_other_data_decides():
    branch = lambda node, out: h.make_graph(node, "b", [], [out])  # noqa: E731
    some = info("out", T.INT64, [2, None])
    then = branch([h.make_node("NonZero", ["x"], ["out"], name="seek")], some)
    other = branch([h.make_node("Constant", [], ["out"], value=numpy_helper.from_array(np.zeros((2, 1), "i8")))], some)
    s = suan.onnx.Session(model([h.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
                                [floats("x", 2, 2), info("c", T.BOOL, [])], [info("y", T.INT64, [2, None])]))
    x = np.float32([[1, 0], [0, 1]])
    for _ in range(2):
        assert s(x, np.bool_(False)).tolist() == [[0], [0]]
        assert s(x, np.bool_(True)).tolist() == [[0, 1], [0, 1]]
    assert s.stats["replayed"] == 2 and s.stats["stepped"] == 2


def test_a_target_shape_that_does_not_fit_at_first():
    s = suan.onnx.Session(model([h.make_node("Reshape", ["x", "to"], ["y"], name="fold")],
                                [floats("x", 6), info("to", T.INT64, [2])], [floats("y", None, None)]))
    x = drawn(6)
    for to, fits in [((4, 2), False), ((2, 3), True), ((5, 5), False), ((3, 2), True), ((2, 3), True)]:
        if fits:
            np.testing.assert_array_equal(s(x, np.int64(to)).numpy(), x.reshape(to))
        else:
            with pytest.raises((ValueError, RuntimeError), match="fold"):
                s(x, np.int64(to))
    assert s.stats["plans"] == 2 and s.stats["stepped"] == 0
    with pytest.raises(suan.StateError, match="content of input 'to'"):
        s.peak_memory({"x": (6,), "to": (2,)})


def gru(x, w, r, b, first, length, before):
    """One direction in float64; gates update, reset, new."""
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    n, state, out = r.shape[1], first, []
    for t in range(len(x)):
        g, wb, rb = x[t] @ w.T, b[: 3 * n], b[3 * n :]
        z, q = (sigmoid(g[:, k * n : (k + 1) * n] + wb[k * n : (k + 1) * n] + (state @ r.T + rb)[:, k * n : (k + 1) * n]) for k in (0, 1))
        hidden = q * (state @ r[2 * n :].T + rb[2 * n :]) if before else (q * state) @ r[2 * n :].T + rb[2 * n :]
        new = (1 - z) * np.tanh(g[:, 2 * n :] + wb[2 * n :] + hidden) + z * state
        live = (t < length)[:, None]
        out.append(np.where(live, new, 0))
        state = np.where(live, new, state)
    return np.stack(out), state


def both(layer, x, weights, first, length):
    """Both directions; backwards each sequence's own steps are turned round."""
    def turned(v):
        v = v.copy()
        for k, n in enumerate(length):
            v[:n, k] = v[:n, k][::-1]
        return v
    y, last = layer(x, *(v[0] for v in weights), first[0], length)
    back, last_back = layer(turned(x), *(v[1] for v in weights), first[1], length)
    return np.stack([y, turned(back)], 1), np.stack([last, last_back])


@pytest.mark.parametrize("constant", [True, False], ids=["constant weights", "weights as inputs"])
@pytest.mark.parametrize("lengths", [None, (5, 0, 3), (5, 5, 5)])
@pytest.mark.parametrize("before", [0, 1])
def test_gru_both_ways(before, lengths, constant):
    steps, batch, width, hidden = 5, 3, 4, 18
    weights = [v * 0.4 for v in (drawn(2, 3 * hidden, width), drawn(2, 3 * hidden, hidden, seed=1), drawn(2, 6 * hidden, seed=2))]
    x, first = drawn(steps, batch, width, seed=3), drawn(2, batch, hidden, seed=4)
    node = h.make_node("GRU", ["x", "w", "r", "b", "n" if lengths else "", "h"], ["y", "last"], hidden_size=hidden,
                       direction="bidirectional", linear_before_reset=before)
    named = dict(zip("wrb", weights))
    inputs = [floats("x", "t", "batch", width), floats("h", 2, "batch", hidden)]
    if lengths:
        inputs.append(info("n", T.INT32, ["batch"]))
    if not constant:
        inputs += [floats(k, *v.shape) for k, v in named.items()]
    s = suan.onnx.Session(model([node], inputs, [floats("y", "t", 2, "batch", hidden), floats("last", 2, "batch", hidden)],
                                named if constant else None))
    feed = {"x": x, "h": first, **({"n": np.int32(lengths)} if lengths else {}), **({} if constant else named)}
    want = both(lambda *a: gru(*a, before), x.astype("f8"), weights, first, np.array(lengths or [steps] * batch))
    for _ in range(2):
        for got, expected in zip(s(**feed), want):
            np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert s.stats["stepped"] == 0


def test_one_program_serves_all_lengths_of_a_gru():
    weights = {"w": drawn(1, 12, 3), "r": drawn(1, 12, 4, seed=1), "b": drawn(1, 24, seed=2)}
    s = suan.onnx.Session(model([h.make_node("GRU", ["x", "w", "r", "b"], ["y"], hidden_size=4)],
                                [floats("x", "t", 2, 3)], [floats("y", "t", 1, 2, 4)], weights))
    for steps in (3, 8, 20, 31, 9):
        x = drawn(steps, 2, 3, seed=steps)
        want, _ = gru(x.astype("f8"), *(v[0] for v in weights.values()), np.zeros((2, 4)), np.array([steps] * 2), 0)
        np.testing.assert_allclose(s(x).numpy()[:, 0], want, rtol=1e-4, atol=1e-5)
    assert s.stats["laid_out"] == 4


@pytest.mark.parametrize("out, inner", [(20, 70), (70, 300), (450, 1030)])
def test_packed_constant_weights_keep_every_bit(out, inner):
    """Gemm and MatMul of steps that lie apart, as recurrent networks have them."""
    nodes = [h.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), h.make_node("MatMul", ["t", "w"], ["a"]),
             h.make_node("Reshape", ["t", "flat"], ["f"]), h.make_node("Gemm", ["f", "v", "c"], ["b"], transB=1)]
    named = {"w": drawn(inner, out), "v": drawn(out, inner, seed=1), "c": drawn(out, seed=2)}
    sizes, outputs = {"flat": np.int64([-1, inner])}, [floats("a", "t", "n", out), floats("b", "m", out)]
    packed = suan.onnx.Session(model(nodes, [floats("x", "n", "t", inner)], outputs, {**named, **sizes}))
    plain = suan.onnx.Session(model(nodes, [floats("x", "n", "t", inner), *(floats(k, *v.shape) for k, v in named.items())], outputs, sizes))
    for n, t in [(1, 1), (2, 9), (1, 40), (3, 50), (40, 2)]:
        x = drawn(n, t, inner, seed=n)
        got, want = packed(x), plain(x=x, **named)
        for g, w in zip(got, want):
            np.testing.assert_array_equal(g.numpy(), w.numpy())
        np.testing.assert_allclose(got[0].numpy(), x.transpose(1, 0, 2) @ named["w"], rtol=1e-3, atol=1e-3)
