// narrow: a range of one axis.
#include "ops/api.h"

namespace suan {

OpDef op_def_narrow() {
  OpDef d{.name = "narrow",
          .doc = "A view of length elements from start along dim.",
          .inputs = {{"input"}}};
  d.attrs = {
      {"dim", AttrKind::integer}, {"start", AttrKind::integer}, {"length", AttrKind::integer}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int axis = normalize_axis("narrow", c.attrs.integer(0), c[0].rank());
    if (c[0].rank() == 0)
      fail<ShapeError>("narrow", "no axis: expected at least one, got a 0-d tensor");
    int64_t start = c.attrs.integer(1), length = c.attrs.integer(2), size = c[0].dim(axis);
    if (start < 0) start += size;
    if (start < 0 || length < 0 || start > size - length)
      fail<IndexError>("narrow",
                       "range outside the axis: expected it inside {}, got start {} and length {}",
                       size, c.attrs.integer(1), length);
    return {ops::slice(c[0], axis, start, start + length)};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {I(1), I(1), I(3)}},
                               {{{{6, 4}}}, {I(0), I(-2), I(2)}, "from the end"}};
  };
  return d;
}

}  // namespace suan
