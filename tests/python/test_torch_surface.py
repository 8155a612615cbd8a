"""What programs written for torch find under its names: a training script in nanoGPT's manner, switches for
devices that are not there, GradScaler, DistributedDataParallel, errors that name the nearest name, `suan port`.
"""

import json
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

import suan as torch
import suan.nn as nn
from suan.cli.port_command import missing_names, torch_names
from suan.nn import functional as F
from suan.nn.parallel import DistributedDataParallel

SCRIPT = """
import os, sys
import numpy as np
import suan as torch
import suan.nn as nn
from suan.nn import functional as F
from suan.nn.parallel import DistributedDataParallel as DDP
from suan.distributed import init_process_group, destroy_process_group

ranks = int(os.environ.get("WORLD_SIZE", 1))
rank = int(os.environ.get("RANK", 0))
torch.set_num_threads(1)
if ranks > 1:
    init_process_group()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(7, 8)
        self.mid = nn.Linear(8, 8)
        self.head = nn.Linear(8, 7, bias=False)
        self.emb.weight = self.head.weight  # used twice: one gradient, one hook
    def forward(self, x):
        return self.head(torch.tanh(self.mid(self.emb(x))))

torch.manual_seed(1337 + rank)  # DDP begins with rank 0's weights
net = Net()
if ranks == 1:
    torch.manual_seed(1337)
model = DDP(net, bucket_cap_mb=1e-4) if ranks > 1 else net
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
rng = np.random.default_rng(0)
for step in range(4):
    x, y = torch.from_numpy(rng.integers(0, 7, (2, 2, 4))), torch.from_numpy(rng.integers(0, 7, (2, 2, 4)))
    for micro in range(2):  # two micro-batches; this rank's rows of each
        rows = slice(rank, rank + 1) if ranks == 2 else slice(None)
        if ranks > 1:
            model.require_backward_grad_sync = micro == 1
        logits = model(x[micro, rows])
        (F.cross_entropy(logits.view(-1, 7), y[micro, rows].view(-1)) / 2).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
np.savez(sys.argv[1] + str(rank), **{n: p.detach().numpy() for n, p in net.named_parameters()})
if ranks > 1:
    destroy_process_group()
"""


def test_fork_rng_leaves_the_generator_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(4).tolist()
    torch.manual_seed(3)
    with pytest.raises(KeyError), torch.random.fork_rng():
        assert torch.rand(4).tolist() == expected
        raise KeyError
    with torch.random.fork_rng(enabled=False):
        assert torch.rand(4).tolist() == expected
    assert torch.rand(4).tolist() != expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens where there is no CUDA device")
def test_cuda_methods_say_that_there_is_no_device():
    for call in (lambda: torch.ones(2).cuda(), lambda: nn.Linear(2, 2).cuda(0), lambda: torch.ones(2).cuda("cuda:1")):
        with pytest.raises(torch.DeviceError, match="cuda"):
            call()


def test_distributed_data_parallel_equals_the_whole_batch(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, script, tmp_path / "alone"], check=True)
    subprocess.run(
        [sys.executable, "-m", "suan", "launch", "-n", "2", str(script), str(tmp_path / "two")], check=True
    )
    alone, *two = (np.load(tmp_path / f"{name}.npz") for name in ("alone0", "two0", "two1"))
    for name in alone:
        np.testing.assert_array_equal(two[0][name], two[1][name])
        np.testing.assert_allclose(two[0][name], alone[name], rtol=2e-5, atol=1e-6)


def test_distributed_data_parallel_refuses():
    with pytest.raises(ValueError, match="find_unused_parameters: expected False"):
        DistributedDataParallel(nn.Linear(2, 2), find_unused_parameters=True)
    with pytest.raises(TypeError, match="expected an nn.Module, or suan.compile of one, got function"):
        DistributedDataParallel(lambda x: x)
    with pytest.raises(TypeError, match="got CompiledFunction"):
        DistributedDataParallel(torch.compile(lambda x: x))
    with pytest.raises(ValueError, match="no parameters"):
        DistributedDataParallel(nn.ReLU())
    model = DistributedDataParallel(nn.Linear(2, 2))
    assert [n for n, _ in model.named_parameters()] == ["module.weight", "module.bias"]
    with model.no_sync():
        assert not model.require_backward_grad_sync
    assert model.require_backward_grad_sync


