"""AdamW(stochastic_rounding=True): bfloat16 parameters without a float32 copy."""

import numpy as np
import pytest

import suan
from suan import nn, optim
from suan.optim.rounding import stochastic_round


def neighbours(x):
    """The bfloat16 numbers on both sides of float32 x, as float64."""
    bits = x.view(np.uint32)
    low = (bits & 0xFFFF0000).astype(np.uint32)
    high = np.where(bits == low, low, low + np.uint32(0x10000)).astype(np.uint32)
    return low.view(np.float32).astype(np.float64), high.view(np.float32).astype(np.float64)


def test_a_neighbour_is_drawn_and_the_mean_is_kept():
    suan.manual_seed(5)
    rng = np.random.default_rng(1)
    # All magnitudes, and both sides of the ends of binades.
    x = np.concatenate([rng.standard_normal(300) * 10.0 ** rng.uniform(-30, 30, 300),
                        2.0 ** rng.integers(-20, 20, 100) * (1 + rng.uniform(-0.006, 0.006, 100))]).astype(np.float32)
    low, high = neighbours(x)
    n, total = 4000, np.zeros(len(x))
    for _ in range(n // 100):
        drawn = stochastic_round(suan.tensor(np.tile(x, (100, 1))))
        assert drawn.dtype == suan.bfloat16
        values = drawn.double().numpy()
        assert ((values == low) | (values == high)).all()
        total += values.sum(0)
    chance = (x - low) / (high - low)
    seen = (total / n - low) / (high - low)
    deviation = (seen - chance) / np.sqrt(np.maximum(chance * (1 - chance), 1e-3) / n)
    assert np.abs(deviation).max() < 5
    assert abs(deviation.mean()) < 5 / np.sqrt(len(x))


def test_what_bfloat16_holds_stays():
    x = suan.tensor([0.0, -0.0, 1.0, -2.5, 3.0e38, float("inf"), -float("inf"), float("nan")]).bfloat16()
    y = stochastic_round(x.float())
    np.testing.assert_array_equal(x.double().numpy(), y.double().numpy())


def train(stochastic, seed=0, steps=60, compiled=False):
    """Pulls weights of 1 towards 2, each step far less than half the distance of bfloat16 numbers there."""
    suan.manual_seed(seed)
    w = nn.Parameter(suan.ones(512, dtype=suan.bfloat16))
    optimizer = optim.AdamW([w], lr=2e-4, weight_decay=0.0, stochastic_rounding=stochastic)

    def step():
        loss = ((w.float() - 2) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    call = suan.compile(step) if compiled else step
    for _ in range(steps):
        call()
    return w.detach().double().numpy(), optimizer


def test_small_updates_arrive_in_the_mean():
    lost, _ = train(False)
    assert (lost == 1).all()
    arrived, optimizer = train(True)
    assert abs(arrived.mean() - 1.012) < 0.001  # 60 steps of 2e-4
    state = next(iter(optimizer.state.values()))
    assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == suan.float32


def test_a_seed_decides_all_eager_or_compiled():
    first, _ = train(True)
    again, _ = train(True)
    other, _ = train(True, seed=1)
    compiled, _ = train(True, compiled=True)
    assert (first == again).all() and (first == compiled).all() and (first != other).any()


def test_float32_parameters_are_stepped_as_ever():
    def run(**options):
        w = nn.Parameter(suan.linspace(-1, 1, 20))
        optimizer = optim.AdamW([w], lr=0.1, **options)
        for _ in range(3):
            (w ** 2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return w.detach().numpy()

    np.testing.assert_array_equal(run(stochastic_rounding=True), run())


def test_state_survives_saving():
    w, optimizer = train(True, steps=3)
    p = nn.Parameter(suan.tensor(w).bfloat16())
    other = optim.AdamW([p], lr=2e-4, stochastic_rounding=True)
    other.load_state_dict(optimizer.state_dict())
    a, b = next(iter(optimizer.state.values())), other.state[p]
    np.testing.assert_array_equal(a["exp_avg_sq"].numpy(), b["exp_avg_sq"].numpy())


def test_not_with_amsgrad():
    with pytest.raises(ValueError, match=r"\[AdamW\] wrong options: expected amsgrad or stochastic_rounding, got both"):
        optim.AdamW([nn.Parameter(suan.ones(2))], amsgrad=True, stochastic_rounding=True)
