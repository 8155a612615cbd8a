"""One-node models of Microsoft's contributed operators, by name: what golden/make_contrib.py asks ONNX Runtime and
test_onnx_contrib.py asks Suan. Inputs come from a seeded generator, so only answers are stored."""

import math
import zlib

import numpy as np
from onnx import helper as h

CASES = {}
IN_NUMPY = {}


class Inputs:
    """Random arrays, the same for one case's name always."""

    def __init__(self, name, dtype):
        self.rng, self.dtype = np.random.default_rng(zlib.crc32(name.encode())), dtype

    def __call__(self, *shape, scale=1.0):
        return (self.rng.standard_normal(shape) * scale).astype(self.dtype)

    def cache(self, rows, half):
        """cos and sin of rotary angles."""
        angle = np.arange(rows)[:, None] / 100.0 ** (np.arange(half) / half)
        return np.cos(angle).astype(self.dtype), np.sin(angle).astype(self.dtype)


def case(name, op, inputs, outputs=1, dtype=np.float32, domain="com.microsoft", check=None, numpy=None,
         **attrs):
    """inputs(f) gives the arrays, None for one left out; outputs: how many, or a flag for each; check(answers): the
    part of each answer that is specified; numpy(inputs): the answers, where ONNX Runtime has none."""
    wanted = [True] * outputs if isinstance(outputs, int) else outputs
    CASES[name] = (op, inputs, wanted, dtype, domain, check, attrs)
    if numpy:
        IN_NUMPY[name] = numpy


def build(name):
    op, inputs, wanted, dtype, domain, check, attrs = CASES[name]
    values = inputs(Inputs(name, dtype))
    feeds = {f"i{k}": v for k, v in enumerate(values) if v is not None}
    names = [f"i{k}" if v is not None else "" for k, v in enumerate(values)]
    outs = [f"o{k}" if w else "" for k, w in enumerate(wanted)]
    node = h.make_node(op, names, outs, domain=domain, **attrs)
    infos = [h.make_tensor_value_info(k, h.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feeds.items()]
    # ONNX Runtime infers the types of outputs, but not of these weights.
    results = [h.make_tensor_value_info(o, 1, None) if op == "MultiHeadAttention" else h.make_empty_tensor_value_info(o)
               for o in outs if o]
    graph = h.make_graph([node], name, infos, results)
    opsets = [h.make_opsetid("", 17)] + ([h.make_opsetid(domain, 1)] if domain else [])
    model = h.make_model(graph, opset_imports=opsets, ir_version=8)
    return model.SerializeToString(), feeds, check or (lambda answers: answers)


i32 = lambda *a: np.array(a, np.int32)
half = np.float16
silu = lambda x: x / (1 + np.exp(-x))


def np_gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)).astype(x.dtype))


def np_swiglu(gate, up, alpha):
    return gate / (1 + np.exp(-alpha * gate)) * up


def np_group_norm(x, w, b, groups, eps=1e-5):
    """Channels last."""
    g = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    y = (g - g.mean((1, 3), keepdims=True)) / np.sqrt(g.var((1, 3), keepdims=True) + eps)
    return y.reshape(x.shape) * w + b


# ---- activations, products, norms --------------------------------------------------------------------------
for tag, t in (("", np.float32), (" f16", half)):
    case("gelu" + tag, "Gelu", lambda f: [f(3, 7)], dtype=t)
    case("fast gelu" + tag, "FastGelu", lambda f: [f(3, 7), f(7)], dtype=t)
    case("quick gelu" + tag, "QuickGelu", lambda f: [f(3, 7)], dtype=t, alpha=1.5)
    case("skip layer norm" + tag, "SkipLayerNormalization", lambda f: [f(2, 3, 8), f(2, 3, 8), f(8), f(8), f(8)],
         [True, False, False, True], dtype=t, epsilon=1e-5)
    case("skip rms norm" + tag, "SkipSimplifiedLayerNormalization", lambda f: [f(2, 3, 8), f(2, 3, 8), f(8), f(8)],
         [True, False, False, True], dtype=t, epsilon=1e-5)
