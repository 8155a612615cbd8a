// flatten: a run of axes as one.
#include "ops/api.h"

namespace suan {

OpDef op_def_flatten() {
  OpDef d{.name = "flatten",
          .doc = "Axes start_dim to end_dim (both included) merged into one.",
          .inputs = {{"input"}}};
  d.attrs = {{"start_dim", AttrKind::integer, int64_t(0)},
             {"end_dim", AttrKind::integer, int64_t(-1)}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    if (c[0].rank() == 0) return {ops::reshape(c[0], {1})};
    const int from = normalize_axis("flatten", c.attrs.integer(0), c[0].rank());
    const int to = normalize_axis("flatten", c.attrs.integer(1), c[0].rank());
    if (from > to)
      fail<ValueError>("flatten", "axes out of order: expected start_dim <= end_dim, got {} and {}",
                       from, to);
    Shape s;
    for (int i = 0; i < c[0].rank(); ++i) {
      if (i > from && i <= to) s.back() *= c[0].dim(i);
      else s.push_back(c[0].dim(i));
    }
    return {ops::reshape(c[0], s)};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {}},
                               {{{{3, 5, 7, 2}}}, {I(1), I(2)}, "inner axes"},
                               {{{{}}}, {}, "0-d"},
                               {{{{0, 4}}}, {}, "no elements"}};
  };
  return d;
}

}  // namespace suan
