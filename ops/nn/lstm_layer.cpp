// lstm_layer: the steps of an LSTM in one direction (Hochreiter and Schmidhuber 1997), from the input's part of its
// gates, which is one product for all steps.
#include "ops/nn/recurrent.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& x = c.shape(0);
  if (x.size() != 3 || x[0] < 1 || x[2] % 4)
    c.fail<ShapeError>("wrong gates: expected [steps >= 1, batch, 4 * hidden], got {}", to_string(c[0]));
  const Shape state{x[1], x[2] / 4}, all{x[0], x[1], x[2] / 4};
  if (c.shape(1) != state || c.shape(2) != state || !ops::is_recurrent_weight(c.shape(3), 4, x[2] / 4))
    c.fail<ShapeError>("shapes do not fit: expected states {} and a weight {}, got {}, {} and {}", to_string(state),
                       to_string(Shape{x[2], x[2] / 4}), to_string(c[1]), to_string(c[2]), to_string(c[3]));
  const TensorType t{c.dtype(0), all, c[0].device};
  return {t, t, c[0]};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& gates = c[0];
  const int64_t steps = gates.dim(0), batch = gates.dim(1), hidden = gates.dim(2) / 4;
  const Tensor weight = weight_of(c[3], 4, hidden);
  Tensor h = c[1], state = c[2];
  Tensors ys(size_t(steps), h), states = ys, acts = ys;
  for (int64_t k = 0; k < steps; ++k) {
    const int64_t t = c.attrs.boolean(0) ? steps - 1 - k : k;
    const Tensor all = reshape(slice(gates, 0, t, t + 1), {batch, 4 * hidden}) + apply(SUAN_OP("linear"), {h, weight});
    auto part = [&](int64_t g) { return slice(all, 1, g * hidden, (g + 1) * hidden); };
    const Tensor i = sigmoid(part(0)), f = sigmoid(part(1)), g = tanh(part(2)), o = sigmoid(part(3));
    state = f * state + i * g;
    h = o * tanh(state);
    ys[size_t(t)] = unsqueeze(h, 0);
    states[size_t(t)] = unsqueeze(state, 0);
    acts[size_t(t)] = unsqueeze(apply(SUAN_OP("cat"), {i, f, g, o}, {int64_t(1)}), 0);
  }
  auto joined = [](const Tensors& v) { return apply(SUAN_OP("cat"), v, {int64_t(0)}); };
  return {joined(ys), joined(states), joined(acts)};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const bool reverse = c.attrs.boolean(0);
  const Tensors g = apply_all(SUAN_OP("lstm_layer_grad"),
                              {c.grad_or_zeros(0), c.out(2), c.out(1), c.in(2), weight_of(c.in(3), 4, c.shape(0)[2] / 4), c.grad(1),
                               c.grad(2)}, {reverse});
  for (int i = 0; i < 3; ++i)
    if (c.needs(i)) c.set(i, g[size_t(i)]);
  if (c.needs(3)) c.set(3, like_weight(weight_gradient(g[0], c.out(0), c.in(1), reverse), c.shape(3), 4));
}

std::vector<Sample> samples() {
  auto sample = [](int64_t t, int64_t b, int64_t h, bool reverse, const char* note) {
    return Sample{{{{t, b, 4 * h}}, {{b, h}}, {{b, h}}, {{4 * h, h}, Fill::uniform, -0.4, 0.4}}, {reverse}, note};
  };
  return {sample(3, 2, 3, false, ""), sample(1, 3, 2, true, "one step, backwards"), sample(4, 3, 18, true, "more units than lanes"),
          {{{{3, 2, 72}}, {{2, 18}}, {{2, 18}}, {{2, 18, 64}, Fill::uniform, -0.4, 0.4}}, {false}, "weight in panels"},
          {.in = {{{3, 2, 8}}, {{2, 2}}, {{2, 2}}, {{8, 3}}}, .error = "shapes do not fit"}};
}

}  // namespace

OpDef op_def_lstm_layer() {
  return {.name = "lstm_layer",
          .doc = "gates [steps, batch, 4 * hidden] (input, forget, cell, output; the input's part with all biases), first "
                 "states h and c [batch, hidden], weight [4 * hidden, hidden], or what gate_panels makes of it. At each step gates += weight h, c = "
                 "sigmoid(forget) c + sigmoid(input) tanh(cell), h = sigmoid(output) tanh(c); from the last step to the "
                 "first with reverse. Gives h and c of every step [steps, batch, hidden], and the gates after their "
                 "functions, which the gradient uses.",
          .inputs = {{"gates", floating_types}, {"h", floating_types}, {"c", floating_types}, {"weight", floating_types}},
          .attrs = {{"reverse", AttrKind::boolean, false}},
          .outputs = {"out", "cells", "acts"},
          .infer = infer,
          .compose = compose,
          .vjp = vjp,
          .cost = [](const InferContext& c) {
            const Shape& x = c.shape(0);
            return Cost{double(x[0] * x[1]) * double(x[2]) * double(x[2] / 4) * 2};
          },
          .samples = samples};
}

}  // namespace suan
