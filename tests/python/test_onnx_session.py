"""Sessions: ONNX Runtime's calls, bound memory, deadlines, memory, precision, streams, and the C and C++ interfaces."""

import ctypes
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import suan
import suan.onnx as ort
from suan.onnx.capi.onnxruntime_pybind11_state import (
    Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile, NotImplemented as NotThere,
)

FOREVER = 300_000_000   # trips of a loop that has to be stopped


def floats(name, *dims):
    return h.make_tensor_value_info(name, T.FLOAT, list(dims))


def serialized(nodes, inputs, outputs, weights=None):
    initializers = [numpy_helper.from_array(v, k) for k, v in (weights or {}).items()]
    graph = h.make_graph(nodes, "g", inputs, outputs, initializers)
    m = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10, producer_name="tests")
    onnx.checker.check_model(m)
    return m.SerializeToString()


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


WEIGHTS = {"w": drawn(6, 8), "v": drawn(8, 4, seed=1)}


def classifier():
    nodes = [h.make_node("MatMul", ["x", "w"], ["a"], name="first"), h.make_node("Relu", ["a"], ["b"], name="bend"),
             h.make_node("MatMul", ["b", "v"], ["y"], name="second")]
    return serialized(nodes, [floats("x", "batch", 6)], [floats("y", "batch", 4)], WEIGHTS)


def classified(x):
    return np.maximum(x @ WEIGHTS["w"], 0) @ WEIGHTS["v"]


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def two_results():
    """sum = x + 1, turned = x transposed."""
    nodes = [h.make_node("Add", ["x", "one"], ["sum"]), h.make_node("Transpose", ["x"], ["turned"])]
    return serialized(nodes, [floats("x", "n", "n")], [floats("sum", "n", "n"), floats("turned", "n", "n")],
                      {"one": np.float32([1])})


def counter():
    """A loop of as many trips as the input says: node by node."""
    body = h.make_graph(
        [h.make_node("Add", ["v", "step"], ["w"]), h.make_node("Identity", ["c"], ["d"])], "body",
        [h.make_tensor_value_info("i", T.INT64, []), h.make_tensor_value_info("c", T.BOOL, []), floats("v", 4)],
        [h.make_tensor_value_info("d", T.BOOL, []), floats("w", 4)], [numpy_helper.from_array(np.float32([1]), "step")])
    nodes = [h.make_node("Loop", ["trips", "", "x"], ["y"], body=body)]
    return serialized(nodes, [h.make_tensor_value_info("trips", T.INT64, []), floats("x", 4)], [floats("y", 4)])


def powers():
    """60 products one after the other: a plan."""
    nodes = [h.make_node("MatMul", [f"x{k}" if k else "x", "x"], [f"x{k + 1}"]) for k in range(60)]
    return serialized(nodes, [floats("x", "n", "n")], [floats("x60", "n", "n")])


def wide():
    """6 columns become 2000 and 4 again."""
    nodes = [h.make_node("MatMul", ["x", "w"], ["a"]), h.make_node("Tanh", ["a"], ["b"]),
             h.make_node("MatMul", ["b", "v"], ["y"])]
    return serialized(nodes, [floats("x", "batch", 6)], [floats("y", "batch", 4)], {"w": drawn(6, 2000), "v": drawn(2000, 4)})


def trips(n):
    return {"trips": np.int64(n), "x": np.zeros(4, "f4")}


# ONNX Runtime's calls.


def test_inputs_outputs_and_metadata():
    s = ort.InferenceSession(classifier(), providers=["CPUExecutionProvider"])
    assert [(p.name, p.type, p.shape) for p in s.get_inputs()] == [("x", "tensor(float)", ["batch", 6])]
    assert [(p.name, p.type, p.shape) for p in s.get_outputs()] == [("y", "tensor(float)", ["batch", 4])]
    assert s.get_modelmeta().producer_name == "tests" and s.get_modelmeta().graph_name == "g"
    assert s.get_providers() == ort.get_available_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize("code, text, dtype", [
    (T.FLOAT, "float", "f4"), (T.DOUBLE, "double", "f8"), (T.FLOAT16, "float16", "f2"), (T.INT64, "int64", "i8"),
    (T.UINT8, "uint8", "u1"), (T.BOOL, "bool", "?"), (T.BFLOAT16, "bfloat16", ml_dtypes.bfloat16)])
def test_types(code, text, dtype):
    port = lambda name: h.make_tensor_value_info(name, code, [3])  # noqa: E731
    s = ort.InferenceSession(serialized([h.make_node("Identity", ["x"], ["y"])], [port("x")], [port("y")]))
    assert s.get_inputs()[0].type == f"tensor({text})"
    x = np.array([1, 0, 1]).astype(dtype)
    (y,) = s.run(None, {"x": x})
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, x)
    value = ort.OrtValue.ortvalue_from_numpy(x)
    assert (value.element_type(), value.data_type(), value.shape()) == (code, f"tensor({text})", [3])


def test_run_picks_outputs():
    s = ort.InferenceSession(two_results())
    x = drawn(3, 3)
    both, swapped = s.run(None, {"x": x}), s.run(["turned", "sum"], {"x": x})
    np.testing.assert_array_equal(both[0], x + 1)
    np.testing.assert_array_equal(both[1], x.T)
    np.testing.assert_array_equal(swapped[0], x.T)
    np.testing.assert_array_equal(swapped[1], x + 1)


def test_results_are_the_callers():
    s = ort.InferenceSession(serialized([h.make_node("Identity", ["x"], ["y"])], [floats("x", 3)], [floats("y", 3)]))
    x = np.zeros(3, "f4")
    first = s.run(None, {"x": x})[0]
    x[:] = 7
    second = s.run(None, {"x": x})[0]
    assert first.tolist() == [0, 0, 0] and second.tolist() == [7, 7, 7]


