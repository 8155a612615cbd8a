// outer: every product of two vectors' elements.
#include "ops/api.h"

namespace suan {

OpDef op_def_outer() {
  OpDef d{.name = "outer",
          .doc = "Outer product of two vectors: [n] and [m] give [n, m].",
          .inputs = {{"a", arithmetic_types}, {"b", arithmetic_types}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    if (c[0].rank() != 1 || c[1].rank() != 1)
      fail<ShapeError>("outer", "wrong rank: expected two vectors, got {} and {}",
                       to_string(c[0].type()), to_string(c[1].type()));
    return {ops::mul(ops::unsqueeze(c[0], 1), c[1])};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3}}, {{5}}}},
                               {{{{0}}, {{5}}}, {}, "empty"},
                               {.in = {{{3, 1}}, {{5}}}, .error = "wrong rank"}};
  };
  return d;
}

}  // namespace suan
