// What random ops share: drawing from the generator's state, which moves on so that no counter is
// used twice.
#pragma once

#include "ops/api.h"

namespace suan {

// Bits for the shape; the state's offset then grows by the counters used.
inline Tensor draw_bits(const Tensor& state, const Shape& shape) {
  const Tensor bits = apply(SUAN_OP("random_bits"), {state}, {shape});
  const Tensor unit = apply(SUAN_OP("arange"), {}, {0.0, 2.0, 1.0, DType::u64});
  const Tensor used = Tensor::scalar_int((numel(shape) + 3) / 4, DType::u64, state.device());
  apply_into(SUAN_OP("add"), {state, ops::mul(unit, used)}, {}, state);
  return bits;
}

// Uniform in [0, 1): 24 bits in f32 (rounded down to fewer for halves), 53 in f64.
inline Tensor draw_uniform(const Tensor& state, const Shape& shape, DType dtype) {
  using namespace ops;
  auto top = [&](int64_t keep) {
    const Tensor bits = draw_bits(state, shape);
    return apply(SUAN_OP("right_shift"),
                 {bits, Tensor::scalar_int(32 - keep, DType::u32, state.device())});
  };
  if (dtype == DType::f64) {
    const Tensor high = cast(top(26), DType::f64), low = cast(top(27), DType::f64);
    return (high * 134217728.0 + low) * 0x1p-53;
  }
  // Halves keep as many bits as they hold exactly: rounding up would give 1.
  const int64_t keep = dtype == DType::f16 ? 11 : dtype == DType::bf16 ? 8 : 24;
  const Tensor u = cast(top(keep), DType::f32) * (1.0 / double(int64_t(1) << keep));
  return cast(u, dtype);
}

inline void check_floating(const char* op, DType t) {
  if (!contains(floating_types, t))
    fail<TypeError>(op, "dtype not supported: expected a floating one, got {}", name(t));
}

}  // namespace suan
