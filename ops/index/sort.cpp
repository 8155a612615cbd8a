// sort: an axis in order.
#include "ops/api.h"

namespace suan {

OpDef op_def_sort() {
  OpDef d{.name = "sort",
          .doc =
              "The elements along dim in ascending (or descending) order and where they came from; "
              "equal values keep their order, NaN counts as largest.",
          .inputs = {{"input", arithmetic_types}}};
  d.attrs = {{"dim", AttrKind::integer, int64_t(-1)}, {"descending", AttrKind::boolean, false}};
  d.outputs = {"values", "indices"};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int axis = normalize_axis("sort", c.attrs.integer(0), c[0].rank());
    const int64_t n = c[0].rank() ? c[0].dim(axis) : 1;
    return apply_all(SUAN_OP("topk"), {c[0]}, {n, int64_t(axis), c.attrs.boolean(1), true});
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{
        {{{{3, 9}, Fill::distinct}}},
        {{{{5, 7}, Fill::integers, 0, 3}}, {I(0), true}, "descending, with ties", false},
        {{{{0}}}, {}, "no elements"}};
  };
  return d;
}

}  // namespace suan
