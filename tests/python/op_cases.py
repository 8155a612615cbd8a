"""Inputs for the generated op tests: values for an op's samples in a dtype, laid out in several
ways.
"""

import os
import zlib

import numpy as np

import suan
from suan import _c

QUICK = os.environ.get("SUAN_TEST_QUICK") == "1"

TABLE = {op["name"]: op for op in _c.op_table()}
SAMPLES = {name: _c.samples(name) for name in TABLE}

DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
]
FLOATS = DTYPES[-4:]
#: Relative (to the value, and to the largest value) error allowed against the float64 oracle.
TOLERANCE = {"float64": 1e-11, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}
LAYOUTS = ["contiguous", "transposed", "negative", "strided", "broadcast"]


def dtype_named(name):
    return getattr(suan, name)


def kind_of(name):
    return "f" if "float" in name else name[0]


def rounded(a, name):
    """The array with each value as the dtype holds it, in the oracle's type."""
    kind = kind_of(name)
    if kind == "b":
        return a != 0
    if kind in "iu":
        return a.astype(np.uint64 if name == "uint64" else np.int64)
    if name == "bfloat16":
        bits = np.asarray(a, np.float32).view(np.uint32).astype(np.uint64)
        return (
            ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000)
            .astype(np.uint32)
            .view(np.float32)
            .astype(np.float64)
        )
    return a.astype(name).astype(np.float64)


def to_bits(a, name):
    if name == "bfloat16":
        return (np.asarray(a, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return np.ascontiguousarray(a).astype(name).tobytes()


def tensor(a, name):
    return _c.from_bytes(to_bits(a, name), dtype_named(name), list(np.shape(a)))


def array(t):
    """A tensor's values in the oracle's type."""
    name = str(t.dtype).removeprefix("suan.")
    raw = _c.to_bytes(t.contiguous())
    if name == "bfloat16":
        a = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        a = np.frombuffer(raw, name)
    return rounded(a.reshape(tuple(t.shape)), name)


def bits(ts):
    return [
        None if t is None else (str(t.dtype), tuple(t.shape), _c.to_bytes(t.contiguous()))
        for t in ts
    ]


def values_for(spec, name, rng):
    """Random values that suit the sample's fill and the dtype."""
    shape, fill, kind = spec["shape"], spec["fill"], kind_of(name)
    n = int(np.prod(shape))
    if fill == "index":
        a = rng.integers(int(spec["lo"]), max(int(spec["hi"]), int(spec["lo"]) + 1), shape)
    elif fill == "integers":
        a = rng.integers(int(spec["lo"]), max(int(spec["hi"]), int(spec["lo"]) + 1), shape)
    elif fill == "boolean":
        a = rng.integers(0, 2, shape)
    elif fill == "distinct":
        # Spread so that a finite difference never reorders, and exact in every dtype that can
        # hold them.
        a = rng.permutation(n).reshape(shape) - (0 if kind == "u" else n // 2)
        a = a / 8.0 if kind == "f" else a % 120 if name.endswith("t8") else a
    elif kind == "b":
        a = rng.integers(0, 2, shape)
    elif kind == "u":
        a = rng.integers(1 if fill == "positive" else 0, 7, shape)
    elif kind == "i":
        a = rng.integers(1 if fill == "positive" else -4, 5, shape)
    elif fill == "positive":
        a = rng.uniform(0.5, 2.0, shape)
    elif fill == "uniform":
        a = (
            rng.uniform(spec["lo"], spec["hi"], shape)
            if spec["hi"] > spec["lo"]
            else np.full(shape, spec["lo"])
        )
    else:
        a = rng.standard_normal(shape)
    return rounded(np.asarray(a), name)


#: What a dtype cannot do although the op admits it.
REFUSED = {("index_put", "bool"): "bool does not accumulate"}


def is_refused(name, index, dtype):
    """A sample of an op, in a dtype."""
    return (name, dtype) in REFUSED and SAMPLES[name][index]["attrs"].get("accumulate")


def dtypes_of(op_name, sample, quick=QUICK):
    """The dtypes that the sample is swept over; [None] when all its inputs have a fixed one.

    quick: one.
    """
    admitted = None
    for spec, schema in zip(sample["in"], input_schemas(op_name, len(sample["in"]))):
        if spec["dtype"] is None and not spec["absent"]:
            admitted = [
                d for d in DTYPES if d in schema["dtypes"] and (admitted is None or d in admitted)
            ]
    if admitted is None:
        return [None]
    if quick:
        return ["float32" if "float32" in admitted else admitted[-1]]
    return admitted


def input_schemas(op_name, n):
    schemas = list(TABLE[op_name]["inputs"])
    while schemas and len(schemas) < n and schemas[-1]["arity"] == "variadic":
        schemas.append(schemas[-1])
    return schemas


def make_inputs(op_name, index, dtype, seed=0):
    """(values or None, dtype name) per input of a sample."""
    sample = SAMPLES[op_name][index]
    rng = np.random.default_rng(zlib.crc32(f"{op_name} {index} {dtype} {seed}".encode()))
    out = []
    for spec in sample["in"]:
        name = spec["dtype"] or dtype
        out.append((None, None) if spec["absent"] else (values_for(spec, name, rng), name))
    return out


def laid_out(a, name, layout):
    """(tensor, values): the array stored in the given way; broadcast repeats its first row."""
    if layout == "broadcast" and a.ndim and a.shape[0] > 1:
        a = np.broadcast_to(a[:1], a.shape)
        return tensor(a[:1], name).expand(*a.shape), a
    if layout == "transposed" and a.ndim > 1:
        axes = list(range(a.ndim))[::-1]
        return tensor(np.ascontiguousarray(a.transpose(axes)), name).permute(axes), a
    if layout == "negative" and a.ndim:
        axes = list(range(a.ndim))
        return tensor(np.ascontiguousarray(np.flip(a, axes)), name).flip(axes), a
    if layout == "strided" and a.ndim:
        wide = np.ones(a.shape[:-1] + (2 * a.shape[-1] + 1,), a.dtype)
        wide[..., 1::2] = a
        return tensor(wide, name)[..., 1::2], a
    return tensor(a, name), a
