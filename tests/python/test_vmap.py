"""func.vmap: every op of the table against a loop over the batch, nesting with the other transforms, randomness, and
what is refused."""

import warnings

import numpy as np
import pytest

import suan
from op_cases import SAMPLES, TABLE, array, dtypes_of, make_inputs, tensor
from suan import _c, func, nn, optim
from suan.nn import functional as F

B = 3
#: op: why vmap refuses it.
REFUSED = {
    "masked_select": "a size that depends on values",
    "nonzero": "a size that depends on values",
}
#: Ops that write their inputs: every one of them has to be of the batch.
WRITES = {"adamw_step", "adamw_steps", "batch_norm_update", "embedding_grad_add", "sgd_step"}
#: Ops that no rule, and no definition in ops that have one, covers: they run once per example, with a warning.
ONE_BY_ONE = WRITES | {"int8_pack", "roi_align", "roi_max_pool"}
COLLECTIVES = {"all_gather", "all_reduce", "barrier", "broadcast", "reduce_scatter"}


def examples_of(value):
    """B variants of an array from the same domain: its values in another order."""
    if value.ndim == 0 and value.dtype.kind == "f":
        return np.stack([value * (1 - 0.1 * k) for k in range(B)])
    return np.stack([np.roll(value.reshape(-1), k).reshape(value.shape) for k in range(B)])


def op_names():
    for name, samples in SAMPLES.items():
        if TABLE[name]["random"] or name in REFUSED or name in COLLECTIVES or not any(not s["error"] and s["in"] for s in samples):
            continue
        yield name


@pytest.mark.parametrize("name", list(op_names()))
def test_every_op_equals_a_loop(name):
    looped = set()
    for index, sample in enumerate(SAMPLES[name]):
        if sample["error"]:
            continue
        dtypes = dtypes_of(name, sample, quick=False)
        dtype = next((d for d in ("float64", "float32", "int64") if d in dtypes), dtypes[0])
        inputs = make_inputs(name, index, dtype)
        present = [i for i, (v, _) in enumerate(inputs) if v is not None]

        def call(*given, index=index):
            return _c.apply_sample(name, index, list(given))

        for chosen in ([[i] for i in present] if name not in WRITES else []) + [present][:len(present) > 1]:
            full = [None if v is None else tensor(examples_of(v) if i in chosen else v, n)
                    for i, (v, n) in enumerate(inputs)]
            given = [full[i] for i in chosen]

            def one(*examples, chosen=chosen, full=full, call=call):
                args = list(full)
                for i, e in zip(chosen, examples):
                    args[i] = e
                return call(*(a.clone() if a is not None and i in chosen else a for i, a in enumerate(args)))

            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                func._told.clear()
                got = func.vmap(one)(*given)
            looped |= {str(w.message).split("'")[1] for w in told if "[vmap]" in str(w.message)}
            want = [one(*(g[b] for g in given)) for b in range(B)]
            for k, g in enumerate(got):
                assert g.dtype == want[0][k].dtype
                assert list(g.shape) == [B, *want[0][k].shape], (index, chosen)
                for b in range(B):
                    x, y = array(g[b]), array(want[b][k])
                    if x.dtype.kind == "f":
                        # An op of bfloat16 alone may be its definition on one side and its kernel on the other.
                        rtol, atol = {"float64": (1e-9, 1e-6), "bfloat16": (2**-6, 2**-6 * abs(y).max(initial=0))}.get(
                            dtype, (1e-5, 1e-6))
                        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol,
                                                   err_msg=f"sample {index}, batched {chosen}")
                    else:
                        assert (x == y).all(), (index, chosen)
    assert looped <= ONE_BY_ONE


@pytest.mark.parametrize("name", sorted(COLLECTIVES))
def test_collectives_are_refused(name):
    full = [tensor(examples_of(v), n) for v, n in make_inputs(name, 0, "float32")]
    with pytest.raises(RuntimeError, match="a collective inside"):
        func.vmap(lambda *a: _c.apply_sample(name, 0, list(a)))(*full)


def test_what_runs_once_per_example_says_so():
    inputs = [tensor(examples_of(v), n) for v, n in make_inputs("embedding_grad_add", 0, "float32")]
    func._told.clear()
    with pytest.warns(UserWarning, match="no rule for 'embedding_grad_add': it runs once per example"):
        func.vmap(lambda *a: _c.apply_sample("embedding_grad_add", 0, [x.clone() for x in a]))(*inputs)


