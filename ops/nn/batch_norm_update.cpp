// batch_norm_update: moves running statistics towards a batch's, in place.
#include "ops/nn/common.h"

namespace suan {

OpDef op_def_batch_norm_update() {
  OpDef d{
      .name = "batch_norm_update",
      .doc = "running += momentum (batch - running) for mean and variance, the batch's variance "
             "made unbiased: times count / (count - 1).",
      .inputs = {{"running_mean", floating_types},
                 {"running_var", floating_types},
                 {"mean", floating_types},
                 {"var", floating_types}},
      .attrs = {{"momentum", AttrKind::real}, {"count", AttrKind::integer}},
      .outputs = {"running_mean", "running_var"}};
  d.no_grad = "running statistics are no function of the loss";
  d.updates = {0, 1};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    for (int i = 1; i < 4; ++i)
      if (c.shape(i) != c.shape(0))
        c.fail<ShapeError>("{} does not fit: expected {}, got {}", c.op.inputs[size_t(i)].name,
                           to_string(c[0]), to_string(c[i]));
    return {c[0], c[1]};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{5}}, {{5}}, {{5}}, {{5}}}, {0.1, int64_t(20)}},
                               {.in = {{{5}}, {{5}}, {{4}}, {{5}}},
                                .attrs = {0.1, int64_t(20)},
                                .error = "mean does not fit"}};
  };
  return d;
}

}  // namespace suan