@pytest.mark.parametrize("what, kind, own, text", [
    (lambda s: s.run(["z"], {"x": drawn(1, 6)}), InvalidArgument, ValueError, "unknown output: expected one of ['y'], got ['z']"),
    (lambda s: s.run(None, {}), InvalidArgument, ValueError, "got none for ['x']"),
    (lambda s: s.run(None, {"x": drawn(1, 6), "u": 1}), InvalidArgument, ValueError, "unknown input"),
    (lambda s: s.run(None, {"x": drawn(1, 5)}), InvalidArgument, ValueError, "expected 6 in dimension 1"),
    (lambda s: s.run(None, {"x": drawn(6)}), InvalidArgument, TypeError, "expected 2 dimensions"),
    (lambda s: s.run(None, {"x": drawn(1, 6).astype("f8")}), InvalidArgument, TypeError, "a tensor of float32"),
    (lambda s: s.io_binding().bind_output("z"), InvalidArgument, ValueError, "unknown output"),
    (lambda s: s.io_binding().bind_output("y", "cuda"), InvalidArgument, ValueError, "expected 'cpu', got 'cuda'"),
])
def test_errors_of_runs(what, kind, own, text):
    s = ort.InferenceSession(classifier())
    with pytest.raises(kind) as caught:
        what(s)
    assert isinstance(caught.value, own) and text in str(caught.value)
    close(s.run(None, {"x": drawn(2, 6)})[0], classified(drawn(2, 6)))   # the session goes on


def test_errors_of_loading():
    ports = [floats("x", 2)], [floats("y", 2)]
    unknown = h.make_model(h.make_graph([h.make_node("NoSuch", ["x"], ["y"])], "g", *ports))
    loose = h.make_model(h.make_graph([h.make_node("Abs", ["nothing"], ["y"])], "g", *ports))
    for source, kind, own in [
        ("nowhere.onnx", NoSuchFile, OSError), (b"not a model", InvalidProtobuf, ValueError),
        (unknown.SerializeToString(), NotThere, TypeError), (loose.SerializeToString(), InvalidGraph, ValueError),
    ]:
        with pytest.raises(kind) as caught:
            ort.InferenceSession(source)
        assert isinstance(caught.value, own)


def test_refused_options():
    o = ort.SessionOptions()
    with pytest.raises(NotThere, match="plans are no ONNX graphs"):
        o.optimized_model_filepath = "out.onnx"
    with pytest.raises(NotThere, match="custom op libraries"):
        o.register_custom_ops_library("ops.so")
    with pytest.raises(NotThere, match="'session.made_up' is not supported"):
        o.add_session_config_entry("session.made_up", "1")
    with pytest.raises(NotThere, match="expected one of .'0',., got '1'"):
        o.add_session_config_entry("session.set_denormal_as_zero", "1")
    with pytest.raises(AttributeError, match="unknown session option 'intra_op_threads'"):
        o.intra_op_threads = 2
    o.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert o.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    r = ort.RunOptions()
    with pytest.raises(NotThere, match="training_mode"):
        r.training_mode = True
    with pytest.raises(NotThere, match="run configuration 'memory.x'"):
        r.add_run_config_entry("memory.x", "1")
    with pytest.raises(ValueError, match="expected CPUExecutionProvider among them"):
        ort.InferenceSession(classifier(), providers=["CUDAExecutionProvider"])
    with pytest.raises(NotThere, match="disabled_optimizers"):
        ort.InferenceSession(classifier(), disabled_optimizers=["Fusion"])
    for options in ({"threads": -1}, {"threads": 5000}, {"memory_limit": -1}, {"precision": "f8"}):
        with pytest.raises(ValueError, match="expected"):
            ort.Session(classifier(), **options)


def test_settings_that_programs_pass():
    """What rapidocr, magika and optimum set or call, and what changes no answer."""
    arena = [("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})]
    s = ort.InferenceSession(classifier(), providers=arena, enable_fallback=0)
    x = drawn(3, 6)
    close(s.run(["y"], {"x": x})[0], classified(x))
    with pytest.raises(NotThere, match="options of CPUExecutionProvider: expected some of"):
        ort.InferenceSession(classifier(), providers=[("CPUExecutionProvider", {"threads": 2})])
    with pytest.raises(NotThere, match="read_config_from_model"):
        ort.InferenceSession(classifier(), read_config_from_model=1)
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    assert options.get_run_config_entry("memory.enable_memory_arena_shrinkage") == "cpu:0"
    close(s.run(["y"], {"x": x}, options)[0], classified(x))
    with pytest.raises(NotThere, match="expected one of .*cpu:0.*, got 'gpu:0'"):
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "gpu:0")
    ort.disable_telemetry_events()
    ort.preload_dlls()
    ort.set_default_logger_verbosity(0)
    ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
                                      ort.OrtArenaCfg(0, -1, -1, -1))
    assert ort.get_version_string() == suan.__version__ and "Suan" in ort.get_build_info() and not ort.has_collective_ops()
    assert [i.name for i in s.get_input_memory_infos()] == ["Cpu"] and ort.OrtDevice.make("cpu", 0).device_id() == 0
    with pytest.raises(NotThere, match="expected 'cpu', got 'cuda'"):
        ort.OrtDevice.make("cuda", 0)
    o = ort.SessionOptions()
    assert not o.has_providers()
    o.add_provider("CPUExecutionProvider", {})
    assert o.has_providers()
    with pytest.raises(NotThere, match="not available: expected CPUExecutionProvider, got 'CUDA"):
        o.add_provider("CUDAExecutionProvider", {})
    from suan.onnx.capi import _pybind_state
    from suan.onnx.capi.onnxruntime_inference_collection import InferenceSession

    assert InferenceSession is ort.InferenceSession and _pybind_state.get_available_providers() == ["CPUExecutionProvider"]
    assert _pybind_state.InvalidArgument is InvalidArgument


def test_global_threads_and_seed():
    before = suan.get_num_threads()
    try:
        ort.set_global_thread_pool_sizes(1, 4)
        assert suan.get_num_threads() == 1
        ort.set_global_thread_pool_sizes(0, 0)
        assert suan.get_num_threads() == 1
    finally:
        suan.set_num_threads(before)
    noise = h.make_node("RandomNormal", [], ["y"], shape=[5])
    s = ort.InferenceSession(serialized([noise], [], [floats("y", 5)]))
    drawn_twice = []
    for _ in range(2):
        ort.set_seed(7)
        drawn_twice.append([s.run(None, {})[0] for _ in range(2)])
    np.testing.assert_array_equal(drawn_twice[0], drawn_twice[1])
    assert (drawn_twice[0][0] != drawn_twice[0][1]).all()


