#!/usr/bin/env python3
"""Writes torch_saved.pt with torch.save, and torch_module.pt, which holds a module. Run by a Python that has torch."""

from pathlib import Path

import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
optimizer = torch.optim.AdamW(model.parameters())
model(torch.randn(5, 3)).square().sum().backward()
optimizer.step()
base = torch.arange(12.0).reshape(3, 4)
here = Path(__file__).parent
torch.save({
    "model": model.state_dict(), "optimizer": optimizer.state_dict(), "parameter": model[0].weight,
    "turned": base.t(), "row": base[1], "bfloat16": base.bfloat16(), "half": base.half(), "double": base.double(),
    "uint16": torch.tensor([1, 65535], dtype=torch.uint16), "float8": torch.tensor([1.5]).to(torch.float8_e4m3fn),
    "flags": torch.tensor([True, False]), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3),
    "size": base.shape, "dtype": torch.float16, "device": torch.device("cpu"), "epoch": 3, "name": "x",
    "list": [1, (2.5, None)], "big": 1 << 70,
}, here / "torch_saved.pt")
torch.save(model, here / "torch_module.pt")
torch.save(base, here / "torch_old.pt", _use_new_zipfile_serialization=False)
