// unsqueeze: a new axis of size 1.
#include "ops/api.h"

namespace suan {

OpDef op_def_unsqueeze() {
  OpDef d{.name = "unsqueeze",
          .doc = "A view with a new axis of size 1 at dim.",
          .inputs = {{"input"}}};
  d.attrs = {{"dim", AttrKind::integer}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {ops::unsqueeze(c[0], c.attrs.integer(0))};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{
        {{{{3, 5, 7}}}, {I(1)}}, {{{{3, 5}}}, {I(-1)}, "last"}, {{{{}}}, {I(0)}, "0-d"}};
  };
  return d;
}

}  // namespace suan