case("fast gelu alone", "FastGelu", lambda f: [f(3, 7)])
case("quick gelu default", "QuickGelu", lambda f: [f(3, 7)])
case("bias gelu", "BiasGelu", lambda f: [f(2, 3, 7), f(7)])
case("fused matmul", "FusedMatMul", lambda f: [f(2, 3, 4, 5), f(2, 3, 6, 5)], transB=1, alpha=0.3)
case("fused matmul both", "FusedMatMul", lambda f: [f(2, 5, 4), f(2, 6, 5)], transA=1, transB=1)
case("fused matmul batch a", "FusedMatMul", lambda f: [f(4, 2, 3, 5), f(2, 3, 5, 6)], transBatchA=1)
case("fused matmul batch both", "FusedMatMul", lambda f: [f(4, 2, 5), f(6, 2, 5)], transBatchA=1, transBatchB=1, transB=1)
case("fused matmul batch a swapped", "FusedMatMul", lambda f: [f(5, 2, 4), f(2, 5, 6)], transBatchA=1, transA=1)
case("transpose matmul", "TransposeMatMul", lambda f: [f(5, 4), f(5, 6)], transA=1)
case("fused gemm", "FusedGemm", lambda f: [f(4, 5), f(6, 5), f(6)], transB=1, alpha=0.5, activation="Relu")
case("fused gemm leaky", "FusedGemm", lambda f: [f(4, 5), f(5, 6), f(4, 1)], activation="LeakyRelu", activation_alpha=0.2)
for name, params in (("Relu", None), ("Tanh", None), ("Sigmoid", None), ("LeakyRelu", [0.3]), ("Clip", [-0.5, 0.7]),
                     ("HardSigmoid", [0.3, 0.4])):
    extra = {"activation_params": params} if params else {}
    case("fused conv " + name, "FusedConv", lambda f: [f(1, 3, 6, 7), f(4, 3, 3, 3, scale=0.3), f(4)], activation=name,
         pads=[1, 1, 1, 1], strides=[2, 1], **extra)
case("fused conv residual", "FusedConv", lambda f: [f(1, 4, 5, 5), f(4, 2, 3, 3, scale=0.3), f(4), f(1, 4, 3, 3)],
     activation="Relu", group=2)
case("skip layer norm plain", "SkipLayerNormalization", lambda f: [f(2, 3, 8), f(3, 8), f(8)], 1)
case("simplified layer norm", "SimplifiedLayerNormalization", lambda f: [f(2, 3, 8), f(8)], 1, domain="", axis=-1,
     epsilon=1e-4, stash_type=1)
EMBED = lambda f: [f.rng.integers(0, 9, (2, 4)).astype(np.int32), f.rng.integers(0, 2, (2, 4)).astype(np.int32),
                   f(9, 8), f(6, 8), f(2, 8), f(8), f(8)]
case("embed layer norm", "EmbedLayerNormalization", lambda f: [*EMBED(f), i32(1, 1, 1, 0, 1, 1, 0, 0).reshape(2, 4)], 3)
case("embed layer norm positions", "EmbedLayerNormalization",
     lambda f: [*EMBED(f), None, i32(1, 2, 3, 4, 0, 0, 1, 5).reshape(2, 4)], [True, True])
case("embed layer norm no segments", "EmbedLayerNormalization",
     lambda f: [EMBED(f)[0], None, f(9, 8), f(6, 8), None, f(8), f(8)], 2)
case("cdist", "CDist", lambda f: [f(3, 5), f(4, 5)])
case("cdist euclidean", "CDist", lambda f: [f(3, 5), f(4, 5)], metric="euclidean")
case("inverse", "Inverse", lambda f: [f(2, 4, 4)])
case("expand dims", "ExpandDims", lambda f: [f(2, 3), i32(-1).reshape(())])
case("range", "Range", lambda f: [i32(2).reshape(()), i32(7).reshape(())])
case("pad", "Pad", lambda f: [f(2, 3), np.array([[0, 1, 2, -1]]), f(1)], mode="constant")
case("trilu", "Trilu", lambda f: [f(4, 4), np.array(1)], upper=0)
case("unique", "Unique", lambda f: [np.array([2, 1, 1, 3, 4, 3], np.float32)], 3)
case("gather nd", "GatherND", lambda f: [f(3, 4), i32(1, 2, 0, 3).reshape(2, 2)])
case("gated rms norm", "GatedRMSNorm", lambda f: [f(2, 3, 8), f(4), f(2, 3, 8)])
case("gated rms norm sigmoid", "GatedRMSNorm", lambda f: [f(2, 3, 8), f(4), f(2, 3, 8)], activation="sigmoid")

# ONNX Runtime has these for GPUs only.
case("bias add", "BiasAdd", lambda f: [f(2, 3, 4), f(4), f(2, 3, 4)], numpy=lambda x, b, s: [x + b + s])
case("bias split gelu", "BiasSplitGelu", lambda f: [f(2, 3, 4), f(4)],
     numpy=lambda x, b: [(x + b)[..., :2] * np_gelu((x + b)[..., 2:])])
