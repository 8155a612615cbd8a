"""Real models from PyPI packages, against stored answers of ONNX Runtime with its optimisations off."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import suan.onnx

ROOT = Path(__file__).resolve().parent
GOLDEN = ROOT / "golden" / "onnx_models"


def load_tool():
    spec = importlib.util.spec_from_file_location("onnx_models", ROOT.parent.parent / "tools" / "onnx_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


@pytest.fixture(scope="module")
def paths():
    return tool.fetch(ROOT.parent.parent / "build" / "onnx_models")


def test_every_model_has_answers():
    assert {p.stem for p in GOLDEN.glob("*.npz")} == set(tool.MODELS)


@pytest.mark.parametrize("name", sorted(tool.MODELS))
def test_model(paths, name):
    case = np.load(GOLDEN / f"{name}.npz")
    given = [case[f"in_{k}"] for k in range(sum(f.startswith("in_") for f in case.files))]
    wanted = [case[f"out_{k}"] for k in range(sum(f.startswith("out_") for f in case.files))]
    session = suan.onnx.InferenceSession(paths[name])
    feed = {p.name: v for p, v in zip(session.get_inputs(), given, strict=True)}
    for answer in (session.run(None, feed), session.run(None, feed)):   # the second one replays a plan
        assert len(answer) == len(wanted)
        for got, want in zip(answer, wanted):
            assert got.shape == want.shape and got.dtype == want.dtype
            got, want = got.astype("f8"), want.astype("f8")
            if "int8" in name:
                # A rounding the other way moves a value by a quantum.
                cosine = (got * want).sum() / np.sqrt((got**2).sum() * (want**2).sum())
                assert cosine > 0.999
                assert (got.argmax(-1) == want.argmax(-1)).mean() > 0.95
                continue
            # Ten times what ONNX Runtime's own optimisations move, where that is more.
            rms = np.sqrt((want**2).mean())
            np.testing.assert_allclose(got, want, rtol=0, atol=max(1e-4 * rms, 10 * float(case["spread"])))
