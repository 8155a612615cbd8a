"""suan.onnx.module: imported models as modules, their gradients, and files written again."""

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import suan
import suan.onnx
from suan import nn
from suan.nn import functional as F

rng = np.random.RandomState(0)


def real(*shape):
    return (rng.randn(*shape) * 0.5).astype("f4")


def file_of(path, nodes, weights, inputs, outputs, opset=17, **options):
    """inputs, outputs: {name: shape}; float32."""
    ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in d.items()] for d in (inputs, outputs)]
    tensors = [numpy_helper.from_array(v, n) for n, v in weights.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", *ports, tensors, doc_string="kept"), ir_version=10,
                              opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
                              producer_name="someone")
    model.metadata_props.add(key="labels", value="a,b")
    onnx.save(model, path, **options)
    return str(path)


def small_net(path, **options):
    """Convolution, batch norm, pooling, shape arithmetic, a Constant as weight, a tied matrix, a settings input."""
    node, w = helper.make_node, {
        "body.conv.weight": real(4, 3, 3, 3), "body.conv.bias": real(4), "body.bn.weight": 1 + real(4),
        "body.bn.bias": real(4), "body.bn.running_mean": real(4), "body.bn.running_var": 1 + np.abs(real(4)),
        "tied": real(4, 4), "low": np.float32(0), "rest": np.array([0, -1], "i8"),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "body.conv.weight", "body.conv.bias"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "body.bn.weight", "body.bn.bias", "body.bn.running_mean", "body.bn.running_var"], ["b"]),
        node("Clip", ["b", "low"], ["c"]),
        node("GlobalAveragePool", ["c"], ["d"]),
        node("Shape", ["d"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "zero1"], ["n1"]),
        node("Concat", ["n1", "minus"], ["shape"], axis=0),
        node("Reshape", ["d", "shape"], ["e"]),
        node("MatMul", ["e", "tied"], ["f"]),
        node("Tanh", ["f"], ["g"]),
        node("MatMul", ["g", "tied"], ["h"]),
        node("Constant", [], ["last.bias"], value=numpy_helper.from_array(real(4), "any")),
        node("Add", ["h", "last.bias"], ["y"]),
    ]
    w |= {"zero": np.array(0, "i8"), "zero1": np.array([0], "i8"), "minus": np.array([-1], "i8")}
    del w["rest"]
    return file_of(path, nodes, w, {"x": ["n", 3, "h", "w"]}, {"y": ["n", 4]}, **options)


WEIGHTS = {"body.conv.weight", "body.conv.bias", "body.bn.weight", "body.bn.bias", "tied", "last.bias"}


