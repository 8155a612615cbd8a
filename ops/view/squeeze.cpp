// squeeze: axes of size 1 dropped.
#include "ops/api.h"

namespace suan {

OpDef op_def_squeeze() {
  OpDef d{.name = "squeeze",
          .doc = "A view without the axes of size 1 among dims (all of them when dims is empty).",
          .inputs = {{"input"}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const Dims& dims = c.attrs.dims(0);
    Shape keep;
    unsigned drop = dims.empty() ? ~0u : 0;
    for (int64_t a : dims) drop |= 1u << normalize_axis("squeeze", a, c[0].rank());
    for (int i = 0; i < c[0].rank(); ++i)
      if (!(drop >> i & 1) || c[0].dim(i) != 1) keep.push_back(c[0].dim(i));
    return {ops::reshape(c[0], keep)};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 1, 7, 1}}}, {}},
                               {{{{3, 1, 7, 1}}}, {Dims{1, 2}}, "only some"},
                               {{{{}}}, {}, "0-d"},
                               {{{{0, 1}}}, {Dims{-1}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