def test_without_a_gpu_everything_says_so():
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    assert torch.cuda.device_count() == 0 and not torch.cuda.is_bf16_supported()
    torch.cuda.manual_seed(1)
    with pytest.raises(torch.DeviceError, match="set_device: expected a CUDA device, got none"):
        torch.cuda.set_device(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    assert torch.backends.cuda.matmul.allow_tf32 is True
    with pytest.raises(TypeError, match="expected bool, got int"):
        torch.backends.cudnn.benchmark = 1
    with pytest.raises(AttributeError, match="no attribute 'alow_tf32'; the nearest is 'allow_tf32'"):
        torch.backends.cudnn.alow_tf32 = True
    with pytest.warns(UserWarning, match="GradScaler. off: expected a CUDA device"):
        scaler = torch.cuda.amp.GradScaler(enabled=True)
    assert not scaler.is_enabled() and scaler.scale(3.0) == 3.0 and scaler.state_dict() == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.cuda.amp.GradScaler(enabled=False)


def test_grad_scaler_skips_what_is_not_finite():
    w = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.SGD([w], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

    def step(factor):
        optimizer.zero_grad()
        scaler.scale((w * factor).sum()).backward()
        scaler.unscale_(optimizer)
        with pytest.raises(torch.StateError, match="unscale_ twice"):
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        return scaler.get_scale()

    assert step(1.0) == 8.0 and w.grad.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(w.tolist(), [0.9, 1.9], rtol=1e-6)
    before = w.tolist()
    assert step(float("inf")) == 4.0 and w.tolist() == before
    assert step(1.0) == 4.0 and step(1.0) == 8.0 and w.tolist() != before
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()


def test_a_missing_name_names_the_nearest():
    with pytest.raises(AttributeError, match="module 'suan' has no attribute 'arrange'; the nearest is 'arange'"):
        torch.arrange
    with pytest.raises(AttributeError, match="'suan.nn' has no attribute 'Lineer'; the nearest is 'Linear'"):
        nn.Lineer
    with pytest.raises(AttributeError, match="the nearest is 'cross_entropy'"):
        F.crossentropy
    with pytest.raises(AttributeError, match="the nearest is 'AdamW'"):
        torch.optim.AdamWW
    with pytest.raises(AttributeError, match="has no attribute 'zzzz'$"):
        torch.zzzz
    assert hasattr(F, "scaled_dot_product_attention") and not hasattr(F, "no_such_function")


PROGRAM = textwrap.dedent(
    """
    import torch, math
    import torch.nn as layers
    from torch.nn import functional as F
    from torch.optim import AdamW, NoSuchOptimizer
    x = torch.randn(3).exp().view(-1)
    y = layers.Lineer(3, 4)
    z = F.gelu(x)
    torch.view_as_nothing(torch.zeros(2))
    math.sqrt(2)
    layers.Linear.anything
    """
)


def test_port_lists_what_is_missing(tmp_path):
    names = torch_names(PROGRAM)
    assert names["torch.randn"] == [6] and "torch.nn.functional.gelu" in names and "math.sqrt" not in names
    rows = {row["name"]: row for row in missing_names(PROGRAM)}
    assert set(rows) == {"torch.optim.NoSuchOptimizer", "torch.nn.Lineer", "torch.view_as_nothing"}
    assert rows["torch.nn.Lineer"] == {"name": "torch.nn.Lineer", "lines": [7], "nearest": "suan.nn.Linear"}
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    command = [sys.executable, "-m", "suan", "port", str(file)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"{file}:7: torch.nn.Lineer is missing; nearest: suan.nn.Linear" in out and "3 missing" in out
    data = json.loads(subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout)
    assert len(data["missing"]) == 3
    file.write_text("def (")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "[port] cannot read" in done.stderr
    done = subprocess.run([*command[:-1], str(tmp_path / "nowhere.py")], capture_output=True, text=True)
    assert done.returncode == 1 and "[port] cannot read" in done.stderr and "Traceback" not in done.stderr


def test_programs_are_told_of_the_accelerator():
    if torch.cuda.is_available():
        assert torch.accelerator.current_accelerator().type == "cuda" and torch.accelerator.device_count() == 1
        torch.accelerator.synchronize()
        return
    assert not torch.accelerator.is_available() and torch.accelerator.device_count() == 0
    assert torch.accelerator.current_accelerator() is None
    for call in (torch.accelerator.synchronize, torch.cuda.synchronize, torch.accelerator.current_device_index):
        with pytest.raises(torch.DeviceError, match="expected a CUDA device, got none"):
            call()


def test_typed_constructors():
    assert torch.LongTensor([1, 2]).dtype is torch.int64 and torch.LongTensor([1, 2]).tolist() == [1, 2]
    assert torch.FloatTensor(2, 3).shape == (2, 3) and torch.FloatTensor().shape == (0,)
    assert torch.BoolTensor([[True]]).dtype is torch.bool and torch.ByteTensor([255]).tolist() == [255]


def test_modules_of_the_data_loader_are_where_torch_has_them():
    from suan.utils.data.dataloader import DataLoader
    from suan.utils.data.dataset import Dataset
    from suan.utils.data.distributed import DistributedSampler
    from suan.utils.data.sampler import Sampler

    assert (DataLoader, Dataset, DistributedSampler, Sampler) == (
        torch.data.DataLoader, torch.data.Dataset, torch.data.DistributedSampler, torch.data.Sampler)