def test_parameters_buffers_and_forward(tmp_path):
    path = small_net(tmp_path / "m.onnx")
    model, x = suan.onnx.module(path), real(2, 3, 5, 6)
    assert {n for n, _ in model.named_parameters()} == WEIGHTS
    assert {n for n, _ in model.named_buffers()} == {"body.bn.running_mean", "body.bn.running_var"}
    assert isinstance(model.body.conv, nn.Module) and not model.training
    want = suan.onnx.load(path, exact=True)(x).numpy()
    np.testing.assert_allclose(model(x).detach().numpy(), want, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(model(x=suan.tensor(x)).detach().numpy(), model(x).detach().numpy())
    np.testing.assert_array_equal(model.train()(x).detach().numpy(), model.eval()(x).detach().numpy())   # the file's statistics
    with pytest.raises(ValueError, match="unknown input"):
        model(x, z=x)
    with pytest.raises(TypeError, match="input 'x' does not fit"):
        model(x.astype("f8"))
    only = suan.onnx.module(path, train=["tied"])
    assert [n for n, _ in only.named_parameters()] == ["tied"]
    with pytest.raises(ValueError, match="cannot train 'zero'"):
        suan.onnx.module(path, train=["zero"])


def test_gradients_are_those_of_differences(tmp_path):
    model = suan.onnx.module(small_net(tmp_path / "m.onnx"))
    x, to = suan.tensor(real(2, 3, 5, 6)).requires_grad_(), suan.tensor(real(2, 4))
    loss = lambda: (model(x) * to).sum()  # noqa: E731
    loss().backward()
    for name, p in [*model.named_parameters(), ("x", x)]:
        at = tuple(rng.randint(d) for d in p.shape)
        with suan.no_grad():
            here, values = p[at].item(), []
            for step in (2e-2, -2e-2):
                p[at] = here + step
                values.append(loss().item())
            p[at] = here
        assert p.grad[at].item() == pytest.approx((values[0] - values[1]) / 4e-2, rel=3e-2, abs=2e-3), name


def train(model, step, n):
    losses = [step().item() for _ in range(n)]
    assert losses[-1] < 0.7 * losses[0]
    return losses


@pytest.mark.parametrize("compiled", [False, True])
def test_training_and_saving_again(tmp_path, compiled):
    path = small_net(tmp_path / "m.onnx")
    model, x, to = suan.onnx.module(path), suan.tensor(real(4, 3, 5, 6)), suan.tensor(real(4, 4))
    untouched = tmp_path / "same.onnx"
    model.save(untouched)
    assert untouched.read_bytes() == (tmp_path / "m.onnx").read_bytes()
    optimizer = suan.optim.Adam(model.parameters(), lr=0.02)

    def step():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), to)
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        step = suan.compile(step)
    train(model, step, 40)
    if compiled:
        assert step.stats()[0]["ready"]
    tuned = str(tmp_path / "tuned.onnx")
    model.save(tuned)
    onnx.checker.check_model(tuned, full_check=True)
    old, new = onnx.load(path), onnx.load(tuned)
    changed = [t.name for t, s in zip(old.graph.initializer, new.graph.initializer) if t != s]
    assert set(changed) == WEIGHTS - {"last.bias"}
    for m in (old, new):
        del m.graph.initializer[:]
        next(n for n in m.graph.node if n.op_type == "Constant").attribute[0].t.raw_data = b""
    assert old == new and new.metadata_props[0].value == "a,b"
    np.testing.assert_allclose(suan.onnx.load(tuned)(x).numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    again = suan.onnx.module(tuned)
    for name, p in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name].numpy(), p.numpy())


def test_state_dicts_copies_and_wrong_types(tmp_path):
    path = small_net(tmp_path / "m.onnx")
    model, x = suan.onnx.module(path), real(1, 3, 4, 4)
    model.tied.requires_grad_(False)
    with suan.no_grad():
        model.tied.mul_(2)
    twin = copy.deepcopy(model)
    assert not twin.tied.requires_grad and twin.tied is not model.tied
    np.testing.assert_array_equal(twin(x).detach().numpy(), model(x).detach().numpy())
    fresh = suan.onnx.module(open(path, "rb").read())
    fresh.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(fresh(x).detach().numpy(), model(x).detach().numpy())
    model.double()
    with pytest.raises(TypeError, match="does not fit the file: expected float32"):
        model.save(tmp_path / "no.onnx")
    assert not (tmp_path / "no.onnx").exists()


@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_other_floats(tmp_path, dtype):
    w = real(3, 2).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(w.dtype)
    x, y = (helper.make_tensor_value_info(n, kind, s) for n, s in (("x", [2, 3]), ("y", [2, 2])))
    stored = helper.make_tensor("w", kind, w.shape, w.ravel())   # not as raw bytes
    path = str(tmp_path / "m.onnx")
    onnx.save(helper.make_model(helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [stored]),
                                ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), path)
    model, x = suan.onnx.module(path), np.ones((2, 3), dtype)
    model(x).sum().backward()
    assert model.w.grad.dtype == model.w.dtype and model.w.dtype.itemsize == w.itemsize
    with suan.no_grad():
        model.w.mul_(2)
    model.save(path)
    onnx.checker.check_model(path, full_check=True)
    np.testing.assert_array_equal(numpy_helper.to_array(onnx.load(path).graph.initializer[0]), 2 * w)


