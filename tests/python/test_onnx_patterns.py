"""Chains of plain operators that become one op: each spelling is found, gives what the chain gives, and leaves alone what only
looks alike. `exact=True` runs the chain itself."""

import random
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import suan.onnx


class Chain:
    """A graph written as calls: c.op("Mul", x, 0.5) gives the name of its result; numbers and arrays are constants."""

    def __init__(self):
        self.nodes, self.weights = [], {}

    def op(self, kind, *args, **attrs):
        names = [a if isinstance(a, str) else self.constant(a) for a in args]
        self.nodes.append(h.make_node(kind, names, [f"t{len(self.nodes)}"], **attrs))
        return f"t{len(self.nodes) - 1}"

    def constant(self, value):
        value = np.asarray(value, None if isinstance(value, np.ndarray) else "f4")
        name = f"c{len(self.weights)}"
        self.weights[name] = value
        return name

    def model(self, inputs, *results):
        ports = [h.make_tensor_value_info(k, t, list(dims)) for k, (t, *dims) in inputs.items()]
        outs = [f"y{i}" for i in range(len(results))]
        nodes = self.nodes + [h.make_node("Identity", [r], [o]) for r, o in zip(results, outs)]
        graph = h.make_graph(nodes, "g", ports, [h.make_tensor_value_info(o, T.FLOAT, None) for o in outs],
                             [numpy_helper.from_array(v, k) for k, v in self.weights.items()])
        return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def found_in(model, *feeds):
    """What the session says it recognised; all outputs are compared with the chain's, to 1e-5 of their size."""
    said = []
    session = suan.onnx.Session(model, log=lambda severity, text: said.append(text))
    exact_said = []
    exact = suan.onnx.Session(model, exact=True, log=lambda severity, text: exact_said.append(text))
    for feed in feeds:
        for got, want in zip(session.run(feed), exact.run(feed)):
            got, want = got.numpy(), want.numpy()
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(want).max()))
    assert not any(t.startswith("patterns:") for t in exact_said)
    lists = {t for t in said if t.startswith("patterns:")}
    assert len(lists) <= 1
    return {name: int(n) for text in lists for n, name in re.findall(r"(\d+) ([a-z_ ]+)", text)}


def one(build, *shape, seed=0):
    c = Chain()
    return found_in(c.model({"x": (T.FLOAT, *shape)}, build(c, "x")), {"x": 2 * drawn(*shape, seed=seed)})


# ---- activations: the same formula in many spellings -----------------------------------------------------------------


class Speller:
    """Writes products and sums in a random order, association and spelling."""

    def __init__(self, c, seed):
        self.c, self.rng = c, random.Random(seed)

    def join(self, kind, parts):
        parts = list(parts)
        while len(parts) > 1:
            a = parts.pop(self.rng.randrange(len(parts)))
            b = parts.pop(self.rng.randrange(len(parts)))
            parts.append(self.c.op(kind, a, b))
        return parts[0]

    def product(self, number, *parts):
        if self.rng.random() < 0.4:
            return self.c.op("Div", self.join("Mul", parts), 1 / number)
        return self.join("Mul", [self.c.constant(number), *parts])

    def plus(self, number, x):
        return self.join("Add", [self.c.constant(number), x])

    def power(self, x, n):
        if self.rng.random() < 0.5:
            return self.c.op("Pow", x, float(n))
        return self.join("Mul", [x] * n)

    def root(self, x, above):
        """above / sqrt(x)"""
        c, kind = self.c, self.rng.randrange(4)
        if kind == 0:
            return c.op("Div", above, c.op("Sqrt", x))
        if kind == 1:
            return self.join("Mul", [above, c.op("Reciprocal", c.op("Sqrt", x))])
        if kind == 2:
            return self.join("Mul", [above, c.op("Div", 1.0, c.op("Sqrt", x))])
        return self.join("Mul", [above, c.op("Pow", x, -0.5)]) if self.rng.random() < 0.5 else c.op("Div", above, c.op("Pow", x, 0.5))


def gelu(s, x):
    return s.product(0.5, x, s.plus(1.0, s.c.op("Erf", s.product(2**-0.5, x))))


def gelu_tanh(s, x):
    if s.rng.random() < 0.5:
        inner = s.product(0.7978845608, s.join("Add", [x, s.product(0.044715, s.power(x, 3))]))
    else:
        inner = s.product(0.7978845608, x, s.plus(1.0, s.product(0.044715, s.power(x, 2))))
    return s.product(0.5, x, s.plus(1.0, s.c.op("Tanh", inner)))


def silu(s, x):
    if s.rng.random() < 0.5:
        return s.join("Mul", [x, s.c.op("Sigmoid", x)])
    return s.c.op("Div", x, s.plus(1.0, s.c.op("Exp", s.c.op("Neg", x))))


