// From sums of products of 8-bit integers to what is stored: corrections for zero points, bias, scale, rounding.
#pragma once

#include <cstring>
#include <limits>

#include "core/dtype.h"
#include "kernels/cpu/lib/int8_gemm.h"
#include "kernels/cpu/lib/quantize.h"

namespace suan::cpu::SUAN_ISA {

// 32 sums of one row. The whole sum is s[j] + base + column[j] + row * factor[j], in wrapping arithmetic.
struct SumsRow {
  const int32_t *s, *column, *factor;
  uint32_t base, row;
};

// Stores `cols` of them as T: int32_t, float (times the scale) or 8 bits (that rounded, plus zero).
// Scale: const float* (one per column) or float.
template <class T, class Scale>
void finish_row(const SumsRow& r, Scale scale, int32_t zero, int64_t cols, T* out) {
  alignas(64) T row[int8_panel];
  T* to = cols == int8_panel ? out : row;
  const float lo = std::is_same_v<T, int8_t> ? -128 - zero : -zero, hi = std::is_same_v<T, int8_t> ? 127 - zero : 255 - zero;
  for (int j = 0; j < int(int8_panel); ++j) {
    const int32_t sum = int32_t(uint32_t(r.s[j]) + r.base + uint32_t(r.column[j]) + r.row * uint32_t(r.factor[j]));
    if constexpr (std::is_same_v<T, int32_t>) {
      to[j] = sum;
    } else {
      float f;
      if constexpr (std::is_pointer_v<Scale>) f = float(sum) * scale[j];
      else f = float(sum) * scale;
      if constexpr (std::is_same_v<T, float>) {
        to[j] = f;
      } else {
        f = f > lo ? f : lo;
        f = f < hi ? f : hi;
        to[j] = T(nearest(f) + zero);
      }
    }
  }
  if (to == row) std::memcpy(out, row, size_t(cols) * sizeof(T));
}

template <class F>
void with_int8_result(DType t, F f) {
  switch (t) {
    case DType::u8: return f(uint8_t{});
    case DType::i8: return f(int8_t{});
    case DType::f32: return f(float{});
    default: return f(int32_t{});
  }
}

inline int32_t read_byte(const void* p, DType t, int64_t i = 0) {
  return t == DType::i8 ? static_cast<const int8_t*>(p)[i] : static_cast<const uint8_t*>(p)[i];
}

// n bytes with `flip` exclusive-ored and zeros to a multiple of four; their sum after the flip.
inline int32_t flip_row(const uint8_t* from, int64_t n, uint8_t flip, uint8_t* to) {
  uint32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += to[i] = from[i] ^ flip;
  for (int64_t i = n; i < int8_row_bytes(n); ++i) to[i] = 0;
  return int32_t(sum);
}

}  // namespace suan::cpu::SUAN_ISA