def test_external_data_is_written_beside(tmp_path):
    (tmp_path / "in").mkdir()
    path = small_net(tmp_path / "in" / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=60)
    model, x = suan.onnx.module(path), real(1, 3, 4, 4)
    with suan.no_grad():
        model.tied.add_(1)
    for tuned in (tmp_path / "out.onnx", tmp_path / "in" / "m.onnx"):   # the second replaces what it came from
        model.save(tuned)
        assert (tmp_path / tuned.parent / (tuned.name + ".data")).exists()
        onnx.checker.check_model(str(tuned), full_check=True)
        np.testing.assert_array_equal(suan.onnx.module(tuned)(x).detach().numpy(), model(x).detach().numpy())
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["m.onnx", "m.onnx.data", "w.bin"]
    # A module whose own data lies where it is saved, laid out otherwise, again and again.
    again = small_net(tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=60)
    model, want = suan.onnx.module(again), suan.onnx.load(again, exact=True)(x).numpy()
    for _ in range(3):
        model.save(again)
        np.testing.assert_array_equal(suan.onnx.load(again, exact=True)(x).numpy(), want)


def test_dropout_drops_in_training_as_nn_dropout(tmp_path):
    node = helper.make_node
    path = file_of(tmp_path / "m.onnx", [node("Mul", ["x", "w"], ["a"]), node("Dropout", ["a", "p"], ["y"])],
                   {"w": np.ones(64, "f4"), "p": np.float32(0.25)}, {"x": [64]}, {"y": [64]})
    model, x = suan.onnx.module(path), np.ones(64, "f4")
    assert (model(x).detach().numpy() == 1).all()
    model.train()
    suan.manual_seed(3)
    got = model(x), model(x)
    suan.manual_seed(3)
    for y in got:
        np.testing.assert_array_equal(y.detach().numpy(), F.dropout(suan.ones(64), 0.25).numpy())
    got[0].sum().backward()
    np.testing.assert_array_equal(model.w.grad.numpy(), got[0].detach().numpy())


def test_names_that_are_taken(tmp_path):
    names = ["train", "a", "a.b", "float.weight", ".odd", "w/x.y"]
    nodes, last = [], "x"
    for k, name in enumerate(names):
        nodes.append(helper.make_node("Add", [last, name], [f"v{k}"]))
        last = f"v{k}"
    path = file_of(tmp_path / "m.onnx", nodes, {n: real(2) for n in names}, {"x": [2]}, {last: [2]})
    model = suan.onnx.module(path)
    assert set(model.file_names) == {n for n, _ in model.named_parameters()} and set(model.file_names.values()) == set(names)
    np.testing.assert_allclose(model(np.zeros(2, "f4")).detach().numpy(), suan.onnx.load(path)(np.zeros(2, "f4")).numpy(), atol=1e-6)


def lstm_file(path):
    node = helper.make_node
    w = {"W": real(1, 12, 4), "R": real(1, 12, 3), "B": real(1, 24), "head": real(3, 2)}
    return file_of(path, [node("LSTM", ["x", "W", "R", "B"], ["y", "h", ""], hidden_size=3), node("Squeeze", ["h", "zero"], ["s"]),
                          node("MatMul", ["s", "head"], ["z"])], w | {"zero": np.array([0], "i8")}, {"x": ["t", "n", 4]}, {"z": ["n", 2]})


def test_recurrent_layers_train(tmp_path):
    model = suan.onnx.module(lstm_file(tmp_path / "m.onnx"))
    x, to = suan.tensor(real(5, 3, 4)), suan.tensor(real(3, 2))
    assert {n for n, _ in model.named_parameters()} == {"W", "R", "B", "head"}
    optimizer = suan.optim.Adam(model.parameters(), lr=0.05)

    def step():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), to)
        loss.backward()
        optimizer.step()
        return loss

    train(model, step, 30)
    compiled, found = suan.compile(model), []
    for call in (model, *[compiled] * 4):
        model.zero_grad()
        call(x).square().sum().backward()
        found.append([p.grad.numpy().copy() for p in model.parameters()])
    assert compiled.stats()[0]["ready"]
    for a, b in zip(found[0], found[-1]):
        np.testing.assert_array_equal(a, b)


