"""10,000 random programs of views, in-place writes and gradients, equal to a plain NumPy
interpreter.

The interpreter knows nothing of tapes or versions: a storage is a vector of values and, beside
it, the derivative of every element with respect to every leaf element (forward mode); a tensor is
an array of positions in a storage. All values are small integers, so that equality is exact.
"""

import random

import numpy as np
import pytest

import suan

try:
    import torch
except ImportError:
    torch = None

PROGRAMS, GROUPS = 10_000, 40
LIMIT = 2.0**18


class Storage:
    def __init__(self, values, slopes):
        self.values, self.slopes, self.version = values, slopes, 0


class Array:
    """Positions in a storage. tracked: derivatives are seen through it (not through a detached

    alias).
    """

    def __init__(self, storage, at, read_only=False, tracked=True):
        self.storage, self.at, self.read_only, self.tracked = storage, at, read_only, tracked

    @property
    def shape(self):
        return self.at.shape

    def values(self):
        return self.storage.values[self.at]

    def slopes(self):
        s = self.storage.slopes[self.at]
        return s if self.tracked else np.zeros_like(s)

    def over(self, at):
        return Array(self.storage, at, self.read_only, self.tracked)


VIEWS = {
    "permute": lambda a, dims: a.transpose(dims),
    "unsqueeze": np.expand_dims,
    "select": lambda a, dim, i: a.take(i, axis=dim),
    "slice": lambda a, dim, start, stop, step: a[
        (slice(None),) * dim + (slice(start, stop, step),)
    ],
    "diagonal": lambda a, k: np.diagonal(a, k, 0, 1),
    "expand": np.broadcast_to,
    "reshape": lambda a, shape: a.reshape(shape),
    "flip": lambda a, dims: np.flip(a, dims),
}


