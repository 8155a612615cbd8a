"""Arithmetic and comparison with torch's names and signatures."""

import builtins as _py

from . import _c

ops = _c.ops
Tensor = _c.Tensor


def add(input, other, *, alpha=1):
    """input + alpha * other."""
    return ops.add(input, other if alpha == 1 else ops.mul(other, alpha))


def sub(input, other, *, alpha=1):
    """input - alpha * other."""
    return ops.sub(input, other if alpha == 1 else ops.mul(other, alpha))


def add_(self, other, *, alpha=1):
    """In place: self + alpha * other."""
    self += other if alpha == 1 else other * alpha
    return self


def sub_(self, other, *, alpha=1):
    """In place: self - alpha * other."""
    self -= other if alpha == 1 else other * alpha
    return self


def mul_(self, other):
    """In place: self * other."""
    self *= other
    return self


def div_(self, other, *, rounding_mode=None):
    """In place: self / other."""
    if rounding_mode is not None:
        return self.copy_(div(self, other, rounding_mode=rounding_mode))
    self /= other
    return self


def div(input, other, *, rounding_mode=None):
    """input / other; rounding_mode 'floor' or 'trunc' rounds the quotient."""
    if rounding_mode == "floor":
        return ops.floor_divide(input, other)
    out = ops.div(input, other)
    if rounding_mode is None:
        return out
    if rounding_mode != "trunc":
        raise ValueError(f"[div] bad rounding_mode: expected None, 'floor' or 'trunc', got {rounding_mode!r}")
    whole = all(not t.is_floating_point() if isinstance(t, Tensor) else isinstance(t, int) for t in (input, other))
    if whole:
        return (input - ops.fmod(input, other)) // other
    return ops.trunc(out)


def rsub(input, other, *, alpha=1):
    """other - alpha * input."""
    return other - (input if alpha == 1 else input * alpha)


def pow(input, exponent):
    """input to the power exponent."""
    return input**exponent


def pow_(self, exponent):
    """In place: self to the power exponent."""
    self **= exponent
    return self


def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2."""
    return input + (tensor1 * tensor2 if value == 1 else value * tensor1 * tensor2)


def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2."""
    return input + (tensor1 / tensor2 if value == 1 else value * tensor1 / tensor2)


def addcmul_(self, tensor1, tensor2, *, value=1):
    """In place: self + value * tensor1 * tensor2."""
    return self.copy_(addcmul(self, tensor1, tensor2, value=value))


def addcdiv_(self, tensor1, tensor2, *, value=1):
    """In place: self + value * tensor1 / tensor2."""
    return self.copy_(addcdiv(self, tensor1, tensor2, value=value))


def lerp(input, end, weight):
    """input + weight * (end - input)."""
    return input + weight * (end - input)


def lerp_(self, end, weight):
    """In place: self + weight * (end - self)."""
    return self.copy_(lerp(self, end, weight))


def clamp(input, min=None, max=None):
    """Values limited to [min, max]; either may be None."""
    if min is None and max is None:
        raise ValueError("[clamp] no bounds: expected min or max, got neither")
    return ops.clamp(input, min, max)


def clamp_(self, min=None, max=None):
    """In place: values limited to [min, max]."""
    return self.copy_(clamp(self, min, max))


def clamp_min(input, min):
    """Values not below min."""
    return ops.clamp(input, min, None)


def clamp_max(input, max):
    """Values not above max."""
    return ops.clamp(input, None, max)


def where(condition, input=None, other=None):
    """input where the condition holds, else other; with the condition alone, its true places."""
    if input is None and other is None:
        from .reduce import nonzero

        return nonzero(condition, as_tuple=True)
    return ops.where(condition, input, other)


def masked_fill(input, mask, value):
    """value where the mask holds."""
    return ops.masked_fill(input, mask, value)


def masked_fill_(self, mask, value):
    """In place: value where the mask holds."""
    return self.copy_(masked_fill(self, mask, value))


def gelu(input, approximate="none"):
    """x * Phi(x), exact or with the tanh approximation."""
    if approximate == "tanh":
        return ops.gelu_tanh(input)
    if approximate != "none":
        raise ValueError(f"[gelu] bad approximate: expected 'none' or 'tanh', got {approximate!r}")
    return ops.gelu(input)


def isclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """True where the two differ by at most atol + rtol * |other|."""
    if not input.is_floating_point():
        input, other = input.double(), other.double()
    near = (input == other) | (((input - other).abs() <= atol + rtol * other.abs()) & ops.isfinite(other))
    return near | (ops.isnan(input) & ops.isnan(other)) if equal_nan else near


def allclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """True if all elements are close."""
    return bool_of(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input, other):
    """True if shapes and all elements are equal."""
    return tuple(input.shape) == tuple(other.shape) and bool_of((input == other).all())


def bool_of(t):
    """A one-element tensor as a Python bool."""
    return _py.bool(t.item())
