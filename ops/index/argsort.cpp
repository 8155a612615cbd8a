// argsort: the order of an axis.
#include "ops/api.h"

namespace suan {

OpDef op_def_argsort() {
  OpDef d{.name = "argsort",
          .doc =
              "Positions that put dim in ascending (or descending) order; equal values keep their "
              "order.",
          .inputs = {{"input", arithmetic_types}}};
  d.attrs = {{"dim", AttrKind::integer, int64_t(-1)}, {"descending", AttrKind::boolean, false}};
  d.no_grad = "the result is positions";
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {apply_all(SUAN_OP("sort"), {c[0]}, c.attrs)[1]};
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 9}, Fill::distinct}}},
                               {{{{5, 7}, Fill::distinct}}, {I(0), true}, "descending"}};
  };
  return d;
}

}  // namespace suan
