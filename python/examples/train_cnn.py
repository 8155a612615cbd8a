"""Trains a small CNN on Fashion-MNIST: the recipe cnn.yaml as plain Python.

python train_cnn.py [epochs]
"""

import sys
import time

import suan
from suan import optim
from suan.data import DataLoader, load_fashion_mnist
from suan.models import CNN
from suan.nn import functional as F

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
suan.manual_seed(1)
train, test = load_fashion_mnist()
loader = DataLoader(train, 128, shuffle=True, drop_last=True, seed=1)
model = CNN()
optimizer = optim.AdamW(model.parameters(), lr=2e-3)
schedule = optim.lr_scheduler.OneCycleLR(
    optimizer, 2e-3, EPOCHS * len(loader), cycle_momentum=False
)


@suan.compile
def train_step(x, y):
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


for epoch in range(1, EPOCHS + 1):
    model.train()
    begin, total = time.time(), 0.0
    for x, y in loader:
        total += train_step(x, y).item()
        schedule.step()
    rate = len(loader) * loader.batch_size / (time.time() - begin)
    model.eval()
    with suan.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(test, 200))
    print(
        f"epoch {epoch}  loss {total / len(loader):.4f}  {rate:,.0f} images/s  "
        f"test accuracy {100 * right / len(test):.2f} %",
        flush=True,
    )
suan.save(dict(model.state_dict()), "cnn.safetensors")
