// rand: uniform numbers in [0, 1).
#include "ops/random/generator.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_rand() {
  OpDef d{.name = "rand",
          .doc = "Uniform numbers in [0, 1) of the given shape; moves the state on.",
          .inputs = {{"state", dtype_bit(DType::u64), Arity::required, 0}}};
  d.attrs = {{"size", AttrKind::dims}, {"dtype", AttrKind::dtype, DType::f32}};
  d.flags = op_random;
  d.no_grad = "a random draw";
  d.compose = [](const ComposeContext& c) -> Tensors {
    check_floating("rand", c.attrs.dtype(1));
    return {draw_uniform(c[0], c.attrs.dims(0), c.attrs.dtype(1))};
  };
  d.samples = [] { return std::vector<Sample>{}; };
  return d;
}

}  // namespace suan
