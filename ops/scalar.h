// The element-wise ops: one row each. A row holds the scalar expression (over the prelude of
// kernels/cpu/lib/math.h; the same text serves CUDA), the gradient, and all that the op table needs.
//
//   R1(name, types, result, cost, expression, gradient, domain, onnx, since, doc)
//   R2(name, types, result, cost, expression, gradient x, gradient y, domain, onnx, since, doc)
//
// types:    fp = floating; num = floating and integer; ints; bits = integer and bool; any
// result:   same = the operands' dtype; truth = bool
// cost:     arithmetic operations per element, for plans and for cutting work
// expression: of x and y; k(c) is the constant c in the operands' type; select(mask, a, b)
// gradient: Tensor expressions of g (gradient of the output), x, y, out; none() where there is none.
//           A value is kept for backward only if the expression names it.
// domain:   where samples are drawn from (see ops/scalar.cpp)
#pragma once

#define SUAN_ROWS_UNARY_BASIC(R1)                                                                   \
  R1(neg, num, same, 1, -x, -g, normal, "Neg", 6, "-x; unsigned integers wrap.")                    \
  R1(abs, num, same, 1, abs(x), g * sign(x), normal, "Abs", 6, "|x|.")                              \
  R1(sign, num, same, 1, select(x > k(0), k(1), select(x < k(0), k(-1), x)), zero(x), normal,       \
     "Sign", 9, "-1, 0 or 1; NaN stays NaN.")                                                       \
  R1(sqrt, fp, same, 2, sqrt(x), g * 0.5 / out, positive, "Sqrt", 6, "Square root.")                \
  R1(rsqrt, fp, same, 3, rsqrt(x), g * -0.5 * (out * out * out), positive, nullptr, 0,              \
     "1 / sqrt(x).")                                                                                \
  R1(reciprocal, fp, same, 2, k(1) / x, -g * (out * out), positive, "Reciprocal", 6, "1 / x.")      \
  R1(square, num, same, 1, x * x, g * 2.0 * x, normal, nullptr, 0, "x * x.")                        \
  R1(relu, num, same, 1, select(x < k(0), k(0), x), row("relu_grad", g, out), normal, "Relu", 6,    \
     "max(x, 0); NaN stays NaN.")                                                                   \
  R1(floor, fp, same, 1, floor(x), zero(x), normal, "Floor", 6, "Largest integer not above x.")     \
  R1(ceil, fp, same, 1, ceil(x), zero(x), normal, "Ceil", 6, "Smallest integer not below x.")       \
  R1(round, fp, same, 1, round(x), zero(x), normal, "Round", 11, "Nearest integer, ties to even.")  \
  R1(trunc, fp, same, 1, trunc(x), zero(x), normal, nullptr, 0, "Integer part, towards zero.")      \
  R1(isnan, fp, truth, 1, x != x, none(), normal, "IsNaN", 9, "True where x is NaN.")               \
  R1(isinf, fp, truth, 1, abs(x) == k(INFINITY), none(), normal, "IsInf", 10,                       \
     "True where x is an infinity.")                                                                \
  R1(isfinite, fp, truth, 1, abs(x) < k(INFINITY), none(), normal, nullptr, 0,                      \
     "True where x is neither NaN nor an infinity.")                                                \
  R1(logical_not, any, truth, 1, x == k(0), none(), truths, "Not", 1, "True where x is zero.")      \
  R1(bitwise_not, bits, same, 1, ~x, none(), truths, "BitwiseNot", 18,                              \
     "Every bit flipped; logical not on bool.")

