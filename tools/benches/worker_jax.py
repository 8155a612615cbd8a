"""One measurement of JAX in a fresh process: worker_jax.py mlp compiled SECONDS. Prints JSON.

The whole step is one jitted function whose parameters are donated.
"""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

import cases
import jax
import jax.numpy as jnp

IMPORTED = cases.resident("VmRSS")


def loss_fn(p, x, y):
    h = jax.nn.gelu(x @ p["up.weight"].T + p["up.bias"], approximate=False)
    return jnp.mean((h @ p["down.weight"].T + p["down.bias"] - y) ** 2)


def main():
    case, mode, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if (case, mode) != ("mlp", "compiled"):
        raise ValueError(f"[bench] case: expected mlp compiled, got {case} {mode}")
    shapes = {"up.weight": (128, 64), "up.bias": (128,),
              "down.weight": (64, 128), "down.bias": (64,)}
    params = {name: jnp.asarray(cases.first_weight(name, shape)) for name, shape in shapes.items()}
    x, y = (jnp.asarray(v) for v in cases.batch(case))

    def update(p, x, y):
        loss, gradient = jax.value_and_grad(loss_fn)(p, x, y)
        return jax.tree.map(lambda w, g: w - cases.LR * g, p, gradient), loss

    jitted = jax.jit(update, donate_argnums=0)

    def step():
        nonlocal params
        params, loss = jitted(params, x, y)
        return loss

    result = cases.measure(step, seconds, 200, 6)
    result.update(version=jax.__version__, imported=IMPORTED, peak=cases.resident("VmHWM"))
    cases.report(result)


if __name__ == "__main__":
    main()
