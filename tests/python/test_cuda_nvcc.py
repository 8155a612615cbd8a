"""nvcc compiles every CUDA kernel for sm_80 and sm_90a without spilling a register."""

import pathlib
import re
import shutil
import subprocess

import pytest

from suan import _c

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(_c.__file__).resolve().parents[2]


@pytest.mark.skipif(
    not shutil.which("nvcc"),
    reason="nvcc is not on the PATH: the CUDA kernels were NOT compiled for sm_80 and sm_90a",
)
def test_every_kernel_compiles_without_spills():
    subprocess.run(["ninja", "-C", BUILD, "cuda_cubins"], check=True, stdout=subprocess.DEVNULL, timeout=900)
    sources = sorted((ROOT / "kernels/cuda").glob("*.cu"))
    entries = 0
    for source in sources:
        for arch in ("80", "90a"):
            assert (BUILD / f"cuda/{source.stem}.sm_{arch}.cubin").stat().st_size > 0
            report = (BUILD / f"cuda/{source.stem}.sm_{arch}.log").read_text()
            entries += len(re.findall(rf"Compiling entry function .* for 'sm_{arch}'", report))
            spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
            assert all(pair == ("0", "0") for pair in spills), f"{source.name} for sm_{arch}: {report}"
    assert entries >= 2 * len(sources), entries
    print(f"{len(sources)} files, {entries} kernels for sm_80 and sm_90a, no spills")
