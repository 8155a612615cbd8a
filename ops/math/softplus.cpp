// softplus: a smooth relu, log(1 + exp(beta x)) / beta.
#include "ops/api.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const double beta = c.attrs.real(0), threshold = c.attrs.real(1);
  const Tensor& x = c[0];
  const Tensor scaled = beta == 1 ? x : x * beta;
  // Cannot overflow, and its gradient is right at 0 too, where maximum gives half.
  const Tensor soft =
      apply(SUAN_OP("log1p"), {exp(-abs(scaled))}) + maximum(scaled, number(0, x));
  return {where(gt(scaled, number(threshold, x)), x, beta == 1 ? soft : soft / beta)};
}

std::vector<Sample> samples() {
  return {{{{{3, 5, 7}}}, {1.0, 20.0}},
          {{{{}}}, {1.0, 20.0}, "0-d"},
          {{{{0, 4}}}, {1.0, 20.0}, "no elements"},
          {{{{33}}}, {2.0, 1.0}, "other settings"}};
}

}  // namespace

OpDef op_def_softplus() {
  OpDef d{.name = "softplus",
          .doc = "log(1 + exp(beta * x)) / beta; x itself where beta * x is above the threshold.",
          .inputs = {{"x", floating_types}}};
  d.attrs = {{"beta", AttrKind::real, 1.0}, {"threshold", AttrKind::real, 20.0}};
  d.compose = compose;
  d.samples = samples;
  d.onnx_name = "Softplus";
  d.onnx_since = 1;
  return d;
}

}  // namespace suan
