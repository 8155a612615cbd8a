// quantize: floats as 8-bit integers of a given scale and zero point.
#include "ops/quant/int8.h"

namespace suan {
namespace {

using namespace ops;

std::vector<TensorType> infer(const InferContext& c) {
  const DType to = c.attrs.dtype(0);
  if (!contains(bytes_types, to)) c.fail<TypeError>("wrong result dtype: expected u8 or i8, got {}", brief(to));
  if (c.shape(1) != Shape{} || (c.has(2) && (c.shape(2) != Shape{} || c.dtype(2) != to)))
    c.fail<ShapeError>("scale or zero does not fit: expected one f32 and one {}, got {} and {}", brief(to), to_string(c[1]),
                       c.has(2) ? to_string(c[2]) : "none");
  return {{to, c.shape(0), c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  const Tensor q = apply(SUAN_OP("round"), {c[0] / c[1]});
  return {saturated(c.has(2) ? q + cast(c[2], DType::f32) : q, c.attrs.dtype(0))};
}

std::vector<Sample> samples() {
  const SampleInput x{.shape = {5, 7, 9}, .fill = Fill::uniform, .lo = -3, .hi = 3, .dtype = DType::f32, .grad = false};
  const SampleInput s{.shape = {}, .fill = Fill::uniform, .lo = 0.01, .hi = 0.03, .dtype = DType::f32, .grad = false};
  const SampleInput z{.shape = {}, .fill = Fill::integers, .lo = 0, .hi = 256, .dtype = DType::u8};
  const SampleInput none{.shape = {}, .absent = true};
  return {{{x, s, z}, {DType::u8}}, {{x, s, none}, {DType::i8}, "no zero"}, {.in = {x, s, z}, .attrs = {DType::i8}, .error = "does not fit"}};
}

}  // namespace

OpDef op_def_quantize() {
  return {.name = "quantize",
          .doc = "x f32 as u8 or i8 (dtype): round(x / scale) + zero, ties to even, saturated; one scale [] f32 and one zero [] of the "
                 "result's dtype.",
          .inputs = {{"x", f32_type}, {"scale", f32_type}, {"zero", bytes_types, Arity::optional, 2}},
          .attrs = {{"dtype", AttrKind::dtype, DType::u8}},
          .infer = infer,
          .compose = compose,
          .no_grad = "the result is integers",
          .samples = samples};
}

}  // namespace suan
