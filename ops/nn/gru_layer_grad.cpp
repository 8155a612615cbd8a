// gru_layer_grad: the gradients of gru_layer for its gates, their parts of the state, and its first state.
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(1), &y = c.shape(0);
  if (x.size() != 3 || y != Shape{x[0], x[1], x[2] / 4} || c.shape(2) != y)
    c.fail<ShapeError>("shapes differ: expected [steps, batch, hidden] beside {}, got {} and {}", to_string(c[1]), to_string(c[0]),
                       to_string(c[2]));
  const TensorType gates{c.dtype(1), {x[0], x[1], x[2] / 4 * 3}, c[1].device};
  return {gates, gates, c[3]};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor &grad = c[0], &acts = c[1], &out = c[2], &weight = c[4];
  const bool reverse = c.attrs.boolean(0), after = c.attrs.boolean(1);
  const int64_t steps = acts.dim(0), batch = acts.dim(1), hidden = acts.dim(2) / 4;
  auto at = [&](const Tensor& x, int64_t t) { return reshape(slice(x, 0, t, t + 1), {batch, x.dim(2)}); };
  auto part = [&](const Tensor& x, int64_t g) { return slice(x, 1, g * hidden, (g + 1) * hidden); };
  auto joined = [](const Tensors& t, int64_t axis) { return apply(SUAN_OP("cat"), t, {axis}); };
  Tensor dh = zeros_like(c[3]);
  Tensors gates(size_t(steps), dh), products = gates;
  for (int64_t k = steps; k-- > 0;) {
    const int64_t t = reverse ? steps - 1 - k : k;
    const Tensor all = at(acts, t), h = k ? at(out, reverse ? t + 1 : t - 1) : c[3];
    const Tensor r = part(all, 0), z = part(all, 1), n = part(all, 2), q = part(all, 3);
    auto given = [&](const Tensor& d, int64_t g) { return c.has(5) ? d + part(at(c[5], t), g) : d; };
    dh = dh + at(grad, t);
    const Tensor dn = given(dh * (1.0 - z), 2) * (1.0 - n * n), dz = given(dh * (h - n), 1) * z * (1.0 - z);
    const Tensor dq = given(after ? dn * r : matmul(dn, slice(weight, 0, 2 * hidden, 3 * hidden)), 3);
    const Tensor dr = given(after ? dn * q : dq * h, 0) * r * (1.0 - r);
    gates[size_t(t)] = unsqueeze(joined({dr, dz, dn}, 1), 0);
    const Tensor back = after ? joined({dr, dz, dq}, 1) : joined({dr, dz}, 1);
    products[size_t(t)] = after ? unsqueeze(back, 0) : gates[size_t(t)];
    dh = dh * z + (after ? matmul(back, weight) : matmul(back, slice(weight, 0, 0, 2 * hidden)) + dq * r);
  }
  return {joined(gates, 0), joined(products, 0), dh};
}

}  // namespace

OpDef op_def_gru_layer_grad() {
  return {.name = "gru_layer_grad",
          .doc = "Gradients of gru_layer for gates, for the state's part of them, and for h, from those of its outputs (acts "
                 "where used), what it gave as acts and out, and its h and weight [3 * hidden, hidden].",
          .inputs = {{"grad", floating_types},
                     {"acts", floating_types},
                     {"out", floating_types},
                     {"h", floating_types},
                     {"weight", floating_types},
                     {"grad_acts", floating_types, Arity::optional}},
          .attrs = {{"reverse", AttrKind::boolean, false}, {"reset_after", AttrKind::boolean, true}},
          .outputs = {"dgates", "dproducts", "dh"},
          .infer = infer,
          .compose = compose};
}

}  // namespace suan
