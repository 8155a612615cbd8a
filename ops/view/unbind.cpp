// unbind: every index of an axis.
#include "ops/api.h"

namespace suan {

OpDef op_def_unbind() {
  OpDef d{.name = "unbind",
          .doc = "One view per position along dim, without that axis.",
          .inputs = {{"input"}}};
  d.attrs = {{"dim", AttrKind::integer, int64_t(0)}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int axis = normalize_axis("unbind", c.attrs.integer(0), c[0].rank());
    if (c[0].rank() == 0)
      fail<ShapeError>("unbind", "no axis: expected at least one, got a 0-d tensor");
    Tensors out;
    for (int64_t i = 0; i < c[0].dim(axis); ++i)
      out.push_back(apply(SUAN_OP("select"), {c[0]}, {int64_t(axis), i}));
    return out;
  };
  d.vjp = [](VjpContext& c) {
    if (!c.needs(0)) return;
    if (c.out_types.empty()) return c.set(0, ops::zeros(*c.in_types[0]));
    const int axis = normalize_axis("unbind", c.attrs.integer(0), c.shape(0).size());
    Tensors parts;
    for (int j = 0; j < int(c.out_types.size()); ++j) parts.push_back(c.grad_or_zeros(j));
    c.set(0, apply(SUAN_OP("stack"), parts, {int64_t(axis)}));
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {I(1)}}, {{{{4}}}, {}, "to 0-d"}};
  };
  return d;
}

}  // namespace suan
