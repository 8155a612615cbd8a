// leaky_relu: a small slope below zero.
#include "ops/api.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& x = c[0];
  return {where(gt(x, number(0, x)), x, x * c.attrs.real(0))};
}

std::vector<Sample> samples() {
  return {{{{{3, 5, 7}}}, {0.01}},
          {{{{}}}, {0.01}, "0-d"},
          {{{{0, 4}}}, {0.01}, "no elements"},
          {{{{33}}}, {0.2}, "other settings"}};
}

}  // namespace

OpDef op_def_leaky_relu() {
  OpDef d{.name = "leaky_relu",
          .doc = "x where positive, else negative_slope * x.",
          .inputs = {{"x", floating_types}}};
  d.attrs = {{"negative_slope", AttrKind::real, 0.01}};
  d.compose = compose;
  d.samples = samples;
  d.onnx_name = "LeakyRelu";
  d.onnx_since = 6;
  return d;
}

}  // namespace suan
