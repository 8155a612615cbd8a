"""Distributions and values, for Suan and for the torch that made golden/distributions.npz."""

import numpy as np

rng = np.random.default_rng(7)
A, B = rng.standard_normal((3, 4)), rng.uniform(0.3, 2, (3, 4))
C, D = rng.standard_normal((3, 4)), rng.uniform(0.3, 2, (3, 4))
P, Q = rng.uniform(0.05, 0.95, (3, 4)), rng.uniform(0.05, 0.95, (3, 4))
L = np.tril(rng.uniform(0.2, 1, (3, 4, 4))) + np.eye(4)
M = np.tril(rng.uniform(0.2, 1, (4, 4))) + np.eye(4)
K = rng.integers(0, 4, (5, 3))

# name: (make, arguments of p, of q, value)
CASES = {
    "normal": (lambda d, a, b: d.Normal(a, b), (A, B), (C, D), A + 0.5),
    "log_normal": (lambda d, a, b: d.LogNormal(a, b), (A, B), (C, D), B),
    "laplace": (lambda d, a, b: d.Laplace(a, b), (A, B), (C, D), A + 0.5),
    "uniform": (lambda d, a, b: d.Uniform(a, a + b), (A, B), (A - 0.5, B + 1), A + 0.1),
    "exponential": (lambda d, b: d.Exponential(b), (B,), (D,), P),
    "bernoulli": (lambda d, p: d.Bernoulli(p), (P,), (Q,), (P > 0.5) * 1.0),
    "bernoulli_logits": (lambda d, a: d.Bernoulli(logits=a), (A,), (C,), (P > 0.5) * 1.0),
    "geometric": (lambda d, p: d.Geometric(p), (P,), (Q,), np.floor(5 * P)),
    "categorical": (lambda d, b: d.Categorical(b), (B,), (D,), K),
    "categorical_logits": (lambda d, a: d.Categorical(logits=a), (A,), (C,), K),
    "one_hot": (lambda d, b: d.OneHotCategorical(b), (B,), (D,), np.eye(4)[K]),
    "vectors": (lambda d, a, m: d.MultivariateNormal(a, scale_tril=m), (A, L), (C, L[::-1].copy()), A + 0.3),
    "vectors_covariance": (lambda d, a, m: d.MultivariateNormal(a, m @ m.mT), (A, M), (C, M.T @ M), A[0]),
    "vectors_precision": (lambda d, a, m: d.MultivariateNormal(a, precision_matrix=m @ m.mT), (A, M), (C, M), A[0]),
    "independent": (lambda d, a, b: d.Independent(d.Normal(a, b), 1), (A, B), (C, D), C),
}


def results(lib, name):
    """{what: array} of one case: log_prob, entropy, mean, variance, kl, cdf where there is one, and the gradients of
    log_prob plus kl for the arguments of p."""
    make, ours, others, value = CASES[name]
    d = lib.distributions
    args = [lib.tensor(np.asarray(a), dtype=lib.float64).requires_grad_() for a in ours]
    p, q = make(d, *args), make(d, *[lib.tensor(np.asarray(a), dtype=lib.float64) for a in others])
    value = lib.tensor(value)
    out = {"log_prob": p.log_prob(value), "entropy": p.entropy(), "kl": d.kl_divergence(p, q)}
    if name not in ("categorical", "categorical_logits"):
        out |= {"mean": p.mean, "variance": p.variance, "stddev": p.stddev}
    if name in ("normal", "log_normal", "uniform", "exponential"):
        out["cdf"] = p.cdf(value)
    (out["log_prob"].sum() + out["kl"].sum()).backward()
    out |= {f"grad{i}": a.grad for i, a in enumerate(args)}
    return {k: np.asarray(v.detach().numpy()) for k, v in out.items()}
