// Quotients rounded to 8 bits. A correctly rounded quotient is had from the reciprocal by two corrections (each
// exact in its fma), in a sixth of a division's time; only numbers far outside any 8-bit range are left as the first
// guess, which saturates all the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

namespace suan::cpu::SUAN_ISA {

// The nearest whole number, ties to even, of |x| < 2^22, as int32.
inline int32_t nearest(float x) {
  const float moved = x + 12582912.0f;   // 1.5 × 2^23: the low bits are the number
  int32_t bits;
  std::memcpy(&bits, &moved, 4);
  return bits - 0x4b400000;
}

// out[i] = saturated(round(x[i] / scale) + zero). NaN becomes the least.
template <class T>
void quantize_row(const float* x, float scale, int32_t zero, int64_t n, T* out) {
  const float lo = float(std::numeric_limits<T>::min() - zero), hi = float(std::numeric_limits<T>::max() - zero);
  const auto stored = [&](float q) {
    q = q > lo ? q : lo;
    q = q < hi ? q : hi;
    return T(nearest(q) + zero);
  };
  if (!(scale > 1e-30f && scale < 1e30f)) {
    for (int64_t i = 0; i < n; ++i) out[i] = stored(x[i] / scale);
    return;
  }
  const float r = 1.0f / scale;
  for (int64_t i = 0; i < n; ++i) {
    const float v = x[i], q0 = v * r;
    const float q1 = __builtin_fmaf(__builtin_fmaf(-q0, scale, v), r, q0);
    const float q2 = __builtin_fmaf(__builtin_fmaf(-q1, scale, v), r, q1);
    out[i] = stored(__builtin_fabsf(q0) < 4096.0f ? q2 : q0);
  }
}

inline constexpr int64_t quantize_piece = 1 << 14;   // elements of a task

}  // namespace suan::cpu::SUAN_ISA
