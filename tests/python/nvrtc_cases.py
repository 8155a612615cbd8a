"""Generated kernels through NVRTC, without a card. Used by test_cuda_nvcc.py and tools/benches/nvrtc.py."""

import ctypes
import os
import pathlib
import subprocess
import sys

from suan import _c

TESTS = pathlib.Path(__file__).parent
BUILD = pathlib.Path(_c.__file__).resolve().parents[2]
FAKE_DRIVER = BUILD / "fake_cuda"


class Nvrtc:
    """OSError where the library is not."""

    def __init__(self):
        self.library = ctypes.CDLL("libnvrtc.so.13")
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, text, arch, *options):
        """The log of a kernel's text (bytes), compiled for `arch` ("80", "90a") with the options in its first line,
        which libsuan_cuda.so wrote there, and `options`."""
        first = text.split(b"\n", 1)[0].split()
        known = [o for o in first if o.startswith(b"--") and not o.startswith(b"--gpu-architecture=")]
        assert first[0] == b"//" and known, first
        given = [f"--gpu-architecture=sm_{arch}".encode(), *known, *(o.encode() for o in options)]
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.library.nvrtcCreateProgram(ctypes.byref(program), text, b"generated.cu", 0, None, None)
        status = self.library.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.library.nvrtcGetProgramLog(program, log)
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        assert status == 0, log.value.decode()
        return log.value.decode()


def on_the_fake_driver(code, folder):
    """The kernels (bytes) that the real library makes of the code's fused nodes, over the fake driver; `folder` holds
    its cache."""
    env = {**os.environ, "LD_LIBRARY_PATH": str(FAKE_DRIVER), "SUAN_CACHE": str(folder)}
    env["PYTHONPATH"] = f"{env.get('PYTHONPATH', '')}:{TESTS}"
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=300)
    return [p.read_bytes() for p in sorted((pathlib.Path(folder) / "kernels").glob("*.cu"))]


def generated_texts(folder):
    """The kernels of device_cases.FUSED."""
    code = """
import suan
from device_cases import FUSED
t = suan.randn(4, 6).to("cuda")
for f in FUSED.values():
    g = suan.compile(f)
    for _ in range(3): g(t)
"""
    return on_the_fake_driver(code, folder)
