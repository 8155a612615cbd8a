// From sums of products of 8-bit integers to what is stored: corrections for zero points, bias, scale, rounding.
#pragma once

#include <cstring>
#include <limits>

#include "core/dtype.h"
#include "kernels/cpu/lib/int8_gemm.h"
#include "kernels/cpu/lib/quantize.h"

namespace suan::cpu::SUAN_ISA {

// 32 sums of one row. The whole sum is s[j] + base + column[j] + row * factor[j], in wrapping arithmetic; factor may be
// null, and so may `bias`, which is added to scaled sums that stay floats.
struct SumsRow {
  const int32_t *s, *column, *factor;
  uint32_t base, row;
  const float* bias = nullptr;
};

// 16 whole sums as T: int32_t, float (times the scale, plus bias) or 8 bits (times the scale, rounded, plus zero).
template <class T>
SUAN_INLINE void store_sums(u32x16 sum, f32x16 scale, f32x16 bias, bool biased, int32_t zero, int n, T* out) {
  if constexpr (std::is_same_v<T, int32_t>) {
    n == 16 ? store(out, bits_as<i32x16>(sum)) : store_partial(out, bits_as<i32x16>(sum), n);
  } else {
    f32x16 f = to_f32(bits_as<i32x16>(sum)) * scale;
    if constexpr (std::is_same_v<T, float>) {
      if (biased) f += bias;
      n == 16 ? store(out, f) : store_partial(out, f, n);
    } else {
      // Clamped before it is rounded: a scaled sum may be beyond 32 bits.
      const float lo = std::is_same_v<T, int8_t> ? -128 - zero : -zero, hi = std::is_same_v<T, int8_t> ? 127 - zero : 255 - zero;
      f = min_or_second(max_or_second(f, splat<f32x16>(lo)), splat<f32x16>(hi));
      store_bytes(out, nearest(f) + zero, n);
    }
  }
}

// Stores `cols` of them as T. Scale: const float* (one per column) or float.
template <class T, class Scale>
SUAN_INLINE void finish_row(const SumsRow& r, Scale scale, int32_t zero, int64_t cols, T* out) {
#pragma GCC unroll 2
  for (int j = 0; j < int(int8_panel); j += 16) {
    const int n = int(std::min<int64_t>(16, cols - j));
    if (n <= 0) return;
    u32x16 sum = bits_as<u32x16>(load(r.s + j)) + bits_as<u32x16>(load(r.column + j)) + r.base;
    if (r.factor) sum += bits_as<u32x16>(load(r.factor + j)) * r.row;
    f32x16 by;
    if constexpr (std::is_pointer_v<Scale>) by = load(scale + j);
    else by = splat<f32x16>(scale);
    store_sums(sum, by, r.bias ? load(r.bias + j) : f32x16{}, r.bias, zero, n, out + j);
  }
}

// The same for some rows `ld` apart, [rows][32] sums, whose own sums are row_sums[] if there is a factor.
template <class T>
SUAN_INLINE void finish_rows(const SumsRow& r, int64_t rows, const int32_t* row_sums, const float* scale, int32_t zero, int64_t cols,
                             T* out, int64_t ld) {
#pragma GCC unroll 2
  for (int j = 0; j < int(int8_panel); j += 16) {
    const int n = int(std::min<int64_t>(16, cols - j));
    if (n <= 0) return;
    const u32x16 column = bits_as<u32x16>(load(r.column + j)) + r.base;
    const f32x16 by = load(scale + j), bias = r.bias ? load(r.bias + j) : f32x16{};
    const auto sums = [&](int64_t i) __attribute__((always_inline)) { return bits_as<u32x16>(load(r.s + i * int8_panel + j)) + column; };
    if (r.factor) {
      const u32x16 factor = bits_as<u32x16>(load(r.factor + j));
      for (int64_t i = 0; i < rows; ++i)
        store_sums(sums(i) + factor * uint32_t(row_sums[i]), by, bias, r.bias, zero, n, out + i * ld + j);
    } else if (n == 16) {
      for (int64_t i = 0; i < rows; ++i) store_sums(sums(i), by, bias, r.bias, zero, 16, out + i * ld + j);
    } else {
      for (int64_t i = 0; i < rows; ++i) store_sums(sums(i), by, bias, r.bias, zero, n, out + i * ld + j);
    }
  }
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

// Sum of n unsigned bytes.
inline int32_t sum_of_bytes(const uint8_t* p, int64_t n) {
  __m256i sums = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i)), _mm256_setzero_si256()));
  uint64_t four[4];
  std::memcpy(four, &sums, sizeof four);
  uint64_t sum = four[0] + four[1] + four[2] + four[3];
  for (; i < n; ++i) sum += p[i];
  return int32_t(sum);
}

// n bytes with `flip` exclusive-ored and zeros to a multiple of four; their sum after the flip.
inline int32_t flip_row(const uint8_t* from, int64_t n, uint8_t flip, uint8_t* to) {
  const __m256i flips = _mm256_set1_epi8(char(flip));
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)), flips));
  for (; i < n; ++i) to[i] = from[i] ^ flip;
  for (; i < int8_row_bytes(n); ++i) to[i] = 0;
  return sum_of_bytes(to, n);
}

}  // namespace suan::cpu::SUAN_ISA
