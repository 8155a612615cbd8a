"""nvcc compiles every CUDA kernel for sm_80 and sm_90a without spilling a register."""

import pathlib
import re
import subprocess

import pytest

from suan import _c

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(_c.__file__).resolve().parents[2]
CACHE = BUILD / "CMakeCache.txt"
NVCC = re.search(r"^SUAN_NVCC:\w+=(.*)$", CACHE.read_text() if CACHE.exists() else "", re.M)


@pytest.mark.skipif(
    NVCC is None or NVCC[1].endswith("NOTFOUND"),
    reason="the build found no nvcc (on the PATH, or PyPI's nvidia-cuda-nvcc): the CUDA kernels were NOT compiled "
    "for sm_80 and sm_90a",
)
def test_every_kernel_compiles_without_spills():
    sources = sorted((ROOT / "kernels/cuda").glob("*.cu"))
    # Up to date already where the build made them; the compiler cache keeps the reports, too.
    objects = [f"cuda/{s.stem}.o" for s in sources] + ["cuda/faults.o"]  # Hopper's instructions, for sm_90a
    subprocess.run(["ninja", "-C", BUILD, *objects], check=True, stdout=subprocess.DEVNULL, timeout=1500)
    entries = 0
    for source in sources:
        report = (BUILD / f"cuda/{source.stem}.log").read_text()
        found = re.findall(r"Compiling entry function '(\w+)' for 'sm_(80|90a)'", report)
        assert sum(a == "80" for _, a in found) == sum(a == "90a" for _, a in found), source.name
        entries += len(found)
        spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
        assert len(spills) >= len(found), f"{source.name}: {report}"
        assert all(pair == ("0", "0") for pair in spills), f"{source.name}: {report}"
    assert entries >= 2 * 60, entries
    print(f"{len(sources)} files, {entries // 2} kernels for sm_80 and sm_90a each, no spills")
