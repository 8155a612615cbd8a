"""Makes func.npz: torch.func's answers for tests/python/test_func.py. Needs torch (2.15 was used) and numpy; run
it from this folder. The functions are those of the test, by name."""

import numpy as np
import torch
from torch import func

torch.manual_seed(0)
rng = np.random.default_rng(0)
w1, w2 = rng.standard_normal((4, 3)), rng.standard_normal((2, 4))
x, v, c = rng.standard_normal(3), rng.standard_normal(3), rng.standard_normal(2)
out = dict(w1=w1, w2=w2, x=x, v=v, c=c)
W1, W2, X, V, C = (torch.tensor(a) for a in (w1, w2, x, v, c))


def net(x):
    return W2 @ torch.tanh(W1 @ x) * torch.softmax(x, 0)[:2]


def energy(x):
    return (net(x) ** 2).sum() + torch.logsumexp(x, 0)


def pair(a, b):
    return {"m": torch.outer(a, b).sin(), "s": (a * a).sum() * b[0]}


out["jvp"] = func.jvp(net, (X,), (V,))[1]
out["vjp"] = func.vjp(net, X)[1](C)[0]
out["jac"] = func.jacrev(net)(X)
out["hessian"] = func.hessian(energy)(X)
out["hessian_net"] = func.hessian(net)(X)
out["third"] = func.jacrev(func.jacrev(func.jacrev(energy)))(X)
out["hvp"] = func.jvp(func.grad(energy), (X,), (V,))[1]
out["mixed"] = func.grad(lambda t: func.jvp(net, (t,), (V,))[1].sum())(X)
both = func.jacrev(pair, argnums=(0, 1))(X, C)
for name in "ms":
    for i in range(2):
        out[f"pair_{name}{i}"] = both[name][i]
np.savez_compressed("func.npz", **{k: np.asarray(a) for k, a in out.items()})
