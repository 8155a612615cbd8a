// dropout: zeroes elements at random and scales up the others (Srivastava et al. 2014).
#include "ops/nn/common.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& x = c[0];
  const double p = c.attrs.real(0);
  if (!(p >= 0 && p <= 1))
    fail<ValueError>("dropout", "wrong probability: expected 0 to 1, got {}", p);
  if (!c.attrs.boolean(1) || p == 0) return {x};
  if (p == 1) return {x * 0.0};
  const Tensor bits = apply(SUAN_OP("random_bits"), {c[1]}, {x.shape()});
  const Tensor kept =
      ge(bits, Tensor::scalar_int(int64_t(p * 4294967296.0), DType::u32, x.device()));
  return {where(kept, x * (1 / (1 - p)), number(0, x))};
}

}  // namespace

OpDef op_def_dropout() {
  return {
      .name = "dropout",
      .doc = "In training each element becomes 0 with probability p, else x / (1 - p); otherwise "
             "x. state [2] u64 holds the generator's seed and offset and is only read: who owns "
             "it advances it.",
      .inputs = {{"x", floating_types}, {"state", dtype_bit(DType::u64), Arity::required, 2}},
      .attrs = {{"p", AttrKind::real, 0.5}, {"training", AttrKind::boolean, true}},
      .flags = op_random,
      .compose = compose};
}

}  // namespace suan
