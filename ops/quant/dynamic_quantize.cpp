// dynamic_quantize: floats as u8, with a scale and a zero point from their own range.
#include "ops/quant/int8.h"

namespace suan {
namespace {

using namespace ops;

std::vector<TensorType> infer(const InferContext& c) {
  return {{DType::u8, c.shape(0), c[0].device}, {DType::f32, {}, c[0].device}, {DType::u8, {}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  const Tensor &x = c[0], zero = number(0, x);
  Tensor hi = zero, lo = zero;
  if (x.numel() > 0) {
    hi = maximum(apply(SUAN_OP("max"), {x}), zero);
    lo = minimum(apply(SUAN_OP("min"), {x}), zero);
  }
  Tensor scale = (hi - lo) / 255.0;
  scale = where(eq(scale, zero), number(1, x), scale);
  const Tensor point = minimum(maximum(apply(SUAN_OP("round"), {neg(lo) / scale}), zero), number(255, x));
  return {saturated(apply(SUAN_OP("round"), {x / scale}) + point, DType::u8), scale, cast(point, DType::u8)};
}

std::vector<Sample> samples() {
  const auto f = [](Shape s, double lo, double hi) { return SampleInput{.shape = s, .fill = Fill::uniform, .lo = lo, .hi = hi, .dtype = DType::f32, .grad = false}; };
  return {{{f({3, 171}, -2, 3)}}, {{f({40}, 1, 2)}, {}, "above zero"}, {{f({2, 3}, 0, 0)}, {}, "zeros"}};
}

}  // namespace

OpDef op_def_dynamic_quantize() {
  return {.name = "dynamic_quantize",
          .doc = "x f32 as u8 with scale [] f32 = (max - min) / 255, the range taken to hold 0 (1 where all of x is 0), and zero [] u8: "
                 "out = round(x / scale) + zero, ties to even, saturated.",
          .inputs = {{"x", f32_type}},
          .outputs = {"out", "scale", "zero"},
          .infer = infer,
          .compose = compose,
          .no_grad = "the result is integers",
          .samples = samples,
          .onnx_name = "DynamicQuantizeLinear",
          .onnx_since = 11};
}

}  // namespace suan
