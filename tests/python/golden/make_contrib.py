"""Makes contrib.npz: ONNX Runtime's answers for tests/python/test_onnx_contrib.py. Needs onnx and onnxruntime (1.32 was
used); run it from this folder. The models and their inputs are those of ../contrib_cases.py."""

import sys

import numpy as np
import onnxruntime as ort

sys.path.insert(0, "..")
import contrib_cases

out = {}
for name in sorted(contrib_cases.CASES.keys() - contrib_cases.IN_NUMPY.keys()):
    model, feeds, check = contrib_cases.build(name)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        answers = check(session.run(None, feeds))
    except Exception as e:
        sys.exit(f"{name}: {e}")
    for k, answer in enumerate(answers):
        out[f"{name}/{k}"] = answer
np.savez_compressed("contrib.npz", **out)