#define SUAN_ROWS_UNARY_MATH(R1)                                                                    \
  R1(exp, fp, same, 8, exp(x), g * out, normal, "Exp", 6, "e to the power x.")                      \
  R1(exp2, fp, same, 8, exp2(x), g * out * 0.69314718055994531, normal, nullptr, 0,                 \
     "2 to the power x.")                                                                           \
  R1(expm1, fp, same, 16, expm1(x), g * (out + 1.0), normal, nullptr, 0,                            \
     "exp(x) - 1, accurate near 0.")                                                                \
  R1(log, fp, same, 8, log(x), g / x, positive, "Log", 6, "Natural logarithm.")                     \
  R1(log1p, fp, same, 16, log1p(x), g / (x + 1.0), positive, nullptr, 0,                            \
     "log(1 + x), accurate near 0.")                                                                \
  R1(log2, fp, same, 16, log2(x), g * 1.4426950408889634 / x, positive, nullptr, 0,                 \
     "Logarithm to base 2.")                                                                        \
  R1(log10, fp, same, 16, log10(x), g * 0.43429448190325183 / x, positive, nullptr, 0,              \
     "Logarithm to base 10.")                                                                       \
  R1(sin, fp, same, 16, sin(x), g * cos(x), normal, "Sin", 7, "Sine of x in radians.")              \
  R1(cos, fp, same, 16, cos(x), -g * sin(x), normal, "Cos", 7, "Cosine of x in radians.")           \
  R1(tan, fp, same, 16, tan(x), g * (out * out + 1.0), unit, "Tan", 7, "Tangent of x in radians.")  \
  R1(tanh, fp, same, 8, tanh(x), row("tanh_grad", g, out), normal, "Tanh", 6,                       \
     "Hyperbolic tangent.")                                                                         \
  R1(sinh, fp, same, 16, sinh(x), g * cosh(x), normal, "Sinh", 9, "Hyperbolic sine.")               \
  R1(cosh, fp, same, 16, cosh(x), g * sinh(x), normal, "Cosh", 9, "Hyperbolic cosine.")             \
  R1(asin, fp, same, 16, asin(x), g * rsqrt(1.0 - x * x), unit, "Asin", 7, "Arc sine.")             \
  R1(acos, fp, same, 16, acos(x), -g * rsqrt(1.0 - x * x), unit, "Acos", 7, "Arc cosine.")          \
  R1(atan, fp, same, 16, atan(x), g / (x * x + 1.0), normal, "Atan", 7, "Arc tangent.")             \
  R1(erf, fp, same, 8, erf(x), g * 1.1283791670955126 * exp(-(x * x)), normal, "Erf", 9,            \
     "Error function.")                                                                             \
  R1(sigmoid, fp, same, 8, sigmoid(x), row("sigmoid_grad", g, out), normal, "Sigmoid", 6,           \
     "1 / (1 + exp(-x)).")                                                                          \
  R1(silu, fp, same, 8, x * sigmoid(x), row("silu_grad", g, x), normal, "Swish", 24,                \
     "x * sigmoid(x).")                                                                             \
  R1(gelu, fp, same, 12, k(0.5) * x * (k(1) + erf(x * k(0.70710678118654752))),                     \
     row("gelu_grad", g, x), normal, "Gelu", 20, "x * Phi(x), Phi the normal distribution.")        \
  R1(gelu_tanh, fp, same, 12,                                                                       \
     k(0.5) * x * (k(1) + tanh(x * fma(x * x, k(0.035677408136300125), k(0.79788456080286536)))),   \
     row("gelu_tanh_grad", g, x), normal, nullptr, 0,                                               \
     "The tanh approximation of gelu: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).")

#define SUAN_ROWS_BINARY_BASIC(R2)                                                                  \
  R2(add, num, same, 1, x + y, g, g, normal, "Add", 7, "x + y; integers wrap.")                     \
  R2(sub, num, same, 1, x - y, g, -g, normal, "Sub", 7, "x - y; integers wrap.")                    \
  R2(mul, num, same, 1, x * y, g * y, g * x, normal, "Mul", 7, "x * y; integers wrap.")             \
  R2(div, fp, same, 2, x / y, g / y, -(g * out / y), positive, "Div", 7,                            \
     "x / y on floating types; integers are cast by the caller, or use floor_divide.")              \
  R2(maximum, any, same, 1, max(x, y), where(eq(x, y), g * 0.5, where(lt(x, y), zero(g), g)),       \
     where(eq(x, y), g * 0.5, where(gt(x, y), zero(g), g)), normal, "Max", 8,                       \
     "The larger of x and y; NaN if either is. Equal operands share the gradient.")                 \
  R2(minimum, any, same, 1, min(x, y), where(eq(x, y), g * 0.5, where(gt(x, y), zero(g), g)),       \
     where(eq(x, y), g * 0.5, where(lt(x, y), zero(g), g)), normal, "Min", 8,                       \
     "The smaller of x and y; NaN if either is. Equal operands share the gradient.")                \
  R2(bitwise_and, bits, same, 1, x & y, none(), none(), truths, "BitwiseAnd", 18, "x & y.")         \
  R2(bitwise_or, bits, same, 1, x | y, none(), none(), truths, "BitwiseOr", 18, "x | y.")           \
  R2(bitwise_xor, bits, same, 1, x ^ y, none(), none(), truths, "BitwiseXor", 18, "x ^ y.")         \
  R2(left_shift, ints, same, 1, left_shift(x, y), none(), none(), shifts, nullptr, 0,               \
     "x << y; 0 where y is negative or at least the width.")                                        \
  R2(right_shift, ints, same, 1, right_shift(x, y), none(), none(), shifts, nullptr, 0,             \
     "x >> y, sign kept; all sign bits where y is negative or at least the width.")                 \
  R2(tanh_grad, fp, same, 3, x * (k(1) - y * y), row("tanh_grad", g, y), g * x * y * -2.0, normal,  \
     nullptr, 0, "Gradient of tanh: x is the output's gradient, y the output.")                     \
  R2(sigmoid_grad, fp, same, 3, x * y * (k(1) - y), row("sigmoid_grad", g, y),                      \
     g * x * (1.0 - y * 2.0), normal, nullptr, 0,                                                   \
     "Gradient of sigmoid: x is the output's gradient, y the output.")                              \
  R2(relu_grad, num, same, 1, select(y > k(0), x, k(0)), row("relu_grad", g, y), zero(y), normal,   \
     nullptr, 0, "Gradient of relu: x where y, relu's input or output, is positive, else 0.")

