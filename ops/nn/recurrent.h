// What the ops of recurrent layers share.
#pragma once

#include "ops/nn/common.h"

namespace suan::ops {

// Units in a panel of gate_panels.
inline constexpr int64_t panel_units = 16;

inline Shape panels_shape(int64_t gates, int64_t hidden, int64_t k) {
  return {(hidden + panel_units - 1) / panel_units, k, gates * panel_units};
}
// The weight [gates * hidden, k] of gate_panels's result, or of itself.
inline Tensor weight_of(const Tensor& w, int64_t gates, int64_t hidden) {
  if (w.rank() == 2) return w;
  const int64_t panels = w.dim(0), k = w.dim(1);
  const Tensor all = permute(reshape(w, {panels, k, gates, panel_units}), {2, 0, 3, 1});
  return reshape(slice(reshape(copy(all), {gates, panels * panel_units, k}), 1, 0, hidden), {gates * hidden, k});
}
// A gradient for the first of these as one for the other.
inline Tensor like_weight(const Tensor& grad, const Shape& weight, int64_t gates) {
  return weight.size() == 2 ? grad : apply(SUAN_OP("gate_panels"), {grad}, {gates});
}
inline bool is_recurrent_weight(const Shape& w, int64_t gates, int64_t hidden) {
  return w == Shape{gates * hidden, hidden} || w == panels_shape(gates, hidden, hidden);
}

// Sum over steps of gates^T times the state before each: gates [steps, batch, width], states as a layer gave them, and
// the first one [batch, hidden].
inline Tensor weight_gradient(const Tensor& gates, const Tensor& states, const Tensor& first_state, bool reverse) {
  const int64_t steps = gates.dim(0), batch = gates.dim(1), width = gates.dim(2), hidden = states.dim(2);
  auto product = [&](const Tensor& g, const Tensor& s, int64_t n) {
    return matmul(transpose(reshape(g, {n * batch, width}), 0, 1), reshape(s, {n * batch, hidden}));
  };
  const int64_t first = reverse ? steps - 1 : 0, later = reverse ? 0 : 1, n = steps - 1;
  const Tensor dw = product(slice(gates, 0, first, first + 1), first_state, 1);
  return n ? dw + product(slice(gates, 0, later, later + n), slice(states, 0, 1 - later, 1 - later + n), n) : dw;
}

}  // namespace suan::ops
