// transpose: two axes swapped.
#include "ops/api.h"

namespace suan {

OpDef op_def_transpose() {
  OpDef d{
      .name = "transpose", .doc = "A view with axes dim0 and dim1 swapped.", .inputs = {{"input"}}};
  d.attrs = {{"dim0", AttrKind::integer}, {"dim1", AttrKind::integer}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {ops::transpose(c[0], c.attrs.integer(0), c.attrs.integer(1))};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {I(0), I(2)}},
                               {{{{4, 6}}}, {I(-1), I(-2)}, "negative axes"},
                               {{{{0, 4}}}, {I(0), I(1)}, "no elements"}};
  };
  return d;
}

}  // namespace suan
