#!/usr/bin/env python3
"""Writes distributions.npz: torch's results for tests/python/distribution_cases.py. Run by a Python that has torch."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import distribution_cases as cases  # noqa: E402

np.savez_compressed(
    Path(__file__).with_suffix("").parent / "distributions.npz",
    torch=torch.__version__,
    **{f"{name}/{what}": array for name in cases.CASES for what, array in cases.results(torch, name).items()},
)
