"""suan.linalg: factorisations by what defines them, gradients by finite differences in float64, errors."""

import numpy as np
import pytest

import suan
from suan import linalg

RNG = np.random.default_rng(3)


def matrix(*shape):
    return suan.from_numpy(RNG.standard_normal(shape))


def definite(*shape):
    a = matrix(*shape)
    return a @ a.transpose(-1, -2) + 0.5 * suan.eye(shape[-1], dtype=suan.float64)


def close(a, b, tolerance=1e-10):
    np.testing.assert_allclose(a.detach().numpy(), b if isinstance(b, np.ndarray) else b.detach().numpy(),
                               rtol=tolerance, atol=tolerance)


def numeric(f, x, step=1e-6):
    values, out = x.detach().numpy().copy(), np.zeros(tuple(x.shape))
    for at in np.ndindex(*x.shape):
        sides = []
        for move in (step, -step):
            moved = values.copy()
            moved[at] += move
            sides.append(float(f(suan.from_numpy(moved)).item()))
        out[at] = (sides[0] - sides[1]) / (2 * step)
    return out


def check_gradient(f, x, tolerance=1e-5):
    x = x.detach().clone().requires_grad_()
    g, = suan.autograd.grad(f(x), [x], create_graph=True)
    close(g, numeric(f, x), tolerance)
    if not g.requires_grad:  # f is linear
        return
    # And once more: the gradient is made of what has gradients.
    weights = matrix(*x.shape)
    again, = suan.autograd.grad((g * weights).sum(), [x])

    def along(y):
        y = y.detach().clone().requires_grad_()
        return (suan.autograd.grad(f(y), [y])[0] * weights).sum()

    close(again, numeric(along, x), 1e-4)


def test_factors_multiply_back():
    for shape in ((5, 3), (3, 5), (4, 4), (2, 4, 3)):
        A = matrix(*shape)
        Q, R = linalg.qr(A)
        close(Q @ R, A)
        close(Q.transpose(-1, -2) @ Q, np.broadcast_to(np.eye(min(shape[-2:])), (*shape[:-2], *2 * (min(shape[-2:]),))))
        for full in (False, True):
            found = linalg.svd(A, full_matrices=full)
            k = min(shape[-2:])
            close((found.U[..., :k] * found.S[..., None, :]) @ found.Vh[..., :k, :], A)
            assert found.U.shape[-1] == (shape[-2] if full else k)
        close(linalg.svdvals(A), found.S)
    S = definite(2, 4, 4)
    w, V = linalg.eigh(S)
    close((V * w[..., None, :]) @ V.transpose(-1, -2), S)
    L = linalg.cholesky(S)
    close(L @ L.transpose(-1, -2), S)
    close(L, L.tril())
    close(linalg.cholesky(S, upper=True), L.transpose(-1, -2))
    close(suan.cholesky_inverse(L), linalg.inv(S))
    complete = linalg.qr(matrix(5, 2), mode="complete")
    assert complete.Q.shape == (5, 5) and complete.R.shape == (5, 2)


def test_solutions():
    A, B = matrix(3, 4, 4), matrix(4, 2)
    X = linalg.solve(A, B)
    assert X.shape == (3, 4, 2)
    close(A @ X, B.expand(3, 4, 2))
    rows = matrix(3, 2, 4)
    close(linalg.solve(A, rows, left=False) @ A, rows)
    v = matrix(4)
    close(A[0] @ linalg.solve(A[0], v), v)
    close(A @ linalg.inv(A), np.broadcast_to(np.eye(4), (3, 4, 4)))
    T = matrix(4, 4)
    close(T.triu() @ linalg.solve_triangular(T, B, upper=True), B)
    unit = T.tril(-1) + suan.eye(4, dtype=suan.float64)
    close(unit @ linalg.solve_triangular(T, B, upper=False, unitriangular=True), B)
    tall, right = matrix(6, 3), matrix(6, 2)
    found = linalg.lstsq(tall, right)
    close(found.solution, linalg.pinv(tall) @ right)
    close(tall.t() @ (tall @ found.solution - right), np.zeros((3, 2)), 1e-9)
    assert found.rank.item() == 3


