// int8_lookup: any function of one 8-bit integer, as a table.
#include "ops/quant/int8_windows.h"

namespace suan {
namespace {

using namespace ops;

std::vector<TensorType> infer(const InferContext& c) {
  if (c.shape(1) != Shape{256}) c.fail<ShapeError>("table does not fit: expected [256], got {}", to_string(c[1]));
  return {{c.dtype(1), c.shape(0), c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  Tensor at = cast(c[0], DType::i64);
  at = where(lt(at, Tensor::scalar_int(0, DType::i64)), at + Tensor::scalar_int(256, DType::i64), at);
  return {reshape(apply(SUAN_OP("index_select"), {c[1], reshape(at, {at.numel()})}, {int64_t(0)}), c[0].shape())};
}

std::vector<Sample> samples() {
  const DType u = DType::u8, i = DType::i8;
  return {{{int8_sample({5, 7, 9}, u), int8_sample({256}, i)}}, {{int8_sample({130}, i), int8_sample({256}, u)}, {}, "signed"},
          {.in = {int8_sample({3}, u), int8_sample({255}, u)}, .error = "table does not fit"}};
}

}  // namespace

OpDef op_def_int8_lookup() {
  return {.name = "int8_lookup",
          .doc = "table[x] of x u8, or x i8 with 256 added to negative ones: any function of one 8-bit value. table [256] u8 or i8.",
          .inputs = {{"x", bytes_types}, {"table", bytes_types, Arity::required, 2}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its inputs are integers",
          .samples = samples};
}

}  // namespace suan
