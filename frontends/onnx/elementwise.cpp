// Element-wise operators.
#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

// An operator that is an op of Suan as it stands.
#define SUAN_SAME1(onnx_name, since, op_name) \
  {onnx_name, since, [](Call& c) -> Values { return {apply(SUAN_OP(op_name), {c[0]})}; }}
#define SUAN_SAME2(onnx_name, since, op_name) \
  {onnx_name, since, [](Call& c) -> Values { return {apply(SUAN_OP(op_name), {c[0], c[1]})}; }}

// Before version 7 a smaller second operand was laid along `axis` on request.
Tensor old_broadcast(Call& c) {
  Tensor b = c[1];
  if (!c.integer("broadcast", 0) || !c.has_attr("axis")) return b;
  const int axis = c.axis(c.integer("axis"), c[0].rank());
  Shape s = b.shape();
  while (s.size() < c[0].rank() - axis) s.push_back(1);
  return reshape(b, s);
}
#define SUAN_OLD2(onnx_name, op_name) \
  {onnx_name, 1, [](Call& c) -> Values { return {apply(SUAN_OP(op_name), {c[0], old_broadcast(c)})}; }}

// Integers divide towards zero, unlike floor_divide: from the quotient of absolute values.
Tensor divide(Call&, const Tensor& a, const Tensor& b) {
  if (is_floating(a.dtype())) return div(a, b);
  if (is_unsigned_int(a.dtype())) return floor_divide(a, b);
  return floor_divide(a - apply(SUAN_OP("fmod"), {a, b}), b);
}

Values build_mod(Call& c) {
  return {apply(c.integer("fmod", 0) ? SUAN_OP("fmod") : SUAN_OP("remainder"), {c[0], c[1]})};
}

Values build_pow(Call& c) {
  const Tensor &x = c[0], &y = c[1];
  if (x.dtype() == y.dtype()) return {pow(x, y)};
  if (is_floating(x.dtype())) return {pow(x, cast(y, x.dtype()))};
  if (is_floating(y.dtype())) return {cast(pow(cast(x, DType::f64), cast(y, DType::f64)), x.dtype())};
  return {pow(x, cast(y, x.dtype()))};
}

template <class F>
Values over_all(Call& c, F f) {
  Tensor out = c[0];
  for (int i = 1; i < c.n_in(); ++i) out = f(out, c[i]);
  return {out};
}

Values build_clip(Call& c) {
  Tensor lo, hi;
  const Tensor& x = c[0];
  if (c.version() < 11) {
    if (c.has_attr("min")) lo = number(c.real("min"), x);
    if (c.has_attr("max")) hi = number(c.real("max"), x);
  } else {
    if (c.has(1)) lo = as_scalar(c, c[1]);
    if (c.has(2)) hi = as_scalar(c, c[2]);
  }
  Tensor out = x;
  if (lo) out = maximum(out, lo);
  if (hi) out = minimum(out, hi);
  return {out};
}

// f16 and bf16 run in f32 where several steps would each round.
template <class F>
Values in_single(Call& c, F f) {
  const Tensor& x = c[0];
  const bool narrow = x.dtype() == DType::f16 || x.dtype() == DType::bf16;
  return {cast(f(narrow ? cast(x, DType::f32) : x), x.dtype())};
}

