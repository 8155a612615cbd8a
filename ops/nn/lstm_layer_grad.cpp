// lstm_layer_grad: the gradients of lstm_layer for its gates and first states.
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(1), &y = c.shape(0);
  if (x.size() != 3 || y != Shape{x[0], x[1], x[2] / 4} || c.shape(2) != y)
    c.fail<ShapeError>("shapes differ: expected [steps, batch, hidden] beside {}, got {} and {}", to_string(c[1]), to_string(c[0]),
                       to_string(c[2]));
  return {c[1], c[3], c[3]};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &grad = c[0], &acts = c[1], &cells = c[2], &weight = c[4];
  const int64_t steps = acts.dim(0), batch = acts.dim(1), hidden = acts.dim(2) / 4;
  auto at = [&](const Tensor& x, int64_t t) { return reshape(slice(x, 0, t, t + 1), {batch, x.dim(2)}); };
  Tensor dh = zeros_like(c[3]), dc = dh;
  Tensors out(size_t(steps), dh);
  for (int64_t k = steps; k-- > 0;) {
    const bool reverse = c.attrs.boolean(0);
    const int64_t t = reverse ? steps - 1 - k : k;
    const Tensor all = at(acts, t), before = k ? at(cells, reverse ? t + 1 : t - 1) : c[3];
    auto part = [&](const Tensor& x, int64_t g) { return slice(x, 1, g * hidden, (g + 1) * hidden); };
    const Tensor i = part(all, 0), f = part(all, 1), g = part(all, 2), o = part(all, 3), bent = tanh(at(cells, t));
    dh = dh + at(grad, t);
    dc = dc + dh * o * (1.0 - bent * bent);
    if (c.has(5)) dc = dc + at(c[5], t);
    Tensor of[] = {dc * g, dc * before, dc * i, dh * bent};
    if (c.has(6))
      for (int64_t n = 0; n < 4; ++n) of[n] = of[n] + part(at(c[6], t), n);
    const Tensor gates = apply(SUAN_OP("cat"), {of[0] * i * (1.0 - i), of[1] * f * (1.0 - f), of[2] * (1.0 - g * g),
                                                of[3] * o * (1.0 - o)}, {int64_t(1)});
    out[size_t(t)] = unsqueeze(gates, 0);
    dh = matmul(gates, weight);
    dc = dc * f;
  }
  return {apply(SUAN_OP("cat"), out, {int64_t(0)}), dh, dc};
}

}  // namespace

OpDef op_def_lstm_layer_grad() {
  return {.name = "lstm_layer_grad",
          .doc = "Gradients of lstm_layer for gates, h and c, from those of its outputs (cells and acts where used), what "
                 "it gave as acts and cells, and its c and weight.",
          .inputs = {{"grad", floating_types},
                     {"acts", floating_types},
                     {"cells", floating_types},
                     {"c", floating_types},
                     {"weight", floating_types},
                     {"grad_cells", floating_types, Arity::optional},
                     {"grad_acts", floating_types, Arity::optional}},
          .attrs = {{"reverse", AttrKind::boolean, false}},
          .outputs = {"dgates", "dh", "dc"},
          .infer = infer,
          .compose = compose};
}

}  // namespace suan
