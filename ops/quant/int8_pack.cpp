// int8_pack: the weight of int8_matmul as its kernel reads it.
#include "ops/quant/int8.h"

namespace suan {
namespace {

using namespace ops;

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& w = c.shape(0);
  if (w.size() != 2) c.fail<ShapeError>("wrong rank: expected weight [k, n], got {}", to_string(c[0]));
  return {{DType::i8, {(w[1] + int8_panel_columns - 1) / int8_panel_columns, (w[0] + 3) / 4 + 1, int8_panel_columns, 4}, c[0].device}};
}

std::vector<Sample> samples() {
  const auto whole = [](Shape s, DType t) { return SampleInput{.shape = s, .fill = Fill::integers, .lo = t == DType::u8 ? 0.0 : -128.0, .hi = t == DType::u8 ? 256.0 : 128.0, .dtype = t}; };
  return {{{whole({9, 45}, DType::i8)}}, {{whole({16, 64}, DType::u8)}, {}, "unsigned"}, {{whole({0, 3}, DType::i8)}, {}, "no rows"},
          {.in = {whole({3}, DType::i8)}, .error = "wrong rank"}};
}

}  // namespace

OpDef op_def_int8_pack() {
  return {.name = "int8_pack",
          .doc = "A weight [k, n] of int8_matmul, packed: [panels, k / 4 + 1, 32, 4] i8. A panel has for each four of k the four values "
                 "of its 32 columns side by side, zeros beyond the weight, then the columns' sums in 32 bits (low byte first). u8 is "
                 "lowered by 128.",
          .inputs = {{"weight", bytes_types}},
          .infer = infer,
          .no_grad = "its input is integers",
          .samples = samples};
}

}  // namespace suan
