// count_nonzero: how many elements are not zero.
#include "ops/api.h"

namespace suan {

OpDef op_def_count_nonzero() {
  OpDef d{.name = "count_nonzero",
          .doc = "The number of non-zero elements over the given axes (all when empty), in int64.",
          .inputs = {{"input", all_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}}};
  d.no_grad = "the result is a count";
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {ops::sum(ops::ne(c[0], ops::number(0, c[0])), c.attrs.dims(0))};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}, Fill::integers, 0, 2}}, {Dims{1}}},
                               {{{{4, 6}, Fill::integers, 0, 2}}, {}, "all"}};
  };
  return d;
}

}  // namespace suan
