// Quotients rounded to 8 bits. A correctly rounded quotient is had from the reciprocal by two corrections (each
// exact in its fma), in a fraction of a division's time.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/cpu/lib/vec.h"

namespace suan::cpu::SUAN_ISA {

// To the nearest, ties to even; |x| < 2^31. NaN becomes the least.
SUAN_INLINE i32x16 nearest(f32x16 x) {
#ifdef __AVX512F__
  return bits_as<i32x16>(_mm512_cvtps_epi32((__m512)x));
#else
  return {(i32x8)_mm256_cvtps_epi32((__m256)x.lo), (i32x8)_mm256_cvtps_epi32((__m256)x.hi)};
#endif
}

// 16 numbers as bytes, saturated.
template <class T>
SUAN_INLINE __m128i narrowed(i32x16 v) {
#ifdef __AVX512F__
  if constexpr (std::is_same_v<T, int8_t>) return _mm512_cvtsepi32_epi8((__m512i)v);
  else return _mm512_cvtusepi32_epi8(_mm512_max_epi32((__m512i)v, _mm512_setzero_si512()));
#else
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32((__m256i)v.lo, (__m256i)v.hi), 0xd8);
  const __m128i lo = _mm256_castsi256_si128(words), hi = _mm256_extracti128_si256(words, 1);
  if constexpr (std::is_same_v<T, int8_t>) return _mm_packs_epi16(lo, hi);
  else return _mm_packus_epi16(lo, hi);
#endif
}
template <class T>
SUAN_INLINE void store_bytes(T* p, i32x16 v, int n = 16) {
  const __m128i b = narrowed<T>(v);
  if (n == 16) _mm_storeu_si128(reinterpret_cast<__m128i*>(p), b);
  else std::memcpy(p, &b, size_t(n));
}

// out[i] = saturated(round(x[i] / scale) + zero). NaN becomes the least.
template <class T>
void quantize_row(const float* x, float scale, int32_t zero, int64_t n, T* out) {
  // Beyond these the quotient saturates whatever it is, and is exact enough before them.
  const float lo = float(std::numeric_limits<T>::min() - zero) - 2, hi = float(std::numeric_limits<T>::max() - zero) + 2;
  const bool tame = scale > 1e-30f && scale < 1e30f;
  const f32x16 r = splat<f32x16>(1.0f / scale), s = splat<f32x16>(scale), low = splat<f32x16>(tame ? lo * scale : lo),
               high = splat<f32x16>(tame ? hi * scale : hi);
  const i32x16 zeros = splat<i32x16>(zero);
  const auto quotient = [&](f32x16 v) __attribute__((always_inline)) {
    if (!tame) return min_or_second(max_or_second(v / s, low), high);
    v = min_or_second(max_or_second(v, low), high);
    f32x16 q = v * r;
    q = fma(fma(-q, s, v), r, q);
    return fma(fma(-q, s, v), r, q);
  };
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_bytes(out + i, nearest(quotient(load(x + i))) + zeros);
  if (i < n) store_bytes(out + i, nearest(quotient(load_partial(x + i, int(n - i)))) + zeros, int(n - i));
}

// The range of x, 0 being in it. NaN is not.
struct Range {
  float lo = 0, hi = 0;
};
inline Range joined(Range a, Range b) { return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)}; }
inline Range range_of(const float* x, int64_t n) {
  f32x16 lo[4] = {}, hi[4] = {};
  const auto take = [&](f32x16 v, int j) __attribute__((always_inline)) {
    lo[j] = min_or_second(v, lo[j]);
    hi[j] = max_or_second(v, hi[j]);
  };
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) take(load(x + i + 16 * j), j);
  }
  for (; i < n; i += 16) take(load_partial(x + i, int(std::min<int64_t>(16, n - i))), 0);
  const f32x16 least = min_or_second(min_or_second(lo[0], lo[1]), min_or_second(lo[2], lo[3]));
  const f32x16 most = max_or_second(max_or_second(hi[0], hi[1]), max_or_second(hi[2], hi[3]));
  return {-max_lanes(-least), max_lanes(most)};
}

// ONNX's DynamicQuantizeLinear.
struct Steps {
  float scale;
  uint8_t zero;
};
inline Steps steps_of(Range r) {
  Steps s{(r.hi - r.lo) / 255.0f, 0};
  if (s.scale == 0) s.scale = 1;
  const float low = -r.lo;
  quantize_row(&low, s.scale, 0, 1, &s.zero);
  return s;
}

inline constexpr int64_t quantize_piece = 1 << 14;   // elements of a task

}  // namespace suan::cpu::SUAN_ISA
