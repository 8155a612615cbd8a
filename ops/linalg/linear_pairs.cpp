// linear_pairs: linear of bf16 with a weight whose neighbours along k lie side by side, for constants.
#include "ops/api.h"

namespace suan {
namespace {

constexpr int64_t block = 16;
constexpr DTypeSet bf16_only = dtype_bit(DType::bf16), f32_only = dtype_bit(DType::f32);

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  if (x.empty() || w.size() != 4 || w[2] != block || w[3] != 2 || 2 * w[1] != x.back())
    c.fail<ShapeError>("weight does not fit: expected [out / 16, in / 2, 16, 2] of the inputs of {}, got {}", to_string(c[0]),
                       to_string(c[1]));
  if (c.has(2) && c.shape(2) != Shape{w[0] * block})
    c.fail<ShapeError>("bias does not fit: expected [{}], got {}", w[0] * block, to_string(c[2]));
  Shape out = x;
  out.back() = w[0] * block;
  return {{c.dtype(0), out, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor w = reshape(permute(c[1], {0, 2, 1, 3}), {c[1].dim(0) * block, 2 * c[1].dim(1)});
  const Tensor y = apply(SUAN_OP("linear"), {cast(c[0], DType::f32), cast(contiguous(w), DType::f32), c.has(2) ? c[2] : Tensor()});
  return {cast(y, DType::bf16)};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const auto bias = [](int64_t n) { return SampleInput{.shape = {n}, .dtype = DType::f32}; };
  return {{{{{2, 3, 10}}, {{2, 5, 16, 2}}, bias(32)}}, {{{{40, 18}}, {{5, 9, 16, 2}}, none}, {}, "no bias"},
          {{{{300, 6}}, {{7, 3, 16, 2}}, bias(112)}, {}, "many rows"}, {{{{8}}, {{1, 4, 16, 2}}, bias(16)}, {}, "one row"},
          {{{{0, 8}}, {{1, 4, 16, 2}}, none}, {}, "no rows"},
          {.in = {{{2, 3}}, {{1, 4, 16, 2}}, none}, .error = "weight does not fit"}};
}

}  // namespace

OpDef op_def_linear_pairs() {
  return {.name = "linear_pairs",
          .doc = "linear of bfloat16, summed in float32 and rounded once: x [..., in], weight [out / 16, in / 2, 16, 2] (two inputs "
                 "side by side for each of 16 outputs), bias float32 [out], result [..., out]. The passes put it where a weight "
                 "is constant and the processor multiplies pairs fast.",
          .inputs = {{"x", bf16_only}, {"weight", bf16_only}, {"bias", f32_only, Arity::optional, 2}},
          .infer = infer,
          .compose = compose,
          .no_grad = "the passes make it, for inference",
          .cost = [](const InferContext& c) {
            return Cost{2.0 * double(numel(c.shape(0))) * double(c.shape(1)[0] * block), 0};
          },
          .samples = samples};
}

}  // namespace suan