def test_lists_are_read_as_the_inputs_type():
    def echo(code):
        value = [h.make_tensor_value_info(n, code, None) for n in "xy"]
        graph = h.make_graph([h.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
        return ort.InferenceSession(h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10).SerializeToString())

    for code, value, kind in ((T.INT32, [[1, 2], [3, 4]], "int32"), (T.FLOAT, [[1, 2.5]], "float32"), (T.FLOAT16, [1.5], "float16"),
                              (T.BOOL, [1, 0], "bool"), (T.STRING, [["a", "b"]], "object"), (T.FLOAT, [], "float32"),
                              (T.FLOAT, [np.ones(2, "f4")], "float32"), (T.BFLOAT16, [1.5, 2], "bfloat16")):  # fmt: skip
        (y,) = echo(code).run(None, {"x": value})
        assert y.dtype.name == kind and y.tolist() == np.array(value).tolist()
    with pytest.raises(InvalidArgument, match="'x' is no array: expected nested lists that fit tensor.float."):
        echo(T.FLOAT).run(None, {"x": [[1], [2, 3]]})


def test_values_of_narrow_types_and_dlpack():
    for code, bits, text in ((T.BFLOAT16, np.uint16, "bfloat16"), (T.FLOAT8E4M3FN, np.uint8, "float8e4m3fn"), (T.FLOAT8E8M0, np.uint8, "float8e8m0"),
                             (T.COMPLEX64, np.float64, "complex64")):  # fmt: skip
        data = np.arange(6).astype(bits).reshape(2, 3)
        v = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(data, code)
        assert v.data_type() == f"tensor({text})" and v.element_type() == code and v.shape() == [2, 3]
        assert v.tensor_size_in_bytes() == data.nbytes and v.data_ptr() == data.ctypes.data
    with pytest.raises(InvalidArgument, match="expected one of 4 bytes, got float64"):
        ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.zeros(2, np.float32), T.DOUBLE)
    x = drawn(2, 3)
    v = ort.OrtValue.from_dlpack(x)
    assert v.data_ptr() == x.ctypes.data and np.from_dlpack(v).ctypes.data == x.ctypes.data


def test_providers_left_out_are_told():
    o, told = ort.SessionOptions(), []
    o.log_callback = lambda severity, text: told.append((severity, text))
    ort.InferenceSession(classifier(), o, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert [t for t in told if t[0] == 2 and "CUDAExecutionProvider" in t[1]]


def test_log_levels(capfd):
    for level, told in [(1, ["info: loaded in", "info: planned for 'x' 2x6 f32"]), (2, []), (3, [])]:
        o = ort.SessionOptions()
        o.log_severity_level = level
        ort.InferenceSession(classifier(), o).run(None, {"x": drawn(2, 6)})
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == len(told) and all(want in line for want, line in zip(told, lines)), lines
    ort.set_default_logger_severity(3)
    try:
        ort.InferenceSession(counter()).run(None, trips(100))
        assert capfd.readouterr().err == ""
    finally:
        ort.set_default_logger_severity(2)
    ort.InferenceSession(counter()).run(None, trips(100))
    assert "warning: data decides at node 'y'" in capfd.readouterr().err


def test_no_optimisation_is_exact():
    """A batch norm after a convolution goes into its weights unless bits have to stay."""
    nodes = [h.make_node("Conv", ["x", "w"], ["a"]),
             h.make_node("BatchNormalization", ["a", "s", "b", "m", "v"], ["y"])]
    weights = {"w": drawn(16, 16, 3, 3), "s": drawn(16), "b": drawn(16, seed=1), "m": drawn(16, seed=2),
               "v": np.abs(drawn(16, seed=3)) + 1}
    data = serialized(nodes, [floats("x", 1, 16, 12, 12)], [floats("y", 1, 16, 10, 10)], weights)
    x = {"x": drawn(1, 16, 12, 12)}
    o = ort.SessionOptions()
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain, exact, folded = (s.run(None, x)[0] for s in (
        ort.InferenceSession(data, o), ort.InferenceSession(data, exact=True), ort.InferenceSession(data)))
    np.testing.assert_array_equal(plain, exact)
    assert not np.array_equal(plain, folded)
    np.testing.assert_allclose(plain, folded, rtol=1e-3, atol=1e-3)


def test_strings_sequences_and_bound_strings():
    kind = h.make_tensor_value_info
    nodes = [h.make_node("StringConcat", ["a", "b"], ["c"]), h.make_node("SequenceConstruct", ["a", "c"], ["pair"])]
    pair = h.make_tensor_sequence_value_info("pair", T.STRING, None)
    s = ort.InferenceSession(serialized(nodes, [kind(n, T.STRING, [2]) for n in "ab"], [kind("c", T.STRING, [2]), pair]))
    assert [p.type for p in s.get_outputs()] == ["tensor(string)", "seq(tensor(string))"]
    feed = {"a": np.array(["è", ""], dtype=object), "b": np.array(["x", "yz"], dtype=object)}
    joined, both = s.run(None, feed)
    assert joined.tolist() == ["èx", "yz"] and [v.tolist() for v in both] == [["è", ""], ["èx", "yz"]]
    binding = s.io_binding()
    for name, value in feed.items():
        binding.bind_cpu_input(name, value)
    s.run_with_iobinding(binding)
    words, sequence = binding.get_outputs()
    assert words.numpy().tolist() == ["èx", "yz"] and words.element_type() == T.STRING
    assert sequence.is_tensor_sequence() and not sequence.is_tensor() and sequence.has_value()
    with pytest.raises(InvalidArgument, match="expected a tensor"):
        sequence.numpy()


def test_dimensions_are_overridden():
    o = ort.SessionOptions()
    o.add_free_dimension_override_by_name("batch", 3)
    s = ort.InferenceSession(classifier(), o)
    assert s.get_inputs()[0].shape == [3, 6] and s.get_outputs()[0].shape == [3, 4]
    close(s.run(None, {"x": drawn(3, 6)})[0], classified(drawn(3, 6)))
    with pytest.raises(InvalidArgument, match="expected 3 in dimension 0"):
        s.run(None, {"x": drawn(2, 6)})
    m = onnx.load_from_string(classifier())
    m.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    o = ort.SessionOptions()
    o.add_free_dimension_override_by_denotation("DATA_BATCH", 2)
    assert ort.InferenceSession(m.SerializeToString(), o).get_inputs()[0].shape == [2, 6]
    with pytest.raises(ValueError, match="no dimension 'rows'"):
        ort.Session(classifier(), sizes={"rows": 2})


def with_defaults(ir_version=10):
    """The classifier's weight v, the bias and what is folded from it, as inputs that have defaults."""
    nodes = [h.make_node("MatMul", ["x", "w"], ["a"]), h.make_node("Relu", ["a"], ["b"]), h.make_node("MatMul", ["b", "v"], ["c"]),
             h.make_node("Mul", ["bias", "two"], ["d"]), h.make_node("Add", ["c", "d"], ["y"])]
    initializers = [numpy_helper.from_array(v, k) for k, v in
                    {**WEIGHTS, "bias": drawn(4, seed=2), "two": np.float32([2])}.items()]
    inputs = [floats("x", "batch", 6), floats("v", 8, "k"), floats("bias", "k")]
    if ir_version < 4:
        inputs += [floats("w", 6, 8), floats("two", 1)]
    graph = h.make_graph(nodes, "g", inputs, [floats("y", "batch", "k")], initializers)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 8)], ir_version=ir_version).SerializeToString()


