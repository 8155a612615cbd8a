// masked_fill: a number where the mask is true.
#include "ops/api.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  return {where(c[1], c[2], c[0])};
}

std::vector<Sample> samples() {
  auto mask = [](Shape s) {
    SampleInput in{s, Fill::boolean};
    in.dtype = DType::boolean;
    in.grad = false;
    return in;
  };
  return {{{{{3, 5, 7}}, mask({3, 5, 7}), {{}}}},
          {{{{4, 6}}, mask({6}), {{}}}, {}, "broadcast mask"},
          {{{{0, 4}}, mask({0, 4}), {{}}}, {}, "no elements"},
          {{{{}}, mask({}), {{}}}, {}, "0-d"}};
}

}  // namespace

OpDef op_def_masked_fill() {
  OpDef d{.name = "masked_fill",
          .doc = "value where the mask is true, else x. The value is a 0-d tensor; the mask broadcasts.",
          .inputs = {{"x", stored_types}, {"mask", bool_type, Arity::required, 0}, {"value", stored_types}}};
  d.compose = compose;
  d.samples = samples;
  return d;
}

}  // namespace suan
