"""A backend outside the tree: built from its one file against Suan's headers and library, loaded, and used
to train a network."""

import pathlib
import subprocess

import pytest

import suan
from suan import _c, nn

ROOT = pathlib.Path(__file__).parents[2]
LIBRARY = pathlib.Path(_c.__file__).parent


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    out = tmp_path_factory.mktemp("backend") / "libexample.so"
    subprocess.run(
        ["g++", "-std=c++20", "-O2", "-shared", "-fPIC", f"-I{ROOT}", "-o", out,
         ROOT / "tests/backend_example/example.cpp", f"-L{LIBRARY}", "-lsuan", "-lfmt"],
        check=True, timeout=120,
    )  # fmt: skip
    return suan.load_backend(out), out


def train(device):
    suan.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)).to(device)
    optimizer = suan.optim.SGD(model.parameters(), lr=0.05)
    x = suan.randn(64, 4)
    y = ((x * x).sum(1, keepdim=True) - 2.0).to(device)
    x = x.to(device)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_it_trains_a_network_as_the_cpu_does(example):
    device, _ = example
    assert str(device) == "example:0"
    want, before = train("cpu"), _c.kernel_counts().get("example", 0)
    got = train(device)
    assert got[-1] < 0.7 * got[0]
    assert max(abs(a - b) / b for a, b in zip(got, want)) < 1e-4
    assert _c.kernel_counts()["example"] - before > 40 * 10
    assert len(_c.device_kernels("example")) == 17


def test_what_it_lacks_is_composed_or_refused(example):
    device, _ = example
    x = suan.randn(3, 5)
    composed = nn.functional.mse_loss(x.to(device), x.to(device) * 2.0).item()
    assert composed == pytest.approx(nn.functional.mse_loss(x, x * 2.0).item(), rel=1e-5)
    with pytest.raises(suan.DeviceError, match="no kernel on this device"):
        x.to(device).cumsum(0)
    with pytest.raises(suan.DeviceError, match="two devices"):
        x + x.to(device)
    assert _c.device_memory_stats("example")["peak"] > 0


def test_bad_plugins(example, tmp_path):
    _, path = example
    with pytest.raises(suan.DeviceError, match="name taken"):
        suan.load_backend(path)
    with pytest.raises(suan.DeviceError, match="cannot load"):
        suan.load_backend(tmp_path / "none.so")
    empty = tmp_path / "empty.c"
    empty.write_text("int nothing;\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "empty.so", empty], check=True)
    with pytest.raises(suan.DeviceError, match="expected the symbol suan_backend"):
        suan.load_backend(tmp_path / "empty.so")
    old = tmp_path / "old.cpp"
    old.write_text(
        '#include "core/backend.h"\n'
        'extern "C" const suan::BackendTable& suan_backend() {\n'
        "  static suan::BackendTable t; t.interface = -1; return t; }\n"
    )
    subprocess.run(
        ["g++", "-std=c++20", "-shared", "-fPIC", f"-I{ROOT}", "-o", tmp_path / "old.so", old,
         f"-L{LIBRARY}", "-lsuan", "-lfmt"], check=True, timeout=120,
    )  # fmt: skip
    with pytest.raises(suan.DeviceError, match="built for another interface"):
        suan.load_backend(tmp_path / "old.so")