def rms_norm(s, x):
    y = s.root(s.plus(1e-5, s.c.op("ReduceMean", s.power(x, 2), axes=[-1])), x)
    return s.join("Mul", [y, s.c.constant(drawn(8, seed=3))])


def layer_norm(s, x):
    c = s.c
    d = c.op("Sub", x, c.op("ReduceMean", x, axes=[s.rng.choice([-1, 2])]))
    y = s.root(s.plus(1e-5, c.op("ReduceMean", s.power(d, 2), axes=[-1])), d)
    return s.join("Add", [s.join("Mul", [y, c.constant(drawn(8, seed=3))]), c.constant(drawn(8, seed=4))])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("formula", [gelu, gelu_tanh, silu, rms_norm, layer_norm])
def test_every_spelling_is_found(formula, seed):
    # What the formula reads may itself be a product or sum: it is not mistaken for a part.
    def build(c, x):
        s = Speller(c, seed)
        if seed % 3:
            x = c.op("Mul", x, 1.5) if seed % 3 == 1 else c.op("Add", x, 0.25)
        return formula(s, x)

    want = {formula.__name__: 1}
    if formula is rms_norm:
        want["weight"] = 1
    elif formula is layer_norm:
        want |= {"weight": 1, "bias": 1}
    assert one(build, 2, 3, 8, seed=seed) == want


def test_what_only_looks_alike_stays():
    assert one(lambda c, x: c.op("Mul", c.op("Mul", x, 0.5), c.op("Add", c.op("Erf", c.op("Mul", x, 0.7)), 1.0)), 3, 4) == {}
    assert one(lambda c, x: c.op("Mul", c.op("Sigmoid", c.op("Mul", x, 1.702)), x), 3, 4) == {}
    assert one(lambda c, x: c.op("Mul", c.op("Sigmoid", x), c.op("Neg", x)), 3, 4) == {}

    def over(axes, keep=1):
        def build(c, x):
            return c.op("Div", x, c.op("Sqrt", c.op("Add", c.op("ReduceMean", c.op("Mul", x, x), axes=axes, keepdims=keep), 1e-5)))
        return build

    assert one(over([1]), 2, 3, 8) == {}
    assert one(over([0]), 3, 3) == {} == one(over([-1], 0), 3, 3)   # keepdims=0 divides along other rows
    assert one(over([1, 2]), 2, 3, 8) == {"rms_norm": 1}


def test_norms_keep_weights_of_other_shapes_outside():
    def build(weight):
        def norm(c, x):
            d = c.op("Sub", x, c.op("ReduceMean", x, axes=[-1]))
            y = c.op("Div", d, c.op("Sqrt", c.op("Add", c.op("ReduceMean", c.op("Pow", d, 2.0), axes=[-1]), 1e-5)))
            return c.op("Mul", y, drawn(*weight, seed=1))
        return norm

    assert one(build((1, 1, 8)), 2, 3, 8) == {"layer_norm": 1, "weight": 1}
    assert one(build((3, 1)), 2, 3, 8) == {"layer_norm": 1} == one(build((1,)), 2, 3, 8)


def test_layer_norm_as_keras_writes_it():
    def build(c, x):
        mean = c.op("ReduceMean", x, axes=[2])
        variance = c.op("ReduceMean", c.op("Pow", c.op("Sub", x, mean), 2.0), axes=[2])
        scale = c.op("Mul", c.op("Reciprocal", c.op("Sqrt", c.op("Add", variance, 1e-3))), drawn(8, seed=1))
        shift = c.op("Sub", drawn(8, seed=2), c.op("Mul", mean, scale))
        return c.op("Add", c.op("Mul", x, scale), shift)

    assert one(build, 2, 3, 8) == {"layer_norm": 1}


def test_softmax():
    def build(stable, axis=-1, other=None):
        def softmax(c, x):
            e = c.op("Exp", c.op("Sub", x, c.op("ReduceMax", x, axes=[axis])) if stable else x)
            return c.op("Div", e, c.op("ReduceSum", e, np.array([axis if other is None else other])))
        return softmax

    assert one(build(True), 2, 3, 8) == {"softmax": 1} == one(build(False, 1), 2, 3, 8)
    assert one(build(False, -1, 0), 3, 3) == {"softmax": 1}
    assert one(build(True, -1, 0), 3, 3) == {"softmax": 1}   # of what was shifted along the other axis


# ---- attention -------------------------------------------------------------------------------------------------------

B, H, L, D = 2, 3, 5, 4


def heads(c, x, heads=H):
    return c.op("Transpose", c.op("Reshape", x, np.array([0, 0, heads, D])), perm=[0, 2, 1, 3])


