"""utils.checkpoint: equal bits with and without, dropout, memory, derivatives, what it refuses."""

import pytest

import suan
from suan import nn
from suan.utils.checkpoint import checkpoint, checkpoint_sequential


class Net(nn.Module):
    def __init__(self, on, drop=0.0, width=32):
        super().__init__()
        self.on = on
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(drop), nn.Linear(4 * width, width))
            for _ in range(4))

    def forward(self, x):
        for block in self.blocks:
            x = x + (checkpoint(block, x) if self.on else block(x))
        return x


def pair(**options):
    nets = []
    for on in (False, True):
        suan.manual_seed(4)
        nets.append(Net(on, **options))
    return nets


def gradients(net, x):
    suan.manual_seed(9)
    net.zero_grad()
    loss = (net(x) ** 2).mean()
    loss.backward()
    after = suan.rand(1).item()
    return [loss.item(), after, *(p.grad.clone() for p in net.parameters())]


def equal(a, b):
    return len(a) == len(b) and all((x == y).all() if isinstance(x, suan.Tensor) else x == y for x, y in zip(a, b))


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_the_same_bits_dropout_included(drop):
    plain, saved = pair(drop=drop)
    x = suan.randn(16, 32)
    assert equal(gradients(plain, x), gradients(saved, x))


def test_without_the_random_state_dropout_differs():
    layer = nn.Dropout(0.5)
    suan.manual_seed(1)
    x = suan.ones(64, requires_grad=True)
    y = checkpoint(layer, x, preserve_rng_state=False)
    y.sum().backward()
    assert (x.grad != y).any()
    x.grad = None
    y = checkpoint(layer, x)
    y.sum().backward()
    assert (x.grad == y).all()


def test_memory_kept_between_forward_and_backward():
    plain, saved = pair()
    x = suan.randn(64, 32)
    kept = [suan.debug.saved_bytes(net(x)) for net in (plain, saved)]
    assert kept[1] < kept[0] / 4, kept


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_compiled_step_has_the_same_bits_and_less_memory(drop):
    results, peaks = [], []
    for net in pair(drop=drop, width=64):
        x = suan.full((128, 64), 0.5)
        suan.manual_seed(2)
        optimizer = suan.optim.SGD(net.parameters(), lr=0.1)

        def step(x):
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        compiled = suan.compile(step)
        results.append([compiled(x).item() for _ in range(5)])
        stats = compiled.stats()[0]
        assert stats["replays"] >= 2
        peaks.append(stats["peak_bytes"])
    assert results[0] == results[1]
    assert peaks[1] < 0.7 * peaks[0], peaks


def test_second_and_third_derivatives():
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    x = suan.randn(2, 3, requires_grad=True)
    w = net[0].weight

    def derivatives(f):
        # x enters twice, once through a function of the weight: no path may be counted twice.
        y = (f(x * w.sum()) ** 2).sum()
        g = suan.autograd.grad(y, [x, w], create_graph=True)
        h = suan.autograd.grad((g[0] ** 2).sum() + (g[1] ** 3).sum(), [x, w], create_graph=True)
        t = suan.autograd.grad((h[0] ** 2).sum() + (h[1] * h[1]).sum(), [x, w])
        return [*g, *h, *t]

    for a, b in zip(derivatives(net), derivatives(lambda v: checkpoint(net, v))):
        assert suan.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_nested_and_trees():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    def inner(d, scale=1.0):
        return {"y": net(d["x"]) * scale, "n": 3, "ids": d["ids"]}

    def outer(d):
        return checkpoint(inner, checkpoint(inner, d, scale=2.0) | {"x": d["x"]}, scale=3.0)

    x = suan.randn(2, 4, requires_grad=True)
    d = {"x": x, "ids": suan.arange(2)}
    results = []
    for f in (inner, lambda d, scale: checkpoint(outer, d)):
        x.grad = None
        net.zero_grad()
        out = f(d, scale=3.0)
        assert out["n"] == 3 and out["ids"].tolist() == [0, 1]
        out["y"].sum().backward()
        results.append([x.grad, *(p.grad for p in net.parameters())])
    assert equal(*results)


def test_weights_are_found_wherever_they_are():
    w = suan.ones(3, requires_grad=True)

    class Holder:
        def __init__(self):
            self.parts = [nn.Linear(3, 3)]

        def run(self, x):
            return self.parts[0](x) * w

    holder = Holder()
    x = suan.ones(1, 3)  # needs no gradient itself
    checkpoint(holder.run, x).sum().backward()
    assert w.grad is not None and holder.parts[0].weight.grad is not None
    assert all(p.requires_grad for p in holder.parts[0].parameters())


def test_sequential():
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))
    x = suan.randn(2, 4, requires_grad=True)
    net(x).sum().backward()
    wanted = x.grad.clone()
    x.grad = None
    checkpoint_sequential(net, 3, x).sum().backward()
    assert (x.grad == wanted).all()
    with pytest.raises(ValueError, match="expected 1 to 5, got 6"):
        checkpoint_sequential(net, 6, x)


def test_refusals():
    x = suan.ones(3, requires_grad=True)
    box = type("Box", (), {"__slots__": ("w",)})()
    box.w = suan.ones(3, requires_grad=True)
    with pytest.raises(suan.StateError, match="was not found"):
        checkpoint(lambda t: t * box.w, x)
    inside = x * 2
    with pytest.raises(suan.StateError, match="expected it as an argument"):
        checkpoint(lambda t: t * inside, x)
    sizes = iter([1, 2])
    y = checkpoint(lambda t: t.repeat(next(sizes)), x)
    with pytest.raises(suan.StateError, match=r"expected float32 \[3\], got float32 \[6\]"):
        y.sum().backward()
    with pytest.raises(ValueError, match="debug=False"):
        checkpoint(lambda t: t, x, debug=True)
    w = suan.ones(3, requires_grad=True)
    y = checkpoint(lambda t: t * w, x)
    with suan.no_grad():
        w += 1
    with pytest.raises(suan.StateError, match="overwritten"):
        y.sum().backward()
    with suan.no_grad():
        assert not checkpoint(lambda t: t * 2, x).requires_grad


def test_lazy_names_in_any_order():
    import subprocess
    import sys

    code = "import suan; suan.plan; assert callable(suan.compile); import suan.compile; assert callable(suan.compile)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
