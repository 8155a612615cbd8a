// linear_attention: attention without softmax, as a state of one matrix per head that each position updates.
#include "ops/nn/attention.h"

namespace suan {
namespace {

enum { q_in, k_in, v_in, state_in, decay_in, beta_in };

std::vector<TensorType> infer(const InferContext& c) {
  for (int i = 0; i < 6; ++i)
    if (c.has(i) && c.shape(i).size() != 4)
      c.fail<ShapeError>("wrong rank: expected {} of rank 4, got {}", c.op.inputs[size_t(i)].name, to_string(c[i]));
  const Shape &q = c.shape(q_in), &k = c.shape(k_in), &v = c.shape(v_in);
  if (k[1] < 1 || q[1] % k[1])
    c.fail<ShapeError>("heads do not group: expected k and v with a number that divides {}, got {}", q[1], k[1]);
  auto fits = [&](int i, const Shape& want, const Shape& or_this) {
    if (c.has(i) && c.shape(i) != want && c.shape(i) != or_this)
      c.fail<ShapeError>("{} does not fit: expected {} or {}, got {}", c.op.inputs[size_t(i)].name, to_string(want),
                         to_string(or_this), to_string(c[i]));
  };
  const Shape keys{q[0], k[1], q[2], q[3]}, each{q[0], k[1], q[2], 1}, state{q[0], k[1], q[3], v[3]};
  fits(k_in, keys, keys);
  fits(v_in, {q[0], k[1], q[2], v[3]}, {q[0], k[1], q[2], v[3]});
  fits(state_in, state, state);
  fits(decay_in, keys, each);
  fits(beta_in, each, {q[0], 1, q[2], 1});
  const DType wide = ops::statistic_type(c.dtype(0));
  if (c.has(state_in) && c.dtype(state_in) != wide && c.dtype(state_in) != c.dtype(0))
    c.fail<TypeError>("wrong state dtype: expected {} or {}, got {}", name(wide), name(c.dtype(0)), name(c.dtype(state_in)));
  return {{c.dtype(0), {q[0], q[1], q[2], v[3]}, c[0].device}, {wide, state, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const DType wide = statistic_type(c[0].dtype());
  const double scale = attention_scale(c.attrs, 0, c[0].dim(3));
  const int64_t heads = c[0].dim(1), length = c[0].dim(2);
  // Position t of an operand as a row [batch, heads, 1, width], or turned, as a column.
  auto row = [&](int i, int64_t t) { return cast(slice(c[i], 2, t, t + 1), wide); };
  auto column = [&](int i, int64_t t) { return transpose(row(i, t), 2, 3); };
  const Shape of_state{c[0].dim(0), c[k_in].dim(1), c[0].dim(3), c[v_in].dim(3)};
  Tensor state = c.has(state_in) ? cast(c[state_in], wide) : full(of_state, 0, wide, c[0].device());
  Tensors out;
  for (int64_t t = 0; t < length; ++t) {
    const Tensor k = column(k_in, t);
    Tensor v = row(v_in, t);
    if (c.has(decay_in)) state = state * exp(column(decay_in, t));
    if (c.has(beta_in)) v = row(beta_in, t) * (v - sum(state * k, {2}, true));
    state = state + k * v;
    out.push_back(matmul(row(q_in, t), shared_heads(state, heads)) * scale);
  }
  const Tensor y = out.empty() ? full({c[0].dim(0), heads, 0, c[v_in].dim(3)}, 0, wide, c[0].device())
                               : apply(SUAN_OP("cat"), out, {int64_t(2)});
  // Without positions the state given is handed on, but never as the same tensor.
  return {cast(y, c[0].dtype()), length ? state : copy(state)};
}

Cost cost(const InferContext& c) {
  const Shape &q = c.shape(q_in), &k = c.shape(k_in), &v = c.shape(v_in);
  const double updates = c.has(beta_in) ? 4 : 2;
  return {double(q[0]) * double(q[2]) * double(q[3]) * double(v[3]) * (2.0 * double(q[1]) + updates * double(k[1])), 0};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const SampleInput decay{.shape = {2, 2, 4, 3}, .fill = Fill::uniform, .lo = -1, .hi = 0}, each{.shape = {2, 2, 4, 1}, .fill = Fill::uniform, .lo = -1, .hi = 0};
  return {{{{{2, 2, 4, 3}}, {{2, 2, 4, 3}}, {{2, 2, 4, 5}}, none, none, none}},
          {{{{2, 4, 4, 3}}, {{2, 2, 4, 3}}, {{2, 2, 4, 5}}, {{2, 2, 3, 5}}, decay, {{2, 2, 4, 1}}}, {0.5}, "gates and shared heads"},
          {{{{2, 2, 4, 3}}, {{2, 2, 4, 3}}, {{2, 2, 4, 19}}, none, each, {{2, 1, 4, 1}}}, {0.5}, "one gate a head"},
          {{{{0, 2, 4, 3}}, {{0, 2, 4, 3}}, {{0, 2, 4, 5}}, none, none, none}, {}, "no batches"},
          {.in = {{{2, 3, 4, 3}}, {{2, 2, 4, 3}}, {{2, 2, 4, 5}}, none, none, none}, .error = "heads do not group"},
          {.in = {{{2, 2, 4, 3}}, {{2, 2, 4, 3}}, {{2, 2, 4, 5}}, none, {{2, 2, 4, 2}}, none}, .error = "decay does not fit"}};
}

}  // namespace

OpDef op_def_linear_attention() {
  return {.name = "linear_attention",
          .doc = "Attention as a recurrence (Katharopoulos et al. 2020; the delta rule: Yang et al. 2024). Per head and "
                 "position t: state = exp(decay[t]) state + k[t] (x) u, out[t] = scale · q[t] · state, where u is v[t], or "
                 "with beta it is beta[t] (v[t] - k[t] · exp(decay[t]) state). q [batch, heads, length, width], k [batch, "
                 "kv_heads, length, width], v [batch, kv_heads, length, value width], kv_heads dividing heads; decay as k or "
                 "with width 1; beta with width 1 and kv_heads or 1 heads; state [batch, kv_heads, width, value width], "
                 "0 when left out. scale is 1/√width by default. Also gives the last state, in f32 (f64 for f64).",
          .inputs = {{"q", floating_types},
                     {"k", floating_types},
                     {"v", floating_types},
                     {"state", floating_types, Arity::optional, 0},
                     {"decay", floating_types, Arity::optional},
                     {"beta", floating_types, Arity::optional}},
          .attrs = {{"scale", AttrKind::real, {}, true}},
          .outputs = {"out", "state"},
          .infer = infer,
          .compose = compose,
          .cost = cost,
          .samples = samples};
}

}  // namespace suan
