// Every inline PTX instruction of the kernels, with its meaning in the emulation beside it.
#pragma once

#include "kernels/cuda/lib/storage.cuh"

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

// ---- matrix fragments --------------------------------------------------------------------------------------
// Called by all 32 lanes; each holds a part of every operand, as the PTX ISA lays it out ("Warp-level matrix
// instructions"). With g = lane / 4 and t = lane % 4, a 16 x 8 result is (g, 2t), (g, 2t + 1), (g + 8, 2t),
// (g + 8, 2t + 1).

#ifdef __CUDACC__
// Four (two) matrices of 8 rows of 16 bytes; lane i gives the address of row i % 8 of matrix i / 8, and gets
// bytes 4t.. of row g of each.
__device__ __forceinline__ void ldmatrix4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row))) : "memory");
}
__device__ __forceinline__ void ldmatrix2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(uint32_t(__cvta_generic_to_shared(row))) : "memory");
}
// Transposed: 16-bit elements (2t, g) and (2t + 1, g).
__device__ __forceinline__ void ldmatrix2_transposed(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(uint32_t(__cvta_generic_to_shared(row))) : "memory");
}
// c += a b: a 16 x 8 and b 8 x 8 of tf32 (the low 13 bits of a float do not count), c float.
__device__ __forceinline__ void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// c += a b: a 16 x 16 and b 16 x 8 of bf16, c float.
__device__ __forceinline__ void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Two floats as bf16, `first` in the low half.
__device__ __forceinline__ uint32_t pack_bf16(float first, float second) {
  uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
  return both;
}
#else
EMU_FUNCTION inline void ldmatrix4(uint32_t (&r)[4], const void* row) { emu::ldmatrix(r, 4, row, false, EMU_SITE); }
EMU_FUNCTION inline void ldmatrix2(uint32_t (&r)[2], const void* row) { emu::ldmatrix(r, 2, row, false, EMU_SITE); }
EMU_FUNCTION inline void ldmatrix2_transposed(uint32_t (&r)[2], const void* row) {
  emu::ldmatrix(r, 2, row, true, EMU_SITE);
}
EMU_FUNCTION inline void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emu::mma_tf32(c, a, b, EMU_SITE);
}
EMU_FUNCTION inline void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emu::mma_bf16(c, a, b, EMU_SITE);
}
inline uint32_t pack_bf16(float first, float second) {
  return uint32_t(bfloat_bits(first)) | uint32_t(bfloat_bits(second)) << 16;
}
#endif

}  // namespace suan::cuda
