// random_state: the state of a generator that nothing was drawn from.
#include "ops/api.h"

namespace suan {

OpDef op_def_random_state() {
  OpDef d{.name = "random_state",
          .doc = "{seed, offset} for random_bits, another one each time it runs: for random nodes of models that give no "
                 "seed. The process takes its seed from the system at the first, unless seed_random_state set one.",
          .inputs = {}};
  d.flags = op_random;
  d.infer = [](const InferContext&) -> std::vector<TensorType> { return {{DType::u64, {2}, {}}}; };
  d.no_grad = "random bits";
  d.samples = [] { return std::vector<Sample>{}; };
  return d;
}

}  // namespace suan
