// smooth_l1: huber_loss divided by its threshold.
#include "ops/nn/common.h"

namespace suan {

OpDef op_def_smooth_l1() {
  OpDef d{.name = "smooth_l1",
          .doc = "½ d² / beta where |d| < beta, else |d| - ½ beta, for d = input - target. "
                 "reduction: mean, sum or none.",
          .inputs = {{"input", floating_types}, {"target", floating_types}},
          .attrs = {{"reduction", AttrKind::string, std::string("mean")},
                    {"beta", AttrKind::real, 1.0}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const double beta = c.attrs.real(1);
    if (!(beta > 0)) fail<ValueError>(c.op.name, "wrong beta: expected above 0, got {}", beta);
    const Tensor d = c[0] - c[1], size = abs(d);
    const Tensor loss =
        where(lt(size, number(beta, d)), square(d) * (0.5 / beta), size - 0.5 * beta);
    return {reduced(c.op.name, loss, c.attrs.string(0))};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}}, {{3, 5, 7}}}, {std::string("mean"), 0.7}},
                               {{{{4, 6}}, {{4, 6}}}, {std::string("sum"), 0.7}},
                               {{{{4, 6}}, {{4, 6}}}, {std::string("none"), 0.7}, "per element"},
                               {.in = {{{4, 6}}, {{4, 6}}},
                                .attrs = {std::string("median"), 0.7},
                                .error = "wrong reduction"}};
  };
  return d;
}

}  // namespace suan
