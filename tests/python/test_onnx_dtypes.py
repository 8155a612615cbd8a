"""ONNX: narrow types, casts of strings, operators of old operator sets."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import suan
import suan.onnx

#: ONNX's name, ml_dtypes' and suan's.
FLOATS = {
    T.FLOAT8E4M3FN: "float8_e4m3fn",
    T.FLOAT8E4M3FNUZ: "float8_e4m3fnuz",
    T.FLOAT8E5M2: "float8_e5m2",
    T.FLOAT8E5M2FNUZ: "float8_e5m2fnuz",
    T.FLOAT8E8M0: "float8_e8m0fnu",
    T.FLOAT4E2M1: "float4_e2m1fn",
}
INTS = {T.INT4: "int4", T.UINT4: "uint4", T.INT2: "int2", T.UINT2: "uint2"}
NARROW = FLOATS | INTS
BITS = {name: 4 if "4_" in name or name.endswith("int4") else 2 if name.endswith("int2") else 8 for name in NARROW.values()}
EDGES = [0, -0.0, 1, -1, 0.24, 0.25, 0.26, 0.75, 1.5, 2.5, 5, 6, 7, 239, 240, 248, 249, 447, 448, 449, 463, 464, 465, 479.9, 480,
         5e4, 57344, 61439, 61440, 61441, 65504, 1e6, 1e38, 3.4e38, 2**-6, 2**-7, 2**-9, 2**-10, 3 * 2**-10, 2**-11, 2**-16,
         2**-17, 3 * 2**-17, 2**-18, 2**-127, 2**-126, 1e-45, np.inf, -np.inf, np.nan]  # fmt: skip


def numpy_type(name):
    return np.dtype(getattr(ml_dtypes, name))


def codes(name):
    return np.arange(1 << BITS[name], dtype=np.uint8)


def model(nodes, inputs=(), outputs=(), initializers=(), opset=25, **kw):
    def ports(values):
        return [h.make_tensor_value_info(n, t, s) if t else h.make_empty_tensor_value_info(n) for n, t, s in values]

    graph = h.make_graph(nodes, "g", ports(inputs), ports(outputs), list(initializers))
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=10, **kw)


def session(m):
    return suan.onnx.InferenceSession(m.SerializeToString())


def one(op, inputs, opset=25, outputs=1, initializers=(), **attrs):
    """One node on arrays; its outputs."""
    names = [f"x{i}" for i in range(len(inputs))]
    ports = [(n, T.STRING if a.dtype == object else h.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in zip(names, inputs)]
    node = h.make_node(op, names, [f"y{k}" for k in range(outputs)], **attrs)
    m = model([node], ports, [(f"y{k}", 0, None) for k in range(outputs)], opset=opset)
    s, feeds = session(m), dict(zip(names, inputs))
    first, second = s.run(None, feeds), s.run(None, feeds)
    for a, b in zip(first, second):
        bits = a.dtype.itemsize == 1   # NaN of a narrow float is not equal to itself
        np.testing.assert_array_equal(a.view(np.uint8) if bits else a, b.view(np.uint8) if bits else b)
    return first


def same_bits(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(got.view(np.uint8), want.view(np.uint8))


# ---- the engine's conversions -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NARROW.values())
def test_every_value_widens(name):
    a = codes(name).view(numpy_type(name))
    t = suan.tensor(a)
    assert t.dtype is getattr(suan, name) and t.dtype.itemsize == 1 and t.dtype.bits == BITS[name]
    np.testing.assert_array_equal(t.to(suan.float32).numpy(), a.astype(np.float32))
    back = t.to(suan.float32).to(t.dtype).numpy()
    keep = ~np.isnan(a.astype(np.float32)) if name in FLOATS.values() else slice(None)
    same_bits(np.ascontiguousarray(back[keep]), np.ascontiguousarray(a[keep]))


@pytest.mark.parametrize("name", FLOATS.values())
def test_floats_round_to_nearest_even(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([np.float32(EDGES), -np.float32(EDGES), np.exp(rng.uniform(-14, 14, 4000)).astype(np.float32),
                        -np.exp(rng.uniform(-14, 14, 1000)).astype(np.float32)])  # fmt: skip
    if name == "float8_e8m0fnu":   # zero is the smallest power of two here, and NaN in ml_dtypes
        assert suan.zeros(1).to(suan.float8_e8m0fnu).numpy().view(np.uint8).tolist() == [0]
        x = x[~np.signbit(x) & (x != 0)]
    every = codes(name).view(numpy_type(name)).astype(np.float64)
    every = np.sort(every[np.isfinite(every)])
    middles = ((every[1:] + every[:-1]) / 2).astype(np.float32)   # ties
    if name != "float8_e8m0fnu":
        x = np.concatenate([x, middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf))])
    got = suan.tensor(x).to(getattr(suan, name)).numpy()
    want = x.astype(numpy_type(name))
    if name != "float4_e2m1fn":   # which has no NaN
        np.testing.assert_array_equal(np.isnan(got.astype(np.float32)), np.isnan(want.astype(np.float32)))
    real = ~np.isnan(x) & ~np.isnan(want.astype(np.float32))
    same_bits(np.ascontiguousarray(got[real]), np.ascontiguousarray(want[real]))


@pytest.mark.parametrize("name", INTS.values())
def test_integers_keep_low_bits(name):
    x = np.array([-300, -9, -8, -3, -2, -1, 0, 1, 2, 3, 4, 7, 8, 15, 16, 255, 1000], np.int32)
    got = suan.tensor(x).to(getattr(suan, name))
    same_bits(got.numpy(), x.astype(numpy_type(name)))
    np.testing.assert_array_equal(got.to(suan.int32).numpy(), x.astype(numpy_type(name)).astype(np.int32))


def test_narrow_types_are_not_computed_in():
    x = suan.tensor(np.ones(3, np.float32)).to(suan.float8_e4m3fn)
    with pytest.raises(TypeError, match="dtype not supported"):
        x + x
    with pytest.raises(TypeError, match="dtype not supported"):
        x.sum()


def test_fused_chain_rounds_to_narrow_types():
    def f(x):
        return (x * 3.0).to(suan.float8_e5m2).to(suan.float32) + x.to(suan.int4).to(suan.float32)

    x = suan.tensor(np.linspace(-9, 9, 203).astype(np.float32))
    compiled = suan.compile(f)
    want = f(x).numpy()
    for _ in range(3):
        np.testing.assert_array_equal(compiled(x).numpy(), want)


# ---- ONNX ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", FLOATS)
@pytest.mark.parametrize("source", [np.float32, np.float16, np.float64])
def test_cast_saturates_unless_told(to, source):
    name = FLOATS[to]
    with np.errstate(over="ignore"):
        x = np.array(EDGES, source)
    if name == "float8_e8m0fnu":
        x = x[~np.signbit(x) & ~np.isinf(x)]
    dtype = numpy_type(name)
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    largest = ml_dtypes.finfo(dtype).max if name != "float8_e8m0fnu" else 2.0**127
    for saturate in (0, 1):
        attrs = {"round_mode": "nearest"} if name == "float8_e8m0fnu" else {}
        (got,) = one("Cast", [x], to=to, saturate=saturate, **attrs)
        clipped = np.clip(narrow, -np.float32(largest), np.float32(largest)) if saturate else narrow
        want = clipped.astype(dtype)
        real = ~np.isnan(want.astype(np.float32)) & ~np.isnan(x)
        same_bits(np.ascontiguousarray(got[real]), np.ascontiguousarray(want[real]))


@pytest.mark.parametrize(("mode", "want"), [("up", [0, 127, 128, 128, 128, 129, 254]), ("down", [0, 127, 127, 127, 127, 128, 254]),
                                            ("nearest", [0, 127, 127, 128, 128, 129, 254])])  # fmt: skip
def test_powers_of_two_round_as_asked(mode, want):
    x = np.array([0, 1, 1.25, 1.5, 1.75, 3, 3e38], np.float32)
    (got,) = one("Cast", [x], to=T.FLOAT8E8M0, round_mode=mode)
    assert got.view(np.uint8).tolist() == want


@pytest.mark.parametrize("code", NARROW)
def test_narrow_values_move(code):
    name = NARROW[code]
    a = np.resize(codes(name), 30).reshape(2, 3, 5).view(numpy_type(name))
    b = a[:, ::-1].copy()
    nodes = [
        h.make_node("Transpose", ["a"], ["t"], perm=[2, 0, 1]),
        h.make_node("Concat", ["a", "b"], ["c"], axis=1),
        h.make_node("Slice", ["c", "starts", "ends", "axes", "steps"], ["s"]),
        h.make_node("Reshape", ["s", "flat"], ["r"]),
        h.make_node("Gather", ["r", "rows"], ["g"], axis=0),
        h.make_node("Identity", ["g"], ["y"]),
        h.make_node("Where", ["which", "a", "b"], ["w"]),
    ]
    ints = {"starts": [0, 5], "ends": [2, 0], "axes": [0, 1], "steps": [1, -2], "flat": [-1], "rows": [3, 0, 7]}
    constants = [h.make_tensor(k, T.INT64, [len(v)], v) for k, v in ints.items()]
    which = np.arange(30).reshape(a.shape) % 2 == 0
    m = model(nodes, [("a", code, a.shape), ("b", code, a.shape), ("which", T.BOOL, a.shape)],
              [("t", code, None), ("y", code, None), ("w", code, None)], constants)  # fmt: skip
    t, y, w = session(m).run(None, {"a": a, "b": b, "which": which})
    same_bits(t, np.ascontiguousarray(a.transpose(2, 0, 1)))
    same_bits(y, np.concatenate([a, b], 1)[:, 5:0:-2].reshape(-1)[[3, 0, 7]])
    same_bits(w, np.where(which, a, b))


@pytest.mark.parametrize("code", NARROW)
@pytest.mark.parametrize("how", ["raw", "numbers", "external"])
def test_narrow_initializers(code, how, tmp_path):
    name = NARROW[code]
    a = np.resize(codes(name), 7).reshape(7, 1)   # an odd number: the last byte is not full
    per = 8 // BITS[name]
    padded = np.resize(np.concatenate([a.ravel(), np.zeros(per - 1, np.uint8)]), (7 + per - 1) // per * per).reshape(-1, per)
    packed = np.bitwise_or.reduce(padded << (np.arange(per, dtype=np.uint8) * BITS[name])[None], axis=1).astype(np.uint8)
    w = T(data_type=code, dims=a.shape, name="w")
    if how == "raw":
        w.raw_data = packed.tobytes()
    elif how == "numbers":
        w.int32_data.extend(packed.tolist())
    else:
        (tmp_path / "w.bin").write_bytes(b"..." + packed.tobytes())
        w.data_location = T.EXTERNAL
        for key, value in {"location": "w.bin", "offset": "3", "length": str(len(packed))}.items():
            w.external_data.add(key=key, value=value)
    m = model([h.make_node("Identity", ["w"], ["y"])], [], [("y", code, a.shape)], [w])
    (tmp_path / "m.onnx").write_bytes(m.SerializeToString())
    (y,) = suan.onnx.InferenceSession(tmp_path / "m.onnx").run(None, {})
    same_bits(y, a.view(numpy_type(name)))
    if how != "external":
        w.dims[0] = 7 + per
        broken = model([h.make_node("Identity", ["w"], ["y"])], [], [("y", code, None)], [w])
        with pytest.raises(ValueError, match="wrong amount of data"):
            session(broken)


@pytest.mark.parametrize("name", ["int4", "uint4", "int2", "uint2", "float8_e4m3fn", "float4_e2m1fn"])
@pytest.mark.parametrize("block", [0, 2])
def test_quantize_by_axis_and_block(name, block):
    rng = np.random.default_rng(0)
    dtype = numpy_type(name)
    x = rng.normal(size=(3, 4)).astype(np.float32) * 4
    scale = rng.uniform(0.5, 1, (3, 2) if block else (4,)).astype(np.float32)
    zero = (rng.integers(0, 2, scale.shape) if name in INTS.values() else np.zeros(scale.shape)).astype(dtype)
    wide = np.repeat(scale, 2, 1) if block else scale
    point = (np.repeat(zero.astype(np.float32), 2, 1) if block else zero.astype(np.float32))
    if name in INTS.values():
        limits = ml_dtypes.iinfo(dtype)
        want = np.clip(np.rint(x / wide) + point, limits.min, limits.max).astype(dtype)
    else:
        limits = ml_dtypes.finfo(dtype)
        want = np.clip(x / wide, limits.min, limits.max).astype(dtype)
    (q,) = one("QuantizeLinear", [x, scale, zero], axis=1, block_size=block)
    same_bits(q, want)
    (y,) = one("DequantizeLinear", [q, scale, zero], axis=1, block_size=block)
    np.testing.assert_allclose(y, (q.astype(np.float32) - point) * wide, rtol=1e-6)


def test_numbers_to_strings_and_back():
    x = np.array([0.1, 1, -2.5e-7, 3e20, np.inf, -np.inf, np.nan, 16777216], np.float32)
    (s,) = one("Cast", [x], to=T.STRING)
    assert s.tolist() == ["0.1", "1", "-2.5e-07", "3e+20", "INF", "-INF", "NaN", "16777216"]
    np.testing.assert_array_equal(one("Cast", [s], to=T.FLOAT)[0], x)
    (s,) = one("Cast", [np.array([[2**64 - 1, 7]], np.uint64)], to=T.STRING)
    assert s.tolist() == [["18446744073709551615", "7"]]
    assert one("Cast", [s], to=T.UINT64)[0].tolist() == [[2**64 - 1, 7]]
    words = np.array([" 1e3 ", "+4.75", "-0", "nan", "1e999"], object)
    np.testing.assert_array_equal(one("Cast", [words], to=T.DOUBLE)[0], [1000, 4.75, -0.0, np.nan, np.inf])
    assert one("Cast", [np.array(["12", "-7", "3.9"], object)], to=T.INT32)[0].tolist() == [12, -7, 3]
    with pytest.raises(ValueError, match="string is no number"):
        one("Cast", [np.array(["abc"], object)], to=T.FLOAT)


# ---- old operator sets --------------------------------------------------------------------------------


def test_every_version_of_every_operator_is_mapped():
    first = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain in ("", "ai.onnx.ml", "ai.onnx.preview.training"):
            key = (schema.domain, schema.name)
            first[key] = min(first.get(key, 99), schema.since_version)
    mapped = {}
    for domain, name, since in suan.onnx.supported_ops():
        mapped[domain, name] = min(mapped.get((domain, name), 99), since)
    late = {k: v for k, v in mapped.items() if k in first and v > first[k]}
    assert not late, late
    assert not {k for k in first if k[0]} - set(mapped)


def test_old_broadcast_of_pow_and_casts_by_name():
    x, y = np.random.default_rng(0).uniform(1, 2, (2, 3, 4)).astype(np.float32), np.float32([1, 2, 3])
    (z,) = one("Pow", [x, y], opset=6, broadcast=1, axis=1)
    np.testing.assert_allclose(z, x ** y[:, None], rtol=1e-6)
    (z,) = one("Cast", [x * 3], opset=5, to="INT32")
    np.testing.assert_array_equal(z, (x * 3).astype(np.int32))


@pytest.mark.parametrize("opset", [1, 6, 7, 9, 14])
def test_batch_norm_of_all_versions(opset):
    rng = np.random.default_rng(opset)
    x = rng.normal(size=(4, 3, 2, 5)).astype(np.float32)
    scale, b, mean = rng.normal(size=(3, 3)).astype(np.float32)
    var = rng.uniform(0.5, 2, 3).astype(np.float32)
    line = (1, 3, 1, 1)

    def normal(m, v):
        return (x - m.reshape(line)) / np.sqrt(v.reshape(line) + 1e-5) * scale.reshape(line) + b.reshape(line)

    old = {"consumed_inputs": [0, 0, 0, 1, 1]} if opset == 1 else {}
    attrs = {"is_test": 1, **old} if opset < 7 else {}
    (y,) = one("BatchNormalization", [x, scale, b, mean, var], opset=opset, **attrs)
    np.testing.assert_allclose(y, normal(mean, var), rtol=1e-4, atol=1e-5)
    attrs = {"training_mode": 1} if opset >= 14 else {}
    outputs = 3 if opset >= 14 else 5
    out = one("BatchNormalization", [x, scale, b, mean, var], opset=opset, outputs=outputs, momentum=0.75, **attrs, **old)
    m, v = x.mean((0, 2, 3)), x.var((0, 2, 3))
    want = [normal(m, v), mean * 0.75 + m * 0.25, var * 0.75 + v * 0.25, m, v][:outputs]
    for got, w in zip(out, want):
        np.testing.assert_allclose(got, w, rtol=1e-4, atol=1e-5)


def test_batch_norm_of_every_position():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3, 2)).astype(np.float32)
    scale, b, mean, var = rng.uniform(0.5, 1, (4, 3, 2)).astype(np.float32)
    (y,) = one("BatchNormalization", [x, scale, b, mean, var], opset=7, spatial=0)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5) * scale + b, rtol=1e-4, atol=1e-5)


def test_attributes_that_were_other_things():
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    (y,) = one("Upsample", [x], opset=1, height_scale=2.0, width_scale=1.0, mode="nearest")
    np.testing.assert_array_equal(y, x.repeat(2, 2))
    (y,) = one("Tile", [x, np.int64(3), np.int64(1)], opset=1)
    np.testing.assert_array_equal(y, np.concatenate([x] * 3, 1))
    a, b = one("Split", [x, np.int64([1, 2])], opset=1, outputs=2, axis=3)
    np.testing.assert_array_equal(np.concatenate([a, b], 3), x)
    assert a.shape[3] == 1
    (y,) = one("GlobalLpPool", [x], opset=1, p=3.0)
    np.testing.assert_allclose(y, (x**3).sum((2, 3), keepdims=True) ** (1 / 3), rtol=1e-5)
    (y,) = one("LpPool", [x], opset=1, p=1.0, kernel_shape=[2, 3])
    np.testing.assert_allclose(y, x.sum((2, 3), keepdims=True), rtol=1e-5)
    (y,) = one("Pad", [x], opset=1, paddings=[0, 0, 1, 0, 0, 0, 0, 2], value=7.0)
    np.testing.assert_array_equal(y, np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 2)], constant_values=7))
    (y,) = one("Selu", [-x], opset=5)
    np.testing.assert_allclose(y, 1.0507 * 1.6732 * (np.exp(-x) - 1), rtol=1e-4, atol=1e-6)
    (y,) = one("Dropout", [x], opset=6, is_test=1)
    np.testing.assert_array_equal(y, x)


def test_dropout_in_training():
    x = np.ones((40, 50), np.float32)
    node = h.make_node("Dropout", ["x", "r", "t"], ["y", "m"])
    constants = [h.make_tensor("r", T.FLOAT, [], [0.25]), h.make_tensor("t", T.BOOL, [], [True])]
    s = session(model([node], [("x", T.FLOAT, x.shape)], [("y", T.FLOAT, None), ("m", T.BOOL, None)], constants, opset=13))
    (y, m), (y2, _) = s.run(None, {"x": x}), s.run(None, {"x": x})
    assert 0.2 < 1 - m.mean() < 0.3
    np.testing.assert_array_equal(y, np.where(m, np.float32(1 / 0.75), 0))
    assert (y != y2).any()   # another mask


@pytest.mark.parametrize("name", ["Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus"])
def test_activations_and_clip_of_recurrent_layers(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 2, 4)).astype(np.float32)
    w, r = rng.normal(size=(1, 5, 4)).astype(np.float32), rng.normal(size=(1, 5, 5)).astype(np.float32) * 0.3
    a, b = 0.7, 0.4
    f = {
        "Affine": lambda v: a * v + b, "LeakyRelu": lambda v: np.where(v < 0, a * v, v),
        "ThresholdedRelu": lambda v: np.where(v >= a, v, 0), "ScaledTanh": lambda v: a * np.tanh(b * v),
        "HardSigmoid": lambda v: np.clip(a * v + b, 0, 1), "Elu": lambda v: np.where(v < 0, a * np.expm1(v), v),
        "Softsign": lambda v: v / (1 + abs(v)), "Softplus": lambda v: np.log1p(np.exp(v)),
    }[name]  # fmt: skip
    y, last = one("RNN", [x, w, r], opset=14, outputs=2, hidden_size=5, clip=0.9, activations=[name], activation_alpha=[a], activation_beta=[b])
    hidden, want = np.zeros((2, 5), np.float32), []
    for t in range(3):
        hidden = f(np.clip(x[t] @ w[0].T + hidden @ r[0].T, -0.9, 0.9))
        want.append(hidden)
    np.testing.assert_allclose(y[:, 0], want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last[0], hidden, rtol=1e-4, atol=1e-5)


# ---- complex numbers: moved, never computed in -------------------------------------------------------------

COMPLEX = {T.COMPLEX64: "complex64", T.COMPLEX128: "complex128"}


def drawn_complex(name, *shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(name)


@pytest.mark.parametrize("name", COMPLEX.values())
def test_complex_tensors(name):
    a = drawn_complex(name, 3, 4)
    t = suan.tensor(a)
    assert t.dtype is getattr(suan, name) and suan.is_complex(t) and t.dtype.itemsize == a.itemsize
    same_bits(t.numpy(), a)
    same_bits(suan.from_dlpack(a).numpy(), a)
    np.testing.assert_array_equal(np.from_dlpack(t.t()), a.T)
    assert t.tolist() == a.tolist() and t[1, 2].item() == a[1, 2].item()
    assert repr(suan.tensor(np.array([1 + 2j, -3.5 - 0.25j], name))) == f"tensor([ 1.0000+2.0000j, -3.5000-0.2500j], dtype=suan.{name})"
    same_bits(suan.nn.functional.pad(t, (1, 0)).numpy(), np.pad(a, ((0, 0), (1, 0))))
    same_bits(suan.cat([t, t.flip(0)]).t().contiguous().numpy(), np.ascontiguousarray(np.concatenate([a, a[::-1]]).T))
    for compute in (lambda: t + t, lambda: t.sum(), lambda: t.to(suan.float32), lambda: suan.real(t), lambda: suan.where(suan.ones(4) > 0, t, t)):
        with pytest.raises(TypeError, match=f"got {name}"):
            compute()
    with pytest.raises(TypeError, match="no gradient for this dtype: expected a floating one"):
        t.requires_grad_()


def ints(*v):
    return np.array(v, np.int64)


def complex_cases(name):
    a, b = drawn_complex(name, 2, 3, 5), drawn_complex(name, 2, 3, 5, seed=1)
    holes = a * (np.arange(30).reshape(a.shape) % 3 == 0)
    which = np.arange(30).reshape(a.shape) % 2 == 0
    order = np.argsort(a.real, axis=1)
    image = drawn_complex(name, 1, 4, 2, 2)
    return [
        ("Identity", [a], {}), ("Transpose", [a], {"perm": [2, 0, 1]}), ("Concat", [a, b], {"axis": 1}),
        ("Slice", [a, ints(0, 2), ints(2, 0), ints(1, 2), ints(1, -1)], {}), ("Reshape", [a, ints(-1)], {}),
        ("Gather", [a, ints(1, 0, 1)], {"axis": 1}), ("GatherElements", [a, order], {"axis": 1}),
        ("GatherND", [a, np.array([[0, 1], [1, 2]])], {}), ("ScatterElements", [a, order, b], {"axis": 1}),
        ("ScatterND", [a, np.array([[0, 1], [1, 2]]), b[0, :2]], {}), ("Where", [which, a, b], {}),
        ("Where", [which[:, :1], a[0], b[:, :, :1]], {}), ("Expand", [a[:, :1], ints(2, 4, 5)], {}), ("Tile", [a, ints(1, 2, 3)], {}),
        ("Pad", [a, ints(0, 1, 2, 1, 0, 1)], {}), ("Pad", [a, ints(0, 1, 2, 1, 0, 1), a[0, 0, 0].reshape(())], {}),
        ("Pad", [a, ints(0, 1, 2, 1, 0, 1)], {"mode": "reflect"}), ("Squeeze", [a[:, :1], ints(1)], {}), ("Unsqueeze", [a, ints(1)], {}),
        ("Shape", [a], {}), ("Flatten", [a], {}), ("Compress", [a, np.array([True, False, True])], {"axis": 1}),
        ("DepthToSpace", [image], {"blocksize": 2}), ("SpaceToDepth", [image], {"blocksize": 2}), ("NonZero", [holes], {}),
        ("Trilu", [a], {}), ("Trilu", [a], {"upper": 0}), ("CenterCropPad", [a, ints(4, 2)], {"axes": [1, 2]}),
        ("ReverseSequence", [a[0], ints(1, 3, 2, 3, 1)], {"time_axis": 0, "batch_axis": 1}), ("Unique", [holes], {}),
    ]


@pytest.mark.parametrize("name", COMPLEX.values())
def test_complex_values_move(name):
    from onnx.reference import ReferenceEvaluator

    for op, inputs, attrs in complex_cases(name):
        (got,) = one(op, inputs, opset=21, **attrs)
        names = [f"x{i}" for i in range(len(inputs))]
        m = model([h.make_node(op, names, ["y"], **attrs)], [(n, h.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in zip(names, inputs)],
                  [("y", 0, None)], opset=21)  # fmt: skip
        (want,) = ReferenceEvaluator(m).run(None, dict(zip(names, inputs)))
        np.testing.assert_array_equal(got, want, err_msg=op)
        assert got.dtype == want.dtype, op
    values = drawn_complex(name, 2)
    (got,) = one("OneHot", [ints(1, 0, 2), ints(3), values], opset=21)
    same_bits(got, np.where(np.eye(3)[[1, 0, 2]] == 1, values[1], values[0]))
    x = drawn_complex(name, 700, 300)
    same_bits(one("Transpose", [x])[0], np.ascontiguousarray(x.T))   # by tiles


@pytest.mark.parametrize("code", COMPLEX)
@pytest.mark.parametrize("how", ["raw", "numbers", "external"])
def test_complex_initializers(code, how, tmp_path):
    a = drawn_complex(COMPLEX[code], 1, 3, 2)
    if how == "numbers":
        w = h.make_tensor("w", code, a.shape, a.ravel())
    else:
        w = T(data_type=code, dims=a.shape, name="w", raw_data=a.tobytes())
    nodes = [h.make_node("Concat", ["w", "x"], ["y"], axis=0), h.make_node("Identity", ["w"], ["z"])]
    m = model(nodes, [("x", code, ["n", 3, 2])], [("y", code, ["m", 3, 2]), ("z", code, a.shape)], [w], opset=21)
    onnx.checker.check_model(m)
    path = tmp_path / "m.onnx"
    onnx.save(m, path, save_as_external_data=how == "external", size_threshold=0, location="m.data")
    s = suan.onnx.InferenceSession(path)
    assert s.get_inputs()[0].type == f"tensor({COMPLEX[code]})"
    for n in (1, 4, 2):
        x = drawn_complex(COMPLEX[code], n, 3, 2, seed=n)
        y, z = s.run(None, {"x": x})
        same_bits(y, np.concatenate([a, x]))
        same_bits(z, a)
    if how == "numbers":
        (w.float_data or w.double_data).pop()
        m.graph.initializer[0].CopyFrom(w)
        with pytest.raises(ValueError, match="wrong amount of data: expected 12 bytes or numbers, got 11"):
            session(m)


@pytest.mark.parametrize("code", COMPLEX)
def test_complex_control_flow_and_sequences(code):
    def graph(name, nodes, inputs, outputs):
        return h.make_graph(nodes, name, [h.make_tensor_value_info(*i) for i in inputs], [h.make_tensor_value_info(*o) for o in outputs])

    then = graph("then", [h.make_node("Identity", ["x"], ["t"])], [], [("t", code, None)])
    other = graph("else", [h.make_node("Transpose", ["x"], ["e"])], [], [("e", code, None)])
    body = graph("body", [h.make_node("Concat", ["v", "x"], ["w"], axis=0), h.make_node("Identity", ["go"], ["on"]), h.make_node("Identity", ["x"], ["s"])],
                 [("i", T.INT64, []), ("go", T.BOOL, []), ("v", code, None)], [("on", T.BOOL, []), ("w", code, None), ("s", code, None)])  # fmt: skip
    nodes = [
        h.make_node("If", ["which"], ["y"], then_branch=then, else_branch=other),
        h.make_node("Loop", ["trips", "", "x"], ["last", "all"], body=body),
        h.make_node("SplitToSequence", ["x"], ["parts"], axis=0), h.make_node("ConcatFromSequence", ["parts"], ["joined"], axis=0),
        h.make_node("Optional", ["x"], ["maybe"]), h.make_node("OptionalGetElement", ["maybe"], ["given"]),
    ]
    m = model(nodes, [("x", code, [2, 2]), ("which", T.BOOL, []), ("trips", T.INT64, [])],
              [(n, code, None) for n in ("y", "last", "all", "joined", "given")], opset=18)  # fmt: skip
    s, x = session(m), drawn_complex(COMPLEX[code], 2, 2)
    for which in (True, False):
        y, last, every, joined, given = s.run(None, {"x": x, "which": np.array(which), "trips": np.array(3)})
        same_bits(y, x if which else np.ascontiguousarray(x.T))
        same_bits(last, np.concatenate([x] * 4))
        same_bits(every, np.stack([x] * 3))
        same_bits(joined, x)
        same_bits(given, x)


@pytest.mark.parametrize("code", COMPLEX)
def test_complex_is_refused_where_it_would_be_computed(code):
    a = drawn_complex(COMPLEX[code], 3)
    for op, inputs in (("Add", [a, a]), ("ReduceSum", [a]), ("Mul", [a, a]), ("MatMul", [a, a])):
        with pytest.raises(TypeError, match=COMPLEX[code]):
            one(op, inputs, opset=21)


# ---- strings move, too -------------------------------------------------------------------------------------


def string_cases():
    x = np.array([["a", "bb", "é"], ["d", "", "bb"]], object)
    chosen = np.array([[True, False, True]])
    first = np.zeros((1, 3), np.int64)
    return [
        ("Reshape", [x, ints(3, -1)], {}, x.reshape(3, 2)), ("Concat", [x, x[:1]], {"axis": 0}, np.concatenate([x, x[:1]])),
        ("Gather", [x, ints(1, -2)], {}, x[[1, 0]]), ("GatherElements", [x, first + 1], {}, x[1:]), ("GatherND", [x, np.array([[0, 1]])], {}, x[0, 1:2]),
        ("Transpose", [x], {}, x.T), ("Squeeze", [x[:1], ints(0)], {}, x[0]), ("Unsqueeze", [x, ints(0)], {}, x[None]), ("Flatten", [x], {}, x),
        ("Slice", [x, ints(0), ints(2), ints(1)], {}, x[:, :2]), ("Expand", [x[:1], ints(2, 3)], {}, x[[0, 0]]), ("Tile", [x, ints(1, 2)], {}, np.tile(x, (1, 2))),
        ("Where", [chosen, x, x[::-1].copy()], {}, np.where(chosen, x, x[::-1])), ("Equal", [x, x[:, 1:2].copy()], {}, x == x[:, 1:2]),
        ("Compress", [x, np.array([False, True])], {"axis": 0}, x[1:]), ("ScatterElements", [x, first, x[1:]], {}, x[[1, 1]]),
        ("ScatterND", [x, np.array([[1]]), x[:1]], {}, x[[0, 0]]), ("Pad", [x, ints(0, 0, 0, 1)], {}, np.concatenate([x, [[""], [""]]], 1)),
        ("Pad", [x, ints(0, 0, 0, 1), np.array("z", object)], {}, np.concatenate([x, [["z"], ["z"]]], 1)),
        ("NonZero", [x], {}, np.array([[0, 0, 0, 1, 1], [0, 1, 2, 0, 2]])), ("ReverseSequence", [x, ints(2, 1, 2)], {"time_axis": 0, "batch_axis": 1},
                                                                             np.array([["d", "bb", "bb"], ["a", "", "é"]], object)),
        ("OneHot", [ints(0, 1), ints(2), np.array(["off", "on"], object)], {}, np.array([["on", "off"], ["off", "on"]], object)),
        ("Shape", [x], {}, ints(2, 3)), ("Identity", [x], {}, x),
    ]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "attrs", "want"), string_cases(), ids=[c[0] for c in string_cases()])
def test_strings_move(op, inputs, attrs, want):
    (got,) = one(op, inputs, opset=19, **attrs)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(got, want)


def test_strings_unique_split_and_sequences():
    x = np.array(["b", "", "é", "a", "b"], object)
    values, first, inverse, counts = one("Unique", [x], opset=19, outputs=4)
    assert values.tolist() == ["", "a", "b", "é"] and first.tolist() == [1, 3, 0, 2] and counts.tolist() == [1, 1, 2, 1]
    assert values[inverse].tolist() == x.tolist()
    parts = one("Split", [x, ints(2, 3)], opset=19, outputs=2)
    assert [p.tolist() for p in parts] == [x[:2].tolist(), x[2:].tolist()]
    nodes = [h.make_node("SplitToSequence", ["x"], ["s"], axis=0), h.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)]
    m = model(nodes, [("x", T.STRING, [None])], [("y", T.STRING, None)], opset=19)
    assert session(m).run(None, {"x": x})[0].tolist() == x.tolist()


def test_columns_of_strings_as_sklearn_exports_them():
    """Columns joined, encoded, and put beside numbers."""
    nodes = [
        h.make_node("Concat", ["city", "kind"], ["both"], axis=1),
        h.make_node("ArrayFeatureExtractor", ["both", "which"], ["column"], domain="ai.onnx.ml"),
        h.make_node("OneHotEncoder", ["column"], ["hot"], domain="ai.onnx.ml", cats_strings=["x", "y"]),
        h.make_node("Reshape", ["hot", "shape"], ["flat"]), h.make_node("Concat", ["flat", "age"], ["out"], axis=1),
    ]
    m = model(nodes, [("city", T.STRING, [None, 1]), ("kind", T.STRING, [None, 1]), ("age", T.FLOAT, [None, 1])], [("out", T.FLOAT, None)],
              [h.make_tensor("which", T.INT64, [1], [1]), h.make_tensor("shape", T.INT64, [2], [-1, 2])])  # fmt: skip
    m.opset_import.append(h.make_opsetid("ai.onnx.ml", 3))
    feed = {"city": np.array([["p"], ["q"], ["p"]], object), "kind": np.array([["y"], ["x"], ["y"]], object), "age": np.float32([[3], [4], [5]])}
    np.testing.assert_array_equal(session(m).run(None, feed)[0], [[0, 1, 3], [1, 0, 4], [0, 1, 5]])


def test_strings_beside_numbers_are_refused():
    x = np.array(["a"], object)
    with pytest.raises(TypeError, match="strings beside numbers: expected one of them, got 1 f32"):
        one("Concat", [x, np.ones(1, np.float32)], opset=19, axis=0)
    with pytest.raises(TypeError, match="strings are not computed with|input 0 is no tensor"):
        one("ScatterElements", [x, ints(0), x], opset=19, reduction="add")
    with pytest.raises(TypeError, match="input 0 is no tensor"):
        one("Add", [x, x], opset=19)


def test_case_of_letters_beyond_ascii():
    """The system's table, letter by letter; bytes that are no UTF-8 stay."""
    texts = np.array(["aéB", "жук", "日本x", "ÿ", "𐐨"], object)
    for action, want in (("UPPER", ["AÉB", "ЖУК", "日本X", "Ÿ", "𐐀"]), ("LOWER", ["aéb", "жук", "日本x", "ÿ", "𐐨"])):
        (got,) = one("StringNormalizer", [texts], opset=18, case_change_action=action, is_case_sensitive=1)
        assert got.tolist() == want
