"""Hostile ONNX files: each class of damage is refused with one line that names what is wrong and where.

A class is a generator of (variant, model, words of the message, inputs of a call); what a load cannot know
(inputs None: the load itself has to refuse) is refused by the call.
"""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import suan
import suan.onnx

ERRORS = (ValueError, TypeError, IndexError, OSError, MemoryError)
CLASSES = {}


def hostile(f):
    CLASSES[f.__name__] = f
    return f


def floats(name, *dims):
    return h.make_tensor_value_info(name, T.FLOAT, list(dims))


def ints(name, *dims):
    return h.make_tensor_value_info(name, T.INT64, list(dims))


def array(name, values, dtype="i8"):
    return numpy_helper.from_array(np.array(values, dtype), name)


def model(nodes, inputs=None, outputs=None, initializers=(), opset=21, **kw):
    inputs = [floats("x", "n", 4)] if inputs is None else inputs
    outputs = [h.make_empty_tensor_value_info("y")] if outputs is None else outputs
    graph = h.make_graph(nodes, "g", inputs, outputs, list(initializers))
    imports = kw.pop("opset_imports", None)
    imports = [h.make_opsetid("", opset)] if imports is None else imports
    return h.make_model(graph, opset_imports=imports, ir_version=kw.pop("ir_version", 10), **kw)


def relu(**kw):
    return model([h.make_node("Relu", ["x"], ["y"], name="r")], **kw)


def node(op, inputs=("x",), outputs=("y",), **attrs):
    return h.make_node(op, list(inputs), list(outputs), name="the_node", **attrs)


X = np.ones((2, 4), "f4")


# ---- the file itself ----------------------------------------------------------------------------------------


@hostile
def truncated():
    data = relu(initializers=[array("w", np.ones(4000), "f4")]).SerializeToString()
    for n in (1, len(data) // 3, len(data) - 1):
        yield f"at {n}", data[:n], "expected", None


@hostile
def empty_or_random():
    yield "empty", b"", "not a model: expected an ONNX ModelProto.*got 0 bytes", None
    rng = np.random.default_rng(1)
    for n in (1, 10, 1000, 100_000):
        yield f"random {n}", rng.bytes(n), "expected", None
    yield "text", b"hello, world\n" * 9, "expected", None
    yield "another message", T(name="t", data_type=1, raw_data=b"1234").SerializeToString(), "expected", None


@hostile
def ir_version():
    yield "too new", relu(ir_version=99), "IR version.*expected at most 14, got 99", None
    yield "negative", relu(ir_version=-1), "IR version.*got -1", None
    m = relu()
    m.ClearField("ir_version")
    yield "missing", m, "IR version.*expected one, got none", None
    data = relu().SerializeToString()
    yield "doubled", data + b"\x08\x09", "expected one IR version, got 2", None
    yield "two graphs", data + data[data.index(b"\x3a") :], "expected one (IR version|graph), got 2", None


@hostile
def opset_version():
    yield "too new", relu(opset=1000), "opset of ai.onnx.*expected 1 to \\d+, got 1000", None
    yield "zero", relu(opset=0), "opset of ai.onnx.*got 0", None
    yield "missing", relu(opset_imports=[]), "expected an opset import", None
    yield "of another domain", relu(opset_imports=[h.make_opsetid("ai.onnx.ml", 3)]), "domain ''.*node 'r'", None
    yield "doubled", relu(opset_imports=[h.make_opsetid("", 13), h.make_opsetid("ai.onnx", 21)]), "opset.*twice.*13.*21", None
    f = h.make_function("d", "F", ["a"], ["b"], [h.make_node("Relu", ["a"], ["b"])], [])
    m = model([h.make_node("F", ["x"], ["y"], domain="d")], functions=[f], opset_imports=[h.make_opsetid("", 21), h.make_opsetid("d", 1)])
    yield "missing in a function", m, "domain ''", None


def field(number, body):
    """A length-delimited Protocol Buffers field."""
    size, n = b"", len(body)
    while n > 127:
        size, n = size + bytes([n & 127 | 128]), n >> 7
    return bytes([number << 3 | 2]) + size + bytes([n]) + body


@hostile
def nesting():
    for levels in (40, 60, 2000, 20_000):  # bytes, as Python's own library refuses to make such a message
        graph = b""
        for _ in range(levels):
            graph = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + b"\xa0\x01\x05" + field(6, graph)))
        yield f"{levels} graphs", b"\x08\x0a" + field(8, b"\x10\x15") + field(7, graph), "nest.*expected at most", None
    for levels in (200, 20_000):
        kind = b""
        for _ in range(levels):
            kind = field(4, field(1, kind))
        graph = field(11, field(1, b"s") + field(2, kind))
        yield f"{levels} types", b"\x08\x0a" + field(8, b"\x10\x15") + field(7, graph), "nest.*expected at most", None


# ---- graphs -------------------------------------------------------------------------------------------------


@hostile
def cycles():
    yield "one", model([h.make_node("Add", ["x", "y"], ["y"], name="a")]), "cycle.*'a'", None
    loop = [h.make_node("Add", ["x", "b"], ["a"], name="p"), h.make_node("Relu", ["a"], ["b"], name="q"), h.make_node("Relu", ["b"], ["y"])]
    yield "two", model(loop), "cycle.*'p'", None


