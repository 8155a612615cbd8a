"""Every op of the table on every sample, dtype and layout: against the NumPy oracle, planned
against eager, in place against out of place, and the error samples.
"""

import warnings

import numpy as np
import pytest

import suan
from op_cases import (
    LAYOUTS,
    QUICK,
    SAMPLES,
    TABLE,
    TOLERANCE,
    array,
    bits,
    dtypes_of,
    is_refused,
    laid_out,
    make_inputs,
)
from oracle import NO_ORACLE, ORACLE
from suan import _c

#: Ops whose output shape depends on data; a plan cannot hold them.
DATA_DEPENDENT = {"nonzero", "masked_select"}
#: Ops that overwrite their inputs, or see the whole storage, run on contiguous inputs of their own.
OWN_INPUTS = {
    "adamw_step", "adamw_steps", "sgd_step", "batch_norm_update", "batch_norm", "as_strided",
    "embedding_grad_add",
}
#: Views that refuse what would need a copy.
MAY_REFUSE = {"view"}
#: Results that lose digits before they are rounded: factors on the tolerance.
LOOSE = {
    "tan": 8,
    "pow": 8,
    "sinh": 4,
    "cosh": 4,
    "var": 4,
    "std": 4,
    "prod": 8,
    "norm": 4,
    "group_norm": 8,
    "batch_norm": 8,
    "batch_norm_train": 8,
    "layer_norm": 8,
    "rms_norm": 8,
    "kl_div": 4,
    "huber_loss": 4,
    "smooth_l1": 4,
    "bce_with_logits": 4,
    "mse_loss": 4,
    "cross_entropy": 4,
    "linear_cross_entropy": 8,
    "logsumexp": 4,
    "attention": 4,
    "softplus": 4,
    "adamw_step": 1e4,
    "adamw_steps": 1e4,
    "sgd_step": 1e4,
    "batch_norm_update": 4,
    "linspace": 4,
    "erf": 1,
    "clip_grad_norm": 4,
    "cumsum": 2,
    "gelu_tanh_grad": 2,
    "conv_winograd": 4,
    "conv_winograd_pairs": 4,  # rounds the numbers of its tiles too
}
#: Their learning rate is f32, also for f64 parameters: hence the factor above, for f64 only.
F64_ONLY = {"adamw_step", "adamw_steps", "sgd_step"}


def cases():
    for name, samples in SAMPLES.items():
        for index, sample in enumerate(samples):
            if sample["error"]:
                continue
            for dtype in dtypes_of(name, sample):
                if not is_refused(name, index, dtype):
                    yield pytest.param(name, index, dtype, id=f"{name}-{index}-{dtype or 'fixed'}")


def expected(name, index, values):
    attrs = SAMPLES[name][index]["attrs"]
    values = list(values)
    n = len(TABLE[name]["inputs"])
    while len(values) < n and TABLE[name]["inputs"][len(values)]["arity"] == "optional":
        values.append(None)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = ORACLE[name](*values, **attrs)
    return list(out) if isinstance(out, (tuple, list)) else [out]


def check(name, got, want, context, size=0):
    """size: the largest input, whose rounding shows in a result that cancels."""
    got = [g for g, w in zip(got, want) if w is not None] if len(got) == len(want) else got
    want = [w for w in want if w is not None]
    assert len(got) == len(want), f"{context}: {len(want)} outputs expected, got {len(got)}"
    for j, (g, w) in enumerate(zip(got, want)):
        dtype = str(g.dtype).removeprefix("suan.")
        w, a = np.asarray(w), array(g)
        assert a.shape == w.shape, f"{context} output {j}: shape {w.shape} expected, got {a.shape}"
        if dtype in TOLERANCE:
            w = w.astype(np.float64)
            tol = TOLERANCE[dtype] * (
                1 if name in F64_ONLY and dtype != "float64" else LOOSE.get(name, 1)
            )
            scale = max(size, np.abs(w[np.isfinite(w)]).max(initial=0))
            limit = 65504 if dtype == "float16" else np.inf
            w = np.where(np.abs(w) > limit, np.copysign(np.inf, w), w)
            same = (a == w) | (np.isnan(a) & np.isnan(w))
            with np.errstate(all="ignore"):
                bad = ~(same | (np.abs(a - w) <= tol * (np.abs(w) + min(scale, 1))))
            if bad.any():
                at = np.argwhere(bad)[0]
                at = tuple(at)
                raise AssertionError(
                    f"{context} output {j} {dtype} at {at}: expected {w[at]}, got {a[at]} "
                    f"({bad.sum()} of {bad.size} wrong)"
                )
        else:
            w = (
                w != 0
                if dtype == "bool"
                else w.astype(np.int64).astype(dtype)
                if w.dtype.kind == "f"
                else w.astype(dtype)
            )
            assert np.array_equal(a.astype(w.dtype), w), (
                f"{context} output {j} {dtype}: expected {w}, got {a}"
            )


