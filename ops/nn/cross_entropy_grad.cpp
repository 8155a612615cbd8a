// cross_entropy_grad: the logits' gradient in one pass, from the saved logsumexp.
#include "ops/nn/cross_entropy.h"

namespace suan {
namespace {

// Takes the softmax from the logits again, so that differentiating this sees how it depends on
// them.
Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const DType t = statistic_type(c[1].dtype());
  const Tensor x = cast(c[1], t);
  const CrossEntropyTerms e = cross_entropy_terms(x.dim(1), c[2], c.has(3) ? c[3] : Tensor(),
                                                  c.attrs.integer(0), c.attrs.real(1), t);
  const std::string& r = c.attrs.string(2);
  Tensor g = cast(c[0], t);
  if (r == "mean") g = g / e.denominator;
  if (r != "none") g = expand(g, {x.dim(0)});
  g = unsqueeze(where(e.valid, g, number(0, g)), 1);
  const Tensor p = apply(SUAN_OP("softmax"), {x}, {int64_t(1)});
  return {cast(g * (p * sum(e.target, {1}, true) - e.target), c[1].dtype())};
}

}  // namespace

OpDef op_def_cross_entropy_grad() {
  return {
      .name = "cross_entropy_grad",
      .doc = "Gradient of cross_entropy for the logits. logsumexp must be what cross_entropy gave.",
      .inputs = {{"grad", floating_types},
                 {"logits", floating_types},
                 {"targets", dtype_bit(DType::i64), Arity::required, 2},
                 {"weight", floating_types, Arity::optional},
                 {"logsumexp", floating_types, Arity::required, 3}},
      .attrs = {{"ignore_index", AttrKind::integer, int64_t(-100)},
                {"label_smoothing", AttrKind::real, 0.0},
                {"reduction", AttrKind::string, std::string("mean")}},
      .infer = [](const InferContext& c) -> std::vector<TensorType> { return {c[1]}; },
      .compose = compose};
}

}  // namespace suan
