// Warp and block building blocks. Every lane of the warp, or thread of the block, must take part.
#pragma once

#include "kernels/cuda/lib/rt.cuh"

namespace suan::cuda {

inline constexpr unsigned full_warp = 0xffffffffu;

struct Sum {
  template <class T> __device__ static T identity() { return T(0); }
  template <class T> __device__ static T join(T a, T b) { return a + b; }
};
// NaN wins, as in the CPU's kernels.
struct Max {
  __device__ static float identity_of(float) { return -INFINITY; }
  template <class T> __device__ static T join(T a, T b) { return a != a || a > b ? a : b; }
};

// All lanes get the result; the order is the same tree on every run.
template <class Op, class T>
__device__ __forceinline__ T warp_reduce(T v) {
  for (int o = 16; o > 0; o >>= 1) v = Op::join(v, __shfl_xor_sync(full_warp, v, o));
  return v;
}

// One result for the block, given to all threads. parts: one element per warp.
template <class Op, class T>
__device__ __forceinline__ T block_reduce(T v, T* parts) {
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32, warps = int(blockDim.x) / 32;
  v = warp_reduce<Op>(v);
  if (lane == 0) parts[warp] = v;
  __syncthreads();
  v = parts[0];
  for (int i = 1; i < warps; ++i) v = Op::join(v, parts[i]);
  __syncthreads();
  return v;
}

}  // namespace suan::cuda
