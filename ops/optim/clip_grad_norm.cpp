// clip_grad_norm: the norm of many gradients taken as one vector, and what to multiply them by.
#include "ops/api.h"

namespace suan {

OpDef op_def_clip_grad_norm() {
  OpDef d{.name = "clip_grad_norm",
          .doc = "norm: the Euclidean norm over all of grads, 0-d f32 (f64 for f64). coefficient: "
                 "min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_.",
          .inputs = {{"grads", floating_types, Arity::variadic}},
          .attrs = {{"max_norm", AttrKind::real}},
          .outputs = {"norm", "coefficient"}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    if (c.in.empty())
      fail<TypeError>("clip_grad_norm", "no gradients: expected at least one, got none");
    Tensors squares;
    for (const Tensor& g : c.in)
      squares.push_back(reshape(apply(SUAN_OP("chunked_sum_squares"), {g}), {1}));
    const Tensor norm = sqrt(sum(apply(SUAN_OP("cat"), squares, {int64_t(0)})));
    return {norm, minimum(c.attrs.real(0) / (norm + 1e-6), number(1, norm))};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5}}, {{7}}}, {1.0}},
                               {{{{3, 5}}}, {1000.0}, "nothing clipped"}};
  };
  return d;
}

}  // namespace suan