@pytest.mark.parametrize("name", REFUSED)
def test_sizes_from_values_are_refused(name):
    x = suan.tensor([[1.0, 0.0], [0.0, 2.0]])
    with pytest.raises(RuntimeError, match="no data"):
        func.vmap(lambda r: r.nonzero() if name == "nonzero" else r[r > 0])(x)


# ---- axes, trees, refusals -----------------------------------------------------------------------------------


def close(a, b, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=atol)


def test_axes_of_arguments_and_results():
    x, w = suan.randn(4, 5, 3), suan.randn(5)
    got = func.vmap(suan.dot, in_dims=(0, None))(x[:, :, 0], w)
    close(got, x[:, :, 0] @ w)
    close(func.vmap(lambda a: a.t() * 2, in_dims=2, out_dims=-1)(x), x.permute(1, 0, 2) * 2)
    close(func.vmap(lambda a: a.sum(), in_dims=-2)(x), x.sum((0, 2)))
    tree = {"a": x, "b": (w, [x])}
    got = func.vmap(lambda t, k: {"s": t["a"] + t["b"][0], "k": (k,)}, in_dims=({"a": 0, "b": (None, [1])}, None),
                    out_dims={"s": 1, "k": None})(tree | {"b": (suan.ones(3), [x.permute(1, 0, 2)])}, w)
    close(got["s"], (x + 1).permute(1, 0, 2))
    close(got["k"][0], w)
    pair = func.vmap(lambda a, b: (a + b, suan.ones(2)), out_dims=(0, 0))(x, x)
    assert pair[1].shape == (4, 2)
    assert func.vmap(lambda a, *, y: a + y)(w, y=w).tolist() == (w + w).tolist()
    assert func.vmap(lambda a: a.sum())(suan.zeros(0, 3)).shape == (0,)
    parts = []
    got = func.vmap(lambda a: parts.append(a.shape) or (a * 2,), chunk_size=3, out_dims=1)(x)[0]
    assert len(parts) == 2
    close(got, (x * 2).permute(1, 0, 2))


@pytest.mark.parametrize("call, error, words", [
    (lambda x: func.vmap(suan.add)(x, x[:2]), ValueError, "batches differ"),
    (lambda x: func.vmap(suan.sum, in_dims=None)(x), ValueError, "no batch"),
    (lambda x: func.vmap(suan.sum, in_dims=2)(x), IndexError, "in_dims out of range"),
    (lambda x: func.vmap(lambda a: a, out_dims=2)(x), IndexError, "out_dims out of range"),
    (lambda x: func.vmap(lambda a: a, out_dims=None)(x), ValueError, "depends on the batch"),
    (lambda x: func.vmap(lambda a: 1.0)(x), TypeError, "expected tensors, got float"),
    (lambda x: func.vmap(lambda a: a if a.sum() > 0 else -a)(x), RuntimeError, "data-dependent"),
    (lambda x: func.vmap(suan.add, in_dims=((0, 0), 0))(x, x), ValueError, "in_dims does not fit"),
    (lambda x: func.vmap(suan.sum, randomness="some")(x), ValueError, "unknown randomness"),
    (lambda x: func.vmap(lambda a: F.dropout(a))(x), RuntimeError, "random numbers inside"),
    (lambda x: func.vmap(lambda a: x.add_(a))(x[:, 0] + 0), RuntimeError, "write into one tensor"),
    (lambda x: func.vmap(suan.sum, chunk_size=0)(x), ValueError, "bad chunk_size"),
])
def test_misuse_is_refused(call, error, words):
    x = suan.randn(4, 3)
    before = x.tolist()
    with pytest.raises(error, match=words):
        call(x)
    assert x.tolist() == before
    close(func.vmap(lambda a: a + 1)(x), x + 1)  # the engine goes on


def test_backward_inside_is_refused_and_leaves_no_gradient():
    w = suan.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"\[vmap\] backward\(\) inside"):
        func.vmap(lambda a: ((a * w).sum().backward(), a)[1])(suan.randn(4, 3))
    assert w.grad is None


# ---- nesting -------------------------------------------------------------------------------------------------


