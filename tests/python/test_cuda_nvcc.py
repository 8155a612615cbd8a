"""nvcc compiles every CUDA kernel for sm_80 and sm_90a without spilling a register, NVRTC the generated ones; and what
the runtime declares of NVIDIA's interfaces is what NVIDIA's headers say."""

import pathlib
import re
import subprocess

import pytest

from nvrtc_cases import BUILD, FAKE_DRIVER, Nvrtc, generated_texts

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


@pytest.mark.skipif(not NVCC, reason=NO_NVCC + "libsuan_cuda.so was NOT built")
def test_generated_kernels_compile_without_spills(tmp_path):
    try:
        nvrtc = Nvrtc()
    except OSError as error:
        pytest.skip(f"no NVRTC: {error}")
    if not (FAKE_DRIVER / "libcuda.so.1").exists():
        pytest.skip("built without the C++ tests: no fake driver")
    texts = generated_texts(tmp_path)
    assert len(texts) >= 8
    for text in texts:
        for arch in ("80", "90a"):
            report = nvrtc.compile(text, arch, "--ptxas-options=-v")
            spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
            assert spills and all(pair == ("0", "0") for pair in spills), report