case("group norm", "GroupNorm", lambda f: [f(2, 3, 5, 4), f(4), f(4)], groups=2, activation=1,
     numpy=lambda x, w, b: [silu(np_group_norm(x, w, b, 2))])
case("group norm channels first", "GroupNorm", lambda f: [f(2, 4, 3, 5), f(4), f(4)], groups=2, activation=0, channels_last=0,
     numpy=lambda x, w, b: [np.moveaxis(np_group_norm(np.moveaxis(x, 1, -1), w, b, 2), -1, 1)])
case("skip group norm", "SkipGroupNorm", lambda f: [f(2, 3, 5, 4), f(4), f(4), f(2, 4), f(4)], 2, groups=2, activation=0,
     numpy=lambda x, w, b, s, c: [np_group_norm(x + s[:, None, None] + c, w, b, 2), x + s[:, None, None] + c])
case("swiglu", "SwiGLU", lambda f: [f(2, 3, 8)], limit=0.5, activation_alpha=1.5, activation_beta=1.0,
     numpy=lambda x: [np_swiglu(np.minimum(x[..., :4], 0.5), np.clip(x[..., 4:], -0.5, 0.5) + 1, 1.5)])
case("swiglu pair", "SwiGLU", lambda f: [f(2, 3, 4), f(2, 3, 4)], numpy=lambda x, y: [np_swiglu(x, y, 1)])
NHWC = lambda f: [f(1, 6, 7, 3), f(4, 3, 1, 1, scale=0.3), f(4)]
case("nhwc conv", "NhwcConv", NHWC, numpy=lambda x, w, b: [x @ w[:, :, 0, 0].T + b])
case("nhwc fused conv", "NhwcFusedConv", lambda f: [*NHWC(f), f(1, 6, 7, 4)], activation="Relu",
     numpy=lambda x, w, b, z: [np.maximum(x @ w[:, :, 0, 0].T + b + z, 0)])

# ---- attention ---------------------------------------------------------------------------------------------
SELF = lambda f: [f(2, 5, 12), f(12, 36, scale=0.3), f(36)]
LENGTHS = i32(5, 3)
RAW = i32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0).reshape(2, 5)
case("attention", "Attention", SELF, num_heads=3)
case("attention f16", "Attention", SELF, num_heads=3, dtype=half)
case("attention causal", "Attention", SELF, num_heads=3, unidirectional=1)
case("attention raw mask", "Attention", lambda f: [*SELF(f), RAW], num_heads=3)
case("attention lengths", "Attention", lambda f: [*SELF(f), LENGTHS], num_heads=3)
case("attention ends and begins", "Attention", lambda f: [*SELF(f), i32(5, 4, 1, 2)], num_heads=3)
case("attention 3-d mask", "Attention", lambda f: [*SELF(f), np.tri(5, dtype=np.int32)[None].repeat(2, 0)], num_heads=3)
case("attention all masked", "Attention", lambda f: [*SELF(f), RAW * i32(0, 1)[:, None]], num_heads=3)
case("attention bias", "Attention", lambda f: [*SELF(f), None, None, f(1, 3, 5, 5)], num_heads=3, scale=0.2)
case("attention sizes", "Attention", lambda f: [f(2, 5, 12), f(12, 30, scale=0.3), f(30)], num_heads=3,
     qkv_hidden_sizes=[12, 12, 6])
case("attention past", "Attention", lambda f: [*SELF(f), None, f(2, 2, 3, 4, 4)], 2, num_heads=3, unidirectional=1)
case("attention past, raw mask", "Attention",
     lambda f: [*SELF(f), i32(*[1] * 12, 0, 0, *[1] * 4).reshape(2, 9), f(2, 2, 3, 4, 4)], 2, num_heads=3, unidirectional=1)
case("attention present", "Attention", SELF, 2, num_heads=3)

QKV = lambda f, keys=5: [f(2, 5, 12), f(2, keys, 12), f(2, keys, 12)]
case("mha", "MultiHeadAttention", QKV, num_heads=3)
case("mha cross, widths", "MultiHeadAttention", lambda f: [f(2, 5, 12), f(2, 7, 12), f(2, 7, 6)], num_heads=3, scale=0.3)
case("mha bias", "MultiHeadAttention", lambda f: [*QKV(f), f(36)], num_heads=3)
case("mha causal", "MultiHeadAttention", QKV, num_heads=3, unidirectional=1)
case("mha mask", "MultiHeadAttention", lambda f: [*QKV(f), None, RAW], num_heads=3)
case("mha 3-d mask", "MultiHeadAttention", lambda f: [*QKV(f), None, np.tri(5, dtype=np.int32)[None].repeat(2, 0)],
     num_heads=3)
