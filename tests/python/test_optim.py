"""Optimizers against the published formulas in NumPy; schedules; state saving."""

import math

import numpy as np
import pytest

import suan
from suan import nn, optim

rng = np.random.default_rng(0)
START = [rng.standard_normal((3, 4)), rng.standard_normal(5)]


def make(kind, **options):
    params = [suan.tensor(a, dtype=suan.float32, requires_grad=True) for a in START]
    return params, kind(params, **options)


def step(params, optimizer, active=(0, 1)):
    """One step on sum (i + 1) x², so that the gradient is 2 (i + 1) x."""
    optimizer.zero_grad()
    loss = sum((params[i] * params[i]).sum() * float(i + 1) for i in active)
    loss.backward()
    optimizer.step()


def adam(x, steps, lr, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, l2=0.0, scale=1):
    m = v = np.zeros_like(x)
    for n in range(1, steps + 1):
        g = 2 * scale * x + l2 * x
        x = x * (1 - lr * decay)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        x = x - lr * (m / (1 - b1**n)) / (np.sqrt(v / (1 - b2**n)) + eps)
    return x


@pytest.mark.parametrize(
    "kind,options,reference",
    [
        (optim.Adam, {"lr": 0.01}, {}),
        (optim.Adam, {"lr": 0.01, "weight_decay": 0.1}, {"l2": 0.1}),
        (optim.AdamW, {"lr": 0.01, "betas": (0.8, 0.95)}, {"decay": 0.01, "b1": 0.8, "b2": 0.95}),
    ],
)
def test_adam(kind, options, reference):
    params, optimizer = make(kind, **options)
    for _ in range(10):
        step(params, optimizer)
    for i, (p, a) in enumerate(zip(params, START)):
        np.testing.assert_allclose(
            p.detach().numpy(), adam(a, 10, 0.01, scale=i + 1, **reference), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ],
)
def test_sgd(options):
    params, optimizer = make(optim.SGD, lr=0.02, **options)
    for _ in range(6):
        step(params, optimizer)
    for i, (p, x) in enumerate(zip(params, START)):
        buffer = None
        for _ in range(6):
            g = 2 * (i + 1) * x + options.get("weight_decay", 0) * x
            if mu := options.get("momentum", 0):
                buffer = (
                    g if buffer is None else mu * buffer + (1 - options.get("dampening", 0)) * g
                )
                g = g + mu * buffer if options.get("nesterov") else buffer
            x = x - 0.02 * g
        np.testing.assert_allclose(p.detach().numpy(), x, rtol=1e-5, atol=1e-6)


def test_a_parameter_without_gradient_keeps_its_own_step_count():
    params, optimizer = make(optim.AdamW, lr=0.01, weight_decay=0.0)
    step(params, optimizer)
    step(params, optimizer, active=(0,))
    step(params, optimizer)
    assert float(optimizer.state[params[0]]["step"]) == 3.0
    assert float(optimizer.state[params[1]]["step"]) == 2.0
    np.testing.assert_allclose(
        params[1].detach().numpy(), adam(START[1], 2, 0.01, scale=2), rtol=1e-5, atol=1e-6
    )


def test_state_dict_has_torchs_shape_and_resumes_with_equal_bits():
    params, optimizer = make(optim.AdamW, lr=0.01)
    for i in range(8):
        if i == 4:
            saved = optimizer.state_dict()
            assert set(saved["state"]) == {0, 1} and set(saved["state"][0]) == {
                "step",
                "exp_avg",
                "exp_avg_sq",
            }
            assert saved["param_groups"][0]["params"] == [0, 1]
            copies = [p.detach().clone().requires_grad_() for p in params]
            other = optim.AdamW(copies, lr=0.5)
            saved = {
                "state": {str(k): v for k, v in saved["state"].items()},
                "param_groups": saved["param_groups"],
            }
            other.load_state_dict(saved)
        step(params, optimizer)
        if i >= 4:
            step(copies, other)
    assert other.param_groups[0]["lr"] == 0.01
    for p, q in zip(params, copies):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())


def test_loading_another_models_state_is_refused():
    _, optimizer = make(optim.AdamW)
    with pytest.raises(ValueError, match="another size: expected 1 parameters, got 2"):
        optim.AdamW([suan.ones(3, requires_grad=True)]).load_state_dict(optimizer.state_dict())
    other = optim.AdamW([suan.ones(3, requires_grad=True), suan.ones(5, requires_grad=True)])
    with pytest.raises(ValueError, match="another shape"):
        other.load_state_dict(optimizer.state_dict())