def test_numbers_of_matrices():
    A = matrix(3, 4, 4)
    close(linalg.det(A), np.linalg.det(A.numpy()))
    sign, size = linalg.slogdet(A)
    close(sign * size.exp(), linalg.det(A))
    low = matrix(5, 2) @ matrix(2, 6)
    assert linalg.matrix_rank(low).item() == 2
    close(low @ linalg.pinv(low) @ low, low, 1e-9)
    for p in ("fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf")):
        close(linalg.matrix_norm(A[0], p), np.asarray(np.linalg.norm(A[0].numpy(), p)))
        assert linalg.matrix_norm(A, p, keepdim=True).shape == (3, 1, 1)
        close(linalg.norm(A[1], p), np.asarray(np.linalg.norm(A[1].numpy(), p)))
    close(linalg.norm(A), np.asarray(np.linalg.norm(A.numpy().ravel())))
    close(linalg.vector_norm(A, 3, dim=1), np.linalg.norm(A.numpy(), 3, axis=1))
    for p in (None, 1, -2):
        close(linalg.cond(A[0], p), np.asarray(np.linalg.cond(A[0].numpy(), p)), 1e-8)
    close(linalg.matrix_power(A, 5), np.linalg.matrix_power(A.numpy(), 5))
    close(linalg.matrix_power(A, -2), np.linalg.matrix_power(A.numpy(), -2), 1e-7)
    close(linalg.matrix_power(A, 0), np.broadcast_to(np.eye(4), (3, 4, 4)))
    chain = [matrix(3, 7), matrix(7, 2), matrix(2, 5), matrix(5)]
    close(linalg.multi_dot(chain), np.linalg.multi_dot([c.numpy() for c in chain]))
    turn = suan.tensor([[0.0, -2.5], [2.5, 0.0]], dtype=suan.float64)
    close(linalg.matrix_exp(turn), np.array([[np.cos(2.5), -np.sin(2.5)], [np.sin(2.5), np.cos(2.5)]]))
    close(linalg.matrix_exp(40 * turn)[0, 0], np.asarray(np.cos(100)), 1e-9)
    close(A[0].inverse(), suan.inverse(A[0]))
    close(FIXED_DEFINITE.logdet(), linalg.det(FIXED_DEFINITE).log())
    close(linalg.vecdot(A[0], A[1]), (A[0] * A[1]).sum(-1))


FIXED_DEFINITE = definite(3, 3)
FIXED = {n: matrix(4, 4) for n in ("a", "b", "c")}
GRADIENTS = {
    "inv": (lambda x: (linalg.inv(x) * FIXED["a"]).sum(), matrix(4, 4)),
    "solve": (lambda x: (linalg.solve(x, FIXED["a"]) * FIXED["b"]).sum(), matrix(4, 4)),
    "solve right": (lambda x: (linalg.solve(FIXED["a"], x) * FIXED["b"]).sum(), matrix(4, 4)),
    "solve_triangular": (lambda x: (linalg.solve_triangular(x, FIXED["a"][:3], upper=True) * FIXED["b"][:3]).sum(),
                         matrix(3, 3) + 3 * suan.eye(3, dtype=suan.float64)),
    "slogdet": (lambda x: linalg.slogdet(x)[1], matrix(3, 3)),
    "det": (lambda x: linalg.det(x).sum(), matrix(2, 3, 3)),
    "cholesky": (lambda x: (linalg.cholesky((x + x.t()) / 2) * FIXED["a"]).sum(), definite(4, 4)),
    "qr": (lambda x: (linalg.qr(x).Q * FIXED["a"][:, :3]).sum() + (linalg.qr(x).R * FIXED["b"][:3, :3]).sum(),
           matrix(4, 3)),
    "eigh": (lambda x: (linalg.eigh((x + x.t()) / 2)[1].square() * FIXED["a"]).sum()
             + (linalg.eigh((x + x.t()) / 2)[0] * FIXED["b"][0]).sum(), matrix(4, 4)),
    "svd tall": (lambda x: (linalg.svd(x, False).U.square() * FIXED["a"][:, :3]).sum()
                 + (linalg.svd(x, False).S * FIXED["b"][0, :3]).sum()
                 + (linalg.svd(x, False).Vh.square() * FIXED["c"][:3, :3]).sum(), matrix(4, 3)),
    "svd wide": (lambda x: (linalg.svd(x, False).U.square() * FIXED["a"][:3, :3]).sum()
                 + (linalg.svd(x, False).Vh.square() * FIXED["c"][:3]).sum(), matrix(3, 4)),
    "pinv": (lambda x: (linalg.pinv(x) * FIXED["a"][:3]).sum(), matrix(4, 3)),
    "matrix_exp": (lambda x: (linalg.matrix_exp(x) * FIXED["a"][:3, :3]).sum(), matrix(3, 3)),
    "nuclear norm": (lambda x: linalg.matrix_norm(x, "nuc"), matrix(4, 3)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    check_gradient(*GRADIENTS[name])


def test_bad_input():
    with pytest.raises(linalg.LinAlgError, match=r"\[inv\].*[Ss]ingular"):
        linalg.inv(suan.zeros(3, 3))
    with pytest.raises(linalg.LinAlgError, match=r"\[cholesky\]"):
        linalg.cholesky(-suan.eye(3))
    with pytest.raises(suan.ShapeError, match=r"\[det\]|\[slogdet\] matrix is not square"):
        linalg.det(suan.zeros(3, 4))
    with pytest.raises(TypeError, match="expected float32 or float64"):
        linalg.svd(suan.zeros(3, 3, dtype=suan.bfloat16))
    with pytest.raises(suan.ShapeError, match=r"\[multi_dot\] sizes differ"):
        linalg.multi_dot([suan.zeros(2, 3), suan.zeros(4, 2)])
    with pytest.raises(suan.ShapeError, match=r"\[solve\] sizes differ"):
        linalg.solve(suan.eye(3), suan.zeros(4, 1))
    with pytest.raises(suan.StateError, match="no gradient"):
        linalg.svd(suan.randn(3, 2).requires_grad_())
    with pytest.raises(suan.StateError, match="compiled function"):
        suan.compile(linalg.inv)(suan.eye(3))
    with pytest.raises(suan.StateError, match="full rank"):
        linalg.pinv(suan.ones(3, 2).requires_grad_())
