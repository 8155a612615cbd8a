// kl_div: Kullback-Leibler divergence of log-probabilities.
#include "ops/nn/common.h"

namespace suan {

OpDef op_def_kl_div() {
  OpDef d{.name = "kl_div",
          .doc = "target (log target - input); with log_target the target is given as its "
                 "logarithm. reduction: mean, sum or none.",
          .inputs = {{"input", floating_types}, {"target", floating_types}},
          .attrs = {{"reduction", AttrKind::string, std::string("mean")},
                    {"log_target", AttrKind::boolean, false}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    if (c.attrs.boolean(1))
      return {reduced(c.op.name, exp(c[1]) * (c[1] - c[0]), c.attrs.string(0))};
    // 0 log 0 is 0.
    const Tensor some = gt(c[1], number(0, c[1]));
    const Tensor entropy = c[1] * log(where(some, c[1], number(1, c[1])));
    return {reduced(c.op.name, entropy - c[1] * c[0], c.attrs.string(0))};
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}, {.shape = {3, 5, 7}, .fill = Fill::positive}}, {std::string("mean"), false}},
        {{{{4, 6}}, {.shape = {4, 6}, .fill = Fill::positive}}, {std::string("sum"), false}},
        {{{{4, 6}}, {.shape = {4, 6}, .fill = Fill::positive}},
         {std::string("none"), false},
         "per element"},
        {{{{4, 6}}, {{4, 6}}}, {std::string("mean"), true}, "log target"},
        {.in = {{{4, 6}}, {{4, 6}}},
         .attrs = {std::string("median"), false},
         .error = "wrong reduction"}};
  };
  return d;
}

}  // namespace suan
