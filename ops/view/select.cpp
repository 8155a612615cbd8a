// select: one index of an axis.
#include "ops/api.h"

namespace suan {

OpDef op_def_select() {
  OpDef d{
      .name = "select",
      .doc = "A view of position index along dim, without that axis; negative counts from the end.",
      .inputs = {{"input"}}};
  d.attrs = {{"dim", AttrKind::integer}, {"index", AttrKind::integer}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int axis = normalize_axis("select", c.attrs.integer(0), c[0].rank());
    if (c[0].rank() == 0)
      fail<IndexError>("select", "no axis: expected at least one, got a 0-d tensor");
    int64_t i = c.attrs.integer(1), size = c[0].dim(axis);
    if (i < -size || i >= size)
      fail<IndexError>("select", "index out of range: expected {} to {} on axis {}, got {}", -size,
                       size - 1, axis, i);
    if (i < 0) i += size;
    Shape s = c[0].shape();
    s.erase(axis);
    return {ops::reshape(ops::slice(c[0], axis, i, i + 1), s)};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {I(1), I(2)}},
                               {{{{6, 4}}}, {I(0), I(-1)}, "from the end"},
                               {{{{3}}}, {I(0), I(1)}, "to 0-d"}};
  };
  return d;
}

}  // namespace suan
