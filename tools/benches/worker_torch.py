"""One measurement of PyTorch in a fresh process: worker_torch.py CASE[_bf16] eager|compiled|saved SECONDS, of inference
also channels_last, compiled_channels_last, frozen and frozen_channels_last (Inductor's option `freezing`).

Prints JSON. The models have the layers and parameter names of suan.models, in plain torch.nn; AdamW
and SGD run fused, attention is F.scaled_dot_product_attention, compiled is torch.compile of the
loss (the optimizer is one fused call already). "saved" counts what the forward pass keeps.
"""

import sys
import timeit

import cases
import inference
import torch
from torch import nn
from torch.nn import functional as F

IMPORTED = cases.resident("VmRSS")


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x, y):
        return F.mse_loss(self.down(F.gelu(self.up(x))), y)


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding="same")
        self.conv2 = nn.Conv2d(32, 64, 3, padding="same")
        self.fc1, self.fc2 = nn.Linear(3136, 128), nn.Linear(128, 10)

    def forward(self, x, y):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.cross_entropy(self.fc2(F.relu(self.fc1(x.flatten(1)))), y)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, seq, width = x.shape
        qkv = self.qkv(x).view(batch, seq, 3, self.heads, width // self.heads)
        q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, seq, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, vocab, block, layers, heads, width, batch):
        super().__init__()
        self.token, self.position = nn.Embedding(vocab, width), nn.Embedding(block, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.token.weight

    def forward(self, tokens, targets):
        x = self.token(tokens) + self.position.weight[:tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        scores = self.head(self.norm(x))
        return F.cross_entropy(scores.view(-1, scores.shape[-1]), targets.view(-1))


def build(case):
    model = {"mlp": MLP, "cnn": CNN}[case]() if case in ("mlp", "cnn") else GPT(**cases.GPTS[case])
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(cases.first_weight(name, tuple(p.shape))))
    return model


def saved_bytes(model, x, y):
    """Bytes of the storages that the forward pass keeps for the backward pass, parameters apart."""
    kept = []

    def pack(t):
        kept.append(t.detach())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model(x, y)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    for p in model.parameters():
        storages.pop(p.untyped_storage().data_ptr(), None)
    return sum(storages.values())


def infer(case, mode, seconds):
    model = inference.build(case, nn, F).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(cases.first_weight(name, tuple(p.shape))))
        x = torch.from_numpy(inference.batch(case))
        if mode.endswith("channels_last"):
            model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        if mode.startswith("frozen"):
            import torch._inductor.config as inductor

            inductor.freezing = True
        run = torch.compile(model) if mode.startswith(("compiled", "frozen")) else model
        result = cases.measure(lambda: run(x).square().mean(), seconds)
    result.update(version=torch.__version__, imported=IMPORTED, peak=cases.resident("VmHWM"))
    cases.report(result)


def main():
    case, mode, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    case, bf16 = case.removesuffix("_bf16"), case.endswith("_bf16")
    torch.set_num_threads(cases.THREADS)
    if case == "add":
        a, b = torch.randn(8, 8), torch.randn(8, 8)
        times = timeit.repeat("a + b", globals={"a": a, "b": b}, timer=cases.now, number=50000,
                              repeat=max(5, int(seconds * 10)))
        times = sorted(t / 50000 for t in times)
        cases.report({"median": times[len(times) // 2], "min": times[0], "n": len(times) * 50000,
                      "version": torch.__version__})
        return
    if case in inference.CASES:
        return infer(case, mode, seconds)
    model = build(case)
    params = list(model.parameters())
    x, y = (torch.from_numpy(v) for v in cases.batch(case))
    if mode == "saved":
        cases.report({"saved": saved_bytes(model, x, y), "version": torch.__version__})
        return
    if case == "mlp":
        optimizer = torch.optim.SGD(params, lr=cases.LR, fused=True)
    else:
        optimizer = torch.optim.AdamW(params, lr=cases.LR, weight_decay=cases.WEIGHT_DECAY,
                                      fused=True)
    loss_fn = torch.compile(model) if mode == "compiled" else model

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = loss_fn(x, y)
        loss.backward()
        if case != "mlp":
            nn.utils.clip_grad_norm_(params, cases.CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    group, warm = 200 if case == "mlp" else 1, 3 if case == "gpt2" else 6
    result = cases.measure(step, seconds, group, warm)
    result.update(version=torch.__version__, imported=IMPORTED, peak=cases.resident("VmHWM"))
    cases.report(result)


if __name__ == "__main__":
    main()
