// zeros: a tensor of zeros.
#include "ops/api.h"

namespace suan {

OpDef op_def_zeros() {
  OpDef d{.name = "zeros", .doc = "Zeros of the given shape and dtype.", .inputs = {}};
  d.attrs = {{"size", AttrKind::dims}, {"dtype", AttrKind::dtype, DType::f32}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {ops::full(c.attrs.dims(0), 0, c.attrs.dtype(1))};
  };
  d.samples = [] {
    return std::vector<Sample>{{{}, {Dims{3, 5}}}, {{}, {Dims{0, 2}, DType::i64}, "no elements"}};
  };
  return d;
}

}  // namespace suan
