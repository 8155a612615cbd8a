"""Writes layers.npz: what PyTorch computes, in float64, for the cases of ../layer_cases.py and
../tensor_cases.py.

Needs torch (2.15 made the file) and numpy; run it where it stands. The tests read the file and never need torch.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import tensor_cases  # noqa: E402, F401  (adds its cases)
from layer_cases import CASES  # noqa: E402

values, index, at = [], {}, 0
for case in CASES.values():
    index[case.name] = {}
    with sdpa_kernel(SDPBackend.MATH):  # the one that can be differentiated twice
        results = case.run(torch, torch.nn, torch.nn.functional, torch.float64)
    for key, value in results.items():
        index[case.name][key] = (at, value.shape, value.dtype.kind)
        values.append(value.astype(np.float32).ravel())
        at += value.size
np.savez_compressed(HERE / "layers.npz", values=np.concatenate(values), index=json.dumps(index))
print(f"{len(CASES)} cases, {at} numbers, {(HERE / 'layers.npz').stat().st_size} bytes")