case("mha attention bias", "MultiHeadAttention", lambda f: [*QKV(f), None, None, f(2, 1, 5, 5)], num_heads=3)
case("mha mask and bias", "MultiHeadAttention", lambda f: [*QKV(f), None, RAW, f(1, 3, 5, 5)], num_heads=3)
case("mha past", "MultiHeadAttention", lambda f: [*QKV(f), None, None, None, f(2, 3, 4, 4), f(2, 3, 4, 4)], 3, num_heads=3,
     unidirectional=1)
case("mha past, one token", "MultiHeadAttention",
     lambda f: [f(2, 1, 12), f(2, 1, 12), f(2, 1, 12), f(36), None, None, f(2, 3, 4, 4), f(2, 3, 4, 4)], 3, num_heads=3)
case("mha split keys", "MultiHeadAttention", lambda f: [f(2, 5, 12), f(2, 3, 7, 4), f(2, 3, 7, 4)], num_heads=3)
case("mha weights", "MultiHeadAttention", lambda f: [*QKV(f), None, RAW], [True, False, False, True], num_heads=3)

case("rotary", "RotaryEmbedding", lambda f: [f(2, 5, 24), np.arange(10).reshape(2, 5) % 7, *f.cache(9, 4)])
case("rotary offset", "RotaryEmbedding", lambda f: [f(2, 5, 24), np.array([3]), *f.cache(9, 4)])
case("rotary interleaved", "RotaryEmbedding", lambda f: [f(2, 3, 5, 8), np.array([1]), *f.cache(9, 4)], interleaved=1)
case("rotary partial", "RotaryEmbedding", lambda f: [f(2, 5, 24), np.array([0]), *f.cache(9, 2)], num_heads=3,
     rotary_embedding_dim=4)

# Two query heads for each of two key heads, width 16.
GQA = dict(num_heads=4, kv_num_heads=2)


def gqa(f, queries=5, total=5, held=0, lengths=None, cache=False, batch=2):
    past = [f(batch, 2, held, 16), f(batch, 2, held, 16)]
    return [f(batch, queries, 64), f(batch, queries, 32), f(batch, queries, 32), *past,
            np.array(lengths or [total] * batch, np.int32) - 1, i32(total).reshape(()),
            *(f.cache(16, 8) if cache else ())]


def valid(*lengths):
    """Cache rows past a sequence's end are unspecified."""
    def cut(answers):
        out, *caches = answers
        return [out] + [np.concatenate([c[b, :, :n].ravel() for b, n in enumerate(lengths)]) for c in caches]
    return cut


case("gqa prompt", "GroupQueryAttention", gqa, 3, **GQA)
case("gqa prompt, uneven", "GroupQueryAttention", lambda f: gqa(f, lengths=[5, 3], cache=True), 3, do_rotary=1,
     check=lambda a: [np.concatenate([a[0][0], a[0][1, :3]]), *valid(5, 3)(a)[1:]], **GQA)
case("gqa positions", "GroupQueryAttention", lambda f: [*gqa(f, cache=True), np.arange(10).reshape(2, 5) + 2], 3, do_rotary=1,
     **GQA)
case("gqa token, positions", "GroupQueryAttention",
     lambda f: [*gqa(f, 1, 6, 5, cache=True), np.array([[3], [7]])], 3, do_rotary=1, **GQA)
case("gqa prompt f16", "GroupQueryAttention", gqa, 3, dtype=half, **GQA)
case("gqa prompt, rotary", "GroupQueryAttention", lambda f: gqa(f, cache=True), 3, do_rotary=1, **GQA)
case("gqa interleaved", "GroupQueryAttention", lambda f: gqa(f, cache=True), 3, do_rotary=1, rotary_interleaved=1, **GQA)
case("gqa prompt, window", "GroupQueryAttention", gqa, 3, local_window_size=2, **GQA)
case("gqa softcap", "GroupQueryAttention", gqa, 3, softcap=0.5, **GQA)
case("gqa smooth", "GroupQueryAttention", gqa, 3, smooth_softmax=1, **GQA)
case("gqa sink", "GroupQueryAttention", lambda f: [*gqa(f), None, None, None, None, f(4)], 3, **GQA)
case("gqa bias", "GroupQueryAttention", lambda f: [*gqa(f), None, None, None, f(2, 1, 5, 5)], 3, **GQA)
case("gqa both ways", "GroupQueryAttention", gqa, 3, causal=0, **GQA)
case("gqa token", "GroupQueryAttention", lambda f: gqa(f, 1, 6, 5, cache=True), 3, do_rotary=1, **GQA)
case("gqa token, uneven", "GroupQueryAttention", lambda f: gqa(f, 1, 6, 5, [6, 4], cache=True), 3, do_rotary=1,
     check=valid(6, 4), **GQA)
