"""Memory of sessions over many shapes, bounded work at load, sparse tensors."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import suan.debug
import suan.onnx
from suan import nn

MIB = 1 << 20


def in_use():
    stats = suan.debug.memory_stats()
    return stats["in_use"] + stats["cached"]


def resident():
    """Bytes of memory that belong to no file."""
    with open("/proc/self/statm") as f:
        fields = f.read().split()
    return (int(fields[1]) - int(fields[2])) * 4096


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory):
    path = tmp_path_factory.mktemp("memory") / "convolutions.onnx"
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
                          nn.Conv2d(16, 8, 3, padding=1))
    suan.onnx.export(model, suan.randn(2, 3, 32, 32), path, input_names=["x"], output_names=["y"],
                     dynamic_shapes={"x": {0: "n", 2: "h", 3: "w"}}, opset_version=20)
    return path


def test_memory_is_flat_over_shapes(convolutions):
    session = suan.onnx.InferenceSession(convolutions)
    rng = random.Random(1)
    shapes = [(rng.randint(1, 4), 3, rng.randint(8, 64), rng.randint(8, 64)) for _ in range(500)]
    shapes[50] = (4, 3, 64, 64)
    session.run(None, {"x": np.zeros(shapes[0], "f4")})
    session.trim()
    base = in_use()
    for shape in shapes[:200]:
        session.run(None, {"x": np.zeros(shape, "f4")})
    after_200 = resident()
    for shape in shapes[200:]:
        session.run(None, {"x": np.zeros(shape, "f4")})
    assert session.stats["plans"] == 16
    assert session.stats["laid_out"] > 400
    # One arena for all plans, as large as the largest call needs; blocks of outputs wait for the next call.
    largest = session.peak_memory({"x": shapes[50]})
    held = suan.debug.memory_stats()["in_use"] - base
    assert 0 < held <= largest
    assert resident() - after_200 < 6 * MIB
    session.trim()
    assert in_use() - base < 0.1 * largest


def test_answers_over_shared_arenas_are_those_of_a_session_alone(convolutions):
    shared = suan.onnx.InferenceSession(convolutions)
    rng = np.random.default_rng(2)
    for n, height, width in [(1, 9, 9), (4, 33, 40), (2, 20, 8), (1, 9, 9), (4, 33, 40), (3, 64, 50), (1, 9, 9)]:
        x = rng.standard_normal((n, 3, height, width), dtype=np.float32)
        alone = suan.onnx.InferenceSession(convolutions)
        assert np.array_equal(shared.run(None, {"x": x})[0], alone.run(None, {"x": x})[0])


def model(nodes, inputs=(), sparse=(), initializers=()):
    graph = h.make_graph(nodes, "g", list(inputs), [h.make_empty_tensor_value_info("y")], list(initializers))
    graph.sparse_initializer.extend(sparse)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10).SerializeToString()


def test_what_takes_long_with_constants_is_left_to_the_call():
    n, chain = 2000, 400   # 6.4e12 multiplications: no machine does them within the second that a load gives
    nodes = [h.make_node("ConstantOfShape", ["size"], ["v0"], value=numpy_helper.from_array(np.array([1e-3], "f4")))]
    nodes += [h.make_node("MatMul", [f"v{i}", "v0"], [f"v{i + 1}"]) for i in range(chain)]
    nodes += [h.make_node("Add", [f"v{chain}", "x"], ["y"])]
    data = model(nodes, [h.make_tensor_value_info("x", T.FLOAT, [1])],
                 initializers=[numpy_helper.from_array(np.array([n, n]), "size")])
    session = suan.onnx.InferenceSession(data)
    options = suan.onnx.RunOptions()
    options.timeout = 0.2
    with pytest.raises(TimeoutError):
        session.run(None, {"x": np.zeros(1, "f4")}, options)


def sparse(values, indices, dims, name="w"):
    return h.make_sparse_tensor(numpy_helper.from_array(np.array(values, "f4"), name),
                                numpy_helper.from_array(np.array(indices, "i8"), name + "_at"), dims)


X = h.make_tensor_value_info("x", T.FLOAT, [2, 3])
ADD = [h.make_node("Add", ["x", "w"], ["y"])]


@pytest.mark.parametrize("indices", [[1, 3, 5], [[0, 1], [1, 0], [1, 2]]], ids=["positions", "coordinates"])
def test_sparse_initializers_become_dense(indices):
    x, want = np.ones((2, 3), "f4"), np.ones((2, 3), "f4")
    want.reshape(-1)[[1, 3, 5]] += [7, 8, 9]
    s = sparse([7, 8, 9], indices, [2, 3])
    assert np.array_equal(np.asarray(suan.onnx.Session(model(ADD, [X], [s]))(x)), want)
    constant = h.make_node("Constant", [], ["w"], sparse_value=s)
    assert np.array_equal(np.asarray(suan.onnx.Session(model([constant, *ADD], [X]))(x)), want)


def test_sparse_without_values():
    x = np.ones((2, 3), "f4")
    assert np.array_equal(np.asarray(suan.onnx.Session(model(ADD, [X], [sparse([], [], [2, 3])]))(x)), x)


@pytest.mark.parametrize(("indices", "dims", "words"), [
    ([3, 1, 5], [2, 3], "'w'.*ascend.*expected more than 3 at 1, got 1"),
    ([1, 1, 5], [2, 3], "'w'.*ascend"),
    ([1, 3, 6], [2, 3], "'w'.*out of range: expected 0 to 5, got 6"),
    ([-1, 3, 5], [2, 3], "'w'.*out of range"),
    ([[0, 1], [1, 0], [1, 3]], [2, 3], "'w'.*out of range: expected 0 to 2, got 3"),
    ([[0], [1], [2]], [2, 3], "'w'.*indices"),
    ([0, 1], [2, 3], "'w'.*indices"),
    ([0, 1, 2], [2, -3], "'w'.*dimensions of 0 or more"),
    ([0, 1, 2], [2**62, 4], "too many elements"),
])
def test_bad_sparse_tensors_are_refused(indices, dims, words):
    with pytest.raises((ValueError, TypeError), match=words):
        suan.onnx.Session(model(ADD, [X], [sparse([7, 8, 9], indices, dims)]))


def test_a_huge_sparse_tensor_meets_the_limit():
    for tensors in ([sparse([7, 8, 9], [0, 1, 2], [1 << 20, 1 << 14])],
                    [sparse([7], [0], [1 << 23], f"w{k}") for k in range(9)]):   # each fits
        with pytest.raises(MemoryError, match="memory limit"):
            suan.onnx.Session(model(ADD, [X], tensors))


def test_sizes_beside_a_zero_are_checked():
    with pytest.raises(ValueError, match="too many elements"):
        suan.zeros(0, 2**62, 2**62)
    assert suan.zeros(0, 2**30).shape == (0, 2**30)
    huge = onnx.TensorProto(name="w", dims=[0, 2**62, 2**62], data_type=T.FLOAT)
    with pytest.raises(ValueError, match="too many elements"):
        suan.onnx.Session(model(ADD, [X], initializers=[huge]))


# ---- weights that are not aligned in their file -------------------------------------------------------

def unaligned_model(path, side=512, layers=6):
    """A chain of products whose weights begin at odd bytes of the file."""
    rng = np.random.default_rng(3)
    nodes = [h.make_node("MatMul", [f"v{i}", f"w{i}"], [f"v{i + 1}"]) for i in range(layers)]
    weights = [rng.standard_normal((side, side), dtype=np.float32) / side**0.5 for _ in range(layers)]
    initializers = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("v0", T.FLOAT, ["n", side])],
                         [h.make_tensor_value_info(f"v{layers}", T.FLOAT, ["n", side])], initializers)
    proto = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10)
    for extra in range(4):   # until no weight lies at a multiple of 4
        proto.doc_string = "." * extra
        proto.graph.doc_string = "." * extra
        for k, t in enumerate(proto.graph.initializer):
            t.doc_string = "." * (4 + extra)
        data = proto.SerializeToString()
        if all(data.find(w.tobytes()) % 4 for w in weights):
            break
    path.write_bytes(data)
    return weights


def product(x, weights):
    for w in weights:
        x = x @ w
    return x


def test_unaligned_weights_are_in_memory_once(tmp_path):
    weights = unaligned_model(tmp_path / "m.onnx", side=1024)
    total = sum(w.nbytes for w in weights)
    x = np.random.default_rng(4).standard_normal((3, 1024), dtype=np.float32)
    want = product(x, weights)
    warm = suan.onnx.InferenceSession(tmp_path / "m.onnx")
    del warm
    before = resident()
    session = suan.onnx.InferenceSession(tmp_path / "m.onnx")
    assert resident() - before < total / 4   # nothing is copied before it is read
    for n in (3, 2, 1):   # the later ones by a program with open sizes, and another for 1
        np.testing.assert_allclose(session.run(None, {"v0": x[:n]})[0], want[:n], rtol=1e-3, atol=1e-4)
        assert resident() - before < 1.5 * total


def test_unaligned_weights_come_back_when_they_are_read_again(tmp_path):
    weights = unaligned_model(tmp_path / "m.onnx")
    x = np.random.default_rng(4).standard_normal((5, 512), dtype=np.float32)
    session = suan.onnx.Session(tmp_path / "m.onnx")
    first = np.asarray(session(x))
    np.testing.assert_allclose(first, product(x, weights), rtol=1e-3, atol=1e-4)
    values, _ = session._session.values(None)   # those that the plan packed are read from the file again
    for i, w in enumerate(weights):
        assert np.array_equal(np.asarray(values[f"w{i}".encode()]), w)
    assert np.array_equal(np.asarray(session(x)), first)
    assert np.array_equal(np.asarray(session(x[:2])), np.asarray(suan.onnx.Session(tmp_path / "m.onnx")(x[:2])))


@pytest.mark.parametrize("from_bytes", [False, True], ids=["file", "bytes"])
def test_large_constant_nodes_are_read_where_they_lie(tmp_path, from_bytes):
    rng = np.random.default_rng(5)
    weights = [rng.standard_normal((64, 64), dtype=np.float32) for _ in range(3)]
    nodes = []
    for i, w in enumerate(weights):
        nodes += [h.make_node("Constant", [], [f"w{i}"], value=numpy_helper.from_array(w)),
                  h.make_node("MatMul", [f"v{i}", f"w{i}"], [f"v{i + 1}"])]
    nodes.append(h.make_node("Identity", ["v3"], ["y"]))
    data = model(nodes, [h.make_tensor_value_info("v0", T.FLOAT, ["n", 64])])
    (tmp_path / "m.onnx").write_bytes(data)
    x = rng.standard_normal((2, 64), dtype=np.float32)
    session = suan.onnx.Session(data if from_bytes else tmp_path / "m.onnx")
    np.testing.assert_allclose(np.asarray(session(x)), product(x, weights), rtol=1e-3, atol=1e-2)


def high_water():
    """The most that was resident since clear_refs was written to."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise KeyError("VmHWM")


