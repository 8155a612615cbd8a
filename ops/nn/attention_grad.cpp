// attention_grad: the gradients of attention, scores recomputed block by block from logsumexp.
#include "ops/nn/attention.h"

namespace suan {
namespace {

// Recomputes the scores, so that differentiating this sees all of q, k and v.
Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const AttentionScores a =
      attention_scores(c[1], c[2], c[3], c.has(4) ? c[4] : Tensor(), c.attrs.boolean(0),
                       attention_scale(c.attrs, 1, c[1].dim(3)));
  const Tensor g = cast(c[0], a.q.dtype());
  const Tensor dw = matmul(g, transpose(a.v, -1, -2));
  Tensor ds = a.weights * (dw - sum(a.weights * dw, {-1}, true));
  if (c.has(7)) ds = ds + a.weights * unsqueeze(c[7], -1);
  ds = ds * a.scale;
  const DType t = c[1].dtype();
  const int64_t kv_heads = c[2].dim(1);
  return {cast(matmul(ds, a.k), t),
          cast(unshared_heads(matmul(transpose(ds, -1, -2), a.q), kv_heads), t),
          cast(unshared_heads(matmul(transpose(a.weights, -1, -2), g), kv_heads), t)};
}

}  // namespace

OpDef op_def_attention_grad() {
  return {
      .name = "attention_grad",
      .doc = "Gradients of attention for q, k and v. out and logsumexp must be what attention "
             "gave; grad_logsumexp is the gradient that reaches logsumexp, if any does.",
      .inputs = {{"grad", floating_types},
                 {"q", floating_types},
                 {"k", floating_types},
                 {"v", floating_types},
                 {"mask", floating_types | bool_type, Arity::optional, 0},
                 {"out", floating_types},
                 {"logsumexp", floating_types, Arity::required, 2},
                 {"grad_logsumexp", floating_types, Arity::optional, 2}},
      .attrs = {{"is_causal", AttrKind::boolean, false}, {"scale", AttrKind::real, {}, true}},
      .outputs = {"dq", "dk", "dv"},
      .infer = [](const InferContext& c) -> std::vector<TensorType> { return {c[1], c[2], c[3]}; },
      .compose = compose,
      .cost = [](const InferContext& c) -> Cost {
        const Shape &q = c.shape(1), &v = c.shape(3);
        const double pairs = double(q[0]) * double(q[1]) * double(q[2]) * double(v[2]);
        return {2.0 * pairs * double(3 * q[3] + 2 * v[3]) * (c.attrs.boolean(0) ? 0.5 : 1.0), 0};
      }};
}

}  // namespace suan
