// Products of a warp on the tensor cores: 16 rows by 8 columns at a time, float accumulation. Operands lie in
// shared memory by rows, `ld` elements apart, each row at a multiple of 16 bytes. For float every operand is
// split into two tf32 parts and multiplied three times (Markidis et al. 2018), which keeps float's precision.
#pragma once

#include "kernels/cuda/lib/ptx.cuh"

namespace suan::cuda {

struct Bfloat { uint16_t bits; };
__device__ inline float widen(float x) { return x; }
__device__ inline float widen(Bfloat x) { return bfloat_value(x.bits); }
template <class T> __device__ inline T narrow(float x) { return x; }
template <> __device__ inline Bfloat narrow<Bfloat>(float x) { return {bfloat_bits(x)}; }

template <class T> inline constexpr int in_16_bytes = 16 / int(sizeof(T));
template <class T> inline constexpr int mma_depth = 2 * in_16_bytes<T>;   // columns of the left operand
// Between rows of W elements: rows that follow one another start in different banks.
template <class T, int W> inline constexpr int row_stride = W + in_16_bytes<T>;

template <class T> struct Left;     // 16 x mma_depth
template <class T> struct Right;    // mma_depth x 8

// bits = high + low to 22 bits of mantissa; an infinity leaves a NaN in low.
__device__ __forceinline__ void split_tf32(uint32_t bits, uint32_t& high, uint32_t& low) {
  high = bits & ~0x1fffu;
  low = (as_bits<uint32_t>(as_bits<float>(bits) - as_bits<float>(high)) + 0x1000u) & ~0x1fffu;
}

template <> struct Left<float> {
  uint32_t high[4], low[4];
  __device__ __forceinline__ void set(int i, uint32_t bits) { split_tf32(bits, high[i], low[i]); }
  __device__ __forceinline__ void load(const float* rows, int ld) {
    const int lane = threadIdx.x % 32;
    uint32_t r[4];
    ldmatrix4(r, rows + lane % 16 * ld + lane / 16 * 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) set(i, r[i]);
  }
  // One result of 16 x 8. Its columns 0 1 2 3 .. come in the order 0 2 4 6 1 3 5 7, so that no lane has to give
  // any away; Right::load_columns takes rows in the same order.
  __device__ __forceinline__ void take(const float (*c)[4]) {
    set(0, as_bits<uint32_t>(c[0][0])), set(1, as_bits<uint32_t>(c[0][2]));
    set(2, as_bits<uint32_t>(c[0][1])), set(3, as_bits<uint32_t>(c[0][3]));
  }
};
template <> struct Right<float> {
  uint32_t high[2], low[2];
  __device__ __forceinline__ void set(int i, uint32_t bits) { split_tf32(bits, high[i], low[i]); }
  __device__ __forceinline__ void load_rows(const float* rows, int ld) {
    const int lane = threadIdx.x % 32;
    uint32_t r[2];
    ldmatrix2(r, rows + lane % 8 * ld + lane / 8 % 2 * 4);
    set(0, r[0]), set(1, r[1]);
  }
  __device__ __forceinline__ void load_columns(const float* rows, int ld) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    set(0, as_bits<uint32_t>(rows[2 * t * ld + g])), set(1, as_bits<uint32_t>(rows[(2 * t + 1) * ld + g]));
  }
};
__device__ __forceinline__ void multiply(float (&c)[4], const Left<float>& a, const Right<float>& b) {
  mma_tf32(c, a.low, b.high);
  mma_tf32(c, a.high, b.low);
  mma_tf32(c, a.high, b.high);
}

template <> struct Left<Bfloat> {
  uint32_t r[4];
  __device__ __forceinline__ void load(const Bfloat* rows, int ld) {
    const int lane = threadIdx.x % 32;
    ldmatrix4(r, rows + lane % 16 * ld + lane / 16 * 8);
  }
  // Two results side by side, rounded.
  __device__ __forceinline__ void take(const float (*c)[4]) {
    r[0] = pack_bf16(c[0][0], c[0][1]), r[1] = pack_bf16(c[0][2], c[0][3]);
    r[2] = pack_bf16(c[1][0], c[1][1]), r[3] = pack_bf16(c[1][2], c[1][3]);
  }
};
template <> struct Right<Bfloat> {
  uint32_t r[2];
  __device__ __forceinline__ void load_rows(const Bfloat* rows, int ld) {
    const int lane = threadIdx.x % 32;
    ldmatrix2(r, rows + lane % 8 * ld + lane / 8 % 2 * 8);
  }
  __device__ __forceinline__ void load_columns(const Bfloat* rows, int ld) {
    ldmatrix2_transposed(r, rows + threadIdx.x % 16 * ld);
  }
};
__device__ __forceinline__ void multiply(float (&c)[4], const Left<Bfloat>& a, const Right<Bfloat>& b) {
  mma_bf16(c, a.r, b.r);
}

// c [16, 8 J] += left [16, W] · rightᵀ, right of 8 J rows.
template <class T, int W, int J>
__device__ __forceinline__ void multiply_rows(float (&c)[J][4], const T* left, const T* right) {
  constexpr int ld = row_stride<T, W>;
#pragma unroll 4
  for (int k = 0; k < W; k += mma_depth<T>) {
    Left<T> a;
    a.load(left + k, ld);
#pragma unroll
    for (int j = 0; j < J; ++j) {
      Right<T> b;
      b.load_rows(right + 8 * j * ld + k, ld);
      multiply(c[j], a, b);
    }
  }
}

// c [16, W] += x [16, 8 J] · right, right of 8 J rows; x in registers, as multiply_rows left it.
template <class T, int W, int J>
__device__ __forceinline__ void multiply_columns(float (&c)[W / 8][4], const float (&x)[J][4], const T* right) {
  constexpr int ld = row_stride<T, W>, step = mma_depth<T> / 8;
#pragma unroll
  for (int k = 0; k < J; k += step) {
    Left<T> a;
    a.take(x + k);
#pragma unroll
    for (int j = 0; j < W / 8; ++j) {
      Right<T> b;
      b.load_columns(right + 8 * k * ld + 8 * j, ld);
      multiply(c[j], a, b);
    }
  }
}

}  // namespace suan::cuda
