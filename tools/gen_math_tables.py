"""Derives the polynomial coefficients and tables of kernels/cpu/lib/math_tables.h with mpmath.

Each polynomial interpolates its function at Chebyshev nodes in 60 digits and is then rounded,
coefficient by coefficient.  Usage: python tools/gen_math_tables.py > kernels/cpu/lib/math_tables.h
"""

import struct

import mpmath as mp

mp.mp.dps = 60


def f32(value):
    return struct.unpack("f", struct.pack("f", float(value)))[0]


def fit(function, low, high, degree):
    """Coefficients, lowest first, of the interpolant on the Chebyshev nodes of [low, high]."""
    low, high = mp.mpf(low), mp.mpf(high)
    count = degree + 1
    nodes = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count))
             for i in range(count)]
    matrix = mp.matrix(count, count)
    for i, x in enumerate(nodes):
        for j in range(count):
            matrix[i, j] = x**j
    return list(mp.lu_solve(matrix, mp.matrix([function(x) for x in nodes])))


def literal(value, kind):
    return f"{f32(value).hex()}f" if kind == "float" else float(value).hex()


def wrap(items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > 98:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join(lines + [line])


def emit(name, values, kind, comment):
    print(f"// {comment}")
    print(f"alignas(64) inline constexpr {kind} {name}[{len(values)}] = {{")
    print(wrap([literal(v, kind) for v in values]).rstrip(",") + "};\n")


def fit_rest(function, start, width, degree):
    """Least squares, in relative error, of d * poly(d) on what float(function(start)) leaves over."""
    base = mp.mpf(f32(function(start)))
    count = 12 * degree
    matrix, rest = mp.matrix(count, degree + 1), mp.matrix(count, 1)
    for i in range(count):
        d = width / 2 * (1 + mp.cos(mp.pi * (2 * i + 1) / (2 * count)))
        value = function(start + d)
        rest[i] = (value - base) / value
        for j in range(degree + 1):
            matrix[i, j] = d**(j + 1) / value
    return list(mp.lu_solve(matrix, rest))


def emit_piecewise(name, function, offset, bits, degree, comment):
    """function(c + d) = value[i] + d * poly_i(d): |x| + offset picks the interval [c, c + width)
    by its exponent and first `bits` mantissa bits, i being the low five of them, so c = 0 starts
    the first.  The last row is c itself."""
    rows = [None] * 32
    octave = int(mp.floor(mp.log(offset, 2)))
    first = int((mp.mpf(offset) / mp.mpf(2)**octave - 1) * (1 << bits))
    for interval in range(first, first + 32):
        exponent, step = octave + (interval >> bits), interval % (1 << bits)
        width = mp.mpf(2)**(exponent - bits)
        start = mp.mpf(2)**exponent + step * width - offset

        index = (((exponent + 127) << bits) + step) % 32
        rows[index] = [function(start)] + fit_rest(function, start, width, degree - 1) + [start]
    print(f"// {comment}")
    print(f"alignas(64) inline constexpr float {name}[{degree + 2}][32] = {{")
    for k in range(degree + 2):
        print("    {")
        print(wrap([literal(row[k], "float") for row in rows]).rstrip(",") + "},")
    print("};\n")


print("""// Coefficients of the vector prelude, lowest power first. Written by tools/gen_math_tables.py.
#pragma once

namespace suan::cpu::tables {
""")

half_ln2 = mp.log(2) / 2 * mp.mpf("1.001")
emit_piecewise("kErf", mp.erf, mp.mpf("1.5"), 4, 4,
               "erf from c, intervals of |x| + 1.5 by exponent and 4 bits")
emit_piecewise("kTanh", mp.tanh, 1, 3, 5,
               "tanh from c, intervals of |x| + 1 by exponent and 3 bits")
emit("kExp", [1, 1] + fit(lambda r: mp.fsum(r**k / mp.factorial(k + 2) for k in range(40)),
                          -half_ln2, half_ln2, 4), "float", "exp(r), |r| <= ln(2) / 2")
emit("kExp2", [1] + fit(lambda r: (mp.mpf(2)**r - 1) / r, mp.mpf("-0.5005"), mp.mpf("0.5005"), 5),
     "float", "2^r, |r| <= 1 / 2")


def log_tail(f):
    return mp.fsum((-1)**k * f**k / (k + 3) for k in range(200))


emit("kLog", fit(log_tail, mp.mpf(-1) / 3, mp.mpf(1) / 3, 8), "float",
     "(log(1 + f) - f + f^2 / 2) / f^3, |f| <= 1 / 3")
emit("kExpF64", [1, 1] + fit(lambda r: mp.fsum(r**k / mp.factorial(k + 2) for k in range(40)),
                             -half_ln2, half_ln2, 8), "double", "exp(r), |r| <= ln(2) / 2")
emit("kLogF64", fit(lambda z: mp.atanh(mp.sqrt(z)) / mp.sqrt(z), 0, mp.mpf("0.0401"), 8), "double",
     "atanh(s) / s in s^2, |s| <= 1 / 5")
quarter = (mp.pi / 4)**2 * mp.mpf("1.01")
emit("kSinF64", fit(lambda z: mp.sin(mp.sqrt(z)) / mp.sqrt(z), 0, quarter, 6), "double",
     "sin(r) / r in r^2, |r| <= pi / 4")
emit("kCosF64", fit(lambda z: mp.cos(mp.sqrt(z)), 0, quarter, 6), "double",
     "cos(r) in r^2, |r| <= pi / 4")
emit("kAtanF64", fit(lambda z: mp.atan(mp.sqrt(z)) / mp.sqrt(z), 0,
                     mp.mpf("0.41422")**2, 8), "double",
     "atan(t) / t in t^2, |t| <= tan(pi / 8)")
print("}  // namespace suan::cpu::tables")
