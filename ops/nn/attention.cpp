// attention: softmax(q kᵀ · scale + mask) v without keeping the scores.
#include "ops/nn/attention.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  for (int i = 0; i < 3; ++i)
    if (c.shape(i).size() != 4)
      c.fail<ShapeError>("wrong rank: expected {} [batch, heads, length, width], got {}",
                         c.op.inputs[size_t(i)].name, to_string(c[i]));
  const Shape &q = c.shape(0), &k = c.shape(1), &v = c.shape(2);
  if (k[0] != q[0] || v[0] != q[0])
    c.fail<ShapeError>("batches differ: expected {}, got {} (k) and {} (v)", q[0], k[0], v[0]);
  if (k[1] != v[1] || (k[1] ? q[1] % k[1] != 0 : q[1] != 0))
    c.fail<ShapeError>(
        "heads do not group: expected k and v with one number that divides {}, got {} and {}", q[1],
        k[1], v[1]);
  if (k[2] != v[2])
    c.fail<ShapeError>("lengths differ: expected k and v of {}, got {}", k[2], v[2]);
  if (k[3] != q[3]) c.fail<ShapeError>("widths differ: expected k of {}, got {}", q[3], k[3]);
  if (c.has(3)) {
    const Shape scores{q[0], q[1], q[2], k[2]};
    if (!is_bool(c.dtype(3)) && c.dtype(3) != c.dtype(0))
      c.fail<TypeError>("wrong mask dtype: expected bool or {}, got {}", name(c.dtype(0)),
                        name(c.dtype(3)));
    if (c.shape(3).size() > 4 || broadcast(c.op.name, c.shape(3), scores) != scores)
      c.fail<ShapeError>("mask does not broadcast: expected {}, got {}", to_string(scores),
                         to_string(c[3]));
  }
  return {{c.dtype(0), {q[0], q[1], q[2], v[3]}, c[0].device},
          {ops::statistic_type(c.dtype(0)), {q[0], q[1], q[2]}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const AttentionScores a =
      attention_scores(c[0], c[1], c[2], c.has(3) ? c[3] : Tensor(), c.attrs.boolean(0),
                       attention_scale(c.attrs, 1, c[0].dim(3)));
  return {cast(matmul(a.weights, a.v), c[0].dtype()), a.logsumexp};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const bool through_mask = c.needs(3);
  const Tensors g = apply_all(op("attention_grad"),
                              {c.grad_or_zeros(0), c.in(0), c.in(1), c.in(2),
                               c.has(3) ? c.in(3) : Tensor(), c.out(0), c.out(1), c.grad(1)},
                              {c.attrs.boolean(0), c.attrs[1]});
  for (int i = 0; i < 3; ++i)
    if (c.needs(i)) c.set(i, g[size_t(i)]);
  if (!through_mask) return;
  // The scores' gradient itself, only written out when an additive mask wants it.
  const AttentionScores a = attention_scores(c.in(0), c.in(1), c.in(2), c.in(3), c.attrs.boolean(0),
                                             attention_scale(c.attrs, 1, c.shape(0)[3]));
  const Tensor dout = cast(c.grad_or_zeros(0), a.weights.dtype());
  const Tensor dw = matmul(dout, transpose(a.v, -1, -2));
  Tensor ds = a.weights * (dw - sum(a.weights * dw, {-1}, true));
  if (c.grad(1).defined()) ds = ds + a.weights * unsqueeze(c.grad(1), -1);
  c.set(3, cast(sum_to(ds, c.shape(3)), c.dtype(3)));
}

Cost cost(const InferContext& c) {
  const Shape &q = c.shape(0), &v = c.shape(2);
  const double pairs = double(q[0]) * double(q[1]) * double(q[2]) * double(v[2]);
  return {2.0 * pairs * double(q[3] + v[3]) * (c.attrs.boolean(0) ? 0.5 : 1.0), 0};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const SampleInput flags{.shape = {5, 6}, .fill = Fill::boolean, .dtype = DType::boolean};
  return {
      {{{{2, 3, 5, 8}}, {{2, 3, 5, 8}}, {{2, 3, 5, 8}}, none}, {true}, "causal"},
      {{{{1, 2, 5, 8}}, {{1, 2, 7, 8}}, {{1, 2, 7, 4}}, none}, {false}, "other lengths and widths"},
      {{{{1, 2, 5, 8}}, {{1, 2, 6, 8}}, {{1, 2, 6, 8}}, flags}, {false}, "boolean mask"},
      {{{{2, 2, 5, 8}}, {{2, 2, 6, 8}}, {{2, 2, 6, 8}}, {{2, 1, 1, 6}}},
       {false, 0.5},
       "additive mask"},
      {{{{1, 4, 5, 8}}, {{1, 2, 5, 8}}, {{1, 2, 5, 8}}, none}, {true}, "shared heads"},
      {{{{1, 1, 70, 16}}, {{1, 1, 70, 16}}, {{1, 1, 70, 16}}, none}, {true}, "several blocks"},
      {{{{0, 2, 5, 8}}, {{0, 2, 5, 8}}, {{0, 2, 5, 8}}, none}, {false}, "no batches"},
      {.in = {{{1, 3, 5, 8}}, {{1, 2, 5, 8}}, {{1, 2, 5, 8}}, none},
       .attrs = {false},
       .error = "heads do not group"},
      {.in = {{{1, 2, 5, 8}}, {{1, 2, 5, 4}}, {{1, 2, 5, 8}}, none},
       .attrs = {false},
       .error = "widths differ"}};
}

}  // namespace

OpDef op_def_attention() {
  return {
      .name = "attention",
      .doc = "Scaled dot-product attention (Vaswani et al. 2017) by blocks (Dao et al. 2022). q "
             "[batch, heads, queries, width], k and v [batch, kv_heads, keys, width], kv_heads "
             "dividing heads. mask broadcasts to the scores: bool (true = may look) or added. "
             "is_causal: query i sees keys up to i. scale is 1/√width by default. A query that "
             "sees no key gives 0. Also gives the scores' logsumexp.",
      .inputs = {{"q", floating_types},
                 {"k", floating_types},
                 {"v", floating_types},
                 {"mask", floating_types | bool_type, Arity::optional, 0}},
      .attrs = {{"is_causal", AttrKind::boolean, false}, {"scale", AttrKind::real, {}, true}},
      .outputs = {"out", "logsumexp"},
      .infer = infer,
      .compose = compose,
      .vjp = vjp,
      .cost = cost,
      .samples = samples};
}

}  // namespace suan