Values build_elu(Call& c) {
  const double alpha = c.real("alpha", 1.0);
  return in_single(c, [&](const Tensor& x) { return where(gt(x, number(0, x)), x, apply(SUAN_OP("expm1"), {x}) * alpha); });
}
Values build_celu(Call& c) {
  const double alpha = c.real("alpha", 1.0);
  return in_single(c, [&](const Tensor& x) {
    return where(gt(x, number(0, x)), x, apply(SUAN_OP("expm1"), {x / alpha}) * alpha);
  });
}
Values build_selu(Call& c) {
  const bool old = c.version() < 6;
  const double alpha = c.real("alpha", old ? double(1.6732f) : 1.67326319217681884765625),
               gamma = c.real("gamma", old ? double(1.0507f) : 1.05070102214813232421875);
  return in_single(c, [&](const Tensor& x) {
    return where(gt(x, number(0, x)), x * gamma, apply(SUAN_OP("expm1"), {x}) * (alpha * gamma));
  });
}
Values build_leaky_relu(Call& c) {
  const double alpha = c.real("alpha", 0.01);
  const Tensor& x = c[0];
  return {where(lt(x, number(0, x)), x * alpha, x)};
}
Values build_prelu(Call& c) {
  const Tensor& x = c[0];
  Tensor slope = c[1];
  if (c.version() < 7 && slope.rank() == 1 && x.rank() > 2) {
    Shape s = Dims::filled(x.rank() - 1, 1);
    s[0] = slope.dim(0);
    slope = reshape(slope, s);
  }
  return {where(lt(x, scalar_like(0, x)), x * slope, x)};
}
Values build_thresholded_relu(Call& c) {
  const Tensor& x = c[0];
  return {where(gt(x, number(c.real("alpha", 1.0), x)), x, number(0, x))};
}
Tensor unit_clamp(const Tensor& x) { return minimum(maximum(x, number(0, x)), number(1, x)); }
Values build_hard_sigmoid(Call& c) {
  const double alpha = c.real("alpha", 0.2), beta = c.real("beta", 0.5);
  return in_single(c, [&](const Tensor& x) { return unit_clamp(x * alpha + beta); });
}
Values build_hard_swish(Call& c) {
  return in_single(c, [](const Tensor& x) { return x * unit_clamp(x * (1.0 / 6) + 0.5); });
}
Values build_softplus(Call& c) { return in_single(c, [](const Tensor& x) { return apply(SUAN_OP("softplus"), {x}, {1.0, 20.0}); }); }
Values build_softsign(Call& c) { return in_single(c, [](const Tensor& x) { return x / (abs(x) + 1.0); }); }
Values build_mish(Call& c) {
  return in_single(c, [](const Tensor& x) { return x * tanh(apply(SUAN_OP("softplus"), {x}, {1.0, 20.0})); });
}
Values build_swish(Call& c) {
  const double alpha = c.real("alpha", 1.0);
  return in_single(c, [&](const Tensor& x) { return alpha == 1.0 ? apply(SUAN_OP("silu"), {x}) : x * sigmoid(x * alpha); });
}
Values build_gelu(Call& c) {
  return {apply(c.string("approximate", "none") == "tanh" ? SUAN_OP("gelu_tanh") : SUAN_OP("gelu"), {c[0]})};
}
Values build_shrink(Call& c) {
  const Tensor& x = c[0];
  const double bias = c.real("bias", 0.0), lambd = c.real("lambd", 0.5);
  const Tensor zero = scalar_like(0, x), b = scalar_like(bias, x);
  auto edge = [&](double v) { return is_floating(x.dtype()) ? cast(number(v, Tensor::scalar(0, DType::f32)), x.dtype()) : Tensor(); };
  Tensor below, above;
  if (is_floating(x.dtype())) {
    below = lt(x, edge(-lambd));
    above = gt(x, edge(lambd));
  } else {
    const Tensor f = cast(x, DType::f64);
    below = lt(f, number(-lambd, f));
    above = gt(f, number(lambd, f));
  }
  return {where(below, x + b, where(above, x - b, zero))};
}
Values build_asinh(Call& c) {
  return in_single(c, [](const Tensor& x) {
    const Tensor a = abs(x);
    return sign(x) * apply(SUAN_OP("log1p"), {a + a * a / (sqrt(a * a + 1.0) + 1.0)});
  });
}
Values build_acosh(Call& c) {
  return in_single(c, [](const Tensor& x) { return log(x + sqrt((x - 1.0) * (x + 1.0))); });
}
Values build_atanh(Call& c) {
  return in_single(c, [](const Tensor& x) {
    return (apply(SUAN_OP("log1p"), {x}) - apply(SUAN_OP("log1p"), {-x})) * 0.5;
  });
}

Values build_bit_shift(Call& c) {
  return {apply(c.string("direction") == "LEFT" ? SUAN_OP("left_shift") : SUAN_OP("right_shift"), {c[0], c[1]})};
}
Values build_is_inf(Call& c) {
  const Tensor& x = c[0];
  const bool up = c.integer("detect_positive", 1), down = c.integer("detect_negative", 1);
  Tensor inf = apply(SUAN_OP("isinf"), {x}), positive = gt(x, number(0, x));
  if (up && down) return {inf};
  if (!up && !down) return {logical_and(inf, Tensor::scalar_int(0, DType::boolean))};
  return {logical_and(inf, up ? positive : logical_not(positive))};
}

Values build_equal(Call& c) { return {eq(c[0], c[1])}; }

}  // namespace

