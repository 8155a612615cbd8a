// Vectors of 64 bytes: the one width every CPU kernel is written for. AVX-512 holds one in a
// register, AVX2 as a pair (vec_pair.h); lane count and order of operations are the same, so both
// instruction sets give the same bits. Operators are those of GCC's vectors, with scalars too;
// choose lanes with select(), reinterpret with bits_as<>(), never with ?: or a cast.
#pragma once

#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cpu/lib/vec_base.h"
#ifndef __AVX512F__
#include "kernels/cpu/lib/vec_pair.h"
#endif

namespace suan::cpu::SUAN_ISA {

#ifdef __AVX512F__
template <class T, int N>
using vector = native_vector<T, N>;
#else
template <class T, int N>
using vector =
    std::conditional_t<sizeof(T) * N == 64, Pair<native_vector<T, N / 2>>, native_vector<T, N>>;
#endif

using f32x16 = vector<float, 16>;
using f64x8 = vector<double, 8>;
using i32x16 = vector<std::int32_t, 16>;
using u32x16 = vector<std::uint32_t, 16>;
using i64x8 = vector<std::int64_t, 8>;
using u64x8 = vector<std::uint64_t, 8>;
using i16x32 = vector<std::int16_t, 32>;
using u16x32 = vector<std::uint16_t, 32>;
using i8x64 = vector<std::int8_t, 64>;
using u8x64 = vector<std::uint8_t, 64>;
using f32x8 = vector<float, 8>;
using i32x8 = vector<std::int32_t, 8>;
using f64x4 = vector<double, 4>;
using i64x4 = vector<std::int64_t, 4>;
using u16x16 = vector<std::uint16_t, 16>;

// lanes_of<T>: lanes of the canonical vector of T; vec_of<T>: that vector.
template <class T>
inline constexpr int lanes_of = 64 / static_cast<int>(sizeof(T));
template <class T>
using vec_of = vector<T, lanes_of<T>>;

template <class V>
using lane_of = std::remove_cvref_t<decltype(std::declval<V&>()[0])>;
template <class V>
inline constexpr int n_lanes = static_cast<int>(sizeof(V) / sizeof(lane_of<V>));

// Mask of V: integer lanes, 0 or -1, as comparisons give.
template <class V>
using mask_of = decltype(std::declval<V>() < std::declval<V>());

// Same bits, other type. Works on 64-byte vectors (both forms) and on anything of equal size.
template <class To, class From>
SUAN_INLINE To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
#ifndef __AVX512F__
  if constexpr (requires { from.lo; } && requires(To to) { to.lo; }) {
    return {(decltype(To::lo))from.lo, (decltype(To::hi))from.hi};
  } else
#endif
  {
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
  }
}

template <class V>
SUAN_INLINE V splat(lane_of<V> value) {
  return value - V{};  // x - 0 keeps -0.0, where x + 0 would not
}

template <class T>
SUAN_INLINE vec_of<T> load(const T* p) {
  vec_of<T> v;
#ifdef __AVX512F__
  std::memcpy(&v, p, sizeof v);
#else
  std::memcpy(&v.lo, p, 32);
  std::memcpy(&v.hi, p + lanes_of<T> / 2, 32);
#endif
  return v;
}
template <class T>
SUAN_INLINE void store(T* p, vec_of<T> v) {
#ifdef __AVX512F__
  std::memcpy(p, &v, sizeof v);
#else
  std::memcpy(p, &v.lo, 32);
  std::memcpy(p + lanes_of<T> / 2, &v.hi, 32);
#endif
}

// First n lanes (0 <= n <= lanes) from p, the others zero; nothing past p + n is touched.
template <class T>
SUAN_INLINE vec_of<T> load_partial(const T* p, int n) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {
    return bits_as<vec_of<T>>(_mm512_maskz_loadu_epi32(_bzhi_u32(~0u, n), p));
  } else if constexpr (sizeof(T) == 8) {
    return bits_as<vec_of<T>>(_mm512_maskz_loadu_epi64(_bzhi_u32(~0u, n), p));
  } else if constexpr (sizeof(T) == 2) {
    return bits_as<vec_of<T>>(_mm512_maskz_loadu_epi16(_bzhi_u32(~0u, n), p));
  } else {
    return bits_as<vec_of<T>>(_mm512_maskz_loadu_epi8(_bzhi_u64(~0ull, n), p));
  }
#else
  alignas(32) T buffer[lanes_of<T>] = {};
  std::memcpy(buffer, p, static_cast<std::size_t>(n) * sizeof(T));
  return load(buffer);
