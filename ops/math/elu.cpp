// elu: exponential below zero.
#include "ops/api.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& x = c[0];
  const Tensor zero = number(0, x);
  // The exponential sees no positive value, so that its unused half cannot overflow.
  const Tensor low = apply(SUAN_OP("expm1"), {where(gt(x, zero), zero, x)}) * c.attrs.real(0);
  return {where(gt(x, zero), x, low)};
}

std::vector<Sample> samples() {
  return {{{{{3, 5, 7}}}, {1.0}},
          {{{{}}}, {1.0}, "0-d"},
          {{{{0, 4}}}, {1.0}, "no elements"},
          {{{{33}}}, {0.5}, "other settings"}};
}

}  // namespace

OpDef op_def_elu() {
  OpDef d{.name = "elu",
          .doc = "x where positive, else alpha * (exp(x) - 1).",
          .inputs = {{"x", floating_types}}};
  d.attrs = {{"alpha", AttrKind::real, 1.0}};
  d.compose = compose;
  d.samples = samples;
  d.onnx_name = "Elu";
  d.onnx_since = 6;
  return d;
}

}  // namespace suan
