// std: standard deviation over axes.
#include "ops/api.h"

namespace suan {

OpDef op_def_std() {
  OpDef d{.name = "std",
          .doc = "Square root of var, with its attributes.",
          .inputs = {{"input", floating_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}},
             {"correction", AttrKind::integer, int64_t(1)},
             {"keepdim", AttrKind::boolean, false}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {ops::sqrt(apply(SUAN_OP("var"), {c[0]}, c.attrs))};
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{1}}},
                               {{{{3, 5, 7}}}, {Dims{0, 2}, I(0), true}, "kept"}};
  };
  return d;
}

}  // namespace suan
