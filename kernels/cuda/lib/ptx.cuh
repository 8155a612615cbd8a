// Every inline PTX instruction of the kernels, with its meaning in the emulation beside it.
#pragma once

#include "kernels/cuda/lib/rt.cuh"

namespace suan::cuda {

// Sixteen bytes at once. The address must be a multiple of 16: a GPU faults where it is not, and a host
// compiler may split the access, so that only these functions can tell.
#ifdef __CUDACC__
__device__ __forceinline__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ __forceinline__ void store4(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }
#else
EMU_FUNCTION inline float4 load4(const float* p) {
  emu::check_aligned(p, 16, EMU_SITE);
  emu::checked_access(p, 16, false, false, EMU_SITE);
  float4 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
EMU_FUNCTION inline void store4(float* p, float4 v) {
  emu::check_aligned(p, 16, EMU_SITE);
  emu::checked_access(p, 16, true, false, EMU_SITE);
  std::memcpy(p, &v, sizeof v);
}
#endif

#ifdef __CUDACC__
// 16 bytes from global to shared memory, asynchronously; zeros when not `valid`.
__device__ __forceinline__ void cp_async16(void* to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(to))),
               "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Keep>
__device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(Keep) : "memory"); }
#else
EMU_FUNCTION inline void cp_async16(void* to, const void* from, bool valid) {
  emu::cp_async(to, from, 16, valid ? 16 : 0, EMU_SITE);
}
inline void cp_async_commit() { emu::cp_async_commit(); }
template <int Keep>
inline void cp_async_wait() { emu::cp_async_wait(Keep); }
#endif

}  // namespace suan::cuda