#endif
}
template <class T>
SUAN_INLINE void store_partial(T* p, vec_of<T> v, int n) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_epi32(p, _bzhi_u32(~0u, n), bits_as<__m512i>(v));
  } else if constexpr (sizeof(T) == 8) {
    _mm512_mask_storeu_epi64(p, _bzhi_u32(~0u, n), bits_as<__m512i>(v));
  } else if constexpr (sizeof(T) == 2) {
    _mm512_mask_storeu_epi16(p, _bzhi_u32(~0u, n), bits_as<__m512i>(v));
  } else {
    _mm512_mask_storeu_epi8(p, _bzhi_u64(~0ull, n), bits_as<__m512i>(v));
  }
#else
  alignas(32) T buffer[lanes_of<T>];
  store(buffer, v);
  std::memcpy(p, buffer, static_cast<std::size_t>(n) * sizeof(T));
#endif
}

template <class M, class V>
SUAN_INLINE V select(M mask, V if_true, V if_false) {
#ifndef __AVX512F__
  if constexpr (requires { mask.lo; }) {
    return {mask.lo ? if_true.lo : if_false.lo, mask.hi ? if_true.hi : if_false.hi};
  } else
#endif
  {
    return mask ? if_true : if_false;
  }
}

// Halves of 32 bytes.
#ifdef __AVX512F__
SUAN_INLINE f32x8 low(f32x16 v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7); }
SUAN_INLINE f32x8 high(f32x16 v) {
  return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}
