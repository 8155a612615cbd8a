// Random numbers. A node with a seed draws the same ones in each run; one without, others each time.
#include <bit>
#include <cmath>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

Tensor state_of(Call& c) {
  if (!c.has_attr("seed")) return apply(SUAN_OP("random_state"), {});
  const uint64_t state[] = {std::bit_cast<uint64_t>(c.real("seed")), 0};
  return Tensor::from<uint64_t>(state, {2});
}

// In [0, 1): 24 bits in f32, 53 in f64.
Tensor uniform(Call& c, const Shape& shape, DType work) {
  const bool wide = work == DType::f64;
  const int64_t n = numel(shape);
  const Tensor bits = apply(SUAN_OP("random_bits"), {state_of(c)}, {Dims{wide ? 2 : 1, n}});
  auto row = [&](int64_t k, int64_t drop) {
    return cast(apply(SUAN_OP("right_shift"), {slice(bits, 0, k, k + 1), Tensor::scalar_int(drop, DType::u32)}), work);
  };
  return reshape(wide ? (row(0, 6) * 134217728.0 + row(1, 5)) * 0x1p-53 : row(0, 8) * 0x1p-24, shape);
}

// Box and Muller 1958.
Tensor normal(Call& c, const Shape& shape, DType work) {
  const int64_t n = numel(shape), half = (n + 1) / 2;
  const Tensor u = uniform(c, {2, half}, work);
  const Tensor radius = sqrt(log(1.0 - slice(u, 0, 0, 1)) * -2.0), angle = slice(u, 0, 1, 2) * (2 * M_PI);
  const Tensor both = apply(SUAN_OP("cat"), {radius * cos(angle), radius * sin(angle)}, {int64_t(0)});
  return reshape(slice(reshape(both, {2 * half}), 0, 0, n), shape);
}

DType floating_attr(Call& c, DType fallback) {
  const DType t = c.has_attr("dtype") ? dtype_of_onnx(int(c.integer("dtype"))) : fallback;
  if (!is_floating(t)) c.fail<TypeError>("wrong dtype: expected a floating one, got {}", name(t));
  return t;
}
DType working(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }
Shape given_shape(Call& c) {
  const Shape s = to_dims(c, c.ints("shape"));
  for (int64_t d : s)
    if (d < 0) c.fail<ShapeError>("negative size: expected 0 or more, got {}", d);
  numel(s);  // refuses what overflows
  return s;
}

Values uniform_node(Call& c, const Shape& s, DType t) {
  const double low = c.real("low", 0.0), high = c.real("high", 1.0);
  return {cast(uniform(c, s, working(t)) * (high - low) + low, t)};
}
Values normal_node(Call& c, const Shape& s, DType t) {
  return {cast(normal(c, s, working(t)) * c.real("scale", 1.0) + c.real("mean", 0.0), t)};
}
Values build_uniform(Call& c) { return uniform_node(c, given_shape(c), floating_attr(c, DType::f32)); }
Values build_uniform_like(Call& c) { return uniform_node(c, c[0].shape(), floating_attr(c, c[0].dtype())); }
Values build_normal(Call& c) { return normal_node(c, given_shape(c), floating_attr(c, DType::f32)); }
Values build_normal_like(Call& c) { return normal_node(c, c[0].shape(), floating_attr(c, c[0].dtype())); }

Values build_bernoulli(Call& c) {
  const Tensor p = cast(c[0], working(c[0].dtype()));
  return {cast(lt(uniform(c, p.shape(), p.dtype()), p), c.has_attr("dtype") ? dtype_of_onnx(int(c.integer("dtype"))) : c[0].dtype())};
}

// Input: logarithms of weights, [batch, classes]. How many classes end at or before a draw is the class drawn.
Values build_multinomial(Call& c) {
  const Tensor x = cast(c[0], working(c[0].dtype()));
  const int64_t n = c.integer("sample_size", 1);
  if (x.rank() != 2 || x.dim(1) < 1) c.fail<ShapeError>("expected [batch, classes], got {}", to_string(c[0].type()));
  if (n < 1 || n > longest_axis) c.fail<ValueError>("wrong sample_size: expected 1 to {}, got {}", longest_axis, n);
  const Tensor weight = exp(x - apply(SUAN_OP("max"), {x}, {Dims{1}, true}));
  const Tensor ends = apply(SUAN_OP("cumsum"), {weight}, {int64_t(1)});
  const Tensor draws = uniform(c, {x.dim(0), n}, x.dtype()) * slice(ends, 1, x.dim(1) - 1, x.dim(1));
  const Tensor passed = sum(cast(le(unsqueeze(ends, 1), unsqueeze(draws, 2)), DType::i64), {2});
  return {cast(minimum(passed, number(double(x.dim(1) - 1), passed)), dtype_of_onnx(int(c.integer("dtype", 6))))};
}

}  // namespace

std::vector<Mapping> random_ops() {
  return {
      {"Bernoulli", 15, build_bernoulli},
      {"Multinomial", 7, build_multinomial},
      {"RandomNormal", 1, build_normal},
      {"RandomNormalLike", 1, build_normal_like},
      {"RandomUniform", 1, build_uniform},
      {"RandomUniformLike", 1, build_uniform_like},
  };
}

}  // namespace suan::onnx
