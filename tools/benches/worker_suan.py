"""One measurement of Suan in a fresh process: worker_suan.py CASE[_bf16] eager|compiled|exact|saved SECONDS.

Prints JSON. The models are those of suan.models. "saved" counts what the forward pass keeps.
"""

import sys
import timeit

import cases
import inference

import suan
from suan import nn, optim
from suan.models import CNN, GPT, GPTConfig
from suan.nn import functional as F

IMPORTED = cases.resident("VmRSS")


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


def build(case):
    if case == "mlp":
        model, loss = MLP(), F.mse_loss
    elif case == "cnn":
        model, loss = CNN(), F.cross_entropy
    else:
        g = cases.GPTS[case]
        # The fused head does not keep the scores of 50,304 words for 1,024 tokens.
        model = GPT(GPTConfig(vocab=g["vocab"], block=g["block"], layers=g["layers"],
                              heads=g["heads"], width=g["width"], fused_head=g["vocab"] > 10000))
        loss = None
    with suan.no_grad():
        for name, p in model.named_parameters():
            p.copy_(suan.tensor(cases.first_weight(name, tuple(p.shape))))
    return model, loss


def infer(case, mode, seconds):
    model = inference.build(case, nn, F).eval()
    with suan.no_grad():
        for name, p in model.named_parameters():
            p.copy_(suan.tensor(cases.first_weight(name, tuple(p.shape))))
        x = suan.tensor(inference.batch(case))
        run = model if mode == "eager" else suan.compile(model, exact=mode == "exact")
        result = cases.measure(lambda: run(x).square().mean(), seconds)
    result.update(version=suan.__version__, imported=IMPORTED, peak=cases.resident("VmHWM"))
    if run is not model:
        result["plan"] = {k: run.stats()[0][k] for k in ("frozen", "programs", "packed_bytes", "steps", "peak_bytes")}
    cases.report(result)


def main():
    case, mode, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    case, bf16 = case.removesuffix("_bf16"), case.endswith("_bf16")
    suan.set_num_threads(cases.THREADS)
    if case == "add":
        a, b = suan.randn(8, 8), suan.randn(8, 8)
        times = timeit.repeat("a + b", globals={"a": a, "b": b}, timer=cases.now, number=50000,
                              repeat=max(5, int(seconds * 20)))
        times = sorted(t / 50000 for t in times)
        cases.report({"median": times[len(times) // 2], "min": times[0], "n": len(times) * 50000,
                      "version": suan.__version__})
        return
    if case in inference.CASES:
        return infer(case, mode, seconds)
    model, loss_fn = build(case)
    params = list(model.parameters())
    x, y = (suan.tensor(v) for v in cases.batch(case))
    if mode == "saved":
        loss = loss_fn(model(x), y) if loss_fn else model(x, y)
        cases.report({"saved": suan.debug.saved_bytes(loss), "version": suan.__version__})
        return
    if case == "mlp":
        optimizer = optim.SGD(params, lr=cases.LR)
    else:
        optimizer = optim.AdamW(params, lr=cases.LR, weight_decay=cases.WEIGHT_DECAY)

    def step(x, y):
        with suan.autocast("cpu", enabled=bf16):
            loss = loss_fn(model(x), y) if loss_fn else model(x, y)
        loss.backward()
        if case != "mlp":
            nn.utils.clip_grad_norm_(params, cases.CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    run = suan.compile(step) if mode == "compiled" else step
    group, warm = 200 if case == "mlp" else 1, 3 if case == "gpt2" else 6
    result = cases.measure(lambda: run(x, y), seconds, group, warm)
    result.update(version=suan.__version__, imported=IMPORTED, peak=cases.resident("VmHWM"))
    if mode == "compiled":
        plan = run.stats()[0]
        result["plan"] = {k: plan[k] for k in ("recordings", "replays", "steps", "peak_bytes")}
    cases.report(result)


if __name__ == "__main__":
    main()
