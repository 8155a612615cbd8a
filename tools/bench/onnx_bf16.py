"""suan's and OpenVINO's bfloat16 on an ONNX model, call by call in turn with a rest of 80 ms between the engines, whose threads
may spin for a while: medians and fastest, in milliseconds.

    python tools/bench/onnx_bf16.py model.onnx 50 input=1,3,224,224

Inputs of integers are drawn below 1000; `name=shape` for each input. Needs openvino beside suan.
"""

import statistics
import sys
import time

import numpy as np
import openvino
import suan


def main():
    path, calls, shapes = sys.argv[1], int(sys.argv[2]), dict(a.split("=") for a in sys.argv[3:])
    suan.set_num_threads(2)
    session = suan.onnx.Session(path, precision="bf16")
    core, rng = openvino.Core(), np.random.default_rng(0)
    model = core.read_model(path)
    model.reshape({name: [int(d) for d in s.split(",")] for name, s in shapes.items()})
    feed = {}
    for port in model.inputs:
        dtype = port.get_element_type().to_dtype()
        draw = rng.standard_normal(list(port.shape)) if dtype.kind == "f" else rng.integers(1, 1000, list(port.shape))
        feed[port.get_any_name()] = draw.astype(dtype)
    request = core.compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 2, "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    engines = {"openvino": lambda: request.infer(feed), "suan": lambda: [t.numpy() for t in session.run(feed)]}
    taken = {name: [] for name in engines}
    for run in engines.values():
        for _ in range(3):
            run()
    for _ in range(calls):
        for name, run in engines.items():
            time.sleep(0.08)
            run()   # wakes its threads; not counted
            start = time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - start) * 1e3)
    for name, t in taken.items():
        print(f"{name}: median {statistics.median(t):.2f} fastest {min(t):.2f} ms")
    print(f"openvino / suan: {statistics.median(taken['openvino']) / statistics.median(taken['suan']):.3f}")


if __name__ == "__main__":
    main()
