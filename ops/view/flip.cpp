// flip: axes reversed.
#include "ops/api.h"

namespace suan {

OpDef op_def_flip() {
  OpDef d{
      .name = "flip",
      .doc = "The elements in reverse order along each of dims, as a view with negative strides.",
      .inputs = {{"input"}}};
  d.attrs = {{"dims", AttrKind::dims}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    Tensor x = c[0];
    unsigned seen = 0;
    for (int64_t a : c.attrs.dims(0)) {
      const int axis = normalize_axis("flip", a, x.rank());
      if (seen >> axis & 1)
        fail<ValueError>("flip", "axis twice: expected each axis once, got {} again", axis);
      seen |= 1u << axis;
      if (x.rank() && x.dim(axis) > 1) x = ops::slice(x, axis, x.dim(axis) - 1, -1, -1);
    }
    return {x};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{0, 2}}},
                               {{{{6}}}, {Dims{-1}}, "one axis"},
                               {{{{0, 4}}}, {Dims{0, 1}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
