// bmm: matmul restricted to equal batches.
#include "ops/api.h"

namespace suan {

OpDef op_def_bmm() {
  OpDef d{
      .name = "bmm",
      .doc = "Batched matrix product without broadcasting: [b, m, k] by [b, k, n] gives [b, m, n].",
      .inputs = {{"a", arithmetic_types}, {"b", arithmetic_types}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const Shape &a = c[0].shape(), &b = c[1].shape();
    if (a.size() != 3 || b.size() != 3 || a[0] != b[0])
      fail<ShapeError>("bmm", "wrong shapes: expected [b, m, k] and [b, k, n], got {} and {}",
                       to_string(c[0].type()), to_string(c[1].type()));
    return {ops::matmul(c[0], c[1])};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 4, 5}}, {{3, 5, 2}}}},
                               {{{{0, 4, 5}}, {{0, 5, 2}}}, {}, "no batches"},
                               {.in = {{{3, 4, 5}}, {{2, 5, 2}}}, .error = "wrong shapes"}};
  };
  return d;
}

}  // namespace suan