case("gqa token in a buffer", "GroupQueryAttention", lambda f: gqa(f, 1, 6, 9, [6, 3], cache=True), 3, do_rotary=1,
     check=valid(6, 3), **GQA)
case("gqa token, window", "GroupQueryAttention", lambda f: gqa(f, 1, 8, 7, [8, 5]), 3, local_window_size=3, check=valid(8, 5),
     **GQA)
case("gqa chunk", "GroupQueryAttention", lambda f: gqa(f, 3, 7, 4, batch=1, cache=True), 3, do_rotary=1, **GQA)
case("gqa chunk, window in a buffer", "GroupQueryAttention", lambda f: gqa(f, 3, 7, 9, batch=1), 3, local_window_size=4,
     check=valid(7), **GQA)
case("gqa packed", "GroupQueryAttention",
     lambda f: [f(2, 5, 128), None, None, f(2, 2, 0, 16), f(2, 2, 0, 16), i32(4, 4), i32(5).reshape(()), *f.cache(16, 8)], 3,
     do_rotary=1, **GQA)
case("gqa no cache", "GroupQueryAttention",
     lambda f: [f(2, 5, 64), f(2, 5, 32), f(2, 5, 32), None, None, i32(4, 4), i32(5).reshape(())], 3, **GQA)

LINEAR = lambda f: [f(2, 5, 24), f(2, 5, 12), f(2, 5, 38), f(2, 2, 6, 19), -abs(f(2, 5, 2)), abs(f(2, 5, 2)) * 0.5]
case("linear attention", "LinearAttention", LINEAR, 2, q_num_heads=4, kv_num_heads=2)
case("linear attention gated", "LinearAttention", lambda f: [*LINEAR(f)[:3], None, -abs(f(2, 5, 12))], 2, q_num_heads=4,
     kv_num_heads=2, update_rule="gated", scale=0.7)
case("causal conv", "CausalConvWithState", lambda f: [f(2, 4, 6), f(4, 1, 3), f(4), f(2, 4, 2)], 2, activation="silu")


def nibbles(a):
    return np.stack([a & 15, a >> 4], -1).reshape(*a.shape[:-1], -1)


def blocks(data, at, scales, zeros, block=16, gather=0, along=-1):
    """Rows of blocks of integers with a scale each, as numbers."""
    size = data.shape[along]
    spread = lambda t: np.repeat(t, block, along).take(range(size), along)  # noqa: E731
    real = (data.astype("f8") - (zeros if np.isscalar(zeros) else spread(zeros.astype("f8")))) * spread(scales.astype("f8"))
    return [real.take(at, gather).astype(scales.dtype)]


bytes_of = lambda f, *shape: f.rng.integers(0, 256, shape).astype(np.uint8)
BLOCKS = dict(block_size=16, gather_axis=0, quantize_axis=1)
rows = lambda f: f.rng.integers(-10, 10, (2, 3))
case("gather blocks of 4 bits", "GatherBlockQuantized", lambda f: [bytes_of(f, 10, 24), rows(f), f(10, 3)], bits=4, **BLOCKS,
     numpy=lambda d, at, s: blocks(nibbles(d), at, s, 8))
case("gather blocks of 4 bits, zero points", "GatherBlockQuantized",
     lambda f: [bytes_of(f, 10, 20), rows(f), f(10, 3), bytes_of(f, 10, 2)], bits=4, **BLOCKS,
     numpy=lambda d, at, s, z: blocks(nibbles(d), at, s, nibbles(z)[:, :3]))
case("gather blocks of bytes", "GatherBlockQuantized", lambda f: [bytes_of(f, 10, 40), rows(f), f(10, 3)], dtype=half, bits=8,
     **BLOCKS, numpy=lambda d, at, s: blocks(d, at, s, 128))
case("grid sample", "GridSample", lambda f: [f(2, 3, 5, 6), f(2, 4, 3, 2)])
case("grid sample of borders", "GridSample", lambda f: [f(2, 3, 5, 6), f(2, 4, 3, 2, scale=2)], mode="nearest",
     padding_mode="border", align_corners=1)
case("grid sample of reflections", "GridSample", lambda f: [f(1, 2, 5, 6), f(1, 4, 3, 2, scale=2)], mode="bicubic",
     padding_mode="reflection")
