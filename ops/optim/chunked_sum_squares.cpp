// chunked_sum_squares: the sum of squares through fixed chunks and a fixed tree.
#include "ops/api.h"

namespace suan {

OpDef op_def_chunked_sum_squares() {
  OpDef d{.name = "chunked_sum_squares",
          .doc = "The sum of x² over all elements, 0-d, f32 (f64 for f64): what gradient norms "
                 "are made of. The order of additions depends on the size alone.",
          .inputs = {{"x", floating_types}}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{compute_type(c.dtype(0)), {}, c[0].device}};
  };
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {ops::sum(ops::square(ops::cast(c[0], compute_type(c[0].dtype()))))};
  };
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    c.set(0, c.in(0) * cast(c.grad() * 2.0, c.dtype(0)));
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}}}},
                               {{{{70000}}}, {}, "several chunks"},
                               {{{{0}}}, {}, "empty"},
                               {{{{}}}, {}, "0-d"}};
  };
  return d;
}

}  // namespace suan
