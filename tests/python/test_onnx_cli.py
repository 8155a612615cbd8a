"""The commands for ONNX models: suan bench, compare, check and run over a folder."""

import json
import sys
import types

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from typer.testing import CliRunner

import suan.onnx
from suan.cli.app import app


def save(path, factor=2.0, nodes=None, opset=21, domains=()):
    """y = relu(x * factor) + 1 over x [n, 3], or other nodes."""
    nodes = nodes or [
        h.make_node("Mul", ["x", "factor"], ["scaled"], "scale"), h.make_node("Relu", ["scaled"], ["kept"], "keep"),
        h.make_node("Add", ["kept", "one"], ["y"], "shift"),
    ]
    weights = [numpy_helper.from_array(np.float32(factor), "factor"), numpy_helper.from_array(np.float32(1), "one")]
    port = lambda name: h.make_tensor_value_info(name, T.FLOAT, ["n", 3])  # noqa: E731
    graph = h.make_graph(nodes, "g", [port("x")], [port("y")], weights)
    imports = [h.make_opsetid("", opset), *(h.make_opsetid(d, 1) for d in domains)]
    onnx.save(h.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def suan_command(*args):
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=True)


def test_bench_reports_percentiles_load_time_and_memory(tmp_path):
    done = suan_command("bench", save(tmp_path / "m.onnx"), "--size", "n=4", "--seconds", "0.1", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    points = facts["percentiles_ms"]["suan"]
    assert 0 < points["p50"] <= points["p90"] <= points["p99"]
    assert facts["median_ms"]["suan"] == points["p50"]
    assert facts["calls"]["suan"] >= 5 and facts["throughput"]["suan"] > 0 and facts["load_ms"] > 0
    assert facts["peak_memory_bytes"] >= 4 * 3 * 4   # the output, at least
    text = suan_command("bench", tmp_path / "m.onnx", "--seconds", "0.1").stdout
    assert "p99" in text and "calls/s" in text and "loaded in" in text and "MiB beyond inputs and weights" in text


def test_bench_says_when_memory_depends_on_data(tmp_path):
    nodes = [h.make_node("NonZero", ["x"], ["at"]), h.make_node("Shape", ["at"], ["dims"]),
             h.make_node("Cast", ["dims"], ["floats"], to=T.FLOAT), h.make_node("ReduceSum", ["floats"], ["sum"]),
             h.make_node("Add", ["x", "sum"], ["y"])]
    save(tmp_path / "m.onnx", nodes=nodes)
    done = suan_command("bench", tmp_path / "m.onnx", "--seconds", "0.1", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["peak_memory_bytes"] is None


def test_compare_finds_the_first_differing_node(tmp_path):
    a, same, b = save(tmp_path / "a.onnx"), save(tmp_path / "same.onnx"), save(tmp_path / "b.onnx", factor=2.5)
    np.savez(tmp_path / "in.npz", x=np.array([[1, -1, 2]], "f4"))
    done = suan_command("compare", a, same, "--inputs", tmp_path / "in.npz")
    assert done.exit_code == 0 and "y: equal" in done.stdout
    done = suan_command("compare", a, b, "--inputs", tmp_path / "in.npz")
    assert done.exit_code == 1
    assert "y: differs by 1 at most" in done.stdout and "beyond the tolerance" in done.stdout
    assert "first differing node: Mul 'scale', its value 'scaled' differs by 1" in done.stdout
    assert suan_command("compare", a, b, "--inputs", tmp_path / "in.npz", "--tolerance", "0.2").exit_code == 0
    facts = json.loads(suan_command("compare", a, b, "--inputs", tmp_path / "in.npz", "--json").stdout)
    # 5 and 6, of 1 + 6
    assert facts["equal"] is False and facts["outputs"][0]["max_abs"] == 1
    assert facts["outputs"][0]["max_scaled"] == pytest.approx(1 / 7)


def test_compare_where_only_the_second_node_differs(tmp_path):
    a, b = save(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    save(b, nodes=[h.make_node("Mul", ["x", "factor"], ["scaled"], "scale"),
                   h.make_node("Abs", ["scaled"], ["kept"], "keep"), h.make_node("Add", ["kept", "one"], ["y"], "shift")])
    np.savez(tmp_path / "in.npz", x=np.array([[1, -1, 2]], "f4"))
    done = suan_command("compare", a, b, "--inputs", tmp_path / "in.npz")
    assert done.exit_code == 1 and "first differing node: Relu 'keep', its value 'kept' differs by 2" in done.stdout


def test_compare_needs_something_to_compare_with(tmp_path, monkeypatch):
    a = save(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)   # as if it were not installed
    assert "expected the package onnxruntime" in str(suan_command("compare", a, "--engine", "onnxruntime").exception)
    assert "expected suan or onnxruntime, got 'x'" in str(suan_command("compare", a, "--engine", "x").exception)
    assert "expected either a second file or --engine" in str(suan_command("compare", a).exception)


def test_compare_when_no_value_of_equal_name_differs(tmp_path):
    a, b = save(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    save(b, nodes=[h.make_node("Mul", ["x", "factor"], ["scaled"], "scale"),
                   h.make_node("Add", ["scaled", "one"], ["up"]), h.make_node("Identity", ["up"], ["y"])])
    np.savez(tmp_path / "in.npz", x=np.array([[1, -1, 2]], "f4"))
    done = suan_command("compare", a, b, "--inputs", tmp_path / "in.npz")
    assert done.exit_code == 1 and "first differing node: Add 'shift', its value 'y' differs by 2" in done.stdout
    model = onnx.load(b)
    model.graph.node[2].output[0] = model.graph.output[0].name = "z"
    onnx.save(model, b)
    done = suan_command("compare", a, b, "--inputs", tmp_path / "in.npz")
    assert done.exit_code == 1 and "y and z: differs by 2 at most" in done.stdout
    assert "no node differs among the 1 values that both have" in done.stdout


def test_compare_with_another_engine(tmp_path, monkeypatch):
    """Whatever has ONNX Runtime's calls stands in for it."""

    class Other(suan.onnx.InferenceSession):
        off = 0.0

        def run(self, names, feed):
            return [v + np.float32(self.off) for v in super().run(names, feed)]

    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=Other, __version__="0"))
    a = save(tmp_path / "a.onnx")
    call = lambda: suan_command("compare", a, "--engine", "onnxruntime", "--size", "n=4")  # noqa: E731
    done = call()
    assert done.exit_code == 0 and "within 0.0001" in done.stdout, done.output
    monkeypatch.setattr(Other, "off", 0.5)
    assert call().exit_code == 1


def test_difference_of_values_that_are_not_numbers_alone():
    from suan.cli.onnx_command import difference

    far = (float("inf"),) * 2
    nan = np.array([np.nan, 1], "f4")
    assert difference(nan, nan) == (0, 0) and difference(nan, np.ones(2, "f4")) == far
    assert difference(np.ones(2, "f4"), np.ones(2)) == far and difference(np.ones(2), np.ones(3)) == far
    assert difference([np.ones(2)], [np.ones(2), np.ones(2)]) == far
    assert difference({"a": np.zeros(1)}, {"a": np.ones(1)}) == (1, 0.5)
    texts = np.array(["a", "b"], dtype=object)
    assert difference(texts, texts) == (0, 0) and difference(texts, texts[::-1]) == far


def test_check_shows_what_a_model_is(tmp_path):
    done = suan_command("check", save(tmp_path / "m.onnx"))
    assert done.exit_code == 0, done.output
    assert "input  x: tensor(float) [n, 3]\noutput y: tensor(float) [n, 3]\nopset  ai.onnx 21\n" in done.stdout
    assert done.stdout.endswith("3 nodes of 3 operators, all of them supported\nok\n")


def test_check_lists_all_unsupported_operators(tmp_path):
    inner = h.make_graph([h.make_node("Deep", [], ["z"], domain="other")], "inner", [],
                         [h.make_tensor_value_info("z", T.FLOAT, None)])
    nodes = [h.make_node("Nope", ["x"], ["a"]), h.make_node("Relu", ["a"], ["b"]), h.make_node("Nope", ["b"], ["c"]),
             h.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    done = suan_command("check", save(tmp_path / "m.onnx", nodes=nodes, domains=["other"]))
    assert done.exit_code == 1
    assert done.stdout.endswith(":\n  2 Nope of opset 21\n  2 other.Deep of opset 1\n")
    assert "ok" not in done.stdout.splitlines()


def test_check_of_a_damaged_file_ends_in_one_line(tmp_path):
    from suan.cli.app import run

    (tmp_path / "m.onnx").write_bytes(b"\x08\x09\x3a\x05abc")
    for name in ("m.onnx", "none.onnx"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
            lines = []
            patch.setattr(sys.stderr, "write", lines.append)
            run(["check", str(tmp_path / name)])
        assert end.value.code == 1
        text = "".join(lines)
        assert text.startswith("suan: ") and text.count("\n") == 1 and "typer" not in text


@pytest.mark.parametrize("given, kept", [((), False), (("--exact",), True)])
def test_run_can_be_exact(tmp_path, given, kept):
    rng = np.random.default_rng(0)
    w, (scale, shift, mean), var = rng.standard_normal((8, 8, 3, 3)), rng.standard_normal((3, 8)), rng.uniform(0.5, 2, 8)
    tensors = {"w": w, "s": scale, "b": shift, "m": mean, "v": var}
    graph = h.make_graph(
        [h.make_node("Conv", ["x", "w"], ["c"]), h.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"])], "g",
        [h.make_tensor_value_info("x", T.FLOAT, (1, 8, 20, 20))], [h.make_tensor_value_info("y", T.FLOAT, (1, 8, 18, 18))],
        [numpy_helper.from_array(a.astype("f4"), n) for n, a in tensors.items()])
    path, x = tmp_path / "m.onnx", rng.standard_normal((1, 8, 20, 20)).astype("f4")
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 21)]), path)
    np.savez(tmp_path / "in.npz", x=x)
    suan_command("run", path, "--inputs", tmp_path / "in.npz", "--out", tmp_path / "out.npz", *given)
    exact = suan.onnx.InferenceSession(path, exact=True).run(None, {"x": x})[0]
    assert np.array_equal(np.load(tmp_path / "out.npz")["y"], exact) == kept


def test_run_over_a_folder_goes_on_where_it_was(tmp_path):
    model, folder, out = save(tmp_path / "m.onnx"), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for k in range(5):
        np.savez(folder / f"{k}.npz", x=np.full((k + 1, 3), k, "f4"), label=np.int64(k))
    np.savez(folder / "bad.npz", x=np.ones((1, 4), "f4"))
    np.savez(folder / "empty.npz", other=np.ones(1))
    (folder / "notes.txt").write_text("not an input")
    done = suan_command("run", model, "--folder", folder, "--out", out)
    assert done.exit_code == 1 and "5 files written, 0 were there, 2 failed" in done.output
    assert "bad.npz: " in done.output and "empty.npz: " in done.output and "inputs are missing" in done.output
    assert sorted(p.name for p in out.iterdir()) == [f"{k}.npz" for k in range(5)]
    for k in range(5):
        np.testing.assert_array_equal(np.load(out / f"{k}.npz")["y"], np.full((k + 1, 3), 2 * k + 1, "f4"))
    (folder / "bad.npz").unlink()
    (folder / "empty.npz").unlink()
    np.savez(out / "0.npz", y=np.float32(7))
    (out / "1.npz").unlink()
    done = suan_command("run", model, "--folder", folder, "--out", out)
    assert done.exit_code == 0 and "1 files written, 4 were there, 0 failed" in done.output
    assert np.load(out / "0.npz")["y"] == 7   # kept
    done = suan_command("run", model, "--folder", folder, "--out", out, "--again")
    assert "5 files written, 0 were there" in done.output
    assert np.load(out / "0.npz")["y"].shape == (1, 3)


def test_run_over_a_folder_refuses_what_would_lose_files(tmp_path):
    model = save(tmp_path / "m.onnx")
    error = lambda *args: str(suan_command("run", model, *args).exception)  # noqa: E731
    assert "expected another folder" in error("--folder", tmp_path, "--out", tmp_path)
    assert "expected another folder" in error("--folder", tmp_path)
    assert "expected .npz files" in error("--folder", tmp_path, "--out", tmp_path / "o")
    assert "expected neither --inputs nor --size" in error("--folder", tmp_path, "--size", "n=1")
    assert "expected a folder" in error("--again")


@pytest.mark.parametrize("kind", [T.BFLOAT16, T.FLOAT8E4M3FN, T.INT4])
def test_inputs_are_made_of_types_that_numpy_lacks(tmp_path, kind):
    graph = h.make_graph([h.make_node("Cast", ["x"], ["y"], to=T.FLOAT)], "g", [h.make_tensor_value_info("x", kind, [2])],
                         [h.make_tensor_value_info("y", T.FLOAT, [2])])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    done = suan_command("run", tmp_path / "m.onnx")
    assert done.exit_code == 0 and "y: float32 [2]" in done.stdout
