// What sums and products of two 8-bit integers share.
#pragma once

#include "ops/quant/int8_windows.h"

namespace suan::ops {

// Inputs: a, b, their zero points, scales from `scales` on, the result's zero point last.
inline std::vector<TensorType> int8_pair_types(const InferContext& c, int n_scales) {
  const DType to = c.attrs.dtype(0);
  if (!contains(bytes_types, to)) c.fail<TypeError>("wrong result dtype: expected u8 or i8, got {}", brief(to));
  for (int i = 2; i < 4 + n_scales + 1; ++i)
    if (c.has(i) && c.shape(i) != Shape{})
      c.fail<ShapeError>("{} does not fit: expected one number, got {}", c.op.inputs[size_t(i)].name, to_string(c[i]));
  if (c.has(3) && c.dtype(3) != c.dtype(1)) c.fail<TypeError>("b_zero does not fit: expected {}, got {}", brief(c.dtype(1)), to_string(c[3]));
  if (c.has(2) && c.dtype(2) != c.dtype(0)) c.fail<TypeError>("a_zero does not fit: expected {}, got {}", brief(c.dtype(0)), to_string(c[2]));
  if (c.has(4 + n_scales) && c.dtype(4 + n_scales) != to)
    c.fail<TypeError>("out_zero does not fit: expected {}, got {}", brief(to), to_string(c[4 + n_scales]));
  return {{to, broadcast(c.op.name, c.shape(0), c.shape(1)), c[0].device}};
}
inline Tensor int8_centred(const ComposeContext& c, int i) {
  const Tensor v = cast(c[i], DType::f32);
  return c.has(2 + i) ? v - cast(c[2 + i], DType::f32) : v;
}
// Input `zero` is the result's zero point, if there is one.
inline Tensor int8_stored(const ComposeContext& c, const Tensor& y, int zero) {
  const Tensor whole = apply(SUAN_OP("round"), {y});
  return saturated(c.has(zero) ? whole + cast(c[zero], DType::f32) : whole, c.attrs.dtype(0));
}
inline SampleInput int8_ratio(double lo, double hi) {
  return {.shape = {}, .fill = Fill::uniform, .lo = lo, .hi = hi, .dtype = DType::f32, .grad = false};
}

}  // namespace suan::ops
