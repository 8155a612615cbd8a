#!/usr/bin/env python3
"""Fetches the test cases of ONNX 1.12 that Debian packages: tools/onnx_testdata.py FOLDER.

The package libonnx-testdata (Apache-2.0) is downloaded and unpacked below FOLDER, never installed. What is there already is
not fetched again.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE, VERSION = "libonnx-testdata", "1.12.0-2"
SHA256 = "7dc0912e02f79ece102331411a751b091bc0e191c9fb1287f8cdfbe5530f6027"


def fetch(folder: str | Path) -> Path:
    """The folder of the cases, each with model.onnx and test_data_set_0. RuntimeError when the package cannot be had."""
    folder = Path(folder)
    data = folder / SHA256[:12] / "usr/share" / PACKAGE / "data"
    if data.exists():
        return data
    folder.mkdir(parents=True, exist_ok=True)

    def run(*command):
        return subprocess.run(command, cwd=scratch, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        download = ("apt-get", "-o", "APT::Sandbox::User=root", "-q", "download", f"{PACKAGE}={VERSION}")
        done = run(*download)
        if done.returncode and os.geteuid() == 0:   # the package lists may never have been fetched
            run("apt-get", "-q", "update")
            done = run(*download)
        found = list(Path(scratch).glob("*.deb"))
        if done.returncode or len(found) != 1:
            raise RuntimeError(f"[onnx_testdata] cannot fetch {PACKAGE} {VERSION}: {done.stderr.strip()[-300:]}")
        got = hashlib.sha256(found[0].read_bytes()).hexdigest()
        if got != SHA256:
            raise RuntimeError(f"[onnx_testdata] {PACKAGE}: expected SHA-256 {SHA256}, got {got}")
        done = run("dpkg-deb", "-x", str(found[0]), "tree")
        if done.returncode:
            raise RuntimeError(f"[onnx_testdata] cannot unpack {PACKAGE}: {done.stderr.strip()[-300:]}")
        (Path(scratch) / "tree").rename(folder / SHA256[:12])
    return data


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: tools/onnx_testdata.py FOLDER", file=sys.stderr)
        sys.exit(2)
    print(fetch(sys.argv[1]))
