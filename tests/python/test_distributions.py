"""suan.distributions against torch's results (golden/distributions.npz), and samples against their moments."""

from pathlib import Path

import distribution_cases as cases
import numpy as np
import pytest

import suan
from suan import distributions as D

GOLDEN = np.load(Path(__file__).parent / "golden" / "distributions.npz")


@pytest.mark.parametrize("name", cases.CASES)
def test_as_torch(name):
    found = cases.results(suan, name)
    expected = {k.split("/")[1]: GOLDEN[k] for k in GOLDEN.files if k.startswith(name + "/")}
    assert found.keys() == expected.keys()
    for what, array in expected.items():
        assert found[what].shape == array.shape, what
        np.testing.assert_allclose(found[what], array, rtol=1e-9, atol=1e-11, err_msg=what)


@pytest.mark.parametrize("name", cases.CASES)
def test_samples_have_the_moments(name):
    suan.manual_seed(0)
    make, args, _, _ = cases.CASES[name]
    p = make(D, *[suan.tensor(a, dtype=suan.float64) for a in args])
    n = 40_000
    x = p.sample((n,))
    assert tuple(x.shape) == (n, *p.batch_shape, *p.event_shape) and not x.requires_grad
    x = x.numpy().astype(float)
    if isinstance(p, D.Categorical):
        shares = np.stack([(x == k).mean(0) for k in range(4)], -1)
        np.testing.assert_allclose(shares, p.probs.numpy(), atol=0.015)
        return
    mean, deviation = p.mean.numpy(), p.stddev.numpy()
    assert (np.abs(x.mean(0) - mean) < 5 * deviation / n**0.5).all()
    if name != "log_normal":   # its fourth moment is large
        np.testing.assert_allclose(x.std(0), deviation, rtol=0.05)


@pytest.mark.parametrize("name", [n for n in cases.CASES if n not in
                                  ("bernoulli", "bernoulli_logits", "geometric", "categorical", "categorical_logits", "one_hot")])
def test_gradients_flow_through_rsample(name):
    make, args, _, _ = cases.CASES[name]
    args = [suan.tensor(a, dtype=suan.float64).requires_grad_() for a in args]
    p = make(D, *args)
    assert p.has_rsample
    p.rsample((2,)).sum().backward()
    assert all(a.grad is not None and bool(a.grad.isfinite().all()) for a in args)


def test_a_policy_gradient_step_compiles():
    suan.manual_seed(0)
    logits = suan.zeros(3, 4, requires_grad=True)

    @suan.compile
    def step(actions, rewards):
        p = D.Categorical(logits=logits)
        loss = -(p.log_prob(actions) * rewards).sum() - 0.01 * p.entropy().sum()
        loss.backward()
        return loss.detach()

    step(suan.tensor([0, 1, 2]), suan.ones(3))
    grad = logits.grad.numpy()
    np.testing.assert_allclose(grad, np.where(np.eye(4)[:3] > 0, -0.75, 0.25), atol=1e-6)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"\[Normal\] bad scale: expected positive numbers"):
        D.Normal(0.0, -1.0)
    D.Normal(0.0, -1.0, validate_args=False)
    with pytest.raises(ValueError, match=r"\[Uniform\] bad high: expected more than low"):
        D.Uniform(1.0, 0.0)
    with pytest.raises(ValueError, match=r"\[Bernoulli\] bad probs"):
        D.Bernoulli(1.5)
    with pytest.raises(ValueError, match="one of probs and logits, got both"):
        D.Bernoulli(0.5, logits=0.0)
    with pytest.raises(ValueError, match=r"\[Categorical\] bad probs: expected weights"):
        D.Categorical(suan.tensor([-1.0, 2.0]))
    with pytest.raises(ValueError, match=r"matrix \[..., n, n\], got \(3,\) and \(2, 2\)"):
        D.MultivariateNormal(suan.zeros(3), suan.eye(2))
    with pytest.raises(ValueError, match="expected 0 to 1, got 2"):
        D.Independent(D.Normal(suan.zeros(3), 1.0), 2)
    with pytest.raises(NotImplementedError, match="no formula: expected two distributions of one kind"):
        D.kl_divergence(D.Normal(0.0, 1.0), D.Exponential(1.0))
    with pytest.raises(NotImplementedError, match=r"\[Categorical\] rsample"):
        D.Categorical(suan.ones(2)).rsample()
    with pytest.raises(NotImplementedError, match=r"\[Categorical\] mean: expected a distribution that has it"):
        D.Categorical(suan.ones(2)).mean
    with pytest.raises(NotImplementedError, match=r"\[Laplace\] cdf"):
        D.Laplace(0.0, 1.0).cdf(suan.zeros(1))
    with pytest.raises(AttributeError, match="nearest is 'Normal'"):
        D.Normals
