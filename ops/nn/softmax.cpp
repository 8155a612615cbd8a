// softmax: exp(x) normalised to sum to one along an axis.
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  c.axis(0, 0);
  return {c[0]};
}
Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Dims dim{c.attrs.integer(0)};
  if (c[0].numel() == 0) return {copy(c[0])};
  const Tensor e = exp(c[0] - maximum_over(c[0], dim, true));
  return {e / sum(e, dim, true)};
}
void vjp(VjpContext& c) { c.set(0, apply(op("softmax_grad"), {c.grad(), c.out(0)}, c.attrs)); }

std::vector<Sample> samples() {
  return {{{{{3, 5, 7}}}, {int64_t(-1)}},
          {{{{4, 33}}}, {int64_t(1)}},
          {{{{3, 5, 7}}}, {int64_t(1)}, "middle axis"},
          {{{{37, 3}}}, {int64_t(0)}, "first axis"},
          {{{{}}}, {int64_t(0)}, "0-d"},
          {{{{0, 3}}}, {int64_t(1)}, "no rows"},
          {{{{3, 0}}}, {int64_t(1)}, "empty rows"},
          {.in = {{{3, 4}}}, .attrs = {int64_t(2)}, .error = "2"}};
}

}  // namespace

OpDef op_def_softmax() {
  return {.name = "softmax",
          .doc = "exp(x - max) / sum along dim. f16 and bf16 are computed in f32 and rounded once.",
          .inputs = {{"x", floating_types}},
          .attrs = {{"dim", AttrKind::integer, int64_t(-1)}},
          .infer = infer,
          .compose = compose,
          .vjp = vjp,
          .samples = samples,
          .onnx_name = "Softmax",
          .onnx_since = 13};
}

}  // namespace suan
