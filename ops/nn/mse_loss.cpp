// mse_loss: the squared difference.
#include "ops/nn/common.h"

namespace suan {

OpDef op_def_mse_loss() {
  OpDef d{.name = "mse_loss",
          .doc = "(input - target)², broadcast. reduction: mean, sum or none.",
          .inputs = {{"input", floating_types}, {"target", floating_types}},
          .attrs = {{"reduction", AttrKind::string, std::string("mean")}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    return {reduced(c.op.name, square(c[0] - c[1]), c.attrs.string(0))};
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}, {{3, 5, 7}}}, {std::string("mean")}},
        {{{{4, 6}}, {{4, 6}}}, {std::string("sum")}},
        {{{{4, 6}}, {{4, 6}}}, {std::string("none")}, "per element"},
        {.in = {{{4, 6}}, {{4, 6}}}, .attrs = {std::string("median")}, .error = "wrong reduction"}};
  };
  return d;
}

}  // namespace suan
