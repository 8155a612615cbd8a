"""The ops of 8-bit integers in NumPy. What they round depends on float32 arithmetic, so that is what is done here."""

import numpy as np

F = np.float32
LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}


def _name(dtype):
    return str(dtype).removeprefix("suan.")


def _rounded(quotients, zero, dtype):
    lo, hi = LIMITS[_name(dtype)]
    return np.clip(np.rint(quotients).astype(np.float64) + zero, lo, hi).astype(np.int64)


def quantize(x, scale, zero, dtype="uint8"):
    return _rounded(F(x) / F(scale), 0 if zero is None else zero, dtype)


def dynamic_quantize(x):
    x = F(x)
    lo, hi = min(x.min(initial=0), F(0)), max(x.max(initial=0), F(0))
    scale = F(hi - lo) / F(255)
    scale = scale if scale else F(1)
    zero = int(_rounded(-lo / scale, 0, "uint8"))
    return _rounded(x / scale, zero, "uint8"), scale, np.int64(zero)


def int8_pack(weight):
    k, n = weight.shape
    panels, quads = -(-n // 32), -(-k // 4)
    lowered = weight - 128 if weight.max(initial=0) > 127 else weight
    wide = np.zeros((quads * 4, panels * 32), np.int64)
    wide[:k, :n] = lowered
    out = np.zeros((panels, quads + 1, 32, 4), np.int64)
    out[:, :quads] = wide.reshape(quads, 4, panels, 32).transpose(2, 0, 3, 1)
    sums = wide.sum(0).astype("<i4").reshape(panels, 32)
    out[:, quads] = np.frombuffer(sums.tobytes(), "i1").reshape(panels, 32, 4)
    return out


def _unpacked(panels, k, n):
    quads = panels.shape[1] - 1
    return panels[:, :quads].transpose(1, 3, 0, 2).reshape(quads * 4, -1)[:k, :n]


def int8_matmul(x, weight, x_zero, weight_zero, bias, scale, out_zero, dtype="int32", columns=0):
    if columns:
        weight = _unpacked(weight, x.shape[-1], columns)
    sums = (x - (0 if x_zero is None else x_zero)) @ (weight - (0 if weight_zero is None else weight_zero))
    real = bias is not None and bias.dtype.kind == "f"
    if bias is not None and not real:
        sums = sums + bias
    sums = sums.astype(np.int32)
    if scale is None:
        return sums
    y = F(sums) * F(scale)
    if _name(dtype) == "float32":
        return y + F(bias) if real else y
    return _rounded(y, 0 if out_zero is None else out_zero, dtype)


def int8_lstm(gates, h, c, weight, scale, zero, reverse=False):
    steps, batch, directions, columns = gates.shape
    hidden = h.shape[-1]
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    out, h, c = np.zeros((steps, directions, batch, hidden)), h.copy(), c.copy()
    for d in range(directions):
        w = (_unpacked(weight[d], hidden, columns) - zero[d]) * scale[d]
        for t in reversed(range(steps)) if reverse or d else range(steps):
            for b in range(batch):
                q, s, z = dynamic_quantize(h[d, b])
                all_gates = gates[t, b, d] + ((q - z) * np.float64(s)) @ w
                i, f, g, o = all_gates.reshape(-1, 4, 16).transpose(1, 0, 2).reshape(4, -1)[:, :hidden]
                c[d, b] = sigmoid(f) * c[d, b] + sigmoid(i) * np.tanh(g)
                h[d, b] = out[t, d, b] = sigmoid(o) * np.tanh(c[d, b])
    return out, h, c


def int4_matmul(x, weight, scale, zero, bias=None, columns=0):
    groups, eights, _, _ = weight.shape
    blocks = scale.shape[1]
    q = np.stack([weight % 16, weight // 16], -1).transpose(0, 2, 1, 3, 4).reshape(groups, 16, blocks, -1)
    w = ((q - zero.transpose(0, 2, 1)[..., None]) * scale.transpose(0, 2, 1)[..., None]).reshape(groups * 16, -1)
    y = x @ w[:columns, : x.shape[-1]].T
    return y if bias is None else y + bias


ORACLE = {f.__name__: f for f in (dynamic_quantize, int4_matmul, int8_lstm, int8_matmul, int8_pack, quantize)}