@hostile
def duplicate_values():
    r = h.make_node("Relu", ["x"], ["y"], name="first")
    yield "nodes", model([r, h.make_node("Abs", ["x"], ["y"], name="second")]), "defined twice.*'y'", None
    yield "in one node", model([h.make_node("Split", ["x"], ["y", "y"], num_outputs=2, axis=1)]), "defined twice.*'y'", None
    yield "inputs", model([r], inputs=[floats("x", 1), floats("x", 1)]), "twice.*'x'", None
    yield "initializers", model([r], initializers=[array("w", [1]), array("w", [2])]), "twice.*'w'", None
    yield "input and node", model([h.make_node("Relu", ["x"], ["x"])], outputs=[floats("x", 1)]), "twice.*'x'|cycle.*'x'", None
    inner = h.make_graph([h.make_node("Relu", ["x"], ["r"])], "g", [], [floats("r", None)])
    shadow = [h.make_node("Abs", ["x"], ["r"]), h.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    c = h.make_tensor_value_info("c", T.BOOL, [])
    yield "across sub-graphs", model(shadow, inputs=[floats("x", 1), c]), "twice.*'r'", None


@hostile
def undefined_values():
    yield "input", model([node("Add", ["x", "nobody"])]), "unknown value.*'nobody'.*Add 'the_node'", None
    yield "graph output", relu(outputs=[floats("nothing", 1)]), "graph output 'nothing'", None
    yield "unnamed output", relu(outputs=[floats("", 1)]), "graph output ''", None
    f = h.make_function("d", "F", ["a"], ["b", "c"], [h.make_node("Relu", ["a"], ["b"])], [h.make_opsetid("", 21)])
    m = model([h.make_node("F", ["x"], ["y"], domain="d")], functions=[f], opset_imports=[h.make_opsetid("", 21), h.make_opsetid("d", 1)])
    yield "of a function", m, "'F'.*output 'c'", None


@hostile
def unsorted_nodes():
    late = [h.make_node("Relu", ["a"], ["y"], name="early"), h.make_node("Abs", ["x"], ["a"], name="late")]
    yield "two", model(late), "not sorted.*'a'.*'early'.*'late'", None


@hostile
def unknown_operators():
    yield "operator", model([node("NoSuchOp")]), "unsupported operator.*NoSuchOp.*'the_node'", None
    yield "empty", model([node("")]), "operator.*'the_node'", None
    imports = [h.make_opsetid("", 21), h.make_opsetid("no.where", 1)]
    yield "domain", model([node("Relu", domain="no.where")], opset_imports=imports), "unsupported operator.*no.where.Relu", None
    yield "not imported", model([node("Relu", domain="no.where")]), "domain 'no.where'.*'the_node'", None
    yield "too old", model([node("Gelu")], opset=13), "unsupported operator.*Gelu of opset 13", None


@hostile
def attributes():
    yield "missing", model([node("Concat", ["x", "x"])]), "missing attribute.*'axis'.*'the_node'", None
    yield "unknown", model([node("Relu", speed=1)]), "unknown attribute.*'speed'.*'the_node'", None
    yield "mistyped", model([node("Concat", ["x", "x"], axis=1.5)]), "attribute 'axis'.*expected an integer, got a float.*'the_node'", None
    yield "text", model([node("LeakyRelu", alpha="x")]), "attribute 'alpha'.*expected a float, got a string.*'the_node'", None
    yield "list", model([node("Softmax", axis=[1, 2])]), "attribute 'axis'.*expected an integer, got a list of integers", None
    n = node("Concat", ["x", "x"], axis=1)
    n.attribute.append(h.make_attribute("axis", 0))
    yield "doubled", model([n]), "attribute 'axis'.*twice.*'the_node'", None
    n = node("Concat", ["x", "x"], axis=1)
    n.attribute[0].f = 2.0
    yield "two values", model([n]), "attribute 'axis'.*expected one value, got 2.*'the_node'", None
    n = node("Concat", ["x", "x"], axis=1)
    n.attribute[0].type = onnx.AttributeProto.FLOAT
    yield "another field", model([n]), "attribute 'axis'.*'the_node'", None
    n.attribute[0].ClearField("type")
    yield "no type", model([n]), "attribute.*'axis'.*'the_node'", None
    n = node("Concat", ["x", "x"], axis=1)
    n.attribute[0].ref_attr_name = "axis"
    yield "reference outside functions", model([n]), "attribute 'axis'.*'the_node'", None


@hostile
def input_and_output_counts():
    yield "too few", model([node("Add", ["x"])]), "inputs: expected 2, got 1.*'the_node'", None
    yield "too many", model([node("Relu", ["x", "x"])]), "inputs: expected 1, got 2.*'the_node'", None
    yield "none", model([node("Relu", [])]), "inputs: expected 1, got 0.*'the_node'", None
    yield "left out", model([node("Add", ["x", ""])]), "input 1.*'the_node'", None
    yield "outputs", model([node("Relu", ["x"], ["y", "z"])]), "outputs: expected 1, got 2.*'the_node'", None
    yield "no output", model([node("Relu", ["x"], [])], outputs=[floats("x", 1)]), "outputs: expected 1, got 0.*'the_node'", None
    f = h.make_function("d", "F", ["a"], ["b"], [h.make_node("Relu", ["a"], ["b"])], [h.make_opsetid("", 21)])
    imports = [h.make_opsetid("", 21), h.make_opsetid("d", 1)]
    m = model([h.make_node("F", ["x", "x"], ["y"], domain="d")], functions=[f], opset_imports=imports)
    yield "of a function", m, "'F': expected at most 1 inputs and 1 outputs, got 2 and 1", None


# ---- types and tensors --------------------------------------------------------------------------------------


@hostile
def dtype_codes():
    for code in (0, 77, -1, 2**31 - 1):
        m = relu(initializers=[array("w", [1.0], "f4")])
        m.graph.initializer[0].data_type = code
        yield f"tensor {code}", m, f"data type.*({code}|UNDEFINED).*'w'", None
    for code in (0, 77, -1):
        m = relu()
        m.graph.input[0].type.tensor_type.elem_type = code
        yield f"input {code}", m, f"'x'.*type.*none|type.*{code}.*'x'", None
    m = relu()
    m.graph.input[0].ClearField("type")
    yield "input without type", m, "input 'x'.*type", None
    yield "cast", model([node("Cast", to=99)]), "data type.*99.*'the_node'", X


@hostile
def declared_types():
    yield "graph output", relu(outputs=[ints("y", None, None)]), "'y'.*expected int64.*got.*f32", X
    m = model([h.make_node("Relu", ["x"], ["a"], name="first"), h.make_node("Neg", ["a"], ["y"])])
    m.graph.value_info.append(ints("a", None))
    yield "value_info", m, "'a'.*expected int64.*got.*f32.*'first'", X
    two = [floats("x", 2, 4), floats("w", 3)]
    yield "initializer's dtype", model([node("Add", ["x", "w"])], inputs=two, initializers=[array("w", [1, 2, 3])]), "'w'.*expected float32.*got.*i64", None
    yield "initializer's shape", model([node("Add", ["x", "w"])], inputs=two, initializers=[array("w", [1, 2], "f4")]), "'w'.*expected.*3.*got.*2", None
    yield "operand", model([node("Add", ["x", "w"])], initializers=[array("w", [1, 2, 3, 4])]), "float32.*int64.*'the_node'", X


@hostile
def dims():
    m = relu(initializers=[array("w", [1.0, 2.0], "f4")])
    m.graph.initializer[0].dims[0] = -2
    yield "negative", m, "'w'.*expected 0 or more, got -2", None
    m.graph.initializer[0].dims[:] = [-1, -2]
    yield "negative twice", m, "'w'.*expected 0 or more, got -1", None
    yield "negative input", relu(inputs=[floats("x", -7)]), "'x'.*expected 0 or more, got -7", None
    for big in ([1 << 62, 1 << 62], [2**63 - 1, 2], [1 << 40, 1 << 30, 0], [2**62]):
        m = relu(initializers=[array("w", [1.0, 2.0], "f4")])
        m.graph.initializer[0].dims[:] = big
        yield f"overflow {big}", m, "'w'", None
    m.graph.initializer[0].dims[:] = [1] * 9
    yield "nine", m, "'w'.*at most 8, got 9", None


@hostile
def data_amount():
    def weight(**fields):
        m = relu(initializers=[T(name="w", dims=[2, 2], data_type=T.FLOAT, **fields)])
        return m

    for n in (0, 1, 15, 17, 8000):
        yield f"raw {n}", weight(raw_data=b"\0" * n), f"'w'.*expected 16.*got {n}", None
    yield "numbers", weight(float_data=[1, 2, 3]), "'w'.*expected 4.*got 3", None
    yield "another field", weight(int64_data=[1, 2, 3, 4]), "'w'", None
    yield "none", weight(), "'w'.*expected", None
    yield "raw and numbers", weight(raw_data=b"\0" * 16, float_data=[1, 2, 3, 4]), "'w'.*expected one field of data, got 2", None
    yield "two kinds of numbers", weight(int32_data=[1], float_data=[1, 2, 3, 4]), "'w'.*expected one field of data, got 2", None
    m = relu(initializers=[T(name="w", dims=[4000], data_type=T.FLOAT, raw_data=b"\0" * 16000, float_data=[1.0])])
    yield "large raw and numbers", m, "'w'.*expected one field of data, got 2", None
    yield "text", relu(initializers=[T(name="w", dims=[2], data_type=T.STRING, string_data=[b"a"])]), "'w'.*expected 2.*got 1", None
    yield "unnamed", relu(initializers=[array("", [1])]), "initializer.*name", None


@hostile
def sparse_tensors():
    values, indices = array("w", [1.0, 2.0], "f4"), array("w_at", [[0, 9], [1, 1]])
    m = relu()
    m.graph.sparse_initializer.append(h.make_sparse_tensor(values, indices, [2, 2]))
    yield "index", m, "'w'", None
    n = node("Constant", [], sparse_value=h.make_sparse_tensor(values, array("at", [0, 9]), [4]))
    yield "attribute", model([n]), "'(w|sparse_value)'|index", X


# ---- external data (see also test_external_files) -----------------------------------------------------------


def external(where, tmp_path, dims=(4,), extra=(), name="w"):
    t = T(name=name, dims=list(dims), data_type=T.FLOAT, data_location=T.EXTERNAL)
    for key, value in [("location", where), *extra]:
        t.external_data.add(key=key, value=str(value))
    return t


def external_cases(folder):
    """(variant, tensors, words): the folder holds data (16 bytes) and what would be followed to leave it."""
    (folder / "data").write_bytes(b"\0" * 16)
    (folder / "sub").mkdir()
    (folder / "sub" / "data").write_bytes(b"\0" * 16)
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "data").write_bytes(b"\0" * 16)
    os.symlink(outside / "data", folder / "link")
    os.symlink(outside, folder / "linked")
    os.link(outside / "data", folder / "hard")
    os.mkfifo(folder / "fifo")
    one = lambda where, *extra, **kw: [external(where, folder, extra=extra, **kw)]  # noqa: E731
    leaves = "leaves the model's folder|symbolic|regular file|directory"
    yield "..", one("../outside/data"), leaves
    yield ".. inside", one("sub/../../outside/data"), leaves
    yield "absolute", one(str(outside / "data")), leaves
    yield "empty", one(""), leaves
    yield "symlink", one("link"), leaves
    yield "symlinked folder", one("linked/data"), leaves
    yield "hardlink", one("hard"), "link"
    yield "fifo", one("fifo"), "not a regular file"
    yield "device", one("/dev/zero"), leaves
    yield "directory", one("sub"), "not a regular file"
    yield "dot", one("."), "'w'"
    yield "missing", one("nowhere"), "nowhere"
    yield "nul", one("data\0x"), "'w'"
    yield "negative offset", one("data", ("offset", -4)), "offset.*-4"
    yield "negative length", one("data", ("length", -16)), "length.*-16"
    yield "no number", one("data", ("offset", "1e3")), "offset.*1e3"
    yield "huge offset", one("data", ("offset", 2**63 - 1)), "(ends early|offset)"
    yield "past the end", one("data", ("offset", 4)), "ends early.*16 bytes from 4.*file of 16"
    yield "wrong length", one("data", ("length", 8)), "expected 16.*got 8"
    yield "unknown key", one("data", ("colour", "red")), "unknown.*'colour'"
    yield "doubled key", one("data", ("location", "data")), "'location'.*twice"
    t = external("data", folder, dims=[2], extra=[("offset", 0)])
    u = external("data", folder, dims=[3], extra=[("offset", 4)], name="v")
    yield "overlapping", [t, u], "'v'.*overlap.*'w'"
    t = external("data", folder)
    t.raw_data = b"\0" * 16
    yield "raw as well", [t], "expected one field of data, got 2"
    t = external("data", folder)
    del t.external_data[:]
    yield "no location", [t], "'w'"


