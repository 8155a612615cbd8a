// int8_add: the sum of two 8-bit integers of different scales.
#include "ops/quant/int8_pairs.h"

namespace suan {
namespace {

using namespace ops;

std::vector<TensorType> infer(const InferContext& c) { return int8_pair_types(c, 2); }

Tensors compose(const ComposeContext& c) {
  return {int8_stored(c, int8_centred(c, 0) * c[4] + int8_centred(c, 1) * c[5], 6)};
}

std::vector<Sample> samples() {
  const DType u = DType::u8, i = DType::i8;
  const auto x = int8_sample;
  const SampleInput none{.shape = {}, .absent = true}, ratio = int8_ratio(0.3, 0.9);
  return {{{x({2, 5, 7, 70}, u), x({2, 5, 7, 70}, u), x({}, u), x({}, u), ratio, ratio, x({}, u)}, {u}},
          {{x({2, 3, 4, 37}, i), x({2, 1, 1, 37}, i), x({}, i), x({}, i), ratio, ratio, x({}, i)}, {i}, "one a channel"},
          {{x({3, 4}, u), x({}, u), none, none, ratio, ratio, none}, {i}, "one number"},
          {{x({3, 1, 4}, u), x({3, 5, 1}, i), none, none, ratio, ratio, x({}, u)}, {u}, "spread"},
          {.in = {x({3}, u), x({3}, u), x({3}, u), none, ratio, ratio, none}, .attrs = {u}, .error = "does not fit"}};
}

}  // namespace

OpDef op_def_int8_add() {
  return {.name = "int8_add",
          .doc = "round((a - a_zero) * a_scale + (b - b_zero) * b_scale) + out_zero of 8-bit integers that broadcast, saturated to u8 or "
                 "i8 (dtype); scales are those of a and b over the result's.",
          .inputs = {{"a", bytes_types, Arity::required, 1}, {"b", bytes_types, Arity::required, 2},
                     {"a_zero", bytes_types, Arity::optional, 1}, {"b_zero", bytes_types, Arity::optional, 2},
                     {"a_scale", f32_type, Arity::required, 3}, {"b_scale", f32_type, Arity::required, 3},
                     {"out_zero", bytes_types, Arity::optional, 4}},
          .attrs = {{"dtype", AttrKind::dtype, DType::u8}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its inputs are integers",
          .samples = samples};
}

}  // namespace suan
