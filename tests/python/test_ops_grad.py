"""First and second gradients of every differentiable op: central differences in float64, and the
narrower dtypes (whose gradient kernels are others) against float64.
"""

import numpy as np
import pytest

import suan
from op_cases import FLOATS, QUICK, SAMPLES, TABLE, array, dtypes_of, make_inputs, rounded, tensor
from suan import _c

STEP = 1e-6
#: op: (step, error) where the function itself rounds to float32.
ROUNDS = {"cast": (2.0**-6, 1e-4)}
#: Outputs that are by-products: no gradient flows through them.
BYPRODUCTS = {"cross_entropy": [1]}
#: Gradients in narrow dtypes, relative to the largest gradient of the sample. A gradient is a sum
#: of
#: rounded terms, so this is looser than a forward value.
NARROW = {"float32": 1e-4, "float16": 3e-2, "bfloat16": 0.15}
#: op: reason. Second derivatives that are not checked.
NO_SECOND = {}
#: Ops that write their inputs cannot be called again and again on the same ones.
WRITES = {"batch_norm_update"}


def grad_cases(dtypes=("float64",)):
    for name, samples in SAMPLES.items():
        if not TABLE[name]["differentiable"] or name in WRITES:
            continue
        for index, sample in enumerate(samples):
            if sample["error"] or not sample["check_grad"]:
                continue
            if not any(
                s["grad"] and not s["absent"] and s["dtype"] in (None, *FLOATS)
                for s in sample["in"]
            ):
                continue
            for dtype in dtypes if not QUICK else dtypes[:1]:
                if dtype in dtypes_of(name, sample, quick=False):
                    yield pytest.param(name, index, dtype, id=f"{name}-{index}-{dtype}")


class Function:
    """A sample as a scalar function of its floating inputs: the outputs weighted at random."""

    def __init__(self, name, index, dtype):
        self.name, self.index, self.dtype = name, index, dtype
        self.inputs = make_inputs(name, index, "float64")
        specs = SAMPLES[name][index]["in"]
        self.active = [
            i
            for i, (v, n) in enumerate(self.inputs)
            if v is not None and n == "float64" and specs[i]["grad"] and specs[i]["dtype"] is None
        ]
        self.rng = np.random.default_rng(index)
        self.weights = {}

    def tensors(self, shift=None, requires_grad=False):
        out = []
        for i, (v, n) in enumerate(self.inputs):
            if v is None:
                out.append(None)
                continue
            if shift and i in shift:
                v = v + shift[i]
            t = tensor(v, self.dtype if n == "float64" else n)
            if requires_grad and i in self.active:
                t.requires_grad_()
            out.append(t)
        return out

    def __call__(self, tensors):
        total = None
        for j, out in enumerate(_c.apply_sample(self.name, self.index, tensors)):
            if out is None or not out.dtype.is_floating_point or j in BYPRODUCTS.get(self.name, ()):
                continue
            if j not in self.weights:
                self.weights[j] = self.rng.standard_normal(tuple(out.shape))
            part = (out * tensor(self.weights[j], str(out.dtype).removeprefix("suan."))).sum()
            total = part if total is None else total + part.to(total.dtype)
        return total

    def value(self, shift):
        with suan.no_grad():
            return float(array(self(self.tensors(shift))))

    def gradient(self, shift=None, create=False):
        xs = self.tensors(shift, requires_grad=True)
        active = [xs[i] for i in self.active]
        grads = suan.autograd.grad(self(xs), active, create_graph=create, allow_unused=True)
        return active, grads

    def directions(self):
        """Random displacements of all inputs: two dense, and one element of each input."""
        for _ in range(2):
            yield {i: self.rng.standard_normal(self.inputs[i][0].shape) for i in self.active}
        for i in self.active:
            d = np.zeros(self.inputs[i][0].shape)
            if d.size:
                d.reshape(-1)[self.rng.integers(d.size)] = 1
                yield {i: d}


def numbers(grads, like):
    return [np.zeros(tuple(x.shape)) if g is None else array(g) for g, x in zip(grads, like)]


def along(arrays, active, direction):
    return sum(float((a * direction[i]).sum()) for i, a in zip(active, arrays) if i in direction)


def compare(got, want, size, context, error=2e-6):
    assert abs(got - want) <= error * (1 + abs(want) + size), (
        f"{context}: expected {want}, got {got}"
    )


@pytest.mark.parametrize("name,index,dtype", list(grad_cases()))
def test_first(name, index, dtype):
    f = Function(name, index, dtype)
    xs, grads = f.gradient()
    for x, g in zip(xs, grads):
        assert g is None or (g.shape == x.shape and g.dtype is x.dtype)
    g = numbers(grads, xs)
    size = max([np.abs(a).max(initial=0) for a in g], default=0)
    step, error = ROUNDS.get(name, (STEP, 2e-6))
    for d in f.directions():
        up, down = ({i: s * step * v for i, v in d.items()} for s in (1, -1))
        slope = (f.value(up) - f.value(down)) / (2 * step)
        compare(along(g, f.active, d), slope, size * 10, f"{name}[{index}] gradient", error)


@pytest.mark.parametrize("name,index,dtype", list(grad_cases()))
def test_second(name, index, dtype):
    if name in NO_SECOND:
        print(f"not checked: {name}: {NO_SECOND[name]}")
        return
    f = Function(name, index, dtype)
    xs, grads = f.gradient(create=True)
    mix = [f.rng.standard_normal(tuple(x.shape)) for x in xs]
    total = None
    for g, m in zip(grads, mix):
        if g is not None and g.requires_grad:
            part = (g * tensor(m, "float64")).sum()
            total = part if total is None else total + part
    second = (
        suan.autograd.grad(total, xs, allow_unused=True) if total is not None else [None] * len(xs)
    )
    h = numbers(second, xs)
    size = max([np.abs(a).max(initial=0) for a in h], default=0)
    for d in f.directions():
        ends = []
        for s in (1, -1):
            at, g = f.gradient({i: s * STEP * v for i, v in d.items()})
            ends.append(sum(float((a * m).sum()) for a, m in zip(numbers(g, at), mix)))
        slope = (ends[0] - ends[1]) / (2 * STEP)
        compare(
            along(h, f.active, d),
            slope,
            size * 10 + max(map(abs, ends)),
            f"{name}[{index}] second gradient",
        )


@pytest.mark.parametrize("name,index,dtype", list(grad_cases(("float32", "float16", "bfloat16"))))
def test_narrow(name, index, dtype):
    wide, narrow = Function(name, index, "float64"), Function(name, index, dtype)
    for f in (wide, narrow):
        f.inputs = [(v if n != "float64" else rounded(v, dtype), n) for v, n in f.inputs]
    # The weights as the dtype holds them, too: both functions must be the same one.
    wide.value({})
    wide.weights = narrow.weights = {j: rounded(w, dtype) for j, w in wide.weights.items()}
    want = numbers(wide.gradient()[1], wide.gradient()[0])
    xs, grads = narrow.gradient()
    got = numbers(grads, xs)
    for k, (a, b) in enumerate(zip(got, want)):
        if dtype == "float16" and np.abs(b).max(initial=0) > 65504:
            continue  # the gradient itself overflows
        scale = np.abs(b).max(initial=0)
        error = np.abs(a - b).max(initial=0)
        assert error <= NARROW[dtype] * max(scale, 1), (
            f"{name}[{index}] {dtype} input {k}: error {error} of {scale}"
        )
