// stack: tensors joined along a new axis.
#include "ops/api.h"

namespace suan {

OpDef op_def_stack() {
  OpDef d{.name = "stack",
          .doc = "The tensors, all of one shape, along a new axis at dim.",
          .inputs = {{"tensors", moved_types, Arity::variadic}}};
  d.attrs = {{"dim", AttrKind::integer, int64_t(0)}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    if (c.in.empty()) fail<ValueError>("stack", "no tensors: expected at least one, got none");
    Tensors parts;
    for (const Tensor& t : c.in) {
      if (t.shape() != c[0].shape())
        fail<ShapeError>("stack", "shapes differ: expected {}, got {}", to_string(c[0].shape()),
                         to_string(t.shape()));
      parts.push_back(ops::unsqueeze(t, c.attrs.integer(0)));
    }
    const int axis = normalize_axis("stack", c.attrs.integer(0), c[0].rank() + 1);
    return {apply(SUAN_OP("cat"), parts, {int64_t(axis)})};
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}, {{3, 5, 7}}}, {I(1)}},
                               {{{{4}}, {{4}}, {{4}}}, {I(-1)}, "last"},
                               {{{{}}, {{}}}, {I(0)}, "0-d"}};
  };
  return d;
}

}  // namespace suan