@pytest.mark.parametrize("ir_version", [3, 10])
def test_defaults_are_overridden(ir_version):
    s = ort.InferenceSession(with_defaults(ir_version))
    assert [p.name for p in s.get_inputs()] == ["x"]
    shown = [(p.name, p.type, p.shape) for p in s.get_overridable_initializers()]
    assert shown[:2] == [("v", "tensor(float)", [8, "k"]), ("bias", "tensor(float)", ["k"])]
    x, v, bias = drawn(3, 6, seed=3), drawn(8, 4, seed=4), drawn(4, seed=5)
    want = lambda x, v=WEIGHTS["v"], bias=drawn(4, seed=2): np.maximum(x @ WEIGHTS["w"], 0) @ v + 2 * bias  # noqa: E731
    for _ in range(2):
        close(s.run(None, {"x": x})[0], want(x))
        close(s.run(None, {"x": x, "bias": bias})[0], want(x, bias=bias))
        close(s.run(None, {"bias": bias, "x": x[:1], "v": v})[0], want(x[:1], v, bias))
        close(s.run(None, {"x": x, "v": v})[0], want(x, v))
    close(s.run(None, {"x": x, "v": v[:, :1], "bias": bias[:1]})[0], want(x, v[:, :1], bias[:1]))   # another size
    s._model.trim()
    binding = s.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_cpu_input("v", v)
    s.run_with_iobinding(binding)
    close(binding.get_outputs()[0].numpy(), want(x, v))
    with pytest.raises(InvalidArgument, match="'v' does not fit: expected 8 in dimension 0"):
        s.run(None, {"x": x, "v": v.T})
    with pytest.raises(InvalidArgument, match="'bias' does not fit: expected a tensor of float32"):
        s.run(None, {"x": x, "bias": bias.astype("f8")})
    with pytest.raises(InvalidArgument, match="unknown input.*'bias'.*got .'c'"):
        s.run(None, {"x": x, "c": bias})


