// clone: a copy that stays one.
#include "ops/api.h"

namespace suan {

OpDef op_def_clone() {
  OpDef d{.name = "clone",
          .doc = "A copy that no pass merges or removes; gradients pass through.",
          .inputs = {{"input"}}};
  d.flags = op_opaque;
  d.infer = [](const InferContext& c) -> std::vector<TensorType> { return {c[0]}; };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0)) c.set(0, c.grad());
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}}}, {{{{}}}, {}, "0-d"}, {{{{0, 4}}}, {}, "no elements"}};
  };
  return d;
}

}  // namespace suan
