// Elements between their storage dtype and the type that arithmetic runs in: float, double, int64_t or Truth.
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/lib/rt.cuh"

namespace suan::cuda {

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

template <class To, class From>
__device__ __forceinline__ To as_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

__device__ inline float bfloat_value(uint16_t b) { return as_bits<float>(uint32_t(b) << 16); }
__device__ inline uint16_t bfloat_bits(float f) {
  const uint32_t u = as_bits<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return uint16_t((u >> 16) | 0x40);
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
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

constexpr bool known_dtype(DType t) {
  switch (t) {
    case DType::boolean: case DType::u8: case DType::u16: case DType::u32: case DType::i8: case DType::i16:
    case DType::i32: case DType::i64: case DType::f16: case DType::bf16: case DType::f32: case DType::f64:
      return true;
    default: return false;   // u64 would need a compute type of its own
  }
}

// The dtype is the same for all threads, so the switch does not diverge.
template <class C>
__device__ __forceinline__ C load_as(const void* p, DType t, int64_t i) {
  switch (t) {
    case DType::boolean: return C(static_cast<const uint8_t*>(p)[i] != 0);
    case DType::u8: return C(int64_t(static_cast<const uint8_t*>(p)[i]));
    case DType::u16: return C(int64_t(static_cast<const uint16_t*>(p)[i]));
    case DType::u32: return C(int64_t(static_cast<const uint32_t*>(p)[i]));
    case DType::i8: return C(int64_t(static_cast<const int8_t*>(p)[i]));
    case DType::i16: return C(int64_t(static_cast<const int16_t*>(p)[i]));
    case DType::i32: return C(int64_t(static_cast<const int32_t*>(p)[i]));
    case DType::i64: return C(static_cast<const int64_t*>(p)[i]);
    case DType::f16: return C(half_value(static_cast<const uint16_t*>(p)[i]));
    case DType::bf16: return C(bfloat_value(static_cast<const uint16_t*>(p)[i]));
    case DType::f32: return C(static_cast<const float*>(p)[i]);
    default: return C(static_cast<const double*>(p)[i]);
  }
}
template <class C>
__device__ __forceinline__ void store_as(void* p, DType t, int64_t i, C v) {
  switch (t) {
    case DType::boolean: static_cast<uint8_t*>(p)[i] = Truth(v).v; break;
    case DType::u8: case DType::i8: static_cast<int8_t*>(p)[i] = int8_t(int64_t(v)); break;
    case DType::u16: case DType::i16: static_cast<int16_t*>(p)[i] = int16_t(int64_t(v)); break;
    case DType::u32: case DType::i32: static_cast<int32_t*>(p)[i] = int32_t(int64_t(v)); break;
    case DType::i64: static_cast<int64_t*>(p)[i] = int64_t(v); break;
    case DType::f16: static_cast<uint16_t*>(p)[i] = half_bits(float(v)); break;
    case DType::bf16: static_cast<uint16_t*>(p)[i] = bfloat_bits(float(v)); break;
    case DType::f32: static_cast<float*>(p)[i] = float(v); break;
    default: static_cast<double*>(p)[i] = double(v);
  }
}

// Calls f with a value of the compute type of t.
template <class F>
void with_compute(DType t, F f) {
  switch (compute_type(t)) {
    case DType::f32: return f(0.0f);
    case DType::f64: return f(0.0);
    case DType::boolean: return f(Truth(false));
    default: return f(int64_t(0));
  }
}

}  // namespace suan::cuda
