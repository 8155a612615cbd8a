// int8_mul: the product of two 8-bit integers of different scales.
#include "ops/quant/int8_pairs.h"

namespace suan {
namespace {

using namespace ops;

std::vector<TensorType> infer(const InferContext& c) { return int8_pair_types(c, 1); }

Tensors compose(const ComposeContext& c) { return {int8_stored(c, int8_centred(c, 0) * int8_centred(c, 1) * c[4], 5)}; }

std::vector<Sample> samples() {
  const DType u = DType::u8, i = DType::i8;
  const auto x = int8_sample;
  const SampleInput none{.shape = {}, .absent = true}, scale = int8_ratio(0.003, 0.01);
  return {{{x({2, 5, 7, 70}, u), x({2, 5, 7, 70}, i), x({}, u), x({}, i), scale, x({}, u)}, {u}},
          {{x({2, 3, 4, 37}, i), x({2, 1, 1, 37}, i), x({}, i), none, scale, none}, {i}, "one a channel"},
          {{x({3, 1, 4}, u), x({3, 5, 1}, u), none, none, scale, x({}, u)}, {u}, "spread"},
          {.in = {x({3}, u), x({4}, u), none, none, scale, none}, .attrs = {u}, .error = "broadcast"}};
}

}  // namespace

OpDef op_def_int8_mul() {
  return {.name = "int8_mul",
          .doc = "round((a - a_zero) * (b - b_zero) * scale) + out_zero of 8-bit integers that broadcast, saturated to u8 or i8 (dtype); scale is "
                 "a's times b's over the result's.",
          .inputs = {{"a", bytes_types, Arity::required, 1}, {"b", bytes_types, Arity::required, 2},
                     {"a_zero", bytes_types, Arity::optional, 1}, {"b_zero", bytes_types, Arity::optional, 2},
                     {"scale", f32_type, Arity::required, 3}, {"out_zero", bytes_types, Arity::optional, 4}},
          .attrs = {{"dtype", AttrKind::dtype, DType::u8}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its inputs are integers",
          .samples = samples};
}

}  // namespace suan
