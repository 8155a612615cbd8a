// ONNX's own attention family: Attention, FlexAttention, LinearAttention, rotations, causal convolution.
#include "frontends/onnx/attend.h"

#include <cmath>

#include "ops/nn/attention.h"

namespace suan::onnx {

using namespace ops;

Tensor split_heads(const Call& c, const Tensor& x, int64_t heads) {
  if (x.rank() != 3 || heads < 1 || x.dim(2) % heads)
    c.fail<ShapeError>("heads do not fit: expected [batch, length, a multiple of {}], got {}", heads, to_string(x.type()));
  return permute(reshape(x, {x.dim(0), x.dim(1), heads, x.dim(2) / heads}), {0, 2, 1, 3});
}
Tensor join_heads(const Tensor& x) {
  return reshape(permute(x, {0, 2, 1, 3}), {x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
}
Tensor positions(int64_t n, int64_t first) {
  return apply(SUAN_OP("arange"), {}, {double(first), double(first + n), 1.0, DType::i64});
}
Tensor cat(const Tensors& parts, int64_t axis) { return apply(SUAN_OP("cat"), parts, {axis}); }
Tensor rows_of(const Tensor& table, const Tensor& index) {
  Shape s = index.shape();
  s.push_back(table.dim(1));
  return reshape(apply(SUAN_OP("index"), {table, reshape(cast(index, DType::i64), {index.numel()})}, {Dims{0}}), s);
}

namespace {

constexpr double never = -INFINITY;

}  // namespace

Tensor both_masks(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() ? a : b;
  if (is_bool(a.dtype()) && is_bool(b.dtype())) return logical_and(a, b);
  if (is_bool(a.dtype())) return where(a, b, number(never, b));
  return is_bool(b.dtype()) ? where(b, a, number(never, a)) : a + b;
}
Tensor causal_mask(int64_t queries, int64_t keys, int64_t first, int64_t window) {
  const Tensor key = positions(keys), query = unsqueeze(positions(queries, first), 1);
  const Tensor past = le(key, query);
  return window > 0 ? logical_and(past, gt(key, query - double(window))) : past;
}
Tensor length_mask(const Tensor& length, int64_t keys) {
  return lt(positions(keys), reshape(cast(length, DType::i64), {length.numel(), 1, 1, 1}));
}

Attended attend(const Attending& a) {
  const DType t = a.q.dtype();
  const Tensor k = cast(a.k, t), v = cast(a.v, t);
  Tensor mask = a.mask;
  if (a.softcap == 0 && !a.sink.defined() && a.give == Attending::Give::nothing) {
    if (mask.defined() && !is_bool(mask.dtype())) mask = cast(mask, t);
    return {apply_all(SUAN_OP("attention"), {a.q, k, v, mask}, {a.causal, a.scale})[0], {}};
  }
  // Written out, in f32 for the narrow types.
  const DType wide = compute_type(t);
  Tensor s = matmul(cast(a.q, wide), transpose(shared_heads(cast(k, wide), a.q.dim(1)), 2, 3)) * a.scale;
  Tensor given[4] = {s};
  if (a.softcap != 0) s = tanh(s / a.softcap) * a.softcap;
  given[1] = s;
  if (a.causal) mask = both_masks(mask, causal_mask(s.dim(2), s.dim(3), 0));
  if (mask.defined()) s = is_bool(mask.dtype()) ? where(mask, s, number(never, s)) : s + cast(mask, wide);
  given[2] = s;
  if (a.sink.defined())
    s = cat({s, expand(reshape(cast(a.sink, wide), {1, s.dim(1), 1, 1}), {s.dim(0), s.dim(1), s.dim(2), 1})}, 3);
  Tensor w = apply(SUAN_OP("softmax"), {s}, {int64_t(3)});
  if (a.sink.defined()) w = slice(w, 3, 0, w.dim(3) - 1);
  else if (mask.defined())  // a query that sees nothing has weights 0, as in the op
    w = where(eq(apply(SUAN_OP("max"), {s}, {Dims{3}, true}), number(never, s)), number(0, w), w);
  given[3] = w;
  return {cast(matmul(w, shared_heads(cast(v, wide), a.q.dim(1))), t),
          a.give == Attending::Give::nothing ? Tensor() : cast(given[int(a.give)], t)};
}

Tensor rotate(const Call& c, const Tensor& x, const Tensor& cos, const Tensor& sin, bool neighbours) {
  const int64_t half = cos.dim(-1);
  if (2 * half > x.dim(3) || cos.shape() != sin.shape())
    c.fail<ShapeError>("angles do not fit: expected cos and sin with at most {} numbers a row, got {} and {}", x.dim(3) / 2,
                       to_string(cos.type()), to_string(sin.type()));
  const Tensor co = unsqueeze(cos, 1), si = unsqueeze(sin, 1);
  const Tensor turned = 2 * half == x.dim(3) ? x : slice(x, 3, 0, 2 * half);
  const Tensor one = neighbours ? slice(turned, 3, 0, 2 * half, 2) : slice(turned, 3, 0, half),
               two = neighbours ? slice(turned, 3, 1, 2 * half, 2) : slice(turned, 3, half, 2 * half);
  const Tensor re = co * one - si * two, im = si * one + co * two;
  Tensor y = neighbours ? reshape(cat({unsqueeze(re, 4), unsqueeze(im, 4)}, 4), turned.shape()) : cat({re, im}, 3);
  return 2 * half == x.dim(3) ? y : cat({y, slice(x, 3, 2 * half, x.dim(3))}, 3);
}

namespace {

bool wants(const Call& c, size_t i) { return c.node.out.size() > i && c.node.out[i] >= 0; }

Values build_attention(Call& c) {
  Tensor q = c[0], k = c[1], v = c[2], mask = c.optional(3);
  const bool flat = q.rank() == 3;
  if (flat) {
    q = split_heads(c, q, c.integer("q_num_heads"));
    k = split_heads(c, k, c.integer("kv_num_heads"));
    v = split_heads(c, v, c.integer("kv_num_heads"));
  }
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4)
    c.fail<ShapeError>("wrong rank: expected Q, K and V of rank 4, or all of rank 3, got {}, {} and {}", to_string(c[0].type()),
                       to_string(c[1].type()), to_string(c[2].type()));
  if (c.has(4) != c.has(5)) c.fail<ValueError>("half a cache: expected past_key and past_value together, got one");
  if (c.has(4) && c.has(6)) c.fail<ValueError>("two caches: expected past_key or nonpad_kv_seqlen, got both");
  int64_t past = 0;
  if (c.has(4)) {
    past = c[4].rank() == 4 ? c[4].dim(2) : 0;
    k = cat({c[4], k}, 2);
    v = cat({c[5], v}, 2);
  }
  const int64_t queries = q.dim(2), keys = k.dim(2);
  if (mask.defined()) {
    if (mask.rank() < 1) c.fail<ShapeError>("wrong mask: expected [..., queries, keys], got {}", to_string(mask.type()));
    if (!is_bool(mask.dtype())) mask = cast(mask, q.dtype());
    // A last axis of 1 broadcasts, as everywhere.
    if (const int64_t shown = mask.dim(-1); shown != 1 && c.less(shown, keys)) {
      Shape rest = mask.shape();
      rest[mask.rank() - 1] = keys - shown;
      const Tensor no = is_bool(mask.dtype()) ? Tensor::scalar_int(0, DType::boolean) : number(never, mask);
      mask = cat({mask, apply(SUAN_OP("full"), {no}, {rest})}, mask.rank() - 1);
    }
  }
  if (c.has(6)) mask = both_masks(mask, length_mask(c[6], keys));
  bool causal = c.integer("is_causal", 0);
  if (causal && past > 0) {
    causal = false;
    if (queries > 1) mask = both_masks(mask, causal_mask(queries, keys, past));  // the one newest sees all
  }
  const int64_t mode = c.integer("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) c.fail<ValueError>("wrong qk_matmul_output_mode: expected 0 to 3, got {}", mode);
  // Softmax runs in f32 or better; only float64 asks for more.
  const DType given = q.dtype();
  if (c.has_attr("softmax_precision") && dtype_of_onnx(int(c.integer("softmax_precision"))) == DType::f64) q = cast(q, DType::f64);
  const Attended y = attend({.q = q, .k = k, .v = v, .mask = mask, .causal = causal,
                             .scale = c.real("scale", 1 / std::sqrt(double(q.dim(3)))), .softcap = c.real("softcap", 0.0),
                             .sink = {}, .give = wants(c, 3) ? Attending::Give(mode) : Attending::Give::nothing});
  const Tensor out = cast(y.out, given);
  return {flat ? join_heads(out) : out, k, v, y.scores.defined() ? cast(y.scores, given) : Tensor()};
}

Values build_flex_attention(Call& c) {
  const Tensor &q = c[0], &k = c[1], &v = c[2];
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4)
    c.fail<ShapeError>("wrong rank: expected Q, K and V of rank 4, got {}, {} and {}", to_string(q.type()), to_string(k.type()),
                       to_string(v.type()));
  const double scale = c.real("scale", 1 / std::sqrt(double(q.dim(3))));
  const DType t = c.has_attr("softmax_precision") ? dtype_of_onnx(int(c.integer("softmax_precision"))) : compute_type(q.dtype());
  if (!is_floating(t)) c.fail<TypeError>("wrong softmax_precision: expected a floating type, got {}", name(t));
  if (!c.has_attr("score_mod") && !c.has_attr("prob_mod")) {
    const DType wide = t == DType::f64 ? t : q.dtype();
    return {cast(attend({.q = cast(q, wide), .k = k, .v = v, .mask = {}, .scale = scale, .sink = {}}).out, v.dtype())};
  }
  if (k.dim(1) < 1 || q.dim(1) % k.dim(1))
    c.fail<ShapeError>("heads do not group: expected a divisor of {}, got {}", q.dim(1), k.dim(1));
  // A modifier sees the scores in the type that it was written for.
  auto modified = [&](const char* by, const Tensor& x) {
    if (!c.has_attr(by)) return x;
    const std::vector<Value> y = c.run(c.graph(by), {x});
    if (y.size() != 1 || !y[0].is_tensor() || y[0].tensor().shape() != x.shape())
      c.fail<ShapeError>("wrong answer of '{}': expected {}, got {}", by, to_string(x.type()),
                         y.empty() ? "nothing" : describe(y[0]));
    return cast(y[0].tensor(), t);
  };
  const DType wide = compute_type(q.dtype());
  const Tensor s = matmul(cast(q, wide), transpose(shared_heads(cast(k, wide), q.dim(1)), 2, 3)) * scale;
  const Tensor w = modified("prob_mod", apply(SUAN_OP("softmax"), {modified("score_mod", cast(s, t))}, {int64_t(3)}));
  return {cast(matmul(w, cast(shared_heads(v, q.dim(1)), t)), v.dtype())};
}

Values build_linear_attention(Call& c) {
  const int64_t heads = c.integer("q_num_heads"), kv_heads = c.integer("kv_num_heads");
  const std::string rule = c.string("update_rule", "gated_delta");
  const bool gated = rule == "gated" || rule == "gated_delta", delta = rule == "delta" || rule == "gated_delta";
  if (!gated && !delta && rule != "linear")
    c.fail<ValueError>("unknown update_rule: expected linear, gated, delta or gated_delta, got '{}'", rule);
  if (c.has(4) != gated || c.has(5) != delta)
    c.fail<ValueError>("inputs do not fit '{}': expected decay {} and beta {}", rule, gated ? "given" : "absent",
                       delta ? "given" : "absent");
  const Tensor q = split_heads(c, c[0], heads), k = split_heads(c, c[1], kv_heads), v = split_heads(c, c[2], kv_heads);
  Tensor decay, beta;
  if (gated) decay = split_heads(c, c[4], kv_heads);
  if (delta) beta = split_heads(c, c[5], c[5].rank() == 3 && c[5].dim(2) == 1 ? 1 : kv_heads);
  if (delta && beta.dim(3) != 1)
    c.fail<ShapeError>("beta does not fit: expected [batch, length, {} or 1], got {}", kv_heads, to_string(c[5].type()));
  const double scale = c.real("scale", 0.0);
  const DType kept = c.has(3) ? c[3].dtype() : c[0].dtype();
  const Tensors y = apply_all(SUAN_OP("linear_attention"),
                              {q, k, v, c.has(3) ? cast(c[3], compute_type(q.dtype())) : Tensor(), decay, beta},
                              {scale != 0 ? scale : 1 / std::sqrt(double(q.dim(3)))});
  return {join_heads(y[0]), cast(y[1], kept)};
}

Values build_rotary(Call& c) {
  Tensor x = c[0], cos = c[1], sin = c[2];
  const bool flat = x.rank() == 3;
  if (flat) x = split_heads(c, x, c.integer("num_heads"));
  if (x.rank() != 4) c.fail<ShapeError>("wrong rank: expected X of rank 3 or 4, got {}", to_string(c[0].type()));
  if (c.has(3)) {
    if (cos.rank() != 2 || sin.rank() != 2 || c[3].rank() != 2)
      c.fail<ShapeError>("wrong rank: expected caches and position_ids of rank 2, got {} and {}", to_string(cos.type()),
                         to_string(c[3].type()));
    cos = rows_of(cos, c[3]);
    sin = rows_of(sin, c[3]);
  }
  const int64_t width = c.integer("rotary_embedding_dim", 0), turned = width ? width : x.dim(3);
  if (cos.rank() != 3 || 2 * cos.dim(2) != turned)
    c.fail<ShapeError>("angles do not fit: expected [batch, length, {}], got {}", turned / 2, to_string(cos.type()));
  const Tensor y = rotate(c, x, cos, sin, c.integer("interleaved", 0));
  return {flat ? join_heads(y) : y};
}

Values build_causal_conv(Call& c) {
  const Tensor &x = c[0], &weight = c[1];
  if (x.rank() != 3 || weight.rank() != 3 || weight.dim(0) != x.dim(1) || weight.dim(1) != 1 || weight.dim(2) < 1)
    c.fail<ShapeError>("weight does not fit: expected input [batch, channels, length] and weight [channels, 1, kernel], got {} and {}",
                       to_string(x.type()), to_string(weight.type()));
  const std::string activation = c.string("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    c.fail<ValueError>("unknown activation: expected none, silu or swish, got '{}'", activation);
  const int64_t before = weight.dim(2) - 1;
  const Shape state{x.dim(0), x.dim(1), before};
  if (c.has(3) && c[3].shape() != state)
    c.fail<ShapeError>("past_state does not fit: expected {}, got {}", to_string(state), to_string(c[3].type()));
  const Tensor all = before == 0 ? x : cat({c.has(3) ? c[3] : full(state, 0, x.dtype()), x}, 2);
  Tensor y = apply(SUAN_OP("conv"), {all, weight, c.optional(2)}, {Dims{1}, Dims{0, 0}, Dims{1}, x.dim(1)});
  if (activation != "none") y = apply(SUAN_OP("silu"), {y});
  return {y, slice(all, 2, all.dim(2) - before, all.dim(2))};
}

}  // namespace

std::vector<Mapping> attention_ops() {
  return {
      {"Attention", 23, build_attention},
      {"CausalConvWithState", 27, build_causal_conv},
      {"LinearAttention", 27, build_linear_attention},
      {"RotaryEmbedding", 23, build_rotary},
      {"ai.onnx.preview.FlexAttention", 1, build_flex_attention},
  };
}

}  // namespace suan::onnx
