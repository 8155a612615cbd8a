// bernoulli: ones with given probabilities.
#include "ops/random/generator.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_bernoulli() {
  OpDef d{
      .name = "bernoulli",
      .doc = "1 with probability p, else 0, element by element, in p's dtype; moves the state on.",
      .inputs = {{"state", dtype_bit(DType::u64), Arity::required, 0}, {"p", floating_types}}};
  d.flags = op_random;
  d.no_grad = "a random draw";
  d.compose = [](const ComposeContext& c) -> Tensors {
    const DType work = c[1].dtype() == DType::f64 ? DType::f64 : DType::f32;
    const Tensor u = draw_uniform(c[0], c[1].shape(), work);
    return {ops::cast(ops::lt(u, ops::cast(c[1], work)), c[1].dtype())};
  };
  d.samples = [] { return std::vector<Sample>{}; };
  return d;
}

}  // namespace suan