class Writer:
    """Makes a random program while running it in NumPy, so that every step is valid."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.program, self.registers = [], []
        self.saved = []  # (storage, version) that some gradient rule may keep
        shapes = [
            tuple(self.number(1, 4) for _ in range(self.number(1, 4)))
            for _ in range(self.number(1, 4))
        ]
        self.leaves = [self.numbers(s) for s in shapes]
        self.n = sum(a.size for a in self.leaves)
        at = 0
        for a in self.leaves:
            slopes = np.zeros((a.size, self.n))
            slopes[np.arange(a.size), at + np.arange(a.size)] = 1
            at += a.size
            self.add(
                ("leaf", a),
                Array(
                    Storage(a.reshape(-1).copy(), slopes), np.arange(a.size).reshape(a.shape), True
                ),
            )
        for _ in range(2):
            a = self.numbers(shapes[0])
            self.add(("constant", a), self.new(a, np.zeros((*a.shape, self.n))))

    def number(self, lo, hi):
        return self.rng.randrange(lo, hi)

    def numbers(self, shape):
        n = int(np.prod(shape, dtype=int))
        return np.array([float(self.rng.randrange(-3, 4)) for _ in range(n)]).reshape(shape)

    def new(self, values, slopes):
        n = values.size
        return Array(
            Storage(values.reshape(-1).copy(), slopes.reshape(n, self.n).copy()),
            np.arange(n).reshape(values.shape),
        )

    def add(self, instruction, array):
        self.program.append(instruction)
        self.registers.append(array)

    def pick(self, condition=lambda a: True):
        good = [i for i, a in enumerate(self.registers) if a is not None and condition(a)]
        # Recent registers first: programs are chains more than bushes.
        return (
            good[max(self.rng.randrange(len(good)), self.rng.randrange(len(good)))]
            if good
            else None
        )

    # ---- steps: each returns without effect when it cannot be done -------------------------------

    def view(self):
        i = self.pick()
        x = self.registers[i]
        rank, rng = x.at.ndim, self.rng
        kinds = ["unsqueeze"] if rank < 4 else []
        kinds += ["permute", "select", "slice", "slice", "expand", "flip"] if rank else []
        kinds += ["diagonal"] if rank >= 2 else []
        flat = x.at.reshape(-1)
        if flat.size and np.array_equal(flat, flat[0] + np.arange(flat.size)):
            kinds += ["reshape", "reshape"]
        kind = rng.choice(kinds)
        dim = rng.randrange(rank) if rank else 0
        n = x.shape[dim] if rank else 0
        if kind == "permute":
            args = (rng.sample(range(rank), rank),)
        elif kind == "unsqueeze":
            args = (rng.randrange(rank + 1),)
        elif kind == "select":
            if n == 0:
                return
            args = (dim, rng.randrange(n))
        elif kind == "slice":
            start = rng.randrange(n)
            args = (dim, start, rng.randrange(start + 1, n + 1), rng.randrange(1, 3))
        elif kind == "diagonal":
            args = (rng.randrange(-1, 2),)
        elif kind == "flip":
            args = ([dim],)
        elif kind == "expand":
            if x.at.size * 3 > 64:
                return
            args = (
                [rng.randrange(2, 4)] * (1 if rank < 4 else 0)
                + [rng.randrange(1, 4) if s == 1 else s for s in x.shape],
            )
        else:
            args = ([int(flat.size)] if rng.random() < 0.5 else [1, int(flat.size)],)
        try:
            at = VIEWS[kind](x.at, *args)
        except ValueError:
            return
        if at.size:
            self.add((kind, i, *args), x.over(at))

    def fits(self, *arrays):
        return all(np.abs(a).max(initial=0) <= LIMIT for a in arrays)

    def combine(self, kind, x, y):
        a, b, da, db = x.values(), y.values(), x.slopes(), y.slopes()
        shape = np.broadcast_shapes(a.shape, b.shape)
        wide = lambda d, s: np.broadcast_to(
            d.reshape((1,) * (len(shape) - len(s)) + d.shape), (*shape, self.n)
        )  # noqa: E731
        da, db = wide(da, a.shape), wide(db, b.shape)
        a, b = np.broadcast_to(a, shape), np.broadcast_to(b, shape)
        if kind == "add":
            return a + b, da + db
        if kind == "sub":
            return a - b, da - db
        return a * b, da * b[..., None] + db * a[..., None]

    def broadcastable(self, x, into=False):
        def ok(y):
            try:
                s = np.broadcast_shapes(x.shape, y.shape)
            except ValueError:
                return False
            return (s == x.shape) if into else np.prod(s) <= 64

        return ok

    def arithmetic(self):
        i = self.pick()
        x, kind = (
            self.registers[i],
            self.rng.choice(
                ["add", "sub", "mul", "neg", "relu", "sum", "clone", "square", "detach"]
            ),
        )
        a, d = x.values(), x.slopes()
        if kind == "detach":
            alias = x.over(x.at)
            alias.tracked, alias.read_only = False, True
            return self.add((kind, i), alias)
        if kind in ("add", "sub", "mul"):
            j = self.pick(self.broadcastable(x))
            if j is None:
                return
            values, slopes = self.combine(kind, x, self.registers[j])
            instruction = (kind, i, j)
            if kind == "mul":
                self.keep(x, self.registers[j])
        elif kind == "sum":
            if not a.ndim:
                return
            dim = self.number(0, a.ndim)
            values, slopes, instruction = a.sum(dim), d.sum(dim), (kind, i, dim)
        else:
            if kind in ("relu", "square"):
                self.keep(x)
            values, slopes = {
                "neg": lambda: (-a, -d),
                "clone": lambda: (a, d),
                "square": lambda: (a * a, 2 * a[..., None] * d),
                "relu": lambda: (np.maximum(a, 0), d * (a > 0)[..., None]),
            }[kind]()
            instruction = (kind, i)
        if self.fits(values, slopes):
            self.add(instruction, self.new(np.asarray(values), np.asarray(slopes)))
            if kind == "relu":
                self.keep(self.registers[-1])

    def keep(self, *arrays):
        self.saved += [(a.storage, a.storage.version) for a in arrays]

    def write(self):
        i = self.pick(lambda a: not a.read_only and len(set(a.at.ravel().tolist())) == a.at.size)
        if i is None:
            return
        x = self.registers[i]
        kind = self.rng.choice(
            ["add_", "sub_", "mul_", "copy_", "copy_", "fill_", "neg_", "setitem"]
        )
        instruction = None
        if kind in ("fill_", "neg_"):
            value = float(self.number(-2, 3))
            values = np.full(x.shape, value) if kind == "fill_" else -x.values()
            slopes = np.zeros((*x.shape, self.n)) if kind == "fill_" else -x.slopes()
            instruction = (kind, i, value) if kind == "fill_" else (kind, i)
        else:
            target = x
            if kind == "setitem":
                if not x.at.ndim:
                    return
                n = x.shape[0]
                start = self.number(0, n)
                target = x.over(x.at[start:n])
            j = self.pick(self.broadcastable(target, into=True))
            if j is None:
                return
            y = self.registers[j]
            # Half-overlapping operands have no defined order: write a copy of them.
            overlap = y.storage is x.storage
            if kind in ("copy_", "setitem"):
                values = np.broadcast_to(y.values(), target.shape)
                slopes = np.broadcast_to(
                    y.slopes().reshape((1,) * (target.at.ndim - y.at.ndim) + y.slopes().shape),
                    (*target.shape, self.n),
                )
            else:
                values, slopes = self.combine(kind[:-1], target, y)
                if kind == "mul_":
                    self.keep(x, y)
            instruction = (kind, i, j, overlap) + ((start,) if kind == "setitem" else ())
            x = target
        if not self.fits(values, slopes):
            return
        self.program.append(instruction)
        self.registers.append(None)
        values, slopes = values.copy(), slopes.copy()
        x.storage.values[x.at] = values
        x.storage.slopes[x.at] = slopes
        x.storage.version += 1

    def make(self):
        for i in range(len(self.leaves)):
            self.add(("clone", i), self.new(self.registers[i].values(), self.registers[i].slopes()))
        for _ in range(self.number(5, 16)):
            self.rng.choices((self.view, self.arithmetic, self.write), (4, 3, 3))[0]()
        total, parts = np.zeros(self.n), []
        for k in range(2):
            i = self.pick(lambda a: k or a.slopes().any())
            if i is None:
                continue
            w = self.numbers(self.registers[i].shape)
            parts.append((i, w))
            total += (self.registers[i].slopes() * w[..., None]).reshape(-1, self.n).sum(0)
        overwritten = any(s.version != v for s, v in self.saved)
        return parts, total, overwritten


def apply(lib, r, op):
    """One instruction on real tensors: the same names in suan and torch."""
    kind, *a = op
    if kind == "leaf":
        return lib.tensor(a[0].tolist(), dtype=lib.float64).requires_grad_()
    if kind == "constant":
        return lib.tensor(a[0].tolist(), dtype=lib.float64)
    x = r[a[0]]
    if kind == "slice":
        return x[(slice(None),) * a[1] + (slice(a[2], a[3], a[4]),)]
    if kind == "reshape" and not x.is_contiguous():
        # Torch's results keep their operands' strides, so this is a copy there and a view here.
        raise RuntimeError("another layout: expected a contiguous tensor, got strides")
    if kind in ("permute", "expand", "reshape"):
        return getattr(x, kind)(*a[1])
    if kind == "flip":
        return lib.flip(x, a[1])
    if kind in ("add_", "sub_", "mul_", "copy_", "setitem"):
        y = r[a[1]].clone() if a[2] else r[a[1]]
        if kind == "setitem":
            x[a[3] :] = y
        else:
            getattr(x, kind)(y)
        return None
    if kind in ("fill_", "neg_"):
        getattr(x, kind)(*a[1:])
        return None
    if kind in ("add", "sub", "mul"):
        return getattr(x, kind)(r[a[1]])
    return getattr(x, kind)(*a[1:])


def run(lib, writer, parts, given=None):
    """given: tensors to use for the leaves and constants, instead of new ones."""
    r = []
    for op in writer.program:
        r.append(given[len(r)] if given and op[0] in ("leaf", "constant") else apply(lib, r, op))
    if given:
        return r, sum((r[i] * w).sum() for (i, _), w in zip(parts, given[-len(parts) :]))
    loss = sum((r[i] * lib.tensor(w.tolist(), dtype=lib.float64)).sum() for i, w in parts)
    return r, loss


class Description:
    """Put into words only when a test fails."""

    def __init__(self, *parts):
        self.parts = parts

    def __str__(self):
        return " ".join(map(str, self.parts))


def check(seed):
    writer = Writer(seed)
    parts, total, overwritten = writer.make()
    say = Description(f"program {seed}:", writer.program, parts)
    r, loss = run(suan, writer, parts)
    for k, (t, a) in enumerate(zip(r, writer.registers)):
        if a is not None:
            assert np.array_equal(t.detach().numpy(), a.values()), f"register {k} of {say}"
    if not loss.requires_grad:
        assert not total.any(), f"no gradient at all: {say}"
        return "constant"
    try:
        loss.backward()
    except RuntimeError as error:
        assert overwritten and "overwritten" in str(error), f"{error}: {say}"
        return "overwritten"
    got = [t.grad for t in r[: len(writer.leaves)]]
    got = np.concatenate(
        [
            np.zeros(a.size) if g is None else g.numpy().reshape(-1)
            for g, a in zip(got, writer.leaves)
        ]
    )
    assert np.array_equal(got, total), f"gradient {got}, expected {total}: {say}"
    # Torch's flip copies, ours is a view: such programs mean another thing there.
    if torch is not None and not any(op[0] == "flip" for op in writer.program):
        try:
            theirs, their_loss = run(torch, writer, parts)
            their_loss.backward()
        except RuntimeError:
            return "torch refuses"
        for t, a in zip(theirs, writer.registers):
            assert a is None or np.array_equal(t.detach().numpy(), a.values()), (
                f"torch differs: {say}"
            )
        theirs = np.concatenate(
            [
                np.zeros(a.size) if t.grad is None else t.grad.numpy().reshape(-1)
                for t, a in zip(theirs, writer.leaves)
            ]
        )
        assert np.array_equal(got, theirs), f"torch's gradient {theirs}: {say}"
    return "equal"


def test_in_place_product_keeps_the_old_value():
    x, y = suan.tensor([2.0, 3.0], requires_grad=True), suan.tensor([5.0, 7.0], requires_grad=True)
    h = x * 1
    h.mul_(y)
    h.mul_(h)  # (x y)²
    gx, gy = suan.autograd.grad(h.sum(), (x, y), create_graph=True)
    assert gx.tolist() == [100, 294] and gy.tolist() == [40, 126]
    (second,) = suan.autograd.grad(gy.sum(), y)
    assert second.tolist() == [8, 18]


@pytest.mark.parametrize("group", range(GROUPS))
def test_programs(group):
    n = PROGRAMS // GROUPS
    outcomes = [check(group * n + k) for k in range(n)]
    assert outcomes.count("equal") + outcomes.count("torch refuses") >= n // 2, {
        o: outcomes.count(o) for o in set(outcomes)
    }


def same(a, b):
    return (a is None) == (b is None) and (
        a is None or np.array_equal(a.detach().numpy(), b.detach().numpy())
    )


def check_compiled(seed):
    """A program as a compiled function of its leaves and constants, recorded twice and replayed

    twice.
    """
    writer = Writer(seed)
    parts, _, _ = writer.make()
    if not parts:
        return "constant"

    def call(*given):
        leaves = given[: len(writer.leaves)]
        r, loss = run(suan, writer, parts, given)
        grads = suan.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else ()
        # A view of an argument that is later written says little about a plan: values are
        # returned as copies.
        return [t.detach().clone() for t in r if t is not None], list(grads)

    def fresh():
        given = [apply(suan, [], op) for op in writer.program if op[0] in ("leaf", "constant")]
        return given + [suan.tensor(w.tolist(), dtype=suan.float64) for _, w in parts]

    eager_args = fresh()
    try:
        values, grads = call(*eager_args)
    except RuntimeError as error:
        assert "overwritten" in str(error)
        return "overwritten"
    compiled = suan.compile(call)
    for k in range(4):
        args = fresh()
        now_values, now_grads = compiled(*args)
        where = f"program {seed}, call {k + 1}: {writer.program}"
        assert all(same(a, b) for a, b in zip(values, now_values, strict=True)), where
        assert all(same(a, b) for a, b in zip(grads, now_grads, strict=True)), where
        assert all(same(a, b) for a, b in zip(eager_args, args)), f"arguments of {where}"
    return "replayed" if compiled.stats()[0]["replays"] >= 2 else "recorded"


@pytest.mark.parametrize("group", range(10))
def test_compiled_programs(group):
    outcomes = [check_compiled(20_000 + group * 100 + k) for k in range(100)]
    assert outcomes.count("replayed") >= 60, {o: outcomes.count(o) for o in set(outcomes)}
