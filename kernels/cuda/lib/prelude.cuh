// The functions that the scalar rows (ops/scalar.h) are written in, for float, double, int64_t and Truth, in pieces for
// generated kernels as values.cuh is.
#pragma once

#include "kernels/cuda/lib/values.cuh"

namespace suan::cuda::prelude {

//: Constant
template <class T> struct Constant {
  __device__ T operator()(double c) const { return T(c); }
};

//: select
template <class T>
__device__ inline T select(bool mask, T a, T b) { return mask ? a : b; }
__device__ inline Truth select(Truth mask, Truth a, Truth b) { return mask.v ? a : b; }

//: sqrt floor ceil trunc exp exp2 expm1 log log1p log2 log10 sin cos tan tanh sinh cosh asin acos atan erf
#define SUAN_MATH1(name)                                           \
  __device__ inline float name(float x) { return ::name##f(x); } \
  __device__ inline double name(double x) { return ::name(x); }
SUAN_MATH1(sqrt) SUAN_MATH1(floor) SUAN_MATH1(ceil) SUAN_MATH1(trunc) SUAN_MATH1(exp) SUAN_MATH1(exp2)
SUAN_MATH1(expm1) SUAN_MATH1(log) SUAN_MATH1(log1p) SUAN_MATH1(log2) SUAN_MATH1(log10) SUAN_MATH1(sin)
SUAN_MATH1(cos) SUAN_MATH1(tan) SUAN_MATH1(tanh) SUAN_MATH1(sinh) SUAN_MATH1(cosh) SUAN_MATH1(asin)
SUAN_MATH1(acos) SUAN_MATH1(atan) SUAN_MATH1(erf)
#undef SUAN_MATH1

//: abs round
__device__ inline float abs(float x) { return ::fabsf(x); }
__device__ inline double abs(double x) { return ::fabs(x); }
__device__ inline int64_t abs(int64_t x) { return x < 0 ? int64_t(0 - uint64_t(x)) : x; }
__device__ inline float round(float x) { return ::rintf(x); }
__device__ inline double round(double x) { return ::rint(x); }
//: rsqrt
template <class T> __device__ inline T rsqrt(T x) { return T(1) / sqrt(x); }
//: sigmoid
template <class T> __device__ inline T sigmoid(T x) { return T(1) / (T(1) + exp(-x)); }
//: fma
__device__ inline float fma(float x, float y, float z) { return ::fmaf(x, y, z); }
__device__ inline double fma(double x, double y, double z) { return ::fma(x, y, z); }
//: atan2
__device__ inline float atan2(float x, float y) { return ::atan2f(x, y); }
__device__ inline double atan2(double x, double y) { return ::atan2(x, y); }

//: max min
// NaN if either is.
template <class T> __device__ inline T max(T x, T y) { return x != x || x > y ? x : y; }
template <class T> __device__ inline T min(T x, T y) { return x != x || x < y ? x : y; }

//: left_shift right_shift
__device__ inline int64_t left_shift(int64_t x, int64_t y) {
  return y < 0 || y > 63 ? 0 : int64_t(uint64_t(x) << y);
}
__device__ inline int64_t right_shift(int64_t x, int64_t y) { return x >> (y < 0 || y > 63 ? 63 : y); }

//: fmod
__device__ inline float fmod(float x, float y) { return ::fmodf(x, y); }
__device__ inline double fmod(double x, double y) { return ::fmod(x, y); }
__device__ inline int64_t fmod(int64_t x, int64_t y) { return y == 0 || y == -1 ? 0 : x % y; }
//: remainder
template <class T>
__device__ inline T remainder(T x, T y) {
  const T r = fmod(x, y);
  return r != T(0) && (r < T(0)) != (y < T(0)) ? r + y : r;
}
//: floor_divide
template <class T>
__device__ inline T floor_divide(T x, T y) { return floor(x / y); }
__device__ inline int64_t floor_divide(int64_t x, int64_t y) {
  if (y == 0) return 0;
  if (y == -1) return int64_t(0 - uint64_t(x));
  const int64_t q = x / y;
  return x % y != 0 && (x < 0) != (y < 0) ? q - 1 : q;
}
//: pow
__device__ inline float pow(float x, float y) { return ::powf(x, y); }
__device__ inline double pow(double x, double y) { return ::pow(x, y); }
__device__ inline int64_t pow(int64_t x, int64_t y) {
  if (y < 0) return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : 0;
  uint64_t result = 1, base = uint64_t(x);
  for (; y; y >>= 1, base *= base)
    if (y & 1) result *= base;
  return int64_t(result);
}

}  // namespace suan::cuda::prelude
