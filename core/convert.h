// One element between its storage type and double / int64: for scalars, printing and constants.
// Kernels have their own vector conversions.
#pragma once

#include <cstddef>

#include "core/dtype.h"

namespace suan {

double load_as(const std::byte* p, DType t);
int64_t load_as_int(const std::byte* p, DType t);
void store_as(std::byte* p, DType t, double v);       // rounds to nearest even; wraps integers
void store_as_int(std::byte* p, DType t, int64_t v);

float half_to_float(uint16_t h);
uint16_t float_to_half(float f);
// Floats of 8 and 4 bits, to nearest even. What is too large becomes infinity, NaN where there is none, and the
// largest value where there is neither (float4_e2m1fn).
float narrow_to_float(uint8_t code, DType t);
uint8_t float_to_narrow(float f, DType t);
// Integers of 4 and 2 bits, from the low bits of a byte.
constexpr int64_t narrow_to_int(uint8_t code, DType t) {
  const int free = 64 - info(t).bits;
  return is_signed_int(t) ? int64_t(uint64_t(code) << free) >> free : int64_t(uint64_t(code) << free >> free);
}
constexpr uint8_t int_to_narrow(int64_t v, DType t) { return uint8_t(v & ((1 << info(t).bits) - 1)); }
inline float bfloat_to_float(uint16_t b) { return __builtin_bit_cast(float, uint32_t(b) << 16); }
inline uint16_t float_to_bfloat(float f) {
  uint32_t u = __builtin_bit_cast(uint32_t, f);
  if ((u & 0x7fffffff) > 0x7f800000) return uint16_t((u >> 16) | 0x40);
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

}  // namespace suan
