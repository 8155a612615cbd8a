"""Microsoft's contributed operators against ONNX Runtime's answers (golden/make_contrib.py), and in NumPy where its
CPU build has none."""

from pathlib import Path

import numpy as np
import pytest
from contrib_cases import CASES, IN_NUMPY, build
from onnx import helper as h

import suan.onnx

GOLDEN = np.load(Path(__file__).parent / "golden" / "contrib.npz")


def close(got, want, dtype):
    want = np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype
    if want.dtype.kind in "ib":
        assert (got == want).all()
        return
    got, want = got.astype(np.float64), want.astype(np.float64)
    rms = np.sqrt(np.mean(want**2)) if want.size else 1.0
    assert np.abs(got - want).max(initial=0) <= (4e-3 if dtype == np.float16 else 1e-5) * rms


@pytest.mark.parametrize("name", CASES)
def test_answers(name):
    model, feeds, check = build(name)
    answers = check(suan.onnx.InferenceSession(model).run(None, feeds))
    for k, answer in enumerate(answers):
        want = IN_NUMPY[name](*feeds.values())[k] if name in IN_NUMPY else GOLDEN[f"{name}/{k}"]
        close(answer, want, CASES[name][3])