def test_scaled_weights_are_in_memory_once(tmp_path):
    """Batch norms go into the weights before them, and these are packed: neither the file's nor the scaled ones stay."""
    side, layers = 512, 8
    rng = np.random.default_rng(6)
    nodes, initializers, weights = [], [], []
    for i in range(layers):
        w, scale = rng.standard_normal((side, side), dtype=np.float32) / side**0.5, rng.uniform(0.5, 2, side).astype("f4")
        weights.append((w, scale))
        initializers += [numpy_helper.from_array(w.reshape(side, side, 1, 1), f"w{i}"),
                         numpy_helper.from_array(scale.reshape(side, 1, 1), f"s{i}")]
        nodes += [h.make_node("Conv", [f"v{i}", f"w{i}"], [f"c{i}"]), h.make_node("Mul", [f"c{i}", f"s{i}"], [f"v{i + 1}"])]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("v0", T.FLOAT, ["n", side, "h", "w"])],
                         [h.make_tensor_value_info(f"v{layers}", T.FLOAT, None)], initializers)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    total = sum(w.nbytes for w, _ in weights)
    before = resident()
    session = suan.onnx.InferenceSession(tmp_path / "m.onnx")
    for shape in [(1, side, 3, 2), (2, side, 4, 4), (3, side, 2, 5)]:
        x = rng.standard_normal(shape, dtype=np.float32)
        want = x
        for w, scale in weights:
            want = np.einsum("oi,nihw->nohw", w, want) * scale[:, None, None]
        np.testing.assert_allclose(session.run(None, {"v0": x})[0], want, rtol=1e-2, atol=1e-3)
        assert resident() - before < 1.5 * total


