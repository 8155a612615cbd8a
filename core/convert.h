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
inline float bfloat_to_float(uint16_t b) { return __builtin_bit_cast(float, uint32_t(b) << 16); }
inline uint16_t float_to_bfloat(float f) {
  uint32_t u = __builtin_bit_cast(uint32_t, f);
  if ((u & 0x7fffffff) > 0x7f800000) return uint16_t((u >> 16) | 0x40);
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

}  // namespace suan
