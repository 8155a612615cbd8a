// Instructions of sm_90a: barriers in shared memory, tiles copied by the copy engine, products of a warpgroup
// (four warps) that read shared memory themselves. With their meaning in the emulation, where they run as late
// as the rules allow.
#pragma once

#include "kernels/cuda/lib/ptx.cuh"

#ifdef __CUDACC__
#include <cuda.h>
#endif

namespace suan::cuda {

#ifdef __CUDACC__
using TileMap = CUtensorMap;   // a bf16 matrix and the box that a copy takes from it, made by the driver

__device__ __forceinline__ uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void barrier_init(uint64_t* b, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
// After barrier_init, before a barrier of the block: the copy engine sees the barriers, too.
__device__ __forceinline__ void barrier_init_done() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void barrier_arrive(uint64_t* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
// Arrives, and makes the phase wait for so many bytes of copies.
__device__ __forceinline__ void barrier_arrive_expect(uint64_t* b, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
// Until the phase of this parity is complete.
__device__ __forceinline__ void barrier_wait(uint64_t* b, uint32_t parity) {
  asm volatile("{\n.reg .pred done;\nagain:\n"
               "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra again;\n}"
               ::"r"(shared_address(b)), "r"(parity) : "memory");
}
// A box of the matrix from (row, column) on, its 128-byte rows swizzled; `to` at a multiple of 1024 bytes.
__device__ __forceinline__ void copy_tile(void* to, const TileMap* map, int column, int row, uint64_t* b) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
               ::"r"(shared_address(to)), "l"(map), "r"(column), "r"(row), "r"(shared_address(b)) : "memory");
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Keep>
__device__ __forceinline__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Keep) : "memory"); }
// d += a bᵀ, 64 x 64 x 16 of bf16, both operands by rows in shared memory.
__device__ __forceinline__ void wgmma_64x64(float (&d)[32], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, "
      "%13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, "
      "1, 1, 1, 0, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "l"(a), "l"(b));
}
#else
using TileMap = emu::TileMap;
inline uint32_t shared_address(const void* p) {
  return uint32_t(static_cast<const unsigned char*>(p) - emu::shared_memory);
}
EMU_FUNCTION inline void barrier_init(uint64_t* b, uint32_t arrivals) { emu::barrier_init(b, arrivals, EMU_SITE); }
inline void barrier_init_done() {}
EMU_FUNCTION inline void barrier_arrive(uint64_t* b) { emu::barrier_arrive(b, 0, EMU_SITE); }
EMU_FUNCTION inline void barrier_arrive_expect(uint64_t* b, uint32_t bytes) { emu::barrier_arrive(b, bytes, EMU_SITE); }
EMU_FUNCTION inline void barrier_wait(uint64_t* b, uint32_t parity) { emu::barrier_wait(b, parity, EMU_SITE); }
EMU_FUNCTION inline void copy_tile(void* to, const TileMap* map, int column, int row, uint64_t* b) {
  emu::copy_tile(to, *map, column, row, b, EMU_SITE);
}
inline void wgmma_fence() {}
inline void wgmma_commit() { emu::wgmma_commit(); }
template <int Keep>
inline void wgmma_wait() { emu::wgmma_wait(Keep); }
EMU_FUNCTION inline void wgmma_64x64(float (&d)[32], uint64_t a, uint64_t b) { emu::wgmma_64x64(d, a, b, EMU_SITE); }
#endif

// A matrix operand in shared memory: rows of 128 bytes, groups of eight 1024 bytes apart.
enum class Swizzle : uint64_t { none = 0, bytes128 = 1 };
__device__ __forceinline__ uint64_t wgmma_operand(const void* p, Swizzle swizzle = Swizzle::bytes128) {
  return uint64_t((shared_address(p) & 0x3ffff) >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 |
         uint64_t(swizzle) << 62;
}

}  // namespace suan::cuda
