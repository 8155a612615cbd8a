// softmax_grad: softmax's gradient from its result.
#include "ops/nn/common.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &g = c[0], &y = c[1];
  return {y * (g - sum(g * y, {c.attrs.integer(0)}, true))};
}

}  // namespace

OpDef op_def_softmax_grad() {
  return {.name = "softmax_grad",
          .doc = "y (g - sum(g y)) along dim: the gradient of y = softmax(x) with respect to x.",
          .inputs = {{"grad", floating_types}, {"y", floating_types}},
          .attrs = {{"dim", AttrKind::integer, int64_t(-1)}},
          .infer = [](const InferContext& c) -> std::vector<TensorType> {
            c.axis(0, 1);
            if (c.shape(0) != c.shape(1))
              c.fail<ShapeError>("shapes differ: expected {}, got {}", to_string(c[1]),
                                 to_string(c[0]));
            return {c[1]};
          },
          .compose = compose,
          .samples = [] {
            return std::vector<Sample>{{{{{3, 5, 7}}, {{3, 5, 7}}}, {int64_t(-1)}},
                                       {{{{3, 5, 7}}, {{3, 5, 7}}}, {int64_t(1)}, "middle axis"},
                                       {{{{0, 5}}, {{0, 5}}}, {int64_t(1)}, "no rows"}};
          }};
}

}  // namespace suan
