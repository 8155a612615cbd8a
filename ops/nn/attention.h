// The definition of attention in plain ops, shared by attention and attention_grad.
#pragma once

#include "ops/nn/common.h"

namespace suan::ops {

struct AttentionScores {
  Tensor q, k, v;     // in the computing dtype, k and v with as many heads as q
  Tensor weights;     // softmax of the scores, [batch, heads, queries, keys]
  Tensor logsumexp;   // of the scores, [batch, heads, queries]
  double scale;
};

inline double attention_scale(const Attrs& attrs, int at, int64_t width) {
  return attrs.has(at) ? attrs.real(at) : 1.0 / std::sqrt(double(width));
}

// [batch, kv_heads, ...] -> [batch, heads, ...]: each head shared by a run of query heads.
inline Tensor shared_heads(const Tensor& x, int64_t heads) {
  if (x.dim(1) == heads) return x;
  const int64_t group = heads / x.dim(1);
  const Tensor wide = expand(unsqueeze(x, 2), {x.dim(0), x.dim(1), group, x.dim(2), x.dim(3)});
  return reshape(wide, {x.dim(0), heads, x.dim(2), x.dim(3)});
}
inline Tensor unshared_heads(const Tensor& g, int64_t kv_heads) {
  if (g.dim(1) == kv_heads) return g;
  return sum(reshape(g, {g.dim(0), kv_heads, g.dim(1) / kv_heads, g.dim(2), g.dim(3)}), {2});
}

// Query i sees key j when causal iff j <= i, both counted from the start (torch's rule).
inline AttentionScores attention_scores(const Tensor& q, const Tensor& k, const Tensor& v,
                                        const Tensor& mask, bool causal, double scale) {
  const DType t = statistic_type(q.dtype());
  AttentionScores a{
      cast(q, t), shared_heads(cast(k, t), q.dim(1)), shared_heads(cast(v, t), q.dim(1)), {}, {},
      scale};
  const double never = -std::numeric_limits<double>::infinity();
  Tensor s = matmul(a.q, transpose(a.k, -1, -2)) * scale;
  if (mask.defined())
    s = is_bool(mask.dtype()) ? where(mask, s, number(never, s)) : s + cast(mask, t);
  if (causal) {
    auto index = [&](int64_t n) {
      return apply(SUAN_OP("cumsum"), {full({n}, 1, DType::i64, q.device())}, {int64_t(0)});
    };
    const Tensor sees = le(index(k.dim(2)), unsqueeze(index(q.dim(2)), 1));
    s = where(sees, s, number(never, s));
  }
  if (k.dim(2) == 0) {
    a.weights = s;
    a.logsumexp = full({q.dim(0), q.dim(1), q.dim(2)}, never, t, q.device());
    return a;
  }
  // A query that sees nothing has weights 0, not NaN.
  const Tensor top = maximum_over(s, {-1}, true);
  const Tensor blind = eq(top, number(never, top));
  const Tensor base = where(blind, number(0, top), top);
  const Tensor e = exp(s - base);
  const Tensor total = sum(e, {-1}, true);
  a.weights = e / where(blind, number(1, total), total);
  a.logsumexp = squeeze(base + log(total), -1);
  return a;
}

}  // namespace suan::ops
