"""Trains a character GPT on the King James Bible: the recipe char_gpt.yaml as plain Python.

python train_char_gpt.py [steps]
"""

import math
import sys
import time

import suan
from suan import nn, optim
from suan.data import CharVocab, DataLoader, TextBlocks, fetch, read_text
from suan.models import GPT, GPTConfig

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
BATCH, BLOCK, WARMUP, LR = 12, 64, 200, 3e-3
suan.manual_seed(1)

# Data: the text's characters as numbers, in random blocks; the last tenth of the text is held out.
folder = fetch.bible()
text, held_out = read_text(folder / "train.txt"), read_text(folder / "val.txt")
vocab = CharVocab(text + held_out)
loader = DataLoader(
    TextBlocks(vocab.encode(text), BLOCK), BATCH, shuffle=True, replacement=True, seed=1
)
validation = DataLoader(TextBlocks(vocab.encode(held_out), BLOCK, stride=BLOCK), 64)

model = GPT(GPTConfig(vocab=len(vocab), block=BLOCK, layers=4, heads=4, width=128))
params = list(model.parameters())
optimizer = optim.AdamW(
    [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ],
    lr=LR,
    betas=(0.9, 0.95),
)
schedule = optim.lr_scheduler.LambdaLR(
    optimizer,
    lambda step: (
        (step + 1) / WARMUP
        if step < WARMUP
        else 0.05 + 0.95 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, STEPS - WARMUP))) / 2
    ),
)


@suan.compile
def train_step(x, y):
    loss = model(x, y)
    loss.backward()
    nn.utils.clip_grad_norm_(params, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


begin = time.time()
for step, (x, y) in zip(range(1, STEPS + 1), loader.forever()):
    loss = train_step(x, y)
    schedule.step()
    if step % 100 == 0 or step == STEPS:
        rate = step * BATCH * BLOCK / (time.time() - begin)
        print(f"step {step}/{STEPS}  loss {loss.item():.4f}  {rate:,.0f} chars/s", flush=True)

model.eval()
with suan.no_grad():
    losses = [model(x, y).item() for x, y in validation]
print(f"validation loss {sum(losses) / len(losses):.4f} nats per character\n")
print(vocab.decode(model.generate(vocab.encode("And God said").tolist(), 400, temperature=0.8)))
suan.save({"model": dict(model.state_dict()), "chars": vocab.chars}, "char_gpt.safetensors")
