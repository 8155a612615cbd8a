// The scalar prelude on vectors: exp log erf tanh ... for f32x16, f64x8, float and double.
// One expression written over a value type T compiles for all four. The hot functions (exp exp2 log
// tanh erf sigmoid) are f32 polynomials; the rare f32 ones run in f64 lanes, where accuracy is
// cheap; f64 goes lane by lane through libm. A scalar float gives the bits of a vector lane.
#pragma once

#include <cmath>

#include "kernels/cpu/lib/math_tables.h"
#include "kernels/cpu/lib/vec.h"

namespace suan::cpu::SUAN_ISA {

namespace detail {

inline constexpr float kInfF = std::numeric_limits<float>::infinity();
inline constexpr float kNanF = std::numeric_limits<float>::quiet_NaN();

// Horner with fma, coefficients lowest first, from index First to N - 1.
template <int First, class V, class T, int N>
SUAN_INLINE V horner(V x, const T (&c)[N]) {
  V p = splat<V>(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= First; --i) p = fma(p, x, splat<V>(c[i]));
  return p;
}

// p * 2^k with one rounding, for p near 1 and k an integer in [-150, 130].
SUAN_INLINE f32x16 scale2(f32x16 p, f32x16 k) {
#ifdef __AVX512F__
  return (f32x16)_mm512_scalef_ps((__m512)p, (__m512)k);
#else
  const i32x16 i = to_i32(k);
  const i32x16 half = i >> 1;
  const f32x16 first = bits_as<f32x16>((half + 127) << 23);
  const f32x16 second = bits_as<f32x16>((i - half + 127) << 23);
  return p * first * second;
#endif
}

// An odd function as sign(x) * (table[0][i] + d * poly_i(d)), where |x| + Offset picks the interval
// by its exponent and first mantissa bits and d counts from the interval's lower end (0 for the
// first, so small x keep full relative accuracy).
template <int MantissaBits, int N>
SUAN_INLINE f32x16 odd_piecewise(f32x16 x, const float (&table)[N][32], float offset, float limit) {
  constexpr int shift = 23 - MantissaBits;
  const f32x16 a = min_or_second(splat<f32x16>(limit), abs(x));
  const i32x16 shifted = bits_as<i32x16>(a + offset);
  const i32x16 index = shifted >> shift;
#ifdef __AVX512F__
  const f32x16 d = a - lookup32(table[N - 1], index);  // one instruction less than the line below
#else
  const f32x16 d = a - (bits_as<f32x16>(shifted & -(1 << shift)) - offset);
#endif
  f32x16 p = lookup32(table[N - 2], index);
#pragma GCC unroll 8
  for (int k = N - 3; k >= 0; --k) p = fma(p, d, lookup32(table[k], index));
  return or_sign(p, x);
}

template <class F>
SUAN_INLINE f32x16 over_f64(f32x16 x, F f) {
  return join(to_f32(f(to_f64(low(x)))), to_f32(f(to_f64(high(x)))));
}
template <class F>
SUAN_INLINE f32x16 over_f64(f32x16 x, f32x16 y, F f) {
  return join(to_f32(f(to_f64(low(x)), to_f64(low(y)))),
              to_f32(f(to_f64(high(x)), to_f64(high(y)))));
}

// Relative error below 1e-13, for results that are rounded to f32. |x| is cut at 700.
SUAN_INLINE f64x8 exp_f64(f64x8 x) {
  constexpr double magic = 0x1.8p52;
  x = min_or_second(splat<f64x8>(700.0), x);
  x = max_or_second(splat<f64x8>(-700.0), x);
  const f64x8 shifted = fma(x, splat<f64x8>(0x1.71547652b82fep0), splat<f64x8>(magic));
  const f64x8 k = shifted - magic;
  f64x8 r = fma(k, splat<f64x8>(-0x1.62e42fefa39efp-1), x);
  r = fma(k, splat<f64x8>(-0x1.abc9e3b39803fp-56), r);
  const f64x8 p = horner<0>(r, tables::kExpF64);
  return bits_as<f64x8>(bits_as<i64x8>(p) + (bits_as<i64x8>(shifted) << 52));
}
// log of a normal positive number; 0 gives -inf, inf and NaN give themselves, x < 0 gives NaN.
SUAN_INLINE f64x8 log_f64(f64x8 x) {
  const i64x8 i = bits_as<i64x8>(x) - 0x3fe5555555555555ll;
  const i64x8 k = i >> 52;
  const f64x8 m = bits_as<f64x8>(bits_as<i64x8>(x) - (k << 52));
  const f64x8 s = (m - 1.0) / (m + 1.0);
  const f64x8 log_m = 2.0 * s * horner<0>(s * s, tables::kLogF64);
  const f64x8 y = fma(to_f64(k), splat<f64x8>(0x1.62e42fefa39efp-1), log_m);
  const f64x8 inf = splat<f64x8>(static_cast<double>(kInfF));
  const f64x8 special = select(x == 0.0, -inf, select(x == inf, inf, inf - inf));
  return select((x > 0.0) & (x < inf), y, special);
}

// sin(x) in `sine`, cos(x) in `cosine`, |x| < 2^22.
SUAN_INLINE void sincos_f64(f64x8 x, f64x8& sine, f64x8& cosine) {
  constexpr double magic = 0x1.8p52;
  const f64x8 shifted = fma(x, splat<f64x8>(0x1.45f306dc9c883p-1), splat<f64x8>(magic));
  const i64x8 quadrant = bits_as<i64x8>(shifted);
  const f64x8 k = shifted - magic;
  f64x8 r = fma(-k, splat<f64x8>(0x1.921fb54442d18p+0), x);
  r = fma(-k, splat<f64x8>(0x1.1a62633145c07p-54), r);
  const f64x8 z = r * r;
  const f64x8 s = r * horner<0>(z, tables::kSinF64);
  const f64x8 c = horner<0>(z, tables::kCosF64);
  const auto odd = (quadrant & 1) != 0;
  const f64x8 sin_abs = select(odd, c, s), cos_abs = select(odd, s, c);
  sine = bits_as<f64x8>(bits_as<i64x8>(sin_abs) ^ ((quadrant & 2) << 62));
  cosine = bits_as<f64x8>(bits_as<i64x8>(cos_abs) ^ (((quadrant + 1) & 2) << 62));
}

SUAN_INLINE f64x8 atan_f64(f64x8 x) {
  const f64x8 a = abs(x);
  const auto large = a > 2.414213562373095;
  const auto middle = a > 0.41421356237309503;
  const f64x8 top = select(large, splat<f64x8>(-1.0), select(middle, a - 1.0, a));
  const f64x8 bottom = select(large, a, select(middle, a + 1.0, splat<f64x8>(1.0)));
  const f64x8 base = select(large, splat<f64x8>(0x1.921fb54442d18p+0),
                            select(middle, splat<f64x8>(0x1.921fb54442d18p-1), f64x8{}));
  const f64x8 t = top / bottom;
  return or_sign(abs(base + t * horner<0>(t * t, tables::kAtanF64)), x);
}

template <class V, class F>
SUAN_INLINE V per_lane(V x, F f) {
  lane_of<V> lanes[n_lanes<V>];
  store(lanes, x);
  for (lane_of<V>& lane : lanes) lane = f(lane);
  return load(lanes);
}
template <class V, class F>
SUAN_INLINE V per_lane(V x, V y, F f) {
  lane_of<V> lanes[n_lanes<V>], other[n_lanes<V>];
  store(lanes, x);
  store(other, y);
  for (int i = 0; i < n_lanes<V>; ++i) lanes[i] = f(lanes[i], other[i]);
  return load(lanes);
}

// The lanes where |x| >= limit (or NaN) again through libm: the argument reduction above ends
// there.
template <class F>
SUAN_INLINE f32x16 fix_large(f32x16 x, f32x16 y, float limit, F libm) {
  const auto good = abs(x) < limit;
  if (__builtin_expect(any(~good), 0)) {
    const f32x16 slow = per_lane(x, [&](float v) {
      return std::fabs(v) < limit ? v : static_cast<float>(libm(static_cast<double>(v)));
    });
    y = select(good, y, slow);
  }
  return y;
}

}  // namespace detail

SUAN_INLINE f32x16 exp(f32x16 x) {
  constexpr float magic = 0x1.8p23f;
  x = min_or_second(splat<f32x16>(89.0f), x);
  x = max_or_second(splat<f32x16>(-104.0f), x);
  const f32x16 k = fma(x, splat<f32x16>(0x1.715476p0f), splat<f32x16>(magic)) - magic;
  f32x16 r = fma(k, splat<f32x16>(-0x1.62e400p-1f), x);
  r = fma(k, splat<f32x16>(-0x1.7f7d1cp-20f), r);
  return detail::scale2(detail::horner<0>(r, tables::kExp), k);
}

// exp for weights of a sum whose largest is 1: what would be denormal (x < -87) is 0. A denormal
// result costs a microcode assist of some hundred cycles, and masked scores (-inf) would pay it
// every time.
SUAN_INLINE f32x16 exp_weight(f32x16 x) {
  return select(x < -87.0f, f32x16{}, exp(max_or_second(splat<f32x16>(-87.0f), x)));
}
SUAN_INLINE f32x16 exp2(f32x16 x) {
  constexpr float magic = 0x1.8p23f;
  x = min_or_second(splat<f32x16>(129.0f), x);
  x = max_or_second(splat<f32x16>(-151.0f), x);
  const f32x16 k = (x + magic) - magic;
  return detail::scale2(detail::horner<0>(x - k, tables::kExp2), k);
}

SUAN_INLINE f32x16 log(f32x16 x) {
  const auto tiny = x < 0x1p-126f;
  const f32x16 normal = select(tiny, x * 0x1p23f, x);
  const i32x16 i = bits_as<i32x16>(normal) - 0x3f2aaaab;
  const f32x16 f = bits_as<f32x16>(bits_as<i32x16>(normal) - (i & ~0x7fffff)) - 1.0f;
  const f32x16 k = to_f32((i >> 23) - (tiny & 23));
  const f32x16 tail = fma(f, detail::horner<0>(f, tables::kLog), splat<f32x16>(-0.5f));
  const f32x16 small = fma(k, splat<f32x16>(-0x1.05c610p-29f), f * f * tail);
  const f32x16 y = fma(k, splat<f32x16>(0x1.62e430p-1f), f) + small;
  const f32x16 special = select(x == 0.0f, splat<f32x16>(-detail::kInfF),
                                select(x == detail::kInfF, x, splat<f32x16>(detail::kNanF)));
  return select((x > 0.0f) & (x < detail::kInfF), y, special);
}

SUAN_INLINE f32x16 tanh(f32x16 x) { return detail::odd_piecewise<3>(x, tables::kTanh, 1.0f, 9.1f); }
SUAN_INLINE f32x16 erf(f32x16 x) { return detail::odd_piecewise<4>(x, tables::kErf, 1.5f, 3.95f); }

// e / (1 + e) for x < 0 and 1 / (1 + 1/e) above: no overflow, and right down to the denormals.
SUAN_INLINE f32x16 sigmoid(f32x16 x) {
  const f32x16 e = exp(-abs(x));
  return select(x < 0.0f, e, splat<f32x16>(1.0f)) / (1.0f + e);
}

SUAN_INLINE f32x16 expm1(f32x16 x) {
  return detail::over_f64(x, [](f64x8 v) {
    const f64x8 small = v * (1.0 + v * (0.5 + v * (1.0 / 6.0)));
    return select(abs(v) < 1e-4, small, detail::exp_f64(v) - 1.0);
  });
}
SUAN_INLINE f32x16 log1p(f32x16 x) {
  return detail::over_f64(x, [](f64x8 v) {
    const f64x8 small = v * (1.0 - v * (0.5 - v * (1.0 / 3.0)));
    return select(abs(v) < 1e-4, small, detail::log_f64(1.0 + v));
  });
}
SUAN_INLINE f32x16 log2(f32x16 x) {
  return detail::over_f64(x, [](f64x8 v) { return detail::log_f64(v) * 0x1.71547652b82fep+0; });
}
SUAN_INLINE f32x16 log10(f32x16 x) {
  return detail::over_f64(x, [](f64x8 v) { return detail::log_f64(v) * 0x1.bcb7b1526e50ep-2; });
}
SUAN_INLINE f32x16 sinh(f32x16 x) {
  return detail::over_f64(x, [](f64x8 v) {
    const f64x8 e = detail::exp_f64(v);
    return select(abs(v) < 1e-3, v + v * v * v * (1.0 / 6.0), 0.5 * (e - 1.0 / e));
  });
}
SUAN_INLINE f32x16 cosh(f32x16 x) {
  return detail::over_f64(x, [](f64x8 v) {
    const f64x8 e = detail::exp_f64(v);
    return 0.5 * (e + 1.0 / e);
  });
}
SUAN_INLINE f32x16 sin(f32x16 x) {
  const f32x16 y = detail::over_f64(x, [](f64x8 v) {
    f64x8 s, c;
    detail::sincos_f64(v, s, c);
    return s;
  });
  return detail::fix_large(x, y, 0x1p22f, [](double v) { return std::sin(v); });
}
SUAN_INLINE f32x16 cos(f32x16 x) {
  const f32x16 y = detail::over_f64(x, [](f64x8 v) {
    f64x8 s, c;
    detail::sincos_f64(v, s, c);
    return c;
  });
  return detail::fix_large(x, y, 0x1p22f, [](double v) { return std::cos(v); });
}
SUAN_INLINE f32x16 tan(f32x16 x) {
  const f32x16 y = detail::over_f64(x, [](f64x8 v) {
    f64x8 s, c;
    detail::sincos_f64(v, s, c);
    return s / c;
  });
  return detail::fix_large(x, y, 0x1p22f, [](double v) { return std::tan(v); });
}
SUAN_INLINE f32x16 atan(f32x16 x) { return detail::over_f64(x, detail::atan_f64); }
SUAN_INLINE f64x8 sqrt(f64x8 x);
SUAN_INLINE f32x16 asin(f32x16 x) {
  return detail::over_f64(
      x, [](f64x8 v) { return detail::atan_f64(v / sqrt((1.0 - v) * (1.0 + v))); });
}
SUAN_INLINE f32x16 acos(f32x16 x) {
  return detail::over_f64(x, [](f64x8 v) {
    return 0x1.921fb54442d18p+0 - detail::atan_f64(v / sqrt((1.0 - v) * (1.0 + v)));
  });
}
SUAN_INLINE f32x16 atan2(f32x16 y, f32x16 x) {
  return detail::over_f64(y, x, [](f64x8 b, f64x8 a) {
    const f64x8 abs_b = abs(b), abs_a = abs(a);
    // 0/0 counts as 0 and inf/inf as 1; the quadrant comes from the signs, of zeros too.
    const f64x8 ratio = select((abs_a == abs_b) & ((abs_a == 0.0) | (abs_a > 1e300)),
                               select(abs_a == 0.0, f64x8{}, splat<f64x8>(1.0)), abs_b / abs_a);
    const f64x8 angle = detail::atan_f64(ratio);
    const auto left = bits_as<i64x8>(a) < 0;
    const f64x8 turned = select(left & (a == a), 0x1.921fb54442d18p+1 - angle, angle);
    return or_sign(abs(turned), b);
  });
}

SUAN_INLINE f32x16 sqrt(f32x16 x) {
#ifdef __AVX512F__
  return (f32x16)_mm512_sqrt_ps((__m512)x);
#else
  return {(f32x8)_mm256_sqrt_ps((__m256)x.lo), (f32x8)_mm256_sqrt_ps((__m256)x.hi)};
#endif
}
SUAN_INLINE f64x8 sqrt(f64x8 x) {
#ifdef __AVX512F__
  return (f64x8)_mm512_sqrt_pd((__m512d)x);
#else
  return {(f64x4)_mm256_sqrt_pd((__m256d)x.lo), (f64x4)_mm256_sqrt_pd((__m256d)x.hi)};
#endif
}
SUAN_INLINE f32x16 rsqrt(f32x16 x) { return 1.0f / sqrt(x); }
SUAN_INLINE f64x8 rsqrt(f64x8 x) { return 1.0 / sqrt(x); }

#ifdef __AVX512F__
#define SUAN_ROUNDING(name, mode)                                               \
  SUAN_INLINE f32x16 name(f32x16 x) {                                           \
    return (f32x16)_mm512_roundscale_ps((__m512)x, (mode) | _MM_FROUND_NO_EXC); \
  }                                                                             \
  SUAN_INLINE f64x8 name(f64x8 x) {                                             \
    return (f64x8)_mm512_roundscale_pd((__m512d)x, (mode) | _MM_FROUND_NO_EXC); \
  }
#else
#define SUAN_ROUNDING(name, mode)                                               \
  SUAN_INLINE f32x16 name(f32x16 x) {                                           \
    return {(f32x8)_mm256_round_ps((__m256)x.lo, (mode) | _MM_FROUND_NO_EXC),   \
            (f32x8)_mm256_round_ps((__m256)x.hi, (mode) | _MM_FROUND_NO_EXC)};  \
  }                                                                             \
  SUAN_INLINE f64x8 name(f64x8 x) {                                             \
    return {(f64x4)_mm256_round_pd((__m256d)x.lo, (mode) | _MM_FROUND_NO_EXC),  \
            (f64x4)_mm256_round_pd((__m256d)x.hi, (mode) | _MM_FROUND_NO_EXC)}; \
  }
#endif
SUAN_ROUNDING(floor, _MM_FROUND_TO_NEG_INF)
SUAN_ROUNDING(ceil, _MM_FROUND_TO_POS_INF)
SUAN_ROUNDING(round, _MM_FROUND_TO_NEAREST_INT)  // ties to even, as torch.round
SUAN_ROUNDING(trunc, _MM_FROUND_TO_ZERO)
#undef SUAN_ROUNDING

SUAN_INLINE f32x16 pow(f32x16 x, f32x16 y) {
  return detail::over_f64(x, y, [](f64x8 a, f64x8 b) {
    const f64x8 inf = splat<f64x8>(static_cast<double>(detail::kInfF));
    const f64x8 size = abs(a);
    f64x8 r = detail::exp_f64(detail::log_f64(size) * b);
    const auto b_integer = floor(b) == b;
    const auto b_odd = b_integer & (floor(b * 0.5) != b * 0.5);
    r = bits_as<f64x8>(bits_as<i64x8>(r) ^
                       (bits_as<i64x8>(a) & b_odd & std::numeric_limits<std::int64_t>::min()));
    r = select((a < 0.0) & (size < inf) & ~b_integer, inf - inf, r);
    r = select((size == 1.0) & (abs(b) == inf), splat<f64x8>(1.0), r);
    return select((b == 0.0) | (a == 1.0), splat<f64x8>(1.0), r);
  });
}

SUAN_INLINE f32x16 fmod(f32x16 x, f32x16 y) {
  return detail::per_lane(x, y, [](float a, float b) { return std::fmod(a, b); });
}

#define SUAN_F64_LIBM(name)                                            \
  SUAN_INLINE f64x8 name(f64x8 x) {                                    \
    return detail::per_lane(x, [](double v) { return std::name(v); }); \
  }
#define SUAN_F64_LIBM2(name)                                                           \
  SUAN_INLINE f64x8 name(f64x8 x, f64x8 y) {                                           \
    return detail::per_lane(x, y, [](double a, double b) { return std::name(a, b); }); \
  }
// A scalar float is lane 0 of the vector function, so a constant folds to the bits a kernel gives.
#define SUAN_SCALAR_FLOAT(name) \
  inline float name(float x) { return name(splat<f32x16>(x))[0]; }
#define SUAN_UNARY(name)  \
  SUAN_F64_LIBM(name)     \
  SUAN_SCALAR_FLOAT(name) \
  inline double name(double x) { return std::name(x); }

SUAN_UNARY(exp)
SUAN_UNARY(exp2)
SUAN_UNARY(expm1)
SUAN_UNARY(log)
SUAN_UNARY(log2)
SUAN_UNARY(log10)
SUAN_UNARY(log1p)
SUAN_UNARY(sin)
SUAN_UNARY(cos)
SUAN_UNARY(tan)
SUAN_UNARY(sinh)
SUAN_UNARY(cosh)
SUAN_UNARY(tanh)
SUAN_UNARY(asin)
SUAN_UNARY(acos)
SUAN_UNARY(atan)
SUAN_UNARY(erf)
SUAN_SCALAR_FLOAT(exp_weight)
SUAN_INLINE f64x8 exp_weight(f64x8 x) { return exp(x); }
inline double exp_weight(double x) { return std::exp(x); }
SUAN_F64_LIBM2(atan2)
SUAN_F64_LIBM2(pow)
SUAN_F64_LIBM2(fmod)
SUAN_SCALAR_FLOAT(sigmoid)
#undef SUAN_UNARY
#undef SUAN_SCALAR_FLOAT
#undef SUAN_F64_LIBM2
#undef SUAN_F64_LIBM

inline double sigmoid(double x) {
  const double e = std::exp(-std::fabs(x));
  return (x < 0 ? e : 1.0) / (1.0 + e);
}
SUAN_INLINE f64x8 sigmoid(f64x8 x) {
  return detail::per_lane(x, [](double v) { return sigmoid(v); });
}

inline float pow(float x, float y) { return pow(splat<f32x16>(x), splat<f32x16>(y))[0]; }
inline double pow(double x, double y) { return std::pow(x, y); }
inline float atan2(float y, float x) { return atan2(splat<f32x16>(y), splat<f32x16>(x))[0]; }
inline double atan2(double y, double x) { return std::atan2(y, x); }
SUAN_INLINE float fmod(float x, float y) { return std::fmod(x, y); }
SUAN_INLINE double fmod(double x, double y) { return std::fmod(x, y); }
SUAN_INLINE float sqrt(float x) { return __builtin_sqrtf(x); }
SUAN_INLINE double sqrt(double x) { return __builtin_sqrt(x); }
SUAN_INLINE float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
SUAN_INLINE double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
SUAN_INLINE float floor(float x) { return __builtin_floorf(x); }
SUAN_INLINE double floor(double x) { return __builtin_floor(x); }
SUAN_INLINE float ceil(float x) { return __builtin_ceilf(x); }
SUAN_INLINE double ceil(double x) { return __builtin_ceil(x); }
SUAN_INLINE float round(float x) { return __builtin_rintf(x); }
SUAN_INLINE double round(double x) { return __builtin_rint(x); }
SUAN_INLINE float trunc(float x) { return __builtin_truncf(x); }
SUAN_INLINE double trunc(double x) { return __builtin_trunc(x); }

}  // namespace suan::cpu::SUAN_ISA
