// huber_loss: squared near zero, linear beyond delta (Huber 1964).
#include "ops/nn/common.h"

namespace suan {

OpDef op_def_huber_loss() {
  OpDef d{.name = "huber_loss",
          .doc = "½ d² where |d| <= delta, else delta (|d| - ½ delta), for d = input - target. "
                 "reduction: mean, sum or none.",
          .inputs = {{"input", floating_types}, {"target", floating_types}},
          .attrs = {{"reduction", AttrKind::string, std::string("mean")},
                    {"delta", AttrKind::real, 1.0}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const double delta = c.attrs.real(1);
    if (!(delta > 0)) fail<ValueError>(c.op.name, "wrong delta: expected above 0, got {}", delta);
    const Tensor d = c[0] - c[1], size = abs(d);
    const Tensor loss =
        where(le(size, number(delta, d)), square(d) * 0.5, (size - 0.5 * delta) * delta);
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
