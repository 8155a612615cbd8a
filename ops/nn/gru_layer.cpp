// gru_layer: the steps of gated recurrent units in one direction (Cho et al. 2014), from the input's part of their gates,
// which is one product for all steps.
#include "ops/nn/recurrent.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& x = c.shape(0);
  if (x.size() != 3 || x[0] < 1 || x[2] % 3)
    c.fail<ShapeError>("wrong gates: expected [steps >= 1, batch, 3 * hidden], got {}", to_string(c[0]));
  const int64_t hidden = x[2] / 3;
  const Shape state{x[1], hidden};
  if (c.shape(1) != state || !ops::is_recurrent_weight(c.shape(2), 3, hidden))
    c.fail<ShapeError>("shapes do not fit: expected a state {} and a weight {}, got {} and {}", to_string(state),
                       to_string(Shape{x[2], hidden}), to_string(c[1]), to_string(c[2]));
  if (c.has(3) && c.shape(3) != Shape{x[2]})
    c.fail<ShapeError>("wrong bias: expected {}, got {}", to_string(Shape{x[2]}), to_string(c[3]));
  const DType t = c.dtype(0);
  return {{t, {x[0], x[1], hidden}, c[0].device}, {t, {x[0], x[1], 4 * hidden}, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &gates = c[0], bias = c.has(3) ? c[3] : Tensor();
  const int64_t steps = gates.dim(0), batch = gates.dim(1), hidden = gates.dim(2) / 3;
  const bool after = c.attrs.boolean(1);
  const Tensor weight = weight_of(c[2], 3, hidden);
  auto part = [&](const Tensor& x, int64_t g) { return slice(x, 1, g * hidden, (g + 1) * hidden); };
  // The state's part of gates from, ..., to - 1.
  auto product = [&](const Tensor& h, int64_t from, int64_t to) {
    auto rows = [&](const Tensor& t) { return t.defined() ? slice(t, 0, from * hidden, to * hidden) : t; };
    return apply(SUAN_OP("linear"), {h, rows(weight), rows(bias)});
  };
  Tensor h = c[1];
  Tensors ys(size_t(steps), h), acts = ys;
  for (int64_t k = 0; k < steps; ++k) {
    const int64_t t = c.attrs.boolean(0) ? steps - 1 - k : k;
    const Tensor x = reshape(slice(gates, 0, t, t + 1), {batch, 3 * hidden}), hh = product(h, 0, after ? 3 : 2);
    const Tensor r = sigmoid(part(x, 0) + part(hh, 0)), z = sigmoid(part(x, 1) + part(hh, 1));
    const Tensor q = after ? part(hh, 2) : r * h;
    const Tensor n = tanh(part(x, 2) + (after ? r * q : product(q, 2, 3)));
    h = n + z * (h - n);
    ys[size_t(t)] = unsqueeze(h, 0);
    acts[size_t(t)] = unsqueeze(apply(SUAN_OP("cat"), {r, z, n, q}, {int64_t(1)}), 0);
  }
  return {apply(SUAN_OP("cat"), ys, {int64_t(0)}), apply(SUAN_OP("cat"), acts, {int64_t(0)})};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const bool reverse = c.attrs.boolean(0), after = c.attrs.boolean(1);
  const int64_t width = c.shape(0)[2], hidden = width / 3;
  const Tensors g = apply_all(SUAN_OP("gru_layer_grad"),
                              {c.grad_or_zeros(0), c.out(1), c.out(0), c.in(1), weight_of(c.in(2), 3, hidden), c.grad(1)}, {reverse, after});
  if (c.needs(0)) c.set(0, g[0]);
  if (c.needs(1)) c.set(1, g[2]);
  if (c.has(3) && c.needs(3)) c.set(3, sum(g[1], {0, 1}, false));
  if (!c.needs(2)) return;
  Tensor dw;
  if (after) {
    dw = weight_gradient(g[1], c.out(0), c.in(1), reverse);
  } else {   // the last third saw reset * h
    auto flat = [&](const Tensor& t, int64_t from) {
      const int64_t end = t.dim(2);
      return reshape(slice(t, 2, from, end), {t.dim(0) * t.dim(1), end - from});
    };
    dw = apply(SUAN_OP("cat"), {weight_gradient(slice(g[1], 2, 0, 2 * hidden), c.out(0), c.in(1), reverse),
                                matmul(transpose(flat(g[1], 2 * hidden), 0, 1), flat(c.out(1), 3 * hidden))}, {int64_t(0)});
  }
  c.set(2, like_weight(dw, c.shape(2), 3));
}

std::vector<Sample> samples() {
  auto sample = [](int64_t t, int64_t b, int64_t h, bool biased, bool reverse, bool after, const char* note) {
    return Sample{{{{t, b, 3 * h}}, {{b, h}}, {{3 * h, h}, Fill::uniform, -0.4, 0.4}, {.shape = {3 * h}, .absent = !biased}},
                  {reverse, after}, note};
  };
  return {sample(3, 2, 3, true, false, true, ""), sample(1, 3, 2, false, true, true, "one step, backwards"),
          sample(4, 3, 18, true, true, true, "more units than lanes"), sample(3, 2, 3, true, false, false, "reset before the product"),
          sample(3, 4, 18, false, true, false, "reset before the product, backwards"),
          {{{{3, 2, 54}}, {{2, 18}}, {{2, 18, 48}, Fill::uniform, -0.4, 0.4}, {{54}}}, {false, true}, "weight in panels"},
          {.in = {{{3, 2, 6}}, {{2, 2}}, {{6, 3}}}, .error = "shapes do not fit"},
          {.in = {{{3, 2, 6}}, {{2, 2}}, {{6, 2}}, {{2}}}, .error = "wrong bias"}};
}

}  // namespace

OpDef op_def_gru_layer() {
  return {.name = "gru_layer",
          .doc = "gates [steps, batch, 3 * hidden] (reset, update, new; the input's part with its bias), first state h [batch, "
                 "hidden], weight [3 * hidden, hidden], or what gate_panels makes of it, bias [3 * hidden] of the state's part. At "
                 "each step r = sigmoid(reset), z = sigmoid(update) of the sums of both parts, n = tanh(new + r q) where q is the "
                 "state's part of the new gate, or, without reset_after, n = tanh(new + weight q + bias) with q = r h; then h = (1 - "
                 "z) n + z h. From the last step to the first with reverse. Gives h of every step [steps, batch, hidden], and r, z, n, "
                 "q, which the gradient uses.",
          .inputs = {{"gates", floating_types},
                     {"h", floating_types},
                     {"weight", floating_types},
                     {"bias", floating_types, Arity::optional}},
          .attrs = {{"reverse", AttrKind::boolean, false}, {"reset_after", AttrKind::boolean, true}},
          .outputs = {"out", "acts"},
          .infer = infer,
          .compose = compose,
          .vjp = vjp,
          .cost = [](const InferContext& c) {
            const Shape& x = c.shape(0);
            return Cost{double(x[0] * x[1]) * double(x[2]) * double(x[2] / 3) * 2};
          },
          .samples = samples};
}

}  // namespace suan
