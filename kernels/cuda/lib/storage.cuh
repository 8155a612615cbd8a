// Elements between their storage dtype and the type that arithmetic runs in: float, double, int64_t or Truth.
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/lib/values.cuh"

namespace suan::cuda {

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