def test_every_op_has_an_oracle():
    nothing = [n for n in TABLE if n not in ORACLE and n not in NO_ORACLE]
    stale = [n for n in list(ORACLE) + list(NO_ORACLE) if n not in TABLE]
    bare = [n for n in ORACLE if n in TABLE and not SAMPLES[n]]
    for name, why in NO_ORACLE.items():
        print(f"no oracle: {name}: {why}")
    assert not nothing and not stale and not bare, (nothing, stale, bare)


@pytest.mark.parametrize("name,index,dtype", list(cases()))
def test_forward(name, index, dtype):
    if name in NO_ORACLE:
        return
    plain = make_inputs(name, index, dtype)
    layouts = LAYOUTS[:1] if name in OWN_INPUTS else ["contiguous", "strided"] if QUICK else LAYOUTS
    if not any(v is not None and v.ndim for v, _ in plain):
        layouts = layouts[:1]
    for layout in layouts:
        pairs = [(None, None) if v is None else laid_out(v, n, layout) for v, n in plain]
        tensors = [t for t, _ in pairs]
        values = [v for _, v in pairs]
        try:
            got = _c.apply_sample(name, index, tensors)
        except ValueError:
            if name in MAY_REFUSE and layout != "contiguous":
                continue
            raise
        size = max(
            (
                np.abs(v[np.isfinite(v)]).max(initial=0)
                for v in values
                if v is not None and v.dtype.kind == "f"
            ),
            default=0,
        )
        check(name, got, expected(name, index, values), f"{name}[{index}] {dtype} {layout}", size)


@pytest.mark.parametrize("name,index,dtype", list(cases()))
def test_planned(name, index, dtype):
    if name in DATA_DEPENDENT:
        return
    plain = make_inputs(name, index, dtype)

    def fresh():
        return [None if v is None else laid_out(v, n, "contiguous")[0] for v, n in plain]

    def call(*xs):
        return _c.apply_sample(name, index, list(xs))

    with suan.no_grad():
        eager = bits(call(*fresh()))
        compiled = suan.compile(call)
        for k in range(3):
            assert bits(compiled(*fresh())) == eager, (
                f"{name}[{index}] {dtype}: call {k + 1} differs from eager"
            )
    assert compiled.stats()[0]["replays"] >= 1, "the third call must replay"


def in_place_cases():
    for name, samples in SAMPLES.items():
        if not TABLE[name]["elementwise"] and name not in (
            "lerp",
            "addcmul",
            "addcdiv",
            "masked_fill",
        ):
            continue
        for index, sample in enumerate(samples):
            if sample["error"] or not sample["in"]:
                continue
            for dtype in dtypes_of(name, sample):
                yield pytest.param(name, index, dtype, id=f"{name}-{index}-{dtype or 'fixed'}")


@pytest.mark.parametrize("name,index,dtype", list(in_place_cases()))
def test_in_place(name, index, dtype):
    plain = make_inputs(name, index, dtype)
    for layout in LAYOUTS[:4]:
        tensors = [None if v is None else laid_out(v, n, layout)[0] for v, n in plain]
        (out,) = _c.apply_sample(name, index, tensors)
        x = tensors[0]
        if out.shape != x.shape or out.dtype is not x.dtype:
            return
        _c.apply_sample_into(name, index, tensors, x)
        assert bits([x]) == bits([out]), f"{name}[{index}] {dtype} {layout}"


def error_cases():
    for name, samples in SAMPLES.items():
        for index, sample in enumerate(samples):
            if sample["error"]:
                yield pytest.param(name, index, id=f"{name}-{index}")


@pytest.mark.parametrize("name,index", list(error_cases()))
def test_error(name, index):
    sample = SAMPLES[name][index]
    dtype = dtypes_of(name, sample)[-1]
    tensors = [
        None if v is None else laid_out(v, n, "contiguous")[0]
        for v, n in make_inputs(name, index, dtype)
    ]
    with pytest.raises((ValueError, TypeError, IndexError)) as caught:
        _c.apply_sample(name, index, tensors)
    text = str(caught.value)
    assert sample["error"] in text, text
    assert text.startswith("[") and "expected" in text and "got" in text, text
