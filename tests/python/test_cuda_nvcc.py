"""nvcc compiles every CUDA kernel for sm_80 and sm_90a without spilling a register, NVRTC the generated ones; and what
the runtime declares of NVIDIA's interfaces is what NVIDIA's headers say."""

import pathlib
import re
import subprocess

import pytest

from nvrtc_cases import BUILD, FAKE_DRIVER, Nvrtc, generated_texts, on_the_fake_driver

ROOT = pathlib.Path(__file__).parents[2]
CACHE = BUILD / "CMakeCache.txt"
found = re.search(r"^SUAN_NVCC:\w+=(/.*)$", CACHE.read_text() if CACHE.exists() else "", re.M)
NVCC = found and found[1]
NO_NVCC = "the build found no nvcc, on the PATH or from PyPI's nvidia-cuda-nvcc: "


@pytest.mark.skipif(not NVCC, reason=NO_NVCC + "the CUDA kernels were NOT compiled for sm_80 and sm_90a")
def test_every_kernel_compiles_without_spills():
    # Up to date where the build made them. faults.o: Hopper's instructions, for sm_90a.
    targets = ["suan_cuda", "cuda/faults.o"]
    subprocess.run(["ninja", "-C", BUILD, *targets], check=True, stdout=subprocess.DEVNULL, timeout=900)
    sources = sorted((ROOT / "kernels/cuda").glob("*.cu"))
    entries = 0
    for source in sources:
        report = (BUILD / f"cuda/{source.stem}.log").read_text()
        for arch in ("80", "90a"):
            entries += len(re.findall(rf"Compiling entry function .* for 'sm_{arch}'", report))
        spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
        assert all(pair == ("0", "0") for pair in spills), f"{source.name}: {report}"
    assert entries >= 2 * len(sources), entries
    print(f"{len(sources)} files, {entries} kernels for sm_80 and sm_90a, no spills")


HEADERS = pathlib.Path(NVCC or "/usr/local/cuda/bin/nvcc").resolve().parents[1] / "include"


@pytest.mark.skipif(not (HEADERS / "cublasLt.h").exists(), reason=f"NVIDIA's headers are not in {HEADERS}")
def test_the_runtime_declares_what_nvidia_does():
    command = ["g++", "-std=c++20", "-fsyntax-only", "-w", f"-I{ROOT}", f"-I{HEADERS}", ROOT / "tests/cuda/abi.cpp"]
    subprocess.run(command, check=True, timeout=120)


@pytest.fixture
def nvrtc():
    if not NVCC:
        pytest.skip(NO_NVCC + "libsuan_cuda.so was NOT built")
    if not (FAKE_DRIVER / "libcuda.so.1").exists():
        pytest.skip("built without the C++ tests: no fake driver")
    try:
        return Nvrtc()
    except OSError as error:
        pytest.skip(f"no NVRTC: {error}")


def test_generated_kernels_compile_without_spills(nvrtc, tmp_path):
    texts = generated_texts(tmp_path)
    assert len(texts) >= 8
    for text in texts:
        for arch in ("80", "90a"):
            report = nvrtc.compile(text, arch, "--ptxas-options=-v")
            spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
            assert spills and all(pair == ("0", "0") for pair in spills), report


def test_every_row_has_its_pieces_of_the_prelude(nvrtc, tmp_path):
    """A row alone, in a float and an integer or truth type, so that nothing it needs is there for another's sake."""
    rows = re.findall(r"^  R([12])\((\w+), (\w+),", (ROOT / "ops/scalar.h").read_text(), re.M)
    types = {"fp": ["float32"], "num": ["float64", "int32"], "ints": ["int32"], "bits": ["bool"], "any": ["bfloat16", "bool"]}
    cases = [(name, int(n), dtype) for n, name, kind in rows for dtype in types[kind]]
    code = f"""
import suan
from suan import _c
given = {{d: suan.ones(2, 3).to(getattr(suan, d)).to("cuda") for _, _, d in {cases}}}
for name, n, dtype in {cases}:
    op = getattr(_c.ops, name)
    g = suan.compile(lambda t: op(*[t] * n).to(suan.float16))
    for _ in range(3): g(given[dtype])
    assert "fused_elementwise" in g.stats()[0]["graph"], (name, dtype)
"""
    texts = on_the_fake_driver(code, tmp_path)
    assert len(cases) > 80 and len(texts) == len(cases), (len(cases), len(texts))