def test_param_groups_and_learning_rate_tensor():
    params, _ = make(optim.SGD)
    optimizer = optim.SGD([{"params": [params[0]], "lr": 0.5}, {"params": params[1:]}], lr=0.1)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.1]
    group = optimizer.param_groups[0]
    tensor = group.lr_tensor
    group["lr"] = 0.25
    group.update(lr=0.125)
    assert group.lr_tensor is tensor and float(tensor) == 0.125 and group["lr"] == 0.125
    with pytest.raises(ValueError, match="appears twice"):
        optimizer.add_param_group({"params": params})


@pytest.mark.parametrize(
    "build,message",
    [
        (lambda: optim.SGD([], lr=0.1), "empty parameter list"),
        (lambda: optim.SGD(suan.ones(1), lr=0.1), "expected an iterable"),
        (lambda: optim.SGD([suan.ones(1)], lr=-1), "wrong lr: expected at least 0, got -1"),
        (lambda: optim.SGD([suan.ones(1)], nesterov=True), "Nesterov needs momentum"),
        (lambda: optim.AdamW([suan.ones(1)], betas=(1.0, 0.9)), r"wrong betas\[0\]"),
        (lambda: optim.AdamW([3]), "expected Tensor, got int"),
        (lambda: optim.AdamW([suan.ones(1)], differentiable=True), r"\[AdamW\] differentiable: expected False"),
        (lambda: optim.NAdam([suan.ones(1)], differentiable=True), r"\[NAdam\] differentiable: expected False"),
        (lambda: optim.RMSprop([suan.ones(1)], alpha=2.0), r"\[RMSprop\] wrong alpha: expected 0 to 1"),
        (lambda: optim.RAdam([suan.ones(1)], betas=(0.9, 1.0)), r"\[RAdam\] wrong betas\[1\]"),
        (lambda: optim.Adagrad([suan.ones(1)], eps=-1.0), r"\[Adagrad\] wrong eps"),
        (lambda: optim.Rprop([suan.ones(1)], etas=(1.5, 2.0)), r"\[Rprop\] wrong etas"),
        (lambda: optim.Adafactor([suan.ones(1)], d=0.5), r"\[Adafactor\] wrong d"),
        (lambda: optim.Adafactor([suan.ones(1)], beta2_decay=0.5), r"\[Adafactor\] wrong beta2_decay"),
        (lambda: optim.Muon([suan.ones(1)]), r"\[Muon\] wrong parameter: expected a matrix, got shape \(1,\)"),
        (lambda: optim.Muon([suan.ones(1, 1)], adjust_lr_fn="no"), r"\[Muon\] wrong adjust_lr_fn"),
    ],
)
def test_wrong_options(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_scaling_in_the_step_equals_clipping_first(kind):
    results = []
    for fused in (False, True):
        params, optimizer = make(kind, lr=0.01, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            sum((p * p).sum() for p in params).backward()
            if fused:
                norm, scale = nn.utils.clip_scale(params, 0.5)
                optimizer.step(grad_scale=scale)
            else:
                norm = nn.utils.clip_grad_norm_(params, 0.5)
                optimizer.step()
            assert norm.item() > 0.5
        results.append([p.detach().numpy() for p in params])
    for a, b in zip(*results):
        assert np.array_equal(a, b)


def test_closure_returns_the_loss():
    params, optimizer = make(optim.SGD, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (params[0] * params[0]).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) == pytest.approx((START[0] ** 2).sum(), rel=1e-5)


def rates(build, n, lr=1.0, metrics=None):
    optimizer = optim.SGD([suan.ones(1, requires_grad=True)], lr=lr)
    schedule = build(optimizer)
    out = []
    for i in range(n):
        out.append(optimizer.param_groups[0]["lr"])
        schedule.step(*([] if metrics is None else [metrics[i]]))
    return out


S = optim.lr_scheduler


@pytest.mark.parametrize(
    "build,formula",
    [
        (lambda o: S.LambdaLR(o, lambda e: 1 / (e + 1)), lambda e: 1 / (e + 1)),
        (lambda o: S.MultiplicativeLR(o, lambda e: e / (e + 1)), lambda e: 1 / (e + 1)),
        (lambda o: S.StepLR(o, 3, 0.5), lambda e: 0.5 ** (e // 3)),
        (lambda o: S.MultiStepLR(o, [2, 5], 0.1), lambda e: 0.1 ** ((e >= 2) + (e >= 5))),
        (lambda o: S.ExponentialLR(o, 0.9), lambda e: 0.9**e),
        (lambda o: S.ConstantLR(o, 0.5, 4), lambda e: 0.5 if e < 4 else 1),
        (lambda o: S.LinearLR(o, 0.2, 1.0, 5), lambda e: 0.2 + 0.8 * min(e, 5) / 5),
        (
            lambda o: S.CosineAnnealingLR(o, 10, 0.1),
            lambda e: 0.1 + 0.9 * (1 + math.cos(math.pi * e / 10)) / 2,
        ),
        (
            lambda o: S.CosineAnnealingWarmRestarts(o, 4, 2),
            lambda e: (1 + math.cos(math.pi * (e / 4 if e < 4 else (e - 4) / 8))) / 2,
        ),
    ],
)
def test_schedules(build, formula):
    np.testing.assert_allclose(rates(build, 11), [formula(e) for e in range(11)], rtol=1e-12)


def test_multiplicative_calls_once_a_step_and_may_go_back():
    calls, optimizer = [], optim.SGD([suan.ones(1, requires_grad=True)], lr=2.0)
    schedule = S.MultiplicativeLR(optimizer, lambda e: calls.append(e) or 0.5)
    for _ in range(3):
        schedule.step()
    assert calls == [1, 2, 3] and schedule.get_last_lr() == [0.25]
    schedule.step(1)
    assert schedule.get_last_lr() == [1.0]
    other = S.MultiplicativeLR(optim.SGD([suan.ones(1, requires_grad=True)], lr=2.0), lambda e: 0.5)
    other.load_state_dict(schedule.state_dict())
    other.step()
    assert other.get_last_lr() == [0.5]


def test_one_cycle_rises_to_the_top_and_falls():
    r = rates(lambda o: S.OneCycleLR(o, 2.0, 20, cycle_momentum=False), 20)
    assert (
        r[0] == pytest.approx(0.08)
        and max(r) == pytest.approx(2.0)
        and r[-1] == pytest.approx(0.08 / 1e4)
    )
    assert r.index(max(r)) == 5


def test_sequential_warms_up_then_decays():
    build = lambda o: S.SequentialLR(
        o, [S.LinearLR(o, 0.1, total_iters=4), S.CosineAnnealingLR(o, 6)], [4]
    )
    r = rates(build, 10)
    assert r[:5] == pytest.approx([0.1, 0.325, 0.55, 0.775, 1.0])
    assert r[7] == pytest.approx((1 + math.cos(math.pi * 3 / 6)) / 2)


def test_plateau():
    r = rates(
        lambda o: S.ReduceLROnPlateau(o, patience=1, factor=0.5), 7, metrics=[3, 2, 2, 2, 2, 2, 1]
    )
    assert r == [1, 1, 1, 1, 0.5, 0.5, 0.25]


def test_schedule_state_round_trip():
    a = optim.SGD([suan.ones(1, requires_grad=True)], lr=1.0)
    b = optim.SGD([suan.ones(1, requires_grad=True)], lr=1.0)
    first, second = S.StepLR(a, 2, 0.5), S.StepLR(b, 2, 0.5)
    for _ in range(5):
        first.step()
    second.load_state_dict(first.state_dict())
    first.step()
    second.step()
    assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"] == 0.125
    assert first.get_last_lr() == second.get_last_lr()


def test_loading_the_state_of_an_amsgrad_optimizer_is_refused():
    optimizer = optim.AdamW([suan.ones(2)], lr=0.5)
    state = optimizer.state_dict()
    state["param_groups"][0].update(amsgrad=True, lr=0.1)
    with pytest.raises(ValueError, match="another amsgrad: expected False, got True"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.5


KINDS = [optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam, optim.Adamax, optim.RMSprop,
         optim.Adagrad, optim.Adadelta, optim.Rprop, optim.Adafactor, optim.Muon]


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_gives_the_same_bits(kind, tmp_path):
    """State through a file, maximize and a matrix and a vector of weights (a matrix alone for Muon)."""
    n = 1 if kind is optim.Muon else 2
    options = {"lr": 0.01} if kind is optim.Muon else {"lr": 0.01, "maximize": True}

    def fresh(values):
        params = [suan.tensor(v, dtype=suan.float32, requires_grad=True) for v in values[:n]]
        return params, kind(params, **options)

    params, optimizer = fresh(START)
    for _ in range(3):
        step(params, optimizer, range(n))
    suan.save(optimizer.state_dict(), tmp_path / "state")
    again, other = fresh([p.detach().numpy() for p in params])
    other.load_state_dict(suan.load(tmp_path / "state"))
    for _ in range(2):
        step(params, optimizer, range(n))
        step(again, other, range(n))
    for p, q, v in zip(params, again, START):
        assert p.tolist() == q.tolist() and np.isfinite(p.detach().numpy()).all()
        # The loss is the weights' square: maximizing makes them grow.
        assert kind is optim.Muon or np.abs(p.detach().numpy()).sum() > np.abs(v).sum()


def test_cyclic_momentum_and_saved_position():
    def make_cycle():
        o = optim.SGD([suan.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
        return o, S.CyclicLR(o, 0.0, 1.0, 2, 2, mode="exp_range", gamma=0.5)

    o, schedule = make_cycle()
    seen = []
    for _ in range(6):
        seen.append((o.param_groups[0]["lr"], o.param_groups[0]["momentum"]))
        schedule.step()
    np.testing.assert_allclose([lr for lr, _ in seen], [0, 0.25, 0.25, 0.0625, 0, 0.5**6])
    np.testing.assert_allclose([m for _, m in seen], [0.9 - 0.1 * lr for lr, _ in seen])
    other, resumed = make_cycle()
    resumed.load_state_dict(schedule.state_dict())
    schedule.step()
    resumed.step()
    assert o.param_groups[0]["lr"] == other.param_groups[0]["lr"]
    with pytest.raises(ValueError, match="expected an optimizer with a momentum"):
        S.CyclicLR(optim.Adam([suan.ones(1)]), 0.0, 1.0)


def valleys(optimizer, x, steps, counts=None):
    """Losses before each step on a sum of Rosenbrock's valleys."""
    def closure():
        if counts is not None:
            counts.append(1)
        optimizer.zero_grad()
        loss = (100 * (x[1:] - x[:-1].square()).square() + (1 - x[:-1]).square()).sum()
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(steps)]


def test_lbfgs_takes_torchs_steps():
    x = suan.tensor([-1.2, 1.0, -0.5, 0.8], dtype=suan.float64, requires_grad=True)
    counts = []
    losses = valleys(optim.LBFGS([x], lr=0.2, max_iter=7, history_size=5), x, 12, counts)
    torchs = [281.7, 25.6140573521, 4.07211881038, 3.71707100021, 3.70287499662, 3.70225952986, 3.70221092394,
              3.70173621447, 3.70143171552, 3.70142873041, 3.70142861466, 3.7014286121]   # of torch 2.15
    np.testing.assert_allclose(losses, torchs, rtol=1e-11)
    assert len(counts) == 75


def test_lbfgs_with_a_line_search_reaches_the_minimum():
    x = suan.tensor([-1.2, 1.0, -0.5, 0.8], dtype=suan.float64, requires_grad=True)
    counts = []
    losses = valleys(optim.LBFGS([x], line_search_fn="strong_wolfe", max_iter=7), x, 12, counts)
    assert all(b <= a for a, b in zip(losses, losses[1:])) and losses[-1] < 1e-9
    assert len(counts) <= 12 * 9
    np.testing.assert_allclose(x.detach().numpy(), 1, atol=1e-4)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_resumes_with_the_same_bits(search, tmp_path):
    def start():
        x = suan.tensor([-1.2, 1.0, -0.5, 0.8], requires_grad=True)
        return x, optim.LBFGS([x], lr=0.3, max_iter=4, history_size=3, line_search_fn=search)

    x, optimizer = start()
    valleys(optimizer, x, 3)
    suan.save({"x": x.detach(), "optimizer": optimizer.state_dict()}, tmp_path / "at3.pt")
    expected = valleys(optimizer, x, 3)
    y, other = start()
    saved = suan.load(tmp_path / "at3.pt")
    with suan.no_grad():
        y.copy_(saved["x"])
    other.load_state_dict(saved["optimizer"])
    assert valleys(other, y, 3) == expected


def test_lbfgs_refuses_what_it_cannot_do():
    x, y = suan.ones(2, requires_grad=True), suan.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="expected one, got a second"):
        optim.LBFGS([{"params": [x]}, {"params": [y]}])
    with pytest.raises(ValueError, match="expected None or 'strong_wolfe', got 'armijo'"):
        optim.LBFGS([x], line_search_fn="armijo")
    with pytest.raises(ValueError, match="wrong history_size: expected at least 1, got 0"):
        optim.LBFGS([x], history_size=0)
    with pytest.raises(ValueError, match=r"got groups of \[2\]"):
        optim.LBFGS([x]).load_state_dict(optim.LBFGS([suan.ones(1), suan.ones(1)]).state_dict())
    optimizer = optim.LBFGS([x])
    with pytest.raises(suan.StateError):
        suan.compile(lambda: optimizer.step(lambda: x.square().sum()))()
