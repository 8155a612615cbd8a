// addcdiv: x + value * a / b, with the value as an attribute.
#include "ops/api.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const double value = c.attrs.real(0);
  const Tensor change = c[1] / c[2];
  return {c[0] + (value == 1 ? change : change * value)};
}

std::vector<Sample> samples() {
  SampleInput b{{3, 5, 7}, Fill::positive}, row{{6}, Fill::positive};
  SampleInput none{{0, 4}, Fill::positive}, scalar{{}, Fill::positive};
  return {{{{{3, 5, 7}}, {{3, 5, 7}}, b}, {1.0}},
          {{{{4, 6}}, {{4, 1}}, row}, {-0.5}, "broadcast"},
          {{{{0, 4}}, {{0, 4}}, none}, {2.0}, "no elements"},
          {{{{}}, {{}}, scalar}, {2.0}, "0-d"}};
}

}  // namespace

OpDef op_def_addcdiv() {
  OpDef d{.name = "addcdiv",
          .doc = "x + value * a / b; the three tensors broadcast.",
          .inputs = {{"x", floating_types}, {"a", floating_types}, {"b", floating_types}}};
  d.attrs = {{"value", AttrKind::real, 1.0}};
  d.compose = compose;
  d.samples = samples;
  return d;
}

}  // namespace suan
