// bce_with_logits: binary cross-entropy of logits, stable for large ones.
#include "ops/nn/common.h"

namespace suan {

OpDef op_def_bce_with_logits() {
  OpDef d{.name = "bce_with_logits",
          .doc = "-(pos_weight · target · log sigmoid(x) + (1 - target) log(1 - sigmoid(x))). "
                 "reduction: mean, sum or none.",
          .inputs = {{"x", floating_types},
                     {"target", floating_types},
                     {"pos_weight", floating_types, Arity::optional}},
          .attrs = {{"reduction", AttrKind::string, std::string("mean")}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const Tensor &x = c[0], &z = c[1];
    // log(1 + exp(-x)) = max(-x, 0) + log1p(exp(-|x|)); maximum and abs share the slope at 0
    // rightly.
    Tensor soft = maximum(-x, number(0, x)) + apply(SUAN_OP("log1p"), {exp(-abs(x))});
    if (c.has(2)) soft = soft * ((c[2] - 1.0) * z + 1.0);
    return {reduced(c.op.name, (1.0 - z) * x + soft, c.attrs.string(0))};
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}},
          {.shape = {3, 5, 7}, .fill = Fill::uniform, .lo = 0, .hi = 1},
          {.shape = {1}, .absent = true}},
         {std::string("mean")}},
        {{{{4, 6}},
          {.shape = {4, 6}, .fill = Fill::uniform, .lo = 0, .hi = 1},
          {.shape = {1}, .absent = true}},
         {std::string("sum")}},
        {{{{4, 6}},
          {.shape = {4, 6}, .fill = Fill::uniform, .lo = 0, .hi = 1},
          {.shape = {1}, .absent = true}},
         {std::string("none")},
         "per element"},
        {{{{4, 6}},
          {.shape = {4, 6}, .fill = Fill::uniform, .lo = 0, .hi = 1},
          {.shape = {6}, .fill = Fill::positive}},
         {std::string("mean")},
         "weighted"},
        {.in = {{{4, 6}}, {{4, 6}}}, .attrs = {std::string("median")}, .error = "wrong reduction"}};
  };
  return d;
}

}  // namespace suan
