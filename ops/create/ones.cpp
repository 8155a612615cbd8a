// ones: a tensor of ones.
#include "ops/api.h"

namespace suan {

OpDef op_def_ones() {
  OpDef d{.name = "ones", .doc = "Ones of the given shape and dtype.", .inputs = {}};
  d.attrs = {{"size", AttrKind::dims}, {"dtype", AttrKind::dtype, DType::f32}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {ops::full(c.attrs.dims(0), 1, c.attrs.dtype(1))};
  };
  d.samples = [] {
    return std::vector<Sample>{{{}, {Dims{3, 5}}}, {{}, {Dims{}, DType::boolean}, "0-d"}};
  };
  return d;
}

}  // namespace suan