SUAN_INLINE f64x4 low(f64x8 v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
SUAN_INLINE f64x4 high(f64x8 v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); }
SUAN_INLINE f32x16 join(f32x8 a, f32x8 b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
SUAN_INLINE f64x8 join(f64x4 a, f64x4 b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}
#else
template <class H>
SUAN_INLINE H low(Pair<H> v) {
  return v.lo;
}
template <class H>
SUAN_INLINE H high(Pair<H> v) {
  return v.hi;
}
template <class H>
SUAN_INLINE Pair<H> join(H lo, H hi) {
  return {lo, hi};
}
#endif

// SUAN_VEC2 defines a function of two f32x16 or f64x8 by its intrinsic; fma rounds once, always.
#ifdef __AVX512F__
#define SUAN_VEC2(name, op)                                 \
  SUAN_INLINE f32x16 name(f32x16 a, f32x16 b) {             \
    return (f32x16)_mm512_##op##_ps((__m512)a, (__m512)b);  \
  }                                                         \
  SUAN_INLINE f64x8 name(f64x8 a, f64x8 b) {                \
    return (f64x8)_mm512_##op##_pd((__m512d)a, (__m512d)b); \
  }
SUAN_INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
  return (f32x16)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
SUAN_INLINE f64x8 fma(f64x8 a, f64x8 b, f64x8 c) {
  return (f64x8)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#else
#define SUAN_VEC2(name, op)                                         \
  SUAN_INLINE f32x16 name(f32x16 a, f32x16 b) {                     \
    return {(f32x8)_mm256_##op##_ps((__m256)a.lo, (__m256)b.lo),    \
            (f32x8)_mm256_##op##_ps((__m256)a.hi, (__m256)b.hi)};   \
  }                                                                 \
  SUAN_INLINE f64x8 name(f64x8 a, f64x8 b) {                        \
    return {(f64x4)_mm256_##op##_pd((__m256d)a.lo, (__m256d)b.lo),  \
            (f64x4)_mm256_##op##_pd((__m256d)a.hi, (__m256d)b.hi)}; \
  }
SUAN_INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
  return {(f32x8)_mm256_fmadd_ps((__m256)a.lo, (__m256)b.lo, (__m256)c.lo),
          (f32x8)_mm256_fmadd_ps((__m256)a.hi, (__m256)b.hi, (__m256)c.hi)};
}
SUAN_INLINE f64x8 fma(f64x8 a, f64x8 b, f64x8 c) {
  return {(f64x4)_mm256_fmadd_pd((__m256d)a.lo, (__m256d)b.lo, (__m256d)c.lo),
          (f64x4)_mm256_fmadd_pd((__m256d)a.hi, (__m256d)b.hi, (__m256d)c.hi)};
}
#endif
SUAN_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
SUAN_INLINE double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }

// a > b ? a : b and a < b ? a : b, exactly: a NaN in either gives b.
SUAN_VEC2(max_or_second, max)
SUAN_VEC2(min_or_second, min)
#undef SUAN_VEC2
template <class V>
SUAN_INLINE V max_or_second(V a, V b) {
  return select(a > b, a, b);
}
template <class V>
SUAN_INLINE V min_or_second(V a, V b) {
  return select(a < b, a, b);
}

// NaN in either operand gives NaN, as torch.maximum and torch.minimum.
template <class V>
SUAN_INLINE V max(V a, V b) {
  return select(a != a, a, max_or_second(a, b));
}
template <class V>
SUAN_INLINE V min(V a, V b) {
  return select(a != a, a, min_or_second(a, b));
}

template <class V>
SUAN_INLINE V abs(V x) {
  if constexpr (std::is_same_v<V, float>) {
    return __builtin_fabsf(x);
  } else if constexpr (std::is_same_v<V, double>) {
    return __builtin_fabs(x);
  } else if constexpr (std::is_arithmetic_v<V>) {
    return x < 0 ? static_cast<V>(-x) : x;
  } else if constexpr (std::is_floating_point_v<lane_of<V>>) {
    using Bits = mask_of<V>;
    return bits_as<V>(bits_as<Bits>(x) & std::numeric_limits<lane_of<Bits>>::max());
  } else {
    return select(x < 0, -x, x);
  }
}

// The sign bit of `sign` put on `magnitude`, whose own sign bit must be clear.
template <class V>
SUAN_INLINE V or_sign(V magnitude, V sign) {
  using Bits = mask_of<V>;
  return bits_as<V>(bits_as<Bits>(magnitude) |
                    (bits_as<Bits>(sign) & std::numeric_limits<lane_of<Bits>>::min()));
}

SUAN_INLINE bool any(i32x16 mask) {
#ifdef __AVX512F__
  return _mm512_movepi32_mask((__m512i)mask) != 0;
#else
  const __m256i either = (__m256i)(mask.lo | mask.hi);
  return !_mm256_testz_si256(either, either);
#endif
}

// Horizontal sum and maximum, halves first: ((0+8)+(4+12))+... the same tree for every caller.
SUAN_INLINE float sum_lanes(f32x16 v) {
  const f32x8 a = low(v) + high(v);
  const auto b =
      __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
  return (b[0] + b[2]) + (b[1] + b[3]);
}
SUAN_INLINE double sum_lanes(f64x8 v) {
  const f64x4 a = low(v) + high(v);
  return (a[0] + a[2]) + (a[1] + a[3]);
}
SUAN_INLINE float max_lanes(f32x16 v) {
  const f32x8 a = max<f32x8>(low(v), high(v));
  using f32x4 = native_vector<float, 4>;
  const f32x4 b = max<f32x4>(__builtin_shufflevector(a, a, 0, 1, 2, 3),
                             __builtin_shufflevector(a, a, 4, 5, 6, 7));
  const f32x4 c = max<f32x4>(b, __builtin_shufflevector(b, b, 2, 3, 0, 1));
  return max<f32x4>(c, __builtin_shufflevector(c, c, 1, 0, 3, 2))[0];
}
SUAN_INLINE double max_lanes(f64x8 v) {
  const f64x4 a = max<f64x4>(low(v), high(v));
  const f64x4 b = max<f64x4>(a, __builtin_shufflevector(a, a, 2, 3, 0, 1));
  return max<f64x4>(b, __builtin_shufflevector(b, b, 1, 0, 3, 2))[0];
}

// Lane conversions. Float to integer truncates; out of range is the caller's business.
#ifdef __AVX512F__
SUAN_INLINE i32x16 to_i32(f32x16 v) { return __builtin_convertvector(v, i32x16); }
SUAN_INLINE f32x16 to_f32(i32x16 v) { return __builtin_convertvector(v, f32x16); }
SUAN_INLINE i64x8 to_i64(f64x8 v) { return __builtin_convertvector(v, i64x8); }
SUAN_INLINE f64x8 to_f64(i64x8 v) { return __builtin_convertvector(v, f64x8); }
SUAN_INLINE f64x8 to_f64(f32x8 v) { return (f64x8)_mm512_cvtps_pd((__m256)v); }
SUAN_INLINE f32x8 to_f32(f64x8 v) { return (f32x8)_mm512_cvtpd_ps((__m512d)v); }
#else
SUAN_INLINE i32x16 to_i32(f32x16 v) {
  return {__builtin_convertvector(v.lo, i32x8), __builtin_convertvector(v.hi, i32x8)};
}
SUAN_INLINE f32x16 to_f32(i32x16 v) {
  return {__builtin_convertvector(v.lo, f32x8), __builtin_convertvector(v.hi, f32x8)};
}
SUAN_INLINE i64x8 to_i64(f64x8 v) {
  return {__builtin_convertvector(v.lo, i64x4), __builtin_convertvector(v.hi, i64x4)};
}
SUAN_INLINE f64x8 to_f64(i64x8 v) {
  return {__builtin_convertvector(v.lo, f64x4), __builtin_convertvector(v.hi, f64x4)};
}
SUAN_INLINE f64x8 to_f64(f32x8 v) {
  return {(f64x4)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)v)),
          (f64x4)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)v, 1))};
}
SUAN_INLINE f32x8 to_f32(f64x8 v) {
  return (f32x8)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)v.hi), _mm256_cvtpd_ps((__m256d)v.lo));
}
#endif