std::vector<Mapping> elementwise_ops() {
  return {
      SUAN_SAME1("Abs", 1, "abs"), SUAN_SAME1("Acos", 7, "acos"), {"Acosh", 9, build_acosh}, SUAN_OLD2("Add", "add"),
      SUAN_SAME2("Add", 7, "add"), SUAN_OLD2("And", "logical_and"), SUAN_SAME2("And", 7, "logical_and"),
      SUAN_SAME1("Asin", 7, "asin"), {"Asinh", 9, build_asinh}, SUAN_SAME1("Atan", 7, "atan"), {"Atanh", 9, build_atanh},
      {"BitShift", 11, build_bit_shift}, SUAN_SAME2("BitwiseAnd", 18, "bitwise_and"),
      SUAN_SAME1("BitwiseNot", 18, "bitwise_not"), SUAN_SAME2("BitwiseOr", 18, "bitwise_or"),
      SUAN_SAME2("BitwiseXor", 18, "bitwise_xor"), SUAN_SAME1("Ceil", 1, "ceil"), {"Celu", 12, build_celu}, {"Clip", 1, build_clip}, SUAN_SAME1("Cos", 7, "cos"),
      SUAN_SAME1("Cosh", 9, "cosh"),
      {"Div", 1, [](Call& c) -> Values { return {divide(c, c[0], old_broadcast(c))}; }},
      {"Div", 7, [](Call& c) -> Values { return {divide(c, c[0], c[1])}; }}, {"Elu", 1, build_elu},
      {"Equal", 1, [](Call& c) -> Values { return {eq(c[0], old_broadcast(c))}; }}, {"Equal", 7, build_equal},
      SUAN_SAME1("Erf", 9, "erf"), SUAN_SAME1("Exp", 1, "exp"), SUAN_SAME1("Floor", 1, "floor"), {"Gelu", 20, build_gelu},
      SUAN_OLD2("Greater", "gt"), SUAN_SAME2("Greater", 7, "gt"), SUAN_SAME2("GreaterOrEqual", 12, "ge"),
      {"HardSigmoid", 1, build_hard_sigmoid}, {"HardSwish", 14, build_hard_swish}, {"IsInf", 10, build_is_inf},
      SUAN_SAME1("IsNaN", 9, "isnan"), {"LeakyRelu", 1, build_leaky_relu}, SUAN_OLD2("Less", "lt"),
      SUAN_SAME2("Less", 7, "lt"), SUAN_SAME2("LessOrEqual", 12, "le"), SUAN_SAME1("Log", 1, "log"),
      {"Max", 1, [](Call& c) { return over_all(c, maximum); }},
      {"Mean", 1, [](Call& c) -> Values { return {over_all(c, add)[0].tensor() / double(c.n_in())}; }},
      {"Min", 1, [](Call& c) { return over_all(c, minimum); }}, {"Mish", 18, build_mish}, {"Mod", 10, build_mod},
      SUAN_OLD2("Mul", "mul"), SUAN_SAME2("Mul", 7, "mul"), SUAN_SAME1("Neg", 1, "neg"), SUAN_SAME1("Not", 1, "logical_not"),
      SUAN_OLD2("Or", "logical_or"), SUAN_SAME2("Or", 7, "logical_or"), {"PRelu", 1, build_prelu}, SUAN_OLD2("Pow", "pow"),
      {"Pow", 7, build_pow},
      SUAN_SAME1("Reciprocal", 1, "reciprocal"), SUAN_SAME1("Relu", 1, "relu"), SUAN_SAME1("Round", 11, "round"),
      {"Selu", 1, build_selu}, {"Shrink", 9, build_shrink}, SUAN_SAME1("Sigmoid", 1, "sigmoid"), SUAN_SAME1("Sign", 9, "sign"),
      SUAN_SAME1("Sin", 7, "sin"), SUAN_SAME1("Sinh", 9, "sinh"), {"Softplus", 1, build_softplus},
      {"Softsign", 1, build_softsign}, SUAN_SAME1("Sqrt", 1, "sqrt"), SUAN_OLD2("Sub", "sub"), SUAN_SAME2("Sub", 7, "sub"),
      {"Sum", 1, [](Call& c) { return over_all(c, add); }}, {"Swish", 24, build_swish}, SUAN_SAME1("Tan", 7, "tan"),
      SUAN_SAME1("Tanh", 1, "tanh"), {"ThresholdedRelu", 10, build_thresholded_relu},
      {"Where", 9, [](Call& c) -> Values { return {select(c[0], c[1], c[2])}; }}, SUAN_OLD2("Xor", "logical_xor"),
      SUAN_SAME2("Xor", 7, "logical_xor"),
  };
}

}  // namespace suan::onnx