@pytest.mark.parametrize("outputs", [2048, 2053])
def test_a_large_weight_is_packed_by_parts(tmp_path, outputs):
    inputs = 1100
    rng = np.random.default_rng(7)
    w = rng.standard_normal((outputs, inputs), dtype=np.float32) / inputs**0.5
    b = rng.standard_normal(outputs, dtype=np.float32)
    graph = h.make_graph([h.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], "g", [h.make_tensor_value_info("x", T.FLOAT, ["n", inputs])],
                         [h.make_tensor_value_info("y", T.FLOAT, ["n", outputs])], [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")])
    proto = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10)
    while not proto.SerializeToString().find(w.tobytes()) % 4:
        proto.graph.doc_string += "."
        proto.graph.initializer[0].doc_string += "."
    onnx.save(proto, tmp_path / "m.onnx")
    x = rng.standard_normal((5, inputs), dtype=np.float32)
    warm = suan.onnx.InferenceSession(tmp_path / "m.onnx")
    warm.run(None, {"x": x})
    warm.trim()
    del warm
    Path("/proc/self/clear_refs").write_text("5")
    before = high_water()
    session = suan.onnx.InferenceSession(tmp_path / "m.onnx")
    got = session.run(None, {"x": x})[0]
    assert high_water() - before < 1.6 * w.nbytes   # panels and some rows; not the weight beside them
    np.testing.assert_allclose(got, x @ w.T + b, rtol=1e-3, atol=1e-4)
    # Alone, as a matrix in memory, it is packed as a whole: the same bits.
    assert np.array_equal(got, suan.onnx.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0])


