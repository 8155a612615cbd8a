// The one header of a kernel file: CUDA for nvcc, the emulation for a host compiler, one spelling for both.
// Rules: launch with SUAN_LAUNCH, never <<<>>>; inline PTX only in ptx.cuh; dynamic shared memory only
// through Smem.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

// Named arrays in dynamic shared memory.
struct Smem {
  uint32_t offset = 0;
  template <class T>
  __device__ T* take(int n, int align = 16) {
    extern __shared__ __align__(1024) unsigned char suan_shared[];
    offset = (offset + align - 1) / align * align;
    T* p = reinterpret_cast<T*>(suan_shared + offset);
    offset += uint32_t(n) * uint32_t(sizeof(T));
    return p;
  }
};
#else
#include "kernels/cuda/emulation/emulation.h"
#endif

#include "kernels/cuda/lib/device.h"

namespace suan::cuda {

#ifdef __CUDACC__
cudaStream_t current_stream();
#endif

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, A&&... args) {
  LaunchScope scope(name);
#ifdef __CUDACC__
  if (shared_bytes > 48 * 1024)
    cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                         int(shared_bytes));
  kernel<<<grid, block, shared_bytes, current_stream()>>>(std::forward<A>(args)...);
#else
  emu_launch(name, kernel, grid, block, shared_bytes, std::forward<A>(args)...);
#endif
}
#define SUAN_LAUNCH(kernel, ...) ::suan::cuda::launch(#kernel, kernel, __VA_ARGS__)

// Blocks for n items, `each` to a block; grid-stride loops take what is beyond the cap.
inline unsigned blocks_for(int64_t n, int64_t each, int64_t cap = 65535) {
  const int64_t blocks = (n + each - 1) / each;
  return unsigned(blocks < 1 ? 1 : blocks > cap ? cap : blocks);
}

}  // namespace suan::cuda