def test_external_files(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for variant, tensors, words in external_cases(folder):
        (folder / "m.onnx").write_bytes(relu(initializers=tensors).SerializeToString())
        text = refused(variant, lambda: suan.onnx.load(folder / "m.onnx"), words)
        assert "'w'" in text and "m.onnx" in text, (variant, text)
    whole = [external("data", folder), external("data", folder, name="same"), external("sub/data", folder, name="other")]
    (folder / "m.onnx").write_bytes(relu(initializers=whole).SerializeToString())
    suan.onnx.load(folder / "m.onnx")
    with pytest.raises(ValueError, match="another file"):
        suan.onnx.Session(relu(initializers=whole).SerializeToString())


def test_model_path(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for bad in (tmp_path, tmp_path / "fifo", tmp_path / "no.onnx", "/dev/zero"):
        refused(str(bad), lambda bad=bad: suan.onnx.load(bad), str(bad))


# ---- functions and sub-graphs -------------------------------------------------------------------------------


@hostile
def recursive_functions():
    def functions(calls):
        made = [h.make_function("d", f, ["a"], ["b"], [h.make_node(g, ["a"], ["b"], domain="d")], [h.make_opsetid("d", 1)]) for f, g in calls]
        return model([h.make_node("F", ["x"], ["y"], domain="d")], functions=made, opset_imports=[h.make_opsetid("", 21), h.make_opsetid("d", 1)])

    yield "itself", functions([("F", "F")]), "function 'F'.*calls itself", None
    yield "two", functions([("F", "G"), ("G", "F")]), "function '[FG]'.*calls itself", None
    m = functions([("F", "F")])
    m.functions[0].node[0].op_type, m.functions[0].node[0].domain = "Relu", ""
    m.functions[0].opset_import.append(h.make_opsetid("", 21))
    m.functions.append(m.functions[0])
    yield "defined twice", m, "function 'F'.*twice", None


@hostile
def expanding_functions():
    """2^k nodes from k lines, and 2^k copies of an attribute."""
    blob = array("v", np.zeros(100_000), "f4")
    for leaf, words in (
        (h.make_node("Relu", ["a"], ["c"]), "too many nodes"),
        (h.make_node("Constant", [], ["c"], value=blob), "too many nodes"),
        (h.make_node("Constant", [], ["c"], value_floats=np.zeros(100_000, "f4")), "too (many nodes|large)"),
    ):
        functions = [
            h.make_function("d", f"F{i}", ["a"], ["c"], [h.make_node(f"F{i + 1}", ["a"], ["b"], domain="d"), h.make_node(f"F{i + 1}", ["b"], ["c"], domain="d")], [h.make_opsetid("d", 1)])
            for i in range(24)
        ] + [h.make_function("d", "F24", ["a"], ["c"], [leaf], [h.make_opsetid("", 21)])]
        m = model([h.make_node("F0", ["x"], ["y"], domain="d")], functions=functions, opset_imports=[h.make_opsetid("", 21), h.make_opsetid("d", 1)])
        yield leaf.attribute[0].name if leaf.attribute else "nodes", m, words, None


COND = h.make_tensor_value_info("c", T.BOOL, [])


def branch(nodes, outputs, inputs=()):
    return h.make_graph(nodes, "b", list(inputs), outputs)


@hostile
def sub_graphs():
    one = branch([h.make_node("Relu", ["x"], ["p"])], [floats("p", None, None)])
    two = branch([h.make_node("Relu", ["x"], ["q"]), h.make_node("Abs", ["x"], ["r"])], [floats("q", None, None), floats("r", None, None)])
    whole = branch([h.make_node("Cast", ["x"], ["s"], to=T.INT64)], [ints("s", None, None)])
    inputs = [floats("x", "n", 4), COND]
    choose = lambda a, b: model([node("If", ["c"], then_branch=a, else_branch=b)], inputs=inputs)  # noqa: E731
    yield "branch arity", choose(one, two), "else_branch.*expected 1 output.*got 2.*'the_node'", None
    yield "branch types", choose(one, whole), "branches.*float32.*int64.*'the_node'", None
    with_input = branch([h.make_node("Relu", ["i"], ["p"])], [floats("p", None)], [floats("i", None)])
    yield "branch with an input", choose(one, with_input), "else_branch.*expected 0 inputs, got 1.*'the_node'", None
    yield "no branch", model([node("If", ["c"], then_branch=one)], inputs=inputs), "missing attribute.*else_branch", None
    body = branch(
        [h.make_node("Identity", ["k"], ["k2"]), h.make_node("Relu", ["s"], ["s2"])],
        [h.make_tensor_value_info("k2", T.BOOL, []), floats("s2", None, None)],
        [ints("i"), h.make_tensor_value_info("k", T.BOOL, []), floats("s", None, None)],
    )
    loop = lambda g, ins=("m", "c", "x"), outs=("y",): model([node("Loop", ins, outs, body=g)], inputs=[*inputs, ints("m")])  # noqa: E731
    yield "loop inputs", loop(body, ("m", "c")), "body.*expected 2 inputs, got 3.*'the_node'", None
    yield "loop outputs", loop(body, outs=("y", "z")), "body.*expected 3 outputs, got 2.*'the_node'", None
    wrong = onnx.GraphProto()
    wrong.CopyFrom(body)
    wrong.output[1].CopyFrom(ints("s2", None))
    yield "loop types", loop(wrong), "body.*'s'.*float32.*int64.*'the_node'", None
    wrong.CopyFrom(body)
    wrong.output[0].CopyFrom(floats("k2"))
    yield "loop condition", loop(wrong), "body.*condition.*bool.*float32.*'the_node'", None
    scan = branch([h.make_node("Add", ["s", "v"], ["t"]), h.make_node("Relu", ["v"], ["u"])], [floats("t", None), floats("u", None)], [floats("s", None), floats("v", None)])
    yield "scan inputs", model([node("Scan", ["x"], ["y"], body=scan, num_scan_inputs=1)]), "body.*expected 1 inputs?, got 2.*'the_node'", None
    yield "scan count", model([node("Scan", ["x", "x"], ["y", "z"], body=scan, num_scan_inputs=3)]), "num_scan_inputs.*got 3.*'the_node'", None


@hostile
def captures():
    g = branch([h.make_node("Relu", ["later"], ["p"])], [floats("p", None, None)])
    nodes = [node("If", ["c"], then_branch=g, else_branch=g), h.make_node("Abs", ["x"], ["later"])]
    yield "of a later value", model(nodes, inputs=[floats("x", 4), COND]), "later", None
    g = branch([h.make_node("Relu", ["nobody"], ["p"])], [floats("p", None, None)])
    yield "of none", model(nodes[1:] + [node("If", ["c"], then_branch=g, else_branch=g)], inputs=[floats("x", 4), COND]), "unknown value.*'nobody'", None
    f = h.make_function("d", "F", ["a"], ["b"], [h.make_node("Add", ["a", "x"], ["b"])], [h.make_opsetid("", 21)])
    m = model([h.make_node("F", ["x"], ["y"], domain="d")], functions=[f], opset_imports=[h.make_opsetid("", 21), h.make_opsetid("d", 1)])
    yield "by a function", m, "unknown value.*'x'", None


# ---- operators ----------------------------------------------------------------------------------------------

IMAGE = np.ones((1, 2, 6, 6), "f4")


def image(n):
    w = array("w", np.ones((2, 2, 3, 3)), "f4")
    return model([n], inputs=[floats("x", 1, 2, "h", "w")], initializers=[w] if "w" in n.input else [])


@hostile
def windows():
    for op in ("Conv", "ConvTranspose"):
        for name, value in (("strides", [0, 1]), ("strides", [-1, 1]), ("dilations", [0, 0]), ("dilations", [1, -3]), ("strides", [1]), ("strides", [2**62, 2**62]),
                            ("dilations", [2**62, 1]), ("pads", [-9, 0, 0, 0]), ("pads", [1, 1]), ("pads", [2**62] * 4), ("kernel_shape", [2, 2]), ("group", 0), ("group", -1),
                            ("group", 3), ("auto_pad", "SAME")):
            yield f"{op} {name} {value}", image(node(op, ["x", "w"], **{name: value})), f"{name.rstrip('s')}.*'the_node'", IMAGE
    yield "no UTF-8", image(node("Conv", ["x", "w"], auto_pad=b"\xff\xfe")), "auto_pad.*'\\?\\?'.*'the_node'", IMAGE
    for op in ("MaxPool", "AveragePool", "LpPool"):
        for name, value in (("strides", [0, 1]), ("strides", [-1, 1]), ("dilations", [0, 1]), ("kernel_shape", [0, 2]), ("kernel_shape", [-2, 2]), ("kernel_shape", [2]),
                            ("kernel_shape", [2**40, 2]), ("pads", [-9, 0, 0, 0]), ("pads", [9, 9, 9, 9])):
            attrs = {"kernel_shape": [2, 2], name: value}
            yield f"{op} {name} {value}", image(node(op, ["x"], **attrs)), ".*'the_node'", IMAGE


@hostile
def axes():
    x = [floats("x", "n", 4)]
    for op, attrs in (("Softmax", {"axis": 2}), ("Softmax", {"axis": -3}), ("Concat", {"axis": 7}), ("Flatten", {"axis": 3}), ("Transpose", {"perm": [0, 2]}),
                      ("Transpose", {"perm": [0, 0]}), ("Transpose", {"perm": [0]}), ("LogSoftmax", {"axis": 2**62}), ("ArgMax", {"axis": 2}), ("Hardmax", {"axis": 5}),
                      ("LayerNormalization", {"axis": 4}), ("Split", {"axis": 2, "num_outputs": 1})):
        ins = ["x", "x"] if op in ("Concat", "LayerNormalization") else ["x"]
        yield f"{op} {attrs}", model([node(op, ins, **attrs)], inputs=x), "'the_node'", X
    for op, at in (("ReduceSum", [2]), ("ReduceSum", [-3]), ("ReduceSum", [0, 0]), ("ReduceMax", [2**40]), ("Squeeze", [3]), ("Unsqueeze", [5]), ("Unsqueeze", [0, 0])):
        yield f"{op} {at}", model([node(op, ["x", "axes"])], inputs=x, initializers=[array("axes", at)]), "'the_node'", X
    yield "Gather", model([node("Gather", ["x", "at"], axis=2)], initializers=[array("at", [0])]), "'the_node'", X
    yield "CumSum", model([node("CumSum", ["x", "at"])], initializers=[array("at", 2)]), "'the_node'", X
    yield "TopK", model([node("TopK", ["x", "k"], ["y", "z"], axis=2)], initializers=[array("k", [1])]), "'the_node'", X
    yield "OneHot", model([node("OneHot", ["i", "d", "v"], axis=9)], inputs=[ints("i", "n")], initializers=[array("d", 3), array("v", [0, 1])]), "'the_node'", np.zeros(2, "i8")


@hostile
def ranks():
    yield "MatMul", model([node("MatMul", ["x", "w"])], initializers=[array("w", np.ones((3, 2)), "f4")]), "MatMul.*4.*3.*'the_node'|matmul.*'the_node'", X
    yield "Gemm", model([node("Gemm", ["x", "w"])], initializers=[array("w", np.ones((2, 4, 2)), "f4")]), "'the_node'", X
    yield "Conv", model([node("Conv", ["x", "w"])], initializers=[array("w", np.ones((2, 2, 3, 3)), "f4")]), "'the_node'", X
    yield "BatchNormalization", model([node("BatchNormalization", ["x", "w", "w", "w", "w"])], initializers=[array("w", np.ones((2, 2)), "f4")]), "'the_node'", X
    yield "Add", model([node("Add", ["x", "w"])], initializers=[array("w", np.ones(3), "f4")]), "'the_node'", X
    yield "Concat", model([node("Concat", ["x", "w"], axis=0)], initializers=[array("w", np.ones((4)), "f4")]), "'the_node'", X
    yield "input", relu(), "'x'.*expected 2 dimensions", np.ones(4, "f4")
    yield "input's size", relu(), "'x'.*expected 4 in dimension 1", np.ones((2, 3), "f4")
    yield "reshape", model([node("Reshape", ["x", "s"])], initializers=[array("s", [3, 5])]), "'the_node'", X
    yield "reshape twice -1", model([node("Reshape", ["x", "s"])], initializers=[array("s", [-1, -1])]), "'the_node'", X
    yield "reshape to -2", model([node("Reshape", ["x", "s"])], initializers=[array("s", [-2, 4])]), "'the_node'", X
    yield "reshape to nine", model([node("Reshape", ["x", "s"])], initializers=[array("s", [1] * 8 + [8])]), "'the_node'", X
    yield "reshape to too many", model([node("Reshape", ["x", "s"])], initializers=[array("s", [2**62, 2**62, 4])]), "'the_node'", X


@hostile
def splits_and_blocks():
    for sizes in ([1, 2], [5, -1], [2**63 - 1, 2**63 - 1], [4]):
        m = model([node("Split", ["x", "s"], ["y", "z"], axis=1)], initializers=[array("s", sizes)])
        yield f"split {sizes}", m, "'the_node'", X
    yield "split in 0", model([node("Split", ["x"], ["y"], num_outputs=0)]), "'the_node'", X
    yield "split in 2^40", model([node("Split", ["x"], ["y"], num_outputs=2**40)]), "'the_node'", X
    for b in (0, -2, 3, 2**31, 2**62):
        for op in ("DepthToSpace", "SpaceToDepth"):
            m = model([node(op, blocksize=b)], inputs=[floats("x", 1, 4, "h", "w")])
            yield f"{op} {b}", m, "'the_node'", np.ones((1, 4, 4, 4), "f4")
    for dims in ((1,), ()):
        m = model([node("Conv", ["x", "w"])], inputs=[floats("x", *dims)], initializers=[array("w", np.ones(dims), "f4")])
        yield f"Conv of rank {len(dims)}", m, "'the_node'", np.ones(dims, "f4")
        m = model([node("ConvTranspose", ["x", "w"])], inputs=[floats("x", *dims)], initializers=[array("w", np.ones(dims), "f4")])
        yield f"ConvTranspose of rank {len(dims)}", m, "'the_node'", np.ones(dims, "f4")
    for op in ("CumSum", "CumProd", "Hardmax"):
        m = model([node(op, ["x", "a"][: 1 if op == "Hardmax" else 2])], inputs=[floats("x")], initializers=[array("a", 0)],
                  opset=26 if op == "CumProd" else 21)
        yield f"{op} of a number", m, "'the_node'", np.float32(1)
    yield "Unique of a number", model([node("Unique", axis=0)], inputs=[floats("x")]), "'the_node'", np.float32(1)
    for b in (-(2**63), -1, 1, 5):   # 2 blocks of 2 would be right
        m = model([node("QuantizeLinear", ["x", "s"], axis=1, block_size=b)], initializers=[array("s", np.ones((2, 2)), "f4")])
        yield f"blocks of {b}", m, "'the_node'", X
    m = model([node("Slice", ["x", "a", "b", "c", "d"])], initializers=[array("a", [0]), array("b", [4]), array("c", [1]), array("d", [0])])
    yield "slice by 0", m, "'the_node'", X
    m = model([node("SplitToSequence", ["x", "s"])], initializers=[array("s", 0)])
    yield "pieces of 0", m, "'the_node'", X
    m = model([node("Slice", ["x", "a", "b"])], initializers=[array("a", [0, 0, 0]), array("b", [1, 1, 1])])
    yield "slice too many axes", m, "'the_node'", X


@hostile
def indices():
    for at in ([4], [-5], [2**62]):
        yield f"Gather {at}", model([node("Gather", ["x", "at"], axis=1)], initializers=[array("at", at)]), "(?i)index.*'the_node'", X
        yield f"GatherElements {at}", model([node("GatherElements", ["x", "at"], axis=1)], initializers=[array("at", [at])]), "(?i)index.*'the_node'", X
        yield f"GatherND {at}", model([node("GatherND", ["x", "at"])], initializers=[array("at", [[0, *at]])]), "(?i)index.*'the_node'", X
        u = array("u", [[5.0]], "f4")
        yield f"ScatterElements {at}", model([node("ScatterElements", ["x", "at", "u"], axis=1)], initializers=[array("at", [at]), u]), "(?i)index.*'the_node'", X
        u = array("u", [5.0], "f4")
        yield f"ScatterND {at}", model([node("ScatterND", ["x", "at", "u"])], initializers=[array("at", [[0, *at]]), u]), "(?i)index.*'the_node'", X
    gather = model([node("Gather", ["x", "at"], axis=1)], inputs=[floats("x", "n", 4), ints("at", "k")])
    yield "Gather of data", gather, "(?i)index.*'the_node'", (X, np.array([9]))


# ---- size bombs ---------------------------------------------------------------------------------------------

HUGE = 1 << 40


def wide(op, ins, initializers, inputs=None, **attrs):
    return model([node(op, ins, **attrs)], inputs=inputs, initializers=initializers)


@hostile
def size_bombs():
    """Folded at load (constants), as a plan (shapes) and by data."""
    data = [ints("s", None)]
    one = array("one", [1.0], "f4")
    for n in (HUGE, 1 << 33, 2**62):
        yield f"ConstantOfShape {n}", wide("ConstantOfShape", ["s"], [array("s", [n])], []), "ConstantOfShape.*'the_node'|'the_node'", ()
        yield f"Expand {n}", model([h.make_node("Expand", ["one", "s"], ["e"], name="the_node"), h.make_node("Neg", ["e"], ["y"], name="the_node")], [], initializers=[one, array("s", [n])]), "'the_node'", ()
        yield f"Tile {n}", wide("Tile", ["one", "s"], [one, array("s", [n])], []), "'the_node'", ()
        yield f"Range {n}", wide("Range", ["a", "b", "d"], [array("a", 0), array("b", n), array("d", 1)], []), "'the_node'", ()
        yield f"Pad {n}", wide("Pad", ["one", "s"], [one, array("s", [0, n])], []), "'the_node'", ()
        yield f"Resize {n}", wide("Resize", ["one", "", "", "s"], [one, array("s", [n])], []), "'the_node'", ()
        yield f"OneHot {n}", wide("OneHot", ["i", "d", "v"], [array("i", [0]), array("d", n), array("v", [0, 1])], []), "'the_node'", ()
        yield f"ConstantOfShape of data {n}", wide("ConstantOfShape", ["s"], [], data), "'the_node'", np.array([n])
        yield f"Expand of data {n}", model([h.make_node("Expand", ["one", "s"], ["e"], name="the_node"), node("Neg", ["e"])], data, initializers=[one]), "'the_node'", np.array([n])
        yield f"Tile of data {n}", wide("Tile", ["one", "s"], [one], data), "'the_node'", np.array([n])
        yield f"Range of data {n}", wide("Range", ["a", "s", "d"], [array("a", 0), array("d", 1)], [ints("s")]), "'the_node'", np.array(n)
        yield f"Pad of data {n}", wide("Pad", ["one", "s"], [one], data), "'the_node'", np.array([0, n])
    for mode in ("reflect", "edge", "wrap"):
        yield f"Pad {mode}", wide("Pad", ["one", "s"], [one, array("s", [0, HUGE])], [], mode=mode), "'the_node'", ()
    yield "Resize by scales", wide("Resize", ["one", "", "k"], [one, array("k", [1e30], "f4")], []), "'the_node'", ()
    yield "Range of floats", wide("Range", ["a", "b", "d"], [array("a", 0, "f4"), array("b", 1e30, "f4"), array("d", 1e-30, "f4")], []), "'the_node'", ()
    yield "Range of NaN", wide("Range", ["a", "b", "d"], [array("a", 0, "f4"), array("b", np.nan, "f4"), array("d", 1, "f4")], []), "'the_node'", ()
    many = [h.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0, name="the_node") for i in range(60)]
    yield "doubling", model(many, [floats("v0", 4)], [floats("v60", None)]), "'the_node'|does not fit", np.ones(4, "f4")
    yield "doubling constants", model(many, [], [floats("v60", None)], [array("v0", [1, 2], "f4")]), "'the_node'", ()
    yield "outer sum", model([h.make_node("Add", ["a", "b"], ["y"], name="the_node")], [floats("a", "n", 1), floats("b", "m")]), "does not fit|memory", (np.ones((300_000, 1), "f4"), np.ones(300_000, "f4"))


def loop_of(body_nodes, outputs, initializers=(), trips=HUGE, extra_inputs=(), captured=()):
    body = h.make_graph(
        [h.make_node("Identity", ["k"], ["k2"]), *body_nodes],
        "b",
        [ints("i"), h.make_tensor_value_info("k", T.BOOL, []), *extra_inputs],
        [h.make_tensor_value_info("k2", T.BOOL, []), *outputs],
        list(initializers),
    )
    return body


@hostile
def loop_bombs():
    """Results that grow with every trip meet the budget; see test_endless_loops for those that do not."""
    const = [array("m", HUGE), array("c", True, "?")]
    grow = loop_of([h.make_node("Concat", ["s", "s"], ["s2"], axis=0)], [floats("s2", None)], extra_inputs=[floats("s", None)])
    yield "doubled state", model([node("Loop", ["m", "c", "x"], body=grow)], inputs=[floats("x", 4)], initializers=const), "'the_node'|memory", np.ones(4, "f4")
    yield "doubled constant", model([node("Loop", ["m", "c", "z"], body=grow)], [], initializers=[*const, array("z", [1, 2], "f4")]), "'the_node'|memory", ()
    scan = loop_of([h.make_node("Relu", ["x"], ["r"])], [floats("r", None)])
    yield "scan output", model([node("Loop", ["m", "c"], body=scan)], inputs=[floats("x", 1 << 22)], initializers=const), "'the_node'|memory", np.ones(1 << 22, "f4")
    seq = h.make_tensor_sequence_value_info("s", T.FLOAT, None)
    seq2 = h.make_tensor_sequence_value_info("s2", T.FLOAT, None)
    insert = loop_of([h.make_node("SequenceInsert", ["s", "x"], ["s2"])], [seq2], extra_inputs=[seq])
    m = model([h.make_node("SequenceEmpty", [], ["e"]), node("Loop", ["m", "c", "e"], body=insert)], inputs=[floats("x", 4)], initializers=const, outputs=[h.make_tensor_sequence_value_info("y", T.FLOAT, None)])
    yield "sequence", m, "'the_node'|memory", np.ones(4, "f4")


# ---- run them -----------------------------------------------------------------------------------------------


def refused(variant, act, words):
    with pytest.raises(ERRORS, match="(?s)" + words) as caught:
        act()
    text = str(caught.value).splitlines()[0]
    assert text.startswith("["), (variant, text)
    return text


def as_bytes(m):
    return m if isinstance(m, bytes) else m.SerializeToString()


def open_and_call(m, inputs):
    s = suan.onnx.Session(as_bytes(m), memory_limit=1 << 30)
    if inputs is not None:
        s(*(inputs if isinstance(inputs, tuple) else (inputs,)))


@pytest.mark.parametrize("name", CLASSES)
def test_refused(name):
    for variant, m, words, inputs in CLASSES[name]():
        refused(variant, lambda m=m, inputs=inputs: open_and_call(m, inputs), words)


def strings_model(nodes):
    text = [h.make_tensor_value_info(n, T.STRING, None) for n in ("x", "y")]
    sets = [h.make_opsetid("", 20), h.make_opsetid("ai.onnx.ml", 4)]
    return h.make_model(h.make_graph(nodes, "g", text[:1], text[1:]), opset_imports=sets, ir_version=9).SerializeToString()


def string_bombs():
    """What grows strings, and an input that makes them outgrow 64 MiB."""
    names = ["x"] + [f"t{k}" for k in range(39)] + ["y"]
    yield "concat", [h.make_node("StringConcat", [a, a], [b]) for a, b in zip(names, names[1:])], ["ab"] * 4
    yield "split", [h.make_node("StringSplit", ["x"], ["y", "n"], delimiter=",")], ["," * 20000] + ["a"] * 20000
    yield "label", [h.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a"], values_strings=["b"],
                                default_string="c" * 100000)], ["z"] * 100000  # fmt: skip


@pytest.mark.parametrize(("nodes", "texts"), [b[1:] for b in string_bombs()], ids=[b[0] for b in string_bombs()])
def test_strings_count_into_the_memory_limit(nodes, texts):
    s = suan.onnx.Session(strings_model(nodes), memory_limit=64 << 20)
    for _ in range(2):   # the session stays usable, and nothing stays counted
        with pytest.raises(suan.OutOfMemoryError, match="over the memory limit: expected at most 67108864 bytes"):
            s(np.array(texts, object))
    if len(nodes) == 1:
        for _ in range(3):
            s(np.array(["a"], object))
