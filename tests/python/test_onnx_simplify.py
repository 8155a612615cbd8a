"""suan simplify: fewer nodes, the same answers, names and texts kept; and what it leaves alone."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from typer.testing import CliRunner

import suan
from suan.cli.app import app

RNG = np.random.default_rng(0)
N, C = h.make_node, numpy_helper.from_array


def value(name, shape, dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


def save(path, nodes, inputs, outputs, weights=(), opset=20, **more):
    graph = h.make_graph(nodes, "kept name", inputs, outputs, list(weights), doc_string="kept text")
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=10, producer_name="kept maker", **more)
    h.set_model_props(model, {"author": "kept"})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def simplified(path, **options):
    """(the model, the report); checked, and equal on random inputs to rounding, or exactly where nothing rounds."""
    out = path.with_name("out.onnx")
    report = suan.onnx.simplify(path, out, **options)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    a, b = suan.onnx.load(path), suan.onnx.load(out)
    assert [p.name for p in a.inputs] == [p.name for p in b.inputs] and [p.name for p in a.outputs] == [p.name for p in b.outputs]
    feed = {p.name: RNG.standard_normal([d if isinstance(d, int) else 2 for d in p.shape]).astype(str(p.dtype).removeprefix("suan."))
            for p in b.inputs}
    for x, y in zip(a.run(feed), b.run(feed)):
        assert x.dtype == y.dtype and x.shape == y.shape
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=2e-5, atol=2e-5)
    assert model.graph.name == "kept name" and model.graph.doc_string == "kept text" and model.producer_name == "kept maker"
    assert [(p.key, p.value) for p in model.metadata_props] == [("author", "kept")]
    return model, report


def ops(model):
    return [n.op_type for n in model.graph.node]


def flattening(path, dims=("n", 4, 6), ops_after=()):
    """x reshaped to [n, -1] by arithmetic on its shape, as exporters write it."""
    nodes = [N("Shape", ["x"], ["s"]), N("Gather", ["s", "zero"], ["n0"]), N("Unsqueeze", ["n0", "axes"], ["n1"]),
             N("Concat", ["n1", "minus"], ["to"], axis=0), N("Reshape", ["x", "to"], ["flat"]), N("Relu", ["flat"], ["y"])]
    weights = [C(np.int64(0), "zero"), C(np.array([0]), "axes"), C(np.array([-1]), "minus")]
    return save(path, nodes, [value("x", dims)], [value("y", ["n", None])], weights)


def test_sizes_decide_once_they_are_fixed(tmp_path):
    path = flattening(tmp_path / "m.onnx")
    model, report = simplified(path)
    assert ops(model) == ["Shape", "Gather", "Unsqueeze", "Concat", "Reshape", "Relu"] and report.open_inputs == ["x"]
    for options in ({"sizes": {"n": 3}}, {"shapes": {"x": [3, 4, 6]}}):
        model, report = simplified(path, **options)
        assert ops(model) == ["Reshape", "Relu"] and report.open_inputs == [] and report.rewrites["computed"] == 4
        assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [3, 4, 6]
        assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [3, 24]
        assert {v.name for v in model.graph.value_info} == {"flat"}


def test_a_dimension_of_minus_one_is_open(tmp_path):
    port = lambda n: value(n, [-1, 3])  # noqa: E731
    g = h.make_graph([N("Shape", ["x"], ["s"]), N("Expand", ["k", "s"], ["e"]), N("Add", ["x", "e"], ["y"])], "g", [port("x")],
                     [port("y")], [C(np.float32(1), "k")])
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    out = tmp_path / "out.onnx"
    assert suan.onnx.simplify(tmp_path / "m.onnx", out).open_inputs == ["x"]
    assert suan.onnx.simplify(tmp_path / "m.onnx", out, shapes={"x": [4, 3]}).open_inputs == []
    assert ops(onnx.load(out)) == ["Add"]


def test_constants_identities_equal_and_dead_nodes(tmp_path):
    w = RNG.standard_normal((5, 5)).astype("f4")
    nodes = [
        N("Constant", [], ["two"], value=C(np.float32(2))), N("Mul", ["w", "two"], ["w2"]), N("Identity", ["x"], ["x1"]),
        N("MatMul", ["x1", "w2"], ["a"]), N("MatMul", ["x", "w2"], ["b"]), N("Add", ["a", "b"], ["c"]),
        N("Transpose", ["c"], ["d"], perm=[0, 1]), N("Exp", ["c"], ["unread"]), N("Cast", ["d"], ["e"], to=T.FLOAT),
        N("Add", ["e", "same"], ["f"]), N("Add", ["f", "w"], ["g"]), N("Dropout", ["g"], ["i"]), N("Identity", ["i"], ["y"]),
    ]
    weights = [C(w, "w"), C(w.copy(), "same"), C(np.ones(3, "f4"), "nobody")]
    model, report = simplified(save(tmp_path / "m.onnx", nodes, [value("x", [5, 5])], [value("y", [5, 5])], weights))
    assert ops(model) == ["MatMul", "Add", "Add", "Add"]
    assert {t.name for t in model.graph.initializer} == {"w", "w2"}
    assert report.rewrites["equal nodes"] == 1 and report.rewrites["equal weights"] == 1
    assert report.rewrites["constants made weights"] == 1 and report.rewrites["computed"] == 1
    assert report.nodes_before == 13 and report.nodes_after == 4 and report.operators_after == {"MatMul": 1, "Add": 3}


@pytest.mark.parametrize("op, group", [("Conv", 1), ("Conv", 2), ("ConvTranspose", 2)])
def test_batch_norms_go_into_convolutions(tmp_path, op, group):
    w = RNG.standard_normal((4, 4 // group, 3, 3)).astype("f4")
    norm = [RNG.uniform(0.5, 2, 4).astype("f4") for _ in range(4)]
    nodes = [N(op, ["x", "w", "b"], ["c"], group=group), N("BatchNormalization", ["c", "s0", "s1", "s2", "s3"], ["n"], epsilon=0.01),
             N("Relu", ["n"], ["y"])]
    weights = [C(w, "w"), C(norm[0] - 1, "b"), *(C(v, f"s{i}") for i, v in enumerate(norm))]
    path = save(tmp_path / "m.onnx", nodes, [value("x", [2, 4, 7, 7])], [value("y", [2, 4, None, None])], weights)
    model, report = simplified(path)
    assert ops(model) == [op, "Relu"] and report.rewrites["batch norms"] == 1 and len(model.graph.initializer) == 2
    model, report = simplified(path, exact=True)
    assert ops(model) == [op, "BatchNormalization", "Relu"] and "batch norms" not in report.rewrites


def test_a_convolution_with_another_reader_keeps_its_norm(tmp_path):
    nodes = [N("Conv", ["x", "w"], ["c"]), N("BatchNormalization", ["c", "s", "s", "s", "s"], ["n"]), N("Add", ["n", "c"], ["y"])]
    weights = [C(RNG.standard_normal((2, 2, 1, 1)).astype("f4"), "w"), C(np.array([1, 2], "f4"), "s")]
    model, _ = simplified(save(tmp_path / "m.onnx", nodes, [value("x", [1, 2, 3, 3])], [value("y", [1, 2, 3, 3])], weights))
    assert ops(model) == ["Conv", "BatchNormalization", "Add"]


def test_a_known_branch_is_taken_and_captured_values_stay(tmp_path):
    graph = lambda op, name: h.make_graph([N(op, ["kept", "k"], [name])], op, [], [value(name, None)], [C(np.float32(3), "k")])  # noqa: E731
    nodes = [N("Identity", ["x"], ["kept"]), N("Shape", ["x"], ["s"]), N("Size", ["s"], ["rank"]), N("Equal", ["rank", "two"], ["is"]),
             N("If", ["is"], ["r"], then_branch=graph("Mul", "m"), else_branch=graph("Add", "a")),
             N("If", ["flag"], ["t"], then_branch=graph("Sub", "m2"), else_branch=graph("Div", "a2")), N("Add", ["r", "t"], ["y"])]
    inputs = [value("x", [2, 3]), value("flag", [], T.BOOL)]
    path = save(tmp_path / "m.onnx", nodes, inputs, [value("y", [2, 3])], [C(np.int64(2), "two")])
    out = tmp_path / "out.onnx"
    report = suan.onnx.simplify(path, out)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert ops(model) == ["Identity", "Mul", "If", "Add"] and report.rewrites["branches"] == 1
    x = RNG.standard_normal((2, 3)).astype("f4")
    for flag in (False, True):
        a, b = (suan.onnx.load(p)(x, np.array(flag)).numpy() for p in (path, out))
        np.testing.assert_array_equal(a, b)


def test_what_would_grow_or_is_random_or_quantised_stays(tmp_path):
    nodes = [N("ConstantOfShape", ["big"], ["zeros"]), N("Add", ["x", "zeros"], ["a"]),
             N("DequantizeLinear", ["q", "scale"], ["w"]), N("MatMul", ["a", "w"], ["b"]),
             N("RandomNormalLike", ["b"], ["r1"], seed=1.0), N("RandomNormalLike", ["b"], ["r2"], seed=1.0),
             N("Sub", ["r1", "r2"], ["none"]), N("Mul", ["none", "zero"], ["nothing"]), N("Add", ["b", "nothing"], ["y"])]
    weights = [C(np.array([700, 700]), "big"), C(RNG.integers(-9, 9, (700, 4)).astype("i1"), "q"), C(np.float32(0.1), "scale"),
               C(np.float32(0), "zero")]
    path = save(tmp_path / "m.onnx", nodes, [value("x", [700, 700])], [value("y", [700, 4])], weights)
    model, _ = simplified(path)
    assert ops(model) == [n.op_type for n in nodes]
    model, _ = simplified(path, fold_limit=4 << 20)
    assert "ConstantOfShape" not in ops(model) and "DequantizeLinear" in ops(model)


def test_results_that_are_constant_or_inputs(tmp_path):
    nodes = [N("Add", ["w", "w"], ["known"]), N("Identity", ["x"], ["same"]), N("Identity", ["known"], ["twice"]),
             N("Neg", ["twice"], ["z"]), N("Sub", ["x", "known"], ["s"])]
    outputs = [value("known", [2]), value("same", [2]), value("twice", [2]), value("z", [2]), value("s", [2])]
    path = save(tmp_path / "m.onnx", nodes, [value("x", [2])], outputs, [C(np.array([1, 2], "f4"), "w")])
    model, report = simplified(path)
    assert [o.name for o in model.graph.output] == ["known", "same", "twice", "z", "s"]
    assert sorted(ops(model)) == ["Identity"] * 4 + ["Sub"] and len(model.graph.initializer) == 2
    assert report.rewrites["computed"] == 3


def test_weights_beside_the_file_are_taken_in(tmp_path):
    w = RNG.standard_normal((64, 64)).astype("f4")
    path = save(tmp_path / "m.onnx", [N("MatMul", ["x", "w"], ["y"])], [value("x", [2, 64])], [value("y", [2, 64])], [C(w, "w")])
    model = onnx.load(path)
    (tmp_path / "in").mkdir()
    onnx.save(model, tmp_path / "in" / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    out = tmp_path / "alone.onnx"
    report = suan.onnx.simplify(tmp_path / "in" / "m.onnx", out)
    model = onnx.load(out, load_external_data=False)
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), w)
    assert report.bytes_before > w.nbytes and [p.name for p in tmp_path.glob("alone*")] == ["alone.onnx"]


def test_large_weights_lie_beside_the_file(tmp_path, monkeypatch):
    import sys

    for module in ("model_file", "simplify"):
        monkeypatch.setattr(sys.modules[f"suan.onnx.{module}"], "LARGEST_MESSAGE", 10_000)
    w = RNG.standard_normal((64, 64)).astype("f4")
    nodes = [N("Transpose", ["w"], ["t"]), N("MatMul", ["x", "t"], ["a"]), N("Add", ["a", "b"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [value("x", [2, 64])], [value("y", [2, 64])], [C(w, "w"), C(w[0].copy(), "b")])
    model, _ = simplified(path)
    assert ops(model) == ["MatMul", "Add"] and (tmp_path / "out.onnx.data").stat().st_size == w.nbytes
    assert (tmp_path / "out.onnx").stat().st_size < 2000


def command(*args):
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=True)


def test_the_command_checks_and_tells(tmp_path):
    path, out = flattening(tmp_path / "m.onnx"), tmp_path / "o.onnx"
    done = command("simplify", path, out, "--input", "x=3,4,6")
    assert done.exit_code == 0, done.output
    assert "6 nodes became 2" in done.stdout and "computed: 4" in done.stdout and "checked: onnx.checker, suan" in done.stdout
    facts = json.loads(command("simplify", path, out, "--size", "n=2", "--json").stdout)
    assert facts["nodes_after"] == 2 and facts["apart"] == 0 and "suan" in facts["checked"]
    assert "sizes are open in x" in command("simplify", path, out).stdout
    before = out.read_bytes()
    for bad, message in (("y=3", "no input 'y'"), ("x=3,5,6", "do not fit"), ("x=3,a", "bad sizes"), ("x=1,2", "do not fit")):
        done = command("simplify", path, out, "--input", bad)
        assert done.exit_code == 1 and message in str(done.exception), bad
    done = command("simplify", path, out, "--size", "m=3")
    assert "no dimension 'm'" in str(done.exception) and out.read_bytes() == before


def test_a_wrong_result_is_not_written(tmp_path, monkeypatch):
    """The check is one: a fault put into the rewriting is caught by it."""
    import sys

    path, out = flattening(tmp_path / "m.onnx"), tmp_path / "o.onnx"
    module = sys.modules["suan.onnx.simplify"]
    fold = module._fold

    def wrong(model, known, limit):
        done = fold(model, known, limit)
        for node in model.nodes:
            if node.op == "Relu":
                node.op, node.rest = "Exp", node.rest.replace(b"Relu", b"Expm")[:0] + b'"\x03Exp'
        return done

    monkeypatch.setattr(module, "_fold", wrong)
    done = command("simplify", path, out, "--input", "x=3,4,6")
    assert done.exit_code == 1 and "differs in suan" in str(done.exception), done.output
    assert not out.exists() and [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert command("simplify", path, out, "--input", "x=3,4,6", "--no-check").exit_code == 0 and out.exists()