def test_nested_maps_are_an_outer_product():
    a, b = suan.randn(4), suan.randn(5)
    close(func.vmap(lambda x: func.vmap(lambda y: (x * y).sin())(b))(a), suan.outer(a, b).sin())
    close(func.vmap(func.vmap(suan.mul, in_dims=(None, 0)), in_dims=(0, None))(a, b), suan.outer(a, b))





suan.manual_seed(0)
MLP = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))
CNN = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3),
                    nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


@pytest.mark.parametrize("model, shape", [(MLP, (6,)), (CNN, (1, 8, 8))], ids=["mlp", "cnn"])
def test_gradients_of_each_example_equal_a_loop(model, shape):
    x, y = suan.randn(5, *shape), suan.randint(0, 3, (5,))
    weights = {n: p.detach() for n, p in model.named_parameters()}

    def loss(weights, x, y):
        return F.cross_entropy(func.functional_call(model, weights, (x[None],)), y[None])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = func.vmap(func.grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    for b in range(5):
        want = func.grad(loss)(weights, x[b], y[b])
        for name in weights:
            close(got[name][b], want[name], rtol=1e-4)
    assert not any(g.requires_grad for g in got.values()) and all(p.grad is None for p in model.parameters())


def test_gradients_pass_through_from_outside():
    x, w = suan.randn(4, 3, requires_grad=True), suan.randn(3, 2, requires_grad=True)
    bias = suan.randn(2, 2, requires_grad=True)

    def f(a):
        return ((a @ w).tanh() + bias.t()[0]).sum() * a.detach().sum()

    func.vmap(f)(x).square().sum().backward()
    got = [t.grad.clone() for t in (x, w, bias)]
    for t in (x, w, bias):
        t.grad = None
    suan.stack([f(a) for a in x]).square().sum().backward()
    for g, t in zip(got, (x, w, bias)):
        close(g, t.grad, rtol=1e-4)
    with suan.no_grad():
        assert not func.vmap(f)(x).requires_grad

    def partly(a):
        with suan.no_grad():
            b = a * 2
        return (a * b).sum()

    (g,) = suan.autograd.grad(func.vmap(partly)(x).sum(), [x])
    close(g, 2 * x.detach())


def test_tensors_of_one_storage_keep_their_histories():
    w = suan.randn(3, 3, requires_grad=True)
    row, x = w[1], suan.randn(4, 3)

    def f(a):  # the same values by four ways, of which one has no history
        return (a * row).sum() + (w @ a).sum() + (w.t()[1] * a).sum() + (w[1].detach() * a).sum()

    got = suan.autograd.grad(func.vmap(f)(x).sum(), [row, w], retain_graph=True)
    want = suan.autograd.grad(sum(f(a) for a in x), [row, w])
    for g, h in zip(got, want):
        close(g, h, rtol=1e-5)
    parts = [p.detach().requires_grad_() for p in suan.randn(6).split(3)]
    got = suan.autograd.grad(func.vmap(lambda a: (a * parts[0]).sum() * parts[1].exp().sum())(x).sum(), parts)
    want = suan.autograd.grad(sum((a * parts[0]).sum() * parts[1].exp().sum() for a in x), parts)
    for g, h in zip(got, want):
        close(g, h, rtol=1e-5)
    scaled = w * 1
    with pytest.raises(RuntimeError, match="changed in place inside vmap"):
        func.vmap(lambda a: (scaled.sum() * a, scaled.mul_(2))[0])(x)


def test_second_derivatives_and_mixtures():
    def f(x):
        return (x.sin() * x.sum()).softmax(0) @ x.exp()

    x = suan.randn(4, dtype=suan.float64)
    want = func.jacrev(func.jacrev(f, chunk_size=1), chunk_size=1)(x)
    for second in (func.hessian(f), func.jacrev(func.jacfwd(f)), func.jacfwd(func.jacfwd(f)), func.jacrev(func.jacrev(f))):
        close(second(x) if callable(second) else second, want, rtol=1e-9)
    xs = suan.randn(3, 4, dtype=suan.float64)
    each = func.vmap(func.hessian(f))(xs)
    for b in range(3):
        close(each[b], func.hessian(f)(xs[b]), rtol=1e-9)
    vs = suan.randn(3, 4, dtype=suan.float64)
    out, moved = func.vmap(lambda x, v: func.jvp(f, (x,), (v,)))(xs, vs)
    for b in range(3):
        o, m = func.jvp(f, (xs[b],), (vs[b],))
        close(out[b], o, rtol=1e-9)
        close(moved[b], m, rtol=1e-9)
    total = func.grad(lambda w: func.vmap(lambda x: f(x * w))(xs).sum())
    assert abs(float(total(suan.tensor(1.5, dtype=suan.float64))) -
               float(func.grad(lambda w: sum(f(x * w) for x in xs))(suan.tensor(1.5, dtype=suan.float64)))) < 1e-9


def test_jacobians_by_chunks_are_equal():
    def f(a, b):
        return {"m": suan.outer(a, b).sin(), "s": (a * a).sum() * b[0]}

    a, b = suan.randn(3, dtype=suan.float64), suan.randn(2, dtype=suan.float64)
    for jacobian in (func.jacrev, func.jacfwd):
        want = jacobian(f, argnums=(0, 1), chunk_size=1)(a, b)
        for size in (None, 2, 3, 100):
            got = jacobian(f, argnums=(0, 1), chunk_size=size)(a, b)
            for key in want:
                for g, w in zip(got[key], want[key]):
                    assert g.shape == w.shape
                    close(g, w, rtol=1e-12)
    with pytest.raises(ValueError, match="bad chunk_size"):
        func.jacrev(f, chunk_size=0)(a, b)


def test_inside_a_compiled_step():
    model = nn.Linear(3, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = suan.randn(8, 3)

    def step(x):
        loss = func.vmap(lambda a: model(a).square().sum())(x).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    start = {k: v.clone() for k, v in model.state_dict().items()}
    want = [step(x).item() for _ in range(4)]
    model.load_state_dict(start)
    fast = suan.compile(step)
    assert [fast(x).item() for _ in range(4)] == want
    assert fast.stats()[0]["replays"] >= 1


def test_own_gradients_inside_and_from_outside():
    class Double(suan.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 20

    x = suan.randn(4, 3)
    close(func.vmap(func.grad(lambda a: Double.apply(a).sum()))(x), suan.full((4, 3), 20.0))
    with pytest.raises(RuntimeError, match="gradient of its own"):
        func.vmap(Double.apply)(x.clone().requires_grad_())


# ---- randomness, state ---------------------------------------------------------------------------------------


def test_randomness():
    x = suan.zeros(6, 10)
    draw = lambda a: (a + suan.rand(10), a + suan.rand(10), suan.rand(3))
    suan.manual_seed(3)
    a, b, c = func.vmap(draw, randomness="different")(x)
    after = suan.rand(10)
    rows = suan.cat([a, b, suan.cat([c, c.new_zeros(6, 7)], 1), after[None]]).numpy()
    drawn = [v for row in rows for v in row if v]
    assert len(set(drawn)) == len(drawn) == 6 * 23 + 10  # no number twice, nor in what comes later
    suan.manual_seed(3)
    again = func.vmap(draw, randomness="different")(x)
    assert all((p == q).all() for p, q in zip((a, b, c), again)) and (suan.rand(10) == after).all()
    suan.manual_seed(3)
    a, b, _ = func.vmap(draw, randomness="same")(x)
    suan.manual_seed(3)
    assert (a == suan.rand(10)).all() and (b == suan.rand(10)).all()
    kept = func.vmap(lambda a: F.dropout(a + 1, 0.5), randomness="different")(suan.zeros(4, 100))
    assert len({tuple(r) for r in kept.tolist()}) == 4


def test_in_place_changes_inside():
    x = suan.randn(4, 5)

    def f(a):
        y = a.clone()
        y[1:3] *= 2
        y.add_(1)
        y[0] = a.sum()
        return y

    got = func.vmap(f)(x)
    for b in range(4):
        close(got[b], f(x[b]))
    counter = suan.zeros(2)
    func.vmap(lambda a: a + counter.add_(1).sum())(x)
    assert counter.tolist() == [1.0, 1.0]
    norm = nn.BatchNorm1d(3)
    with pytest.raises(RuntimeError, match="write into one tensor"):
        func.vmap(norm)(suan.randn(2, 4, 3))
    before = norm.running_mean.clone()
    norm.eval()
    close(func.vmap(norm)(suan.ones(2, 4, 3)), norm(suan.ones(8, 3)).reshape(2, 4, 3))
    assert (norm.running_mean == before).all()