@pytest.mark.parametrize("from_bytes", [False, True], ids=["file", "bytes"])
def test_weights_of_branches_are_read_where_they_lie(tmp_path, from_bytes):
    """In sub-graphs of sub-graphs, as initializers and as Constants."""
    rng = np.random.default_rng(8)
    w = {name: rng.standard_normal((160, 160), dtype=np.float32) for name in "abc"}
    out = [h.make_empty_tensor_value_info("r")]

    def branch(name, nodes, constants=()):
        return h.make_graph([*nodes], name, [], out, [numpy_helper.from_array(w[c], c) for c in constants])

    inner = h.make_node("If", ["second"], ["r"], then_branch=branch("b", [h.make_node("MatMul", ["x", "b"], ["r"])], "b"),
                        else_branch=branch("c", [h.make_node("Constant", [], ["c"], value=numpy_helper.from_array(w["c"])),
                                                 h.make_node("MatMul", ["x", "c"], ["r"])]))
    outer = h.make_node("If", ["first"], ["y"], then_branch=branch("a", [h.make_node("MatMul", ["x", "a"], ["r"])], "a"),
                        else_branch=branch("inner", [inner]))
    data = model([outer], [h.make_tensor_value_info("x", T.FLOAT, ["n", 160]), h.make_tensor_value_info("first", T.BOOL, []),
                           h.make_tensor_value_info("second", T.BOOL, [])])
    (tmp_path / "m.onnx").write_bytes(data)
    session = suan.onnx.InferenceSession(data if from_bytes else tmp_path / "m.onnx")
    x = rng.standard_normal((2, 160), dtype=np.float32)
    for first, second, name in [(True, True, "a"), (False, True, "b"), (False, False, "c"), (True, False, "a")]:
        got = session.run(None, {"x": x, "first": np.array(first), "second": np.array(second)})[0]
        np.testing.assert_allclose(got, x @ w[name], rtol=1e-3, atol=1e-3)


def test_a_constant_said_twice_is_refused():
    w = numpy_helper.from_array(np.ones((64, 64), "f4"))
    w.float_data.append(1)
    nodes = [h.make_node("Constant", [], ["w"], value=w), h.make_node("Add", ["x", "w"], ["y"])]
    with pytest.raises(ValueError, match="ambiguous"):
        suan.onnx.Session(model(nodes, [h.make_tensor_value_info("x", T.FLOAT, [64])]))