def attend(mask=None, scale="product", guarded=False, keys=None):
    def build(c, q, k, v):
        q, v = heads(c, q), heads(c, v, keys or H)
        k = c.op("Transpose", c.op("Reshape", k, np.array([0, 0, keys or H, D])), perm=[0, 2, 3, 1])
        if keys:   # each head serves H / keys queries
            k = c.op("Transpose", k, perm=[0, 1, 3, 2])
            k, v = (c.op("Reshape", c.op("Expand", c.op("Unsqueeze", t, np.array([2])), np.array([1, 1, H // keys, 1, 1])),
                         np.array([0, H, -1, D])) for t in (k, v))
            k = c.op("Transpose", k, perm=[0, 1, 3, 2])
        if scale == "operands":
            q, k = c.op("Mul", q, 0.7071), c.op("Mul", k, 0.7071)
        elif scale == "query":
            q = c.op("Div", q, 2.0)
        s = c.op("MatMul", q, k)
        if scale == "product":
            s = c.op("Div", s, 2.0)
        if mask:
            s = mask(c, s)
        w = c.op("Softmax", s, axis=-1)
        if guarded:
            w = c.op("Where", c.op("IsNaN", w), 0.0, w)
        o = c.op("MatMul", w, v)
        return c.op("Reshape", c.op("Transpose", o, perm=[0, 2, 1, 3]), np.array([0, 0, H * D])), w
    return build


def attention(build, inputs=None, weights=False, keys=H):
    c = Chain()
    y, w = build(c, "q", "k", "v")
    ports = {"q": (T.FLOAT, "batch", "length", H * D), "k": (T.FLOAT, "batch", "keys", keys * D),
             "v": (T.FLOAT, "batch", "keys", keys * D)}
    feeds = []
    for batch, n, n_keys in ((B, L, 7), (3, 4, 6), (1, 1, 2)):
        feed = {"q": drawn(batch, n, H * D), "k": drawn(batch, n_keys, keys * D, seed=1), "v": drawn(batch, n_keys, keys * D, seed=2)}
        for name, (port, make) in (inputs or {}).items():
            ports[name] = port
            feed[name] = make(batch, n, n_keys)
        feeds.append(feed)
    return found_in(c.model(ports, y, *([w] if weights else [])), *feeds)


def seen(batch, n, keys):
    m = np.random.default_rng(5).random((batch, 1, n, keys)) < 0.6
    m[..., 0] = True
    return m


MASKS = {
    "added": (lambda c, s: c.op("Add", s, "m"), (T.FLOAT, "batch", 1, 1, "keys"), lambda b, n, k: drawn(b, 1, 1, k, seed=3)),
    "made": (lambda c, s: c.op("Add", c.op("Mul", c.op("Sub", 1.0, c.op("Cast", "m", to=T.FLOAT)), -10000.0), s),
             (T.BOOL, "batch", 1, "length", "keys"), seen),
    "lowest": (lambda c, s: c.op("Where", "m", s, float(np.finfo("f4").min)), (T.BOOL, "batch", 1, "length", "keys"), seen),
    "hidden": (lambda c, s: c.op("Where", "m", float("-inf"), s), (T.BOOL, "batch", 1, "length", "keys"), lambda *a: ~seen(*a)),
    # One row sees nothing: all its keys weigh the same.
    "unseen": (lambda c, s: c.op("Where", "m", s, -1e38), (T.BOOL, 1, 1, "length", 1), lambda b, n, k: np.arange(n).reshape(1, 1, n, 1) > 0),
}


@pytest.mark.parametrize("scale", ["product", "operands", "query", "none"])
def test_attention_is_found_wherever_its_scale_is(scale):
    assert attention(attend(scale=scale)) == {"attention": 1}


@pytest.mark.parametrize("kind", MASKS)
def test_attention_is_found_with_its_mask(kind):
    mask, port, make = MASKS[kind]
    assert attention(attend(mask), {"m": (port, make)}) == {"attention": 1}


def test_a_guarded_row_without_keys_is_zero():
    mask, port, _ = MASKS["hidden"]
    assert attention(attend(mask, guarded=True), {"m": (port, lambda b, n, k: np.ones((b, 1, n, k), bool))}) == {"attention": 1}


def test_shared_heads_are_not_written_out():
    assert attention(attend(keys=1), keys=1) == {"attention": 1, "shared heads": 1}


def test_attention_whose_weights_are_wanted_stays():
    assert attention(attend(), weights=True) == {}
    # -10000 instead of a score is not a score below all others: a row that sees nothing would differ.
    mask = (lambda c, s: c.op("Where", "m", s, -10000.0))
    assert attention(attend(mask), {"m": MASKS["lowest"][1:]}) == {}


def test_bf16_sees_attention_first():
    c = Chain()
    y, _ = attend()(c, "q", "k", "v")
    model = c.model({k: (T.FLOAT, B, L, H * D) for k in "qkv"}, y)
    feed = {k: drawn(B, L, H * D, seed=i) for i, k in enumerate("qkv")}
    want = suan.onnx.Session(model).run(feed)[0].numpy()
    got = suan.onnx.Session(model, precision="bf16").run(feed)[0].numpy()
    assert 0 < np.abs(got - want).max() < 0.02 * np.abs(want).max()
