// Values whose storage is not their arithmetic: bool, half, bfloat16. Generated kernels (generated.h) hold those pieces
// of this file that they name. A piece begins with the names it defines; no headers, nothing of the standard library.
#pragma once

#include "kernels/cuda/lib/rt.cuh"

namespace suan::cuda {

//: Truth
// bool as a type of its own: ~ and & are logical, and nothing promotes to int.
struct Truth {
  bool v;
  Truth() = default;
  template <class T>
  __device__ explicit Truth(T x) : v(x != T(0)) {}
  __device__ Truth(bool x) : v(x) {}
  __device__ explicit operator float() const { return v ? 1.0f : 0.0f; }
  __device__ explicit operator double() const { return v ? 1.0 : 0.0; }
  __device__ explicit operator int64_t() const { return v ? 1 : 0; }
};
__device__ inline Truth operator~(Truth a) { return Truth(!a.v); }
__device__ inline Truth operator&(Truth a, Truth b) { return Truth(bool(a.v && b.v)); }
__device__ inline Truth operator|(Truth a, Truth b) { return Truth(bool(a.v || b.v)); }
__device__ inline Truth operator^(Truth a, Truth b) { return Truth(bool(a.v != b.v)); }
__device__ inline bool operator==(Truth a, Truth b) { return a.v == b.v; }
__device__ inline bool operator!=(Truth a, Truth b) { return a.v != b.v; }
__device__ inline bool operator<(Truth a, Truth b) { return a.v < b.v; }
__device__ inline bool operator>(Truth a, Truth b) { return a.v > b.v; }
__device__ inline bool operator<=(Truth a, Truth b) { return a.v <= b.v; }
__device__ inline bool operator>=(Truth a, Truth b) { return a.v >= b.v; }

//: as_bits
template <class To, class From>
__device__ __forceinline__ To as_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

//: bfloat_value bfloat_bits
__device__ inline float bfloat_value(uint16_t b) { return as_bits<float>(uint32_t(b) << 16); }
__device__ inline uint16_t bfloat_bits(float f) {
  const uint32_t u = as_bits<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return uint16_t((u >> 16) | 0x40);
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

//: half_value half_bits
__device__ inline float half_value(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
  if (e == 31) return as_bits<float>(sign | 0x7f800000u | m << 13);
  if (e) return as_bits<float>(sign | (e + 112) << 23 | m << 13);
  const float small = float(m) * 5.9604644775390625e-8f;   // 2^-24
  return sign ? -small : small;
}
__device__ inline uint16_t half_bits(float f) {
  const uint32_t u = as_bits<uint32_t>(f), magnitude = u & 0x7fffffffu;
  const uint16_t sign = uint16_t(u >> 16 & 0x8000);
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00);
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00);
  if (magnitude < 0x38800000u) {   // subnormal: the sum's own rounding does it
    const float sum = as_bits<float>(magnitude) + 0.5f;
    return uint16_t(sign | (as_bits<uint32_t>(sum) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return uint16_t(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace suan::cuda
