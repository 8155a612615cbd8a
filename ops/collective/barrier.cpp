// barrier: x, once every rank has come here.
#include "ops/collective/collective.h"

namespace suan {

OpDef op_def_barrier() {
  OpDef d{.name = "barrier",
          .doc = "x, after every rank has arrived.",
          .inputs = {{"x", all_types}},
          .attrs = {{"world", AttrKind::integer, int64_t(1)}}};
  d.flags = op_effect;
  d.no_grad = "it only waits";
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    world_of(c, 0);
    return {c[0]};
  };
  d.samples = [] { return std::vector<Sample>{{{{{3}}}}}; };
  return d;
}

}  // namespace suan
