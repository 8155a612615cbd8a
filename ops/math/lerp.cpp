// lerp: x + weight * (y - x), with the weight as a tensor that broadcasts.
#include "ops/api.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &x = c[0], &y = c[1], &weight = c[2];
  return {x + weight * (y - x)};
}

std::vector<Sample> samples() {
  return {{{{{3, 5, 7}}, {{3, 5, 7}}, {{3, 5, 7}}}},
          {{{{4, 6}}, {{6}}, {{}}}, {}, "broadcast"},
          {{{{0, 4}}, {{0, 4}}, {{}}}, {}, "no elements"},
          {{{{}}, {{}}, {{}}}, {}, "0-d"}};
}

}  // namespace

OpDef op_def_lerp() {
  OpDef d{.name = "lerp",
          .doc = "x + weight * (y - x); all three broadcast.",
          .inputs = {{"x", floating_types}, {"y", floating_types}, {"weight", floating_types}}};
  d.compose = compose;
  d.samples = samples;
  return d;
}

}  // namespace suan
