// empty: a tensor whose values do not matter.
#include "ops/api.h"

namespace suan {

OpDef op_def_empty() {
  OpDef d{.name = "empty",
          .doc =
              "A tensor of the given shape and dtype; its values are zero, so that runs are "
              "reproducible.",
          .inputs = {}};
  d.attrs = {{"size", AttrKind::dims}, {"dtype", AttrKind::dtype, DType::f32}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {ops::full(c.attrs.dims(0), 0, c.attrs.dtype(1))};
  };
  d.samples = [] { return std::vector<Sample>{{{}, {Dims{3, 5}}}}; };
  return d;
}

}  // namespace suan
