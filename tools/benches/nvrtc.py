"""What it costs to compile a generated kernel: NVRTC on the fused nodes of tests/python/device_cases.py, as
libsuan_cuda.so writes them, for sm_80 and sm_90a. Needs no GPU.

    tools/bench nvrtc [--rounds 9]

Kernels and targets take turns, round by round. A line holds the median, least and greatest of the kernels' medians, in
milliseconds; "undisturbed" is the median over the kernels of each one's least time, and "empty" the median for a kernel
of one store, which is the least that this NVRTC can cost on this machine."""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/python"))

EMPTY = b'extern "C" __global__ void suan_generated(float* p) { p[threadIdx.x] = 1; }\n'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    from nvrtc_cases import FAKE_DRIVER, Nvrtc, generated_texts

    try:
        nvrtc = Nvrtc()
    except OSError as error:
        return f"no NVRTC: {error}"
    if not (FAKE_DRIVER / "libcuda.so.1").exists():
        return "no fake driver: expected a build with nvcc and the C++ tests"
    with tempfile.TemporaryDirectory() as folder:
        texts = generated_texts(folder)
    texts.append(texts[0].split(b"\n", 1)[0] + b"\n" + EMPTY)
    times = {(arch, i): [] for arch in ("80", "90a") for i in range(len(texts))}
    nvrtc.compile(texts[-1], "80")  # the first of a process loads more
    for _ in range(rounds):
        for (arch, i), found in times.items():
            start = time.perf_counter()
            nvrtc.compile(texts[i], arch)
            found.append(1e3 * (time.perf_counter() - start))
    medians = {key: statistics.median(found) for key, found in times.items()}
    print(f"NVRTC {nvrtc.version}, {len(texts) - 1} kernels, {rounds} rounds, ms")
    for name, arches in (("sm_80", ["80"]), ("sm_90a", ["90a"]), ("both", ["80", "90a"])):
        m = [medians[a, i] for a in arches for i in range(len(texts) - 1)]
        empty = statistics.mean(medians[a, len(texts) - 1] for a in arches)
        least = statistics.median(min(times[a, i]) for a in arches for i in range(len(texts) - 1))
        print(f"{name:7} median {statistics.median(m):5.1f}  min {min(m):5.1f}  max {max(m):5.1f}  "
              f"undisturbed {least:5.1f}  empty {empty:5.1f}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