// Half floats are 16-bit patterns, 16 lanes in 32 bytes, to match f32x16.
SUAN_INLINE u16x16 load_u16(const std::uint16_t* p) {
  u16x16 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
SUAN_INLINE u16x16 load_u16_partial(const std::uint16_t* p, int n) {
  u16x16 v{};
  std::memcpy(&v, p, static_cast<std::size_t>(n) * 2);
  return v;
}
SUAN_INLINE void store_u16(std::uint16_t* p, u16x16 v) { std::memcpy(p, &v, sizeof v); }
SUAN_INLINE void store_u16_partial(std::uint16_t* p, u16x16 v, int n) {
  std::memcpy(p, &v, static_cast<std::size_t>(n) * 2);
}

#ifdef __AVX512F__
SUAN_INLINE f32x16 f16_to_f32(u16x16 h) { return (f32x16)_mm512_cvtph_ps((__m256i)h); }
SUAN_INLINE u16x16 f32_to_f16(f32x16 v) {
  return (u16x16)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
}
SUAN_INLINE u32x16 widen(u16x16 h) { return (u32x16)_mm512_cvtepu16_epi32((__m256i)h); }
SUAN_INLINE u16x16 narrow(u32x16 v) { return (u16x16)_mm512_cvtepi32_epi16((__m512i)v); }
#else
SUAN_INLINE f32x16 f16_to_f32(u16x16 h) {
  return {(f32x8)_mm256_cvtph_ps(_mm256_castsi256_si128((__m256i)h)),
          (f32x8)_mm256_cvtph_ps(_mm256_extracti128_si256((__m256i)h, 1))};
}
SUAN_INLINE u16x16 f32_to_f16(f32x16 v) {
  return (u16x16)_mm256_set_m128i(_mm256_cvtps_ph((__m256)v.hi, _MM_FROUND_TO_NEAREST_INT),
                                  _mm256_cvtps_ph((__m256)v.lo, _MM_FROUND_TO_NEAREST_INT));
}
SUAN_INLINE u32x16 widen(u16x16 h) {
  using u32x8 = native_vector<std::uint32_t, 8>;
  return {(u32x8)_mm256_cvtepu16_epi32(_mm256_castsi256_si128((__m256i)h)),
          (u32x8)_mm256_cvtepu16_epi32(_mm256_extracti128_si256((__m256i)h, 1))};
}
// Lanes must be below 2^16.
SUAN_INLINE u16x16 narrow(u32x16 v) {
  const __m256i packed = _mm256_packus_epi32((__m256i)v.lo, (__m256i)v.hi);
  return (u16x16)_mm256_permute4x64_epi64(packed, 0xd8);
}
#endif
SUAN_INLINE f32x16 bf16_to_f32(u16x16 h) { return bits_as<f32x16>(widen(h) << 16); }
// Round to nearest even; a NaN stays a (quiet) NaN instead of rounding up to infinity.
SUAN_INLINE u16x16 f32_to_bf16(f32x16 v) {
  const u32x16 bits = bits_as<u32x16>(v);
  const u32x16 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const u32x16 quiet = (bits >> 16) | 0x40u;
  return narrow(select(v != v, quiet, rounded));
}

// table[index mod 32] per lane.
SUAN_INLINE f32x16 lookup32(const float* table, i32x16 index) {
#ifdef __AVX512F__
  return (f32x16)_mm512_permutex2var_ps(_mm512_loadu_ps(table), (__m512i)index,
                                        _mm512_loadu_ps(table + 16));
#else
  const i32x16 in_range = index & 31;
  return {(f32x8)_mm256_i32gather_ps(table, (__m256i)in_range.lo, 4),
          (f32x8)_mm256_i32gather_ps(table, (__m256i)in_range.hi, 4)};
#endif
}

}  // namespace suan::cpu::SUAN_ISA