def test_threads_share_overridden_defaults():
    s, x = ort.InferenceSession(with_defaults()), drawn(5, 6)
    wrong = []

    def work(seed):
        for k in range(20):
            given = {"v": drawn(8, 4, seed=seed), "bias": drawn(4, seed=k)}
            feed = {name: given[name] for name in (("v",), ("bias",), ("v", "bias"), ())[(seed + k) % 4]}
            got = s.run(None, {"x": x, **feed})[0]
            v, bias = feed.get("v", WEIGHTS["v"]), feed.get("bias", drawn(4, seed=2))
            if not np.allclose(got, np.maximum(x @ WEIGHTS["w"], 0) @ v + 2 * bias, rtol=1e-5, atol=1e-5):
                wrong.append((seed, k))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_a_file_that_is_cut_is_an_error(tmp_path):
    m = onnx.load_from_string(classifier())
    onnx.save(m, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    s = ort.Session(tmp_path / "m.onnx")
    assert s.stats["mapped_bytes"] > 0
    close(s(drawn(2, 6)).numpy(), classified(drawn(2, 6)))
    os.truncate(tmp_path / "m.data", 8)
    with pytest.raises(OSError, match="was cut while a session reads it: expected '.*m.data' of .* bytes, got 8"):
        s(drawn(3, 6))


def test_initializers_from_outside(tmp_path):
    m = onnx.load_from_string(classifier())
    onnx.save(m, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.data").unlink()
    x, w = drawn(2, 6), drawn(6, 8, seed=7)
    given = [ort.OrtValue.ortvalue_from_numpy(a) for a in (w, WEIGHTS["v"])]
    o = ort.SessionOptions()
    o.add_external_initializers(["w", "v"], given)
    want = np.maximum(x @ w, 0) @ WEIGHTS["v"]
    for source in (tmp_path / "m.onnx", (tmp_path / "m.onnx").read_bytes()):
        close(ort.InferenceSession(source, o).run(None, {"x": x})[0], want)
    o = ort.SessionOptions()
    o.add_initializer("w", given[0])
    close(ort.InferenceSession(classifier(), o).run(None, {"x": x})[0], want)
    close(ort.Session(classifier(), initializers={"w": suan.tensor(w)})(x).numpy(), want)
    for name, value, text in (("w", w.T, "'w' does not fit: expected float32 of .6x8., got"), ("w", w.astype("f8"), "'w' does not fit"),
                              ("u", w, "no initializer 'u'")):
        with pytest.raises(ValueError, match=text):
            ort.Session(classifier(), initializers={name: value})
    with pytest.raises(InvalidArgument, match="a value for each of"):
        o.add_external_initializers(["w"], given)


def test_run_async():
    s, done, seen = ort.InferenceSession(classifier()), threading.Event(), []

    def call(results, data, error):
        seen.append((results, data, error))
        if len(seen) == 2:
            done.set()

    s.run_async(None, {"x": drawn(2, 6)}, call, "first")
    s.run_async(None, {"x": drawn(2, 5)}, call, "second")
    assert done.wait(60)
    close(seen[0][0][0], classified(drawn(2, 6)))
    assert seen[0][1:] == ("first", "")
    assert seen[1][0] is None and seen[1][1] == "second" and "expected 6 in dimension 1" in seen[1][2]


def test_profile_names_the_nodes(tmp_path):
    o = ort.SessionOptions()
    o.enable_profiling, o.profile_file_prefix = True, str(tmp_path / "trace_")
    s = ort.InferenceSession(classifier(), o)
    s.run(None, {"x": drawn(2, 6)})
    path = s.end_profiling()
    assert path.startswith(o.profile_file_prefix)
    lines = [event["args"]["line"] for event in json.loads(Path(path).read_text())["traceEvents"]]
    assert "second" in lines and set(lines) <= {"first", "bend", "second"}
    assert s.end_profiling() == ""


# Memory of the caller's.


def test_binding_reads_and_writes_in_place():
    s = ort.InferenceSession(classifier())
    x, y = drawn(3, 6), np.full((3, 4), np.nan, "f4")
    binding = s.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, T.FLOAT, y.shape, y.ctypes.data)
    s.run_with_iobinding(binding)
    close(y, classified(x))
    assert binding.get_outputs()[0].data_ptr() == y.ctypes.data
    x *= -1   # the next run reads what is there then
    s.run_with_iobinding(binding)
    close(y, classified(x))
    close(binding.copy_outputs_to_cpu()[0], classified(x))


def test_ort_values():
    s = ort.InferenceSession(classifier())
    x = drawn(2, 6)
    given, taken = ort.OrtValue.ortvalue_from_numpy(x), ort.OrtValue.ortvalue_from_shape_and_type([2, 4], np.float32)
    assert given.data_ptr() == x.ctypes.data and given.is_tensor() and given.device_name() == "cpu"
    binding = s.io_binding()
    binding.bind_ortvalue_input("x", given)
    binding.bind_ortvalue_output("y", taken)
    s.run_with_iobinding(binding)
    close(taken.numpy(), classified(x))
    given.update_inplace(2 * x)
    s.run_with_iobinding(binding)
    close(taken.numpy(), classified(2 * drawn(2, 6)))
    with pytest.raises(InvalidArgument, match=r"expected float32 \[2, 6\]"):
        given.update_inplace(drawn(3, 6))
    (made,) = s.run_with_ort_values(["y"], {"x": given})
    close(made.numpy(), taken.numpy())


@pytest.mark.parametrize("name", ["sum", "turned"])
def test_output_over_its_own_input(name):
    s, x = ort.Session(two_results()), drawn(70, 70)
    want = {"sum": x + 1, "turned": x.T.copy()}[name]
    s.run({"x": x}, into={name: x})
    np.testing.assert_array_equal(x, want)


def test_places_that_do_not_fit():
    s, x = ort.Session(two_results()), drawn(4, 4)
    memory = np.zeros(24, "f4")
    fixed = np.zeros((4, 4), "f4")
    fixed.flags.writeable = False
    odd = np.zeros(4 * 16 + 1, "u1")[1:].view("f4").reshape(4, 4)
    for into, kind, text in [
        ({"sum": memory[:16].reshape(4, 4), "turned": memory[8:].reshape(4, 4)}, ValueError, "'sum' and 'turned' overlap"),
        ({"sum": odd}, ValueError, "not aligned"),
        ({"sum": fixed}, (TypeError, ValueError), "read"),
        ({"sum": np.zeros((4, 8), "f4")[:, ::2]}, TypeError, "contiguous"),
        ({"sum": np.zeros((4, 4), "f8")}, TypeError, "expected 4x4 f32, got 4x4 f64"),
        ({"sum": np.zeros((4, 5), "f4")}, TypeError, "does not fit"),
        ({"total": np.zeros((4, 4), "f4")}, ValueError, "unknown output"),
    ]:
        for _ in range(2):   # the first call plans, the second one has a plan
            with pytest.raises(kind, match=text):
                s.run({"x": x}, into=into)
    halves = np.zeros((2, 4, 4), "f4")
    s.run({"x": x}, into={"sum": halves[0], "turned": halves[1]})
    np.testing.assert_array_equal(halves, [x + 1, x.T])


def test_unaligned_input_is_copied():
    x = np.zeros(4 * 16 + 1, "u1")[1:].view("f4").reshape(4, 4)
    x[:] = drawn(4, 4)
    assert not x.flags.aligned
    np.testing.assert_array_equal(ort.InferenceSession(two_results()).run(["sum"], {"x": x})[0], x + 1)


# Deadlines, threads, memory.


@pytest.mark.parametrize("build, feed, small", [
    (counter, trips(FOREVER), trips(3)), (powers, {"x": np.zeros((2000, 2000), "f4")}, {"x": np.eye(4, dtype="f4")})])
def test_timeout(build, feed, small):
    s, o = ort.InferenceSession(build()), ort.RunOptions()
    o.timeout = 0.1
    with pytest.raises(TimeoutError, match="within 0.1 s") as caught:
        s.run(None, feed, o)
    assert isinstance(caught.value, Fail)
    with pytest.raises(TimeoutError):
        ort.Session(build()).run(feed, timeout=0.1)
    assert s.run(None, small)[0].shape == (4,) * len(s.get_outputs()[0].shape)
    with pytest.raises(ValueError, match="bad timeout"):
        s._model.run(small, timeout=-1.0)


def test_cancelled_by_another_thread():
    s, o = ort.InferenceSession(counter()), ort.RunOptions()

    def stop():
        o.terminate = True

    timer = threading.Timer(0.1, stop)
    timer.start()
    with pytest.raises(suan.CancelledError) as caught:
        s.run(None, trips(FOREVER), o)
    assert isinstance(caught.value, Fail)
    timer.join()
    with pytest.raises(Fail):   # still asked for
        s.run(None, trips(3), o)
    o.terminate = False
    assert s.run(None, trips(3), o)[0].tolist() == [3, 3, 3, 3]


def test_threads_of_a_session():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import os, sys
        import numpy as np
        import suan, suan.onnx
        suan.set_num_threads(1)
        data = sys.stdin.buffer.read()
        x = np.random.default_rng(0).standard_normal((300, 300)).astype("f4")
        count = lambda: len(os.listdir("/proc/self/task"))
        feed = {"x": x / 20}
        one = suan.onnx.Session(data, threads=1).run(feed)[0].numpy()
        before = count()
        many = suan.onnx.Session(data, threads=4).run(feed)[0].numpy()
        print(count() - before, np.array_equal(one, many), suan.get_num_threads())
        """)], input=powers(), capture_output=True, check=True)
    assert done.stdout.split() == [b"3", b"True", b"1"]


def test_threads_that_plan_at_once():
    s, start, shapes, failed = ort.InferenceSession(classifier()), threading.Barrier(8), range(1, 9), []

    def work(k):
        try:
            start.wait()
            for n in [5, *np.roll(shapes, k)]:
                close(s.run(None, {"x": drawn(n, 6, seed=int(n))})[0], classified(drawn(n, 6, seed=int(n))))
        except BaseException as e:  # noqa: BLE001: told below
            failed.append(e)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert s.stats["plans"] == 8 and s.stats["replayed"] == 8 * 9   # each shape was planned once


def test_peak_memory_and_its_limit():
    s = ort.Session(classifier())
    need, one = s.peak_memory({"x": (1000, 6)}), s.peak_memory({"batch": 1})
    assert need >= 1000 * 4 * 4 and need > one
    assert s.memory({"x": (1000, 6)})["outputs"] >= 1000 * 4 * 4
    x = drawn(1000, 6)
    enough, short = (ort.InferenceSession(classifier(), memory_limit=limit) for limit in (need, need - 1))
    close(enough.run(None, {"x": x})[0], classified(x))
    with pytest.raises(suan.OutOfMemoryError, match=f"expected at most {need - 1} bytes, got {need}") as caught:
        short.run(None, {"x": x})
    assert isinstance(caught.value, Fail)
    close(short.run(None, {"x": x[:10]})[0], classified(x[:10]))
    with pytest.raises(ValueError, match="open shape of input 'x'"):
        s.memory()
    with pytest.raises(suan.StateError, match="where data decides"):
        ort.Session(counter()).memory()


def test_outputs_that_the_shapes_decide_count():
    nodes = [h.make_node("Shape", ["x"], ["y"])]
    m = serialized(nodes, [floats("x", "n", 3)], [h.make_tensor_value_info("y", T.INT64, [2])])
    assert ort.Session(m).memory({"n": 5}) == {"arena": 0, "outputs": 16, "weights": 0}
    nodes = [h.make_node("Shape", ["x"], ["s"]), h.make_node("Expand", ["one", "s"], ["y"])]
    m = serialized(nodes, [floats("x", "n", 3)], [floats("y", "n", 3)], {"one": np.float32([1])})
    s = ort.Session(m, memory_limit=1_000_000)
    assert s(np.zeros((5, 3), "f4")).numpy().sum() == 15
    with pytest.raises(suan.OutOfMemoryError, match="expected at most 1000000 bytes"):
        s(np.broadcast_to(np.float32(0), (1 << 24, 3)))


def test_trim_gives_memory_back():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    s, x = ort.Session(wide()), np.zeros((4000, 6), "f4")
    arena = s.memory({"x": x.shape})["arena"]
    assert arena > 10_000_000
    s(x)
    before = resident()
    s.trim()
    assert before - resident() > arena / 2
    assert s(x).numpy().sum() == 0 and s.stats["translated"] == 1


# Precision and streams.


def test_bf16():
    nodes = [h.make_node("MatMul", ["x", "w"], ["a"]), h.make_node("Tanh", ["a"], ["b"]), h.make_node("MatMul", ["b", "u"], ["c"]),
             h.make_node("Add", ["s", "c"], ["d"]), h.make_node("MatMul", ["d", "v"], ["y"])]
    m = serialized(nodes, [floats("x", "n", 64)], [floats("y", "n", 32)],
                   {"w": drawn(64, 64) / 8, "u": drawn(64, 64, seed=3) / 8, "s": drawn(64, seed=4), "v": drawn(64, 32, seed=1) / 8})
    x = drawn(20, 64, seed=2)
    whole, narrow = (ort.InferenceSession(m, precision=p).run(None, {"x": x})[0] for p in ("float32", "bf16"))
    assert narrow.dtype == np.float32
    error = np.abs(narrow - whole).max() / np.sqrt((whole**2).mean())
    assert 1e-5 < error < 3e-2
    again = ort.InferenceSession(m, precision="bf16")
    for rows in (20, 7, 3):   # the weights are narrowed once; all shapes use them
        np.testing.assert_allclose(again.run(None, {"x": x[:rows]})[0], narrow[:rows], rtol=0, atol=1e-2)


@pytest.mark.parametrize("masked", [False, True])
def test_bf16_of_attention_and_a_classifier(masked):
    """Heads are transposed between products, and the last one's outputs fill no whole blocks."""
    w = {f"w{n}": drawn(64, 64, seed=k) / 8 for k, n in enumerate("qkv")}
    w |= {"heads": np.array([0, 0, 4, 16]), "rows": np.array([0, 0, 64]), "scale": np.float32(0.25), "u": drawn(64, 150, seed=5) / 8,
          "b": drawn(150, seed=6)}
    nodes = []
    for n in "qkv":
        order = [0, 2, 3, 1] if n == "k" else [0, 2, 1, 3]
        nodes += [h.make_node("MatMul", ["x", f"w{n}"], [f"{n}0"]), h.make_node("Reshape", [f"{n}0", "heads"], [f"{n}1"]),
                  h.make_node("Transpose", [f"{n}1"], [n], perm=order)]
    nodes += [h.make_node("MatMul", ["q", "k"], ["s0"]), h.make_node("Mul", ["s0", "scale"], ["s1"]),
              h.make_node("Add", ["s1", "m"], ["s2"]) if masked else h.make_node("Identity", ["s1"], ["s2"]),
              h.make_node("Softmax", ["s2"], ["p"], axis=-1), h.make_node("MatMul", ["p", "v"], ["o0"]),
              h.make_node("Transpose", ["o0"], ["o1"], perm=[0, 2, 1, 3]), h.make_node("Reshape", ["o1", "rows"], ["o"]),
              h.make_node("MatMul", ["o", "u"], ["y0"]), h.make_node("Add", ["y0", "b"], ["y"])]
    inputs = [floats("x", 2, 77, 64)] + ([floats("m", 2, 1, 1, 77)] if masked else [])
    m = serialized(nodes, inputs, [floats("y", 2, 77, 150)], w)
    feed = {"x": drawn(2, 77, 64, seed=8)}
    if masked:
        feed["m"] = np.where(drawn(2, 1, 1, 77, seed=9) < 0, np.float32(-1e4), np.float32(0))
    whole = ort.InferenceSession(m, exact=True).run(None, feed)[0]
    threads, got = suan.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            suan.set_num_threads(n)
            got.append(ort.InferenceSession(m, precision="bf16").run(None, feed)[0])
    finally:
        suan.set_num_threads(threads)
    assert got[0].dtype == np.float32 and got[0].shape == whole.shape
    assert np.abs(got[0] - whole).max() < 2e-2 * np.abs(whole).max()
    for other in got[1:]:
        np.testing.assert_array_equal(other, got[0])


def conv(x, y, weights, out, per, *kernel, **attrs):
    """A convolution of x with weights of its own, drawn into `weights`."""
    k = len(weights)
    weights[f"w{k}"] = (drawn(out, per, *kernel, seed=k) / np.sqrt(per * np.prod(kernel))).astype("f4")
    weights[f"b{k}"] = drawn(out, seed=100 + k)
    return h.make_node("Conv", [x, f"w{k}", f"b{k}"], [y], kernel_shape=kernel, **attrs)


def convolutions(which):
    """Small networks: (nodes, weights, input's shape, output's channels)."""
    w, same = {}, {"pads": [1, 1, 1, 1]}
    if which == "residual":
        nodes = [conv("x", "a", w, 64, 3, 7, 7, strides=[2, 2], pads=[3, 3, 3, 3]), h.make_node("Relu", ["a"], ["b"]),
                 h.make_node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
                 conv("c", "d", w, 32, 64, 1, 1), h.make_node("Relu", ["d"], ["e"]), conv("e", "f", w, 32, 32, 3, 3, **same),
                 h.make_node("Relu", ["f"], ["g"]), conv("g", "h", w, 64, 32, 1, 1), h.make_node("Add", ["h", "c"], ["i"]),
                 h.make_node("Relu", ["i"], ["j"]), conv("j", "k", w, 48, 64, 1, 1, strides=[2, 2]),
                 h.make_node("GlobalAveragePool", ["k"], ["y"])]
        return nodes, w, (2, 3, 45, 38), 48
    if which == "depthwise":
        w["low"], w["high"] = np.float32(0), np.float32(6)
        clip = lambda x, y: h.make_node("Clip", [x, "low", "high"], [y])  # noqa: E731
        nodes = [conv("x", "a", w, 96, 24, 1, 1), clip("a", "b"), conv("b", "c", w, 96, 1, 3, 3, group=96, **same), clip("c", "d"),
                 conv("d", "e", w, 24, 96, 1, 1), conv("e", "f", w, 24, 1, 3, 3, group=24, strides=[2, 2], **same),
                 conv("f", "g", w, 24, 1, 5, 5, group=24, pads=[2, 2, 2, 2]), h.make_node("Add", ["f", "g"], ["y"])]
        return nodes, w, (1, 24, 19, 27), 24
    # Groups, few and odd numbers of channels, a sigmoid, channels joined, a tall window.
    nodes = [conv("x", "a", w, 32, 1, 3, 3, **same), conv("a", "b", w, 64, 16, 3, 3, group=2, **same), h.make_node("Sigmoid", ["b"], ["c"]),
             h.make_node("Mul", ["b", "c"], ["d"]), h.make_node("Concat", ["d", "a"], ["e"], axis=1), conv("e", "f", w, 13, 96, 1, 1),
             conv("f", "g", w, 13, 13, 1, 1), conv("g", "y", w, 16, 13, 5, 1, pads=[2, 0, 2, 0], dilations=[1, 1])]
    return nodes, w, (1, 1, 9, 70), 16


@pytest.mark.parametrize("which", ["residual", "depthwise", "others"])
def test_bf16_of_convolutions(which):
    nodes, weights, shape, channels = convolutions(which)
    m = serialized(nodes, [floats("x", *shape)], [floats("y", shape[0], channels, "h", "w")], weights)
    x = drawn(*shape, seed=9)
    whole = ort.InferenceSession(m, exact=True).run(None, {"x": x})[0]
    threads, got = suan.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            suan.set_num_threads(n)
            got.append(ort.InferenceSession(m, precision="bf16").run(None, {"x": x})[0])
    finally:
        suan.set_num_threads(threads)
    assert got[0].dtype == np.float32 and got[0].shape == whole.shape
    # Each of some ten layers rounds once or twice: 2^-9 of its value.
    assert np.abs(got[0] - whole).max() < 2e-2 * np.abs(whole).max()
    assert np.sqrt(((got[0] - whole) ** 2).mean()) < 6e-3 * np.sqrt((whole**2).mean())
    for other in got[1:]:
        np.testing.assert_array_equal(other, got[0])


def test_bf16_is_refused_node_by_node():
    s = ort.InferenceSession(counter(), precision="bf16")
    for _ in range(2):
        with pytest.raises(TypeError, match="bf16 is for models with a plan: .* where data decides"):
            s.run(None, trips(100))


def recurrent(batch=2, width=3, hidden=4):
    weights = {"w": drawn(1, 4 * hidden, width), "r": drawn(1, 4 * hidden, hidden, seed=1), "b": drawn(1, 8 * hidden, seed=2)}
    nodes = [h.make_node("LSTM", ["x", "w", "r", "b", "", "h", "c"], ["y", "hn", "cn"], hidden_size=hidden)]
    state = [floats(n, 1, batch, hidden) for n in ("h", "c", "hn", "cn")]
    return serialized(nodes, [floats("x", "steps", batch, width), *state[:2]],
                      [floats("y", "steps", 1, batch, hidden), *state[2:]], weights)


def filtering():
    """A causal convolution of width 3: the state is the last two samples."""
    nodes = [h.make_node("Concat", ["past", "x"], ["all"], axis=2), h.make_node("Conv", ["all", "w"], ["y"]),
             h.make_node("Slice", ["all", "from", "to", "axis"], ["last"])]
    numbers = {"w": drawn(5, 2, 3), "from": np.int64([-2]), "to": np.int64([1 << 40]), "axis": np.int64([2])}
    return serialized(nodes, [floats("x", 1, 2, "t"), floats("past", 1, 2, 2)],
                      [floats("y", 1, 5, "t"), floats("last", 1, 2, 2)], numbers)


@pytest.mark.parametrize("build, state, shape, axis, out_axis", [
    (recurrent, {"h": "hn", "c": "cn"}, (12, 2, 3), 0, 0), (filtering, {"past": "last"}, (1, 2, 12), 2, 2)])
def test_stream_is_one_long_run(build, state, shape, axis, out_axis):
    s, x = ort.Session(build()), drawn(*shape, seed=3)
    whole = s.run({"x": x, **{n: np.zeros(p.shape, "f4") for n in state for p in s.inputs if p.name == n}})[0].numpy()
    stream = s.stream(state)
    for _ in range(2):
        parts = [stream(x=part).numpy() for part in np.array_split(x, [5, 6, 9], axis)]
        np.testing.assert_allclose(np.concatenate(parts, out_axis), whole, rtol=1e-5, atol=1e-5)
        stream.reset()
    first, rest = np.array_split(x, [5], axis)
    stream(first)
    kept = stream.state
    with pytest.raises((TypeError, ValueError)):
        stream(x=np.zeros((1, 1), "f4"))
    end = stream(rest).numpy()   # a call that failed left the state as it was
    other = s.stream(state)
    other.reset(kept)
    np.testing.assert_array_equal(other(rest).numpy(), end)


def test_stream_errors():
    s = ort.Session(recurrent())
    for state, text in [({"u": "hn"}, "unknown input"), ({"h": "u"}, "unknown output"), ({"h": "hn", "c": "hn"}, "of two inputs")]:
        with pytest.raises(ValueError, match=text):
            s.stream(state)
    stream = s.stream({"h": "hn", "c": "cn"})
    with pytest.raises(ValueError, match="each of .'x'. once"):
        stream(h=np.zeros((1, 2, 4), "f4"))
    with pytest.raises(ValueError, match="unknown state"):
        stream.reset({"x": np.zeros(1)})


# C and C++.


def library():
    lib = ctypes.CDLL(str(Path(suan.__file__).parent / "libsuan_onnx.so"))
    lib.suan_last_error.restype = ctypes.c_char_p
    return lib


def test_c_defaults():
    lib, data, session, call = library(), with_defaults(), ctypes.c_void_p(), ctypes.c_void_p()
    lib.suan_session_input_name.restype = ctypes.c_char_p
    assert lib.suan_session_open_bytes(data, ctypes.c_size_t(len(data)), None, ctypes.byref(session)) == 0
    assert (lib.suan_session_inputs(session), lib.suan_session_defaults(session)) == (1, 2)
    assert lib.suan_session_input_name(session, 1) == b"v" and lib.suan_session_input_name(session, 3) is None
    assert lib.suan_call_create(session, ctypes.byref(call)) == 0
    x, bias, y = drawn(2, 6), drawn(4, seed=9), np.zeros((2, 4), "f4")
    dims = lambda *d: (ctypes.c_int64 * len(d))(*d)  # noqa: E731
    at = lambda a: ctypes.c_void_p(a.ctypes.data)  # noqa: E731
    assert lib.suan_call_set_input(call, 0, 1, dims(2, 6), 2, at(x)) == 0
    assert lib.suan_call_set_input(call, 2, 1, dims(4), 1, at(bias)) == 0
    assert lib.suan_call_set_output(call, 0, 1, dims(2, 4), 2, at(y)) == 0
    assert lib.suan_call_run(call) == 0
    close(y, classified(x) + 2 * bias)
    lib.suan_call_free(call)
    lib.suan_session_free(session)


def test_c_errors():
    lib, data = library(), classifier()
    options, session, call = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    value, type_, io = 1, 2, 3

    def refused(status, kind, text):
        assert status == kind and text in lib.suan_last_error().decode()

    assert lib.suan_abi_version() == 1
    refused(lib.suan_options_create(None), value, "expected a place for the handle, got NULL")
    assert lib.suan_options_create(ctypes.byref(options)) == 0
    refused(lib.suan_options_set(options, b"speed", ctypes.c_int64(1)), value, "unknown option")
    refused(lib.suan_options_set(options, b"threads", ctypes.c_int64(-1)), value, "bad threads: expected 0 to 1024, got -1")
    refused(lib.suan_session_open(b"nowhere.onnx", options, ctypes.byref(session)), io, "nowhere.onnx")
    refused(lib.suan_session_open_bytes(b"no model", ctypes.c_size_t(8), None, ctypes.byref(session)), value, "[onnx]")
    assert lib.suan_session_open_bytes(data, ctypes.c_size_t(len(data)), options, ctypes.byref(session)) == 0
    lib.suan_options_free(options)
    assert lib.suan_session_input_rank(session, 0) == 2 and lib.suan_session_input_rank(session, 1) == -1
    assert lib.suan_session_inputs(None) == -1
    assert lib.suan_call_create(session, ctypes.byref(call)) == 0
    memory, y = np.zeros(13, "f4"), np.zeros((2, 4), "f4")
    at = lambda a, n=0: ctypes.c_void_p(a.ctypes.data + n)  # noqa: E731
    dims = lambda *d: (ctypes.c_int64 * len(d))(*d)  # noqa: E731
    refused(lib.suan_call_set_input(call, 0, 1, dims(2, 6), 2, at(memory, 2)), value, "not aligned: expected a multiple of 4")
    refused(lib.suan_call_set_input(call, 0, 1, dims(2, -6), 2, at(memory)), value, "negative dimension")
    refused(lib.suan_call_set_input(call, 0, 1, dims(2, 6), 2, None), value, "expected data, got NULL")
    refused(lib.suan_call_run(call), type_, "input 'x' does not fit")
    refused(lib.suan_call_output(call, 0, None, None, None, None), 7, "no result")
    memory[1:] = drawn(12)
    assert lib.suan_call_set_input(call, 0, 1, dims(2, 6), 2, at(memory, 4)) == 0
    assert lib.suan_call_set_output(call, 0, 1, dims(2, 4), 2, at(y)) == 0
    assert lib.suan_call_run(call) == 0
    close(y, classified(drawn(12).reshape(2, 6)))
    assert lib.suan_call_cancel(call) == 0
    refused(lib.suan_call_run(call), 6, "cancelled")
    assert lib.suan_call_run(call) == 0   # a request is for one run
    lib.suan_call_free(call)
    lib.suan_session_free(session)


def test_programs_outside_the_tree(tmp_path):
    build = Path(suan.onnx.__file__).absolute().parents[3]
    assert (build / "cmake_install.cmake").exists(), f"expected Suan's build directory, got {build}"
    source = Path(__file__).resolve().parents[2] / "frontends" / "onnx" / "examples" / "outside"
    prefix, made = tmp_path / "prefix", tmp_path / "build"

    def call(*args):
        done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("cmake", "--install", build, "--component", "cpp", "--prefix", prefix)
    call("cmake", "-S", source, "-B", made, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release")
    call("cmake", "--build", made)
    (tmp_path / "m.onnx").write_bytes(classifier())
    x = (np.arange(5 * 6) % 7 - 3).astype("f4").reshape(5, 6)
    rows = [f"row {i}: class {k}" for i, k in enumerate(classified(x).argmax(1))]
    need = ort.Session(classifier()).peak_memory({"batch": 5})
    for program in ("classify", "classify_c"):
        assert call(made / program, tmp_path / "m.onnx", 5).splitlines() == [f"a call takes {need} bytes", *rows]
        bad = subprocess.run([made / program, tmp_path / "no.onnx", "5"], capture_output=True, text=True)
        assert bad.returncode != 0 and "no.onnx" in bad.stderr