def test_branches_and_loops_train(tmp_path):
    node = helper.make_node
    out = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    then = helper.make_graph([node("MatMul", ["x", "w"], ["o"])], "then", [], out)
    other = helper.make_graph([node("Mul", ["x", "x"], ["o"])], "else", [], out)
    path = file_of(tmp_path / "m.onnx", [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"]),
                                         node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
                   {"w": real(2, 2), "zero": np.float32(0)}, {"x": [2, 2]}, {"y": [2, 2]})
    model = suan.onnx.module(path)
    model(np.ones((2, 2), "f4")).sum().backward()
    np.testing.assert_allclose(model.w.grad.numpy(), 2 * np.ones((2, 2)))
    compiled = suan.compile(model)
    with pytest.raises(RuntimeError, match="node '.*' reads values|data"):
        for _ in range(4):
            compiled(suan.ones(2, 2))


def test_weights_within_branches_train_and_are_saved(tmp_path):
    node, init = helper.make_node, numpy_helper.from_array
    out = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    then = helper.make_graph([node("Mul", ["x", "w"], ["o"])], "then", [], out, [init(real(2), "w")])
    deep = helper.make_graph([node("Constant", [], ["k"], value=init(real(2), "")), node("Add", ["x", "k"], ["o"])], "deep", [], out)
    same = helper.make_graph([node("Identity", ["x"], ["o"])], "same", [], out)
    other = helper.make_graph([node("If", ["c"], ["q"], then_branch=same, else_branch=deep), node("Clip", ["q", "low"], ["r"]),
                               node("Mul", ["r", "w"], ["o"])], "else", [], out, [init(real(2), "w"), init(np.float32(-9), "low")])
    path = file_of(tmp_path / "m.onnx", [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"]),
                                         node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
                   {"zero": np.float32(0)}, {"x": [2]}, {"y": [2]})
    model = suan.onnx.module(path)
    assert sorted(model.file_names.values()) == ["2:else_branch/w", "2:then_branch/w", "k"]
    x = -np.ones(2, "f4")
    model(x).sum().backward()
    names = {model.file_names[n]: p for n, p in model.named_parameters()}
    assert [n for n, p in names.items() if p.grad is not None] == ["2:else_branch/w", "k"]
    with suan.no_grad():
        for k, p in enumerate(names.values()):
            p.add_(k + 1)
    tuned = str(tmp_path / "tuned.onnx")
    model.save(tuned)
    onnx.checker.check_model(tuned, full_check=True)
    for value in (x, -x):
        np.testing.assert_array_equal(suan.onnx.load(tuned)(value).numpy(), model(value).detach().numpy())
    again = suan.onnx.module(tuned)
    for name, p in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name].numpy(), p.numpy())


def test_lost_gradients_are_refused(tmp_path):
    node = helper.make_node
    w = {"w": real(3, 3), "s": np.float32(0.1), "z": np.int8(0), "after": real(3)}
    path = file_of(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["a"]), node("QuantizeLinear", ["a", "s", "z"], ["q"], name="quant"),
                                         node("DequantizeLinear", ["q", "s", "z"], ["d"]), node("Mul", ["d", "after"], ["y"])],
                   w, {"x": [2, 3]}, {"y": [2, 3]})
    model, x = suan.onnx.module(path), real(2, 3)
    assert {n for n, _ in model.named_parameters()} == {"w", "after"}
    with pytest.raises(TypeError, match="no gradient.*quant"):
        model(x)
    with suan.no_grad():
        model(x)
    model.w.requires_grad_(False)
    model(x).sum().backward()
    assert model.after.grad is not None


def test_a_parameter_read_as_numbers_is_refused(tmp_path):
    path = file_of(tmp_path / "m.onnx", [helper.make_node("Resize", ["x", "", "scales"], ["y"])],
                   {"scales": np.array([1, 1, 2, 2], "f4")}, {"x": [1, 1, 2, 2]}, {"y": [1, 1, 4, 4]})
    assert not list(suan.onnx.module(path).parameters())
    with pytest.raises(TypeError, match="read as numbers"):
        suan.onnx.module(path, train=["scales"])(real(1, 1, 2, 2))