#define SUAN_ROWS_BINARY_COMPARE(R2)                                                                \
  R2(eq, any, truth, 1, x == y, none(), none(), small, "Equal", 7, "x == y.")                       \
  R2(ne, any, truth, 1, x != y, none(), none(), small, nullptr, 0, "x != y.")                       \
  R2(lt, any, truth, 1, x < y, none(), none(), small, "Less", 7, "x < y.")                          \
  R2(le, any, truth, 1, x <= y, none(), none(), small, "LessOrEqual", 12, "x <= y.")                \
  R2(gt, any, truth, 1, x > y, none(), none(), small, "Greater", 7, "x > y.")                       \
  R2(ge, any, truth, 1, x >= y, none(), none(), small, "GreaterOrEqual", 12, "x >= y.")             \
  R2(logical_and, any, truth, 1, (x != k(0)) & (y != k(0)), none(), none(), truths, "And", 7,       \
     "True where both are non-zero.")                                                               \
  R2(logical_or, any, truth, 1, (x != k(0)) | (y != k(0)), none(), none(), truths, "Or", 7,         \
     "True where either is non-zero.")                                                              \
  R2(logical_xor, any, truth, 1, (x != k(0)) ^ (y != k(0)), none(), none(), truths, "Xor", 7,       \
     "True where one of the two is non-zero.")

#define SUAN_ROWS_BINARY_MATH(R2)                                                                   \
  R2(floor_divide, num, same, 16, floor_divide(x, y), zero(x), zero(y), positive, nullptr, 0,       \
     "floor(x / y); an integer divided by 0 gives 0.")                                              \
  R2(remainder, num, same, 16, remainder(x, y), g, -g * floor_divide(x, y), positive, "Mod", 10,    \
     "x - y * floor(x / y), the sign of y, as Python's %; an integer modulo 0 gives 0.")            \
  R2(fmod, num, same, 16, fmod(x, y), g, -g * trunc(x / y), positive, nullptr, 0,                   \
     "x - y * trunc(x / y), the sign of x, as C's fmod; an integer modulo 0 gives 0.")              \
  R2(pow, num, same, 32, pow(x, y), where(eq(y, zero(y)), zero(g), g * (y * pow(x, y - 1.0))),      \
     where(logical_and(eq(x, zero(x)), ge(y, zero(y))), zero(g), g * (out * log(x))), positive,     \
     "Pow", 7, "x to the power y; a negative integer power is 0 unless x is 1 or -1.")              \
  R2(atan2, fp, same, 24, atan2(x, y), g * (y / (x * x + y * y)), -g * (x / (x * x + y * y)),       \
     normal, nullptr, 0, "Angle of the point (y, x): x is the ordinate, as torch.atan2.")           \
  R2(silu_grad, fp, same, 12, x * sigmoid(y) * (k(1) + y * (k(1) - sigmoid(y))),                    \
     row("silu_grad", g, y), g * x * silu_second(y), normal, nullptr, 0,                            \
     "Gradient of silu: x is the output's gradient, y the input.")                                  \
  R2(gelu_grad, fp, same, 24,                                                                       \
     x * (k(0.5) * (k(1) + erf(y * k(0.70710678118654752))) +                                       \
          y * k(0.39894228040143268) * exp(k(-0.5) * y * y)),                                       \
     row("gelu_grad", g, y), g * x * gelu_second(y), normal, nullptr, 0,                            \
     "Gradient of gelu: x is the output's gradient, y the input.")                                  \
  R2(gelu_tanh_grad, fp, same, 24,                                                                  \
     x * k(0.5) *                                                                                   \
         (k(1) + tanh(y * fma(y * y, k(0.035677408136300125), k(0.79788456080286536)))) *           \
         (k(1) +                                                                                    \
          y * (k(1) - tanh(y * fma(y * y, k(0.035677408136300125), k(0.79788456080286536)))) *      \
              fma(y * y, k(0.10703222440890037), k(0.79788456080286536))),                          \
     row("gelu_tanh_grad", g, y), g * x * gelu_tanh_second(y), normal, nullptr, 0,                  \
     "Gradient of gelu_tanh: x is the output's gradient, y the input.")

#define SUAN_ROWS_UNARY(R1) SUAN_ROWS_UNARY_BASIC(R1) SUAN_ROWS_UNARY_MATH(R1)
#define SUAN_ROWS_BINARY(R2) \
  SUAN_ROWS_BINARY_BASIC(R2) SUAN_ROWS_BINARY_COMPARE(R2) SUAN_ROWS_BINARY_MATH(R2)

// Three rows have an interface of their own and are written out in ops/scalar.cpp: cast (attribute
// "to"), where (a bool operand) and clamp (optional bounds). Their expressions:
#define SUAN_ROWS_TERNARY(R3)                          \
  R3(where, any, 1, select(x, y, z))                   \
  R3(clamp, num, 2, min(max(x, y), z))

#include <vector>

#include "core/op.h"

namespace suan {

// Definitions of all rows, for the op table.
std::vector<OpDef> scalar_op_definitions();

}  // namespace suan
