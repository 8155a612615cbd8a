// int8_mean: the mean of each channel's 8-bit integers, as one of another scale.
#include "ops/quant/int8_pairs.h"

namespace suan {
namespace {

using namespace ops;

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& x = c.shape(0);
  if (x.size() != 4 || x[1] * x[2] == 0)
    c.fail<ShapeError>("wrong shape: expected x [batch, height, width, channels] with an image, got {}", to_string(c[0]));
  for (int i = 1; i < 4; ++i)
    if (c.has(i) && (c.shape(i) != Shape{} || (i == 1 && c.dtype(1) != c.dtype(0)) || (i == 3 && c.dtype(3) != c.attrs.dtype(0))))
      c.fail<ShapeError>("{} does not fit: expected one number, got {}", c.op.inputs[size_t(i)].name, to_string(c[i]));
  if (!contains(bytes_types, c.attrs.dtype(0))) c.fail<TypeError>("wrong result dtype: expected u8 or i8, got {}", brief(c.attrs.dtype(0)));
  return {{c.attrs.dtype(0), {x[0], 1, 1, x[3]}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  const Tensor& x = c[0];
  const int64_t n = x.dim(1) * x.dim(2);
  Tensor total = cast(sum(cast(x, DType::i32), {1, 2}, true), DType::i32);
  if (c.has(1)) total = total - cast(c[1], DType::i32) * Tensor::scalar_int(n, DType::i32);
  return {int8_stored(c, cast(total, DType::f32) * (c[2] * (1.0 / double(n))), 3)};
}

std::vector<Sample> samples() {
  const DType u = DType::u8, i = DType::i8;
  const SampleInput none{.shape = {}, .absent = true}, scale = int8_ratio(0.5, 2);
  return {{{int8_sample({2, 3, 5, 70}, u), int8_sample({}, u), scale, int8_sample({}, u)}, {u}},
          {{int8_sample({1, 4, 2, 9}, i), none, scale, none}, {i}, "signed, no zero"},
          {.in = {int8_sample({2, 3, 5}, u), none, scale, none}, .attrs = {u}, .error = "wrong shape"}};
}

}  // namespace

OpDef op_def_int8_mean() {
  return {.name = "int8_mean",
          .doc = "round((mean over height and width of x - x_zero) * scale) + out_zero, saturated to u8 or i8 (dtype): x [batch, height, width, "
                 "channels] u8 or i8, sums exact; [batch, 1, 1, channels].",
          .inputs = {{"x", bytes_types}, {"x_zero", bytes_types, Arity::optional}, {"scale", f32_type, Arity::required, 2},
                     {"out_zero", bytes_types, Arity::optional, 3}},
          .attrs = {{"dtype", AttrKind::dtype, DType::u8}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its inputs are integers",
          .samples = samples};
}

}  // namespace suan
