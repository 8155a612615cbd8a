// The one header of a kernel file: CUDA for nvcc, the emulation for a host compiler, one spelling for both.
// Rules: launch with SUAN_LAUNCH, never <<<>>>; inline PTX only in ptx.cuh; dynamic shared memory only
// through Smem.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include <cstdint>
#include <tuple>
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
#ifndef __CUDACC__
#include "kernels/cuda/emulation/launch.h"
#endif

namespace suan::cuda {

#ifndef __CUDACC__
template <class... P>
void run_emulated(const EmulatedKernel& k, const LaunchShape& s, size_t shared_bytes, void** arguments) {
  [&]<size_t... I>(std::index_sequence<I...>) {
    emu_launch(k.name, reinterpret_cast<void (*)(P...)>(const_cast<void*>(k.kernel)), dim3(s.grid[0], s.grid[1], s.grid[2]),
               dim3(s.block[0], s.block[1], s.block[2]), shared_bytes,
               *static_cast<std::remove_const_t<P>*>(arguments[I])...);
  }(std::make_index_sequence<sizeof...(P)>{});
}
#endif

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, A&&... args) {
  LaunchScope scope(name);
  std::tuple<std::remove_const_t<P>...> held{static_cast<P>(std::forward<A>(args))...};
  const LaunchShape shape{{grid.x, grid.y, grid.z}, {block.x, block.y, block.z}};
  std::apply([&](auto&... value) {
    void* arguments[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
#ifdef __CUDACC__
    launch_kernel(reinterpret_cast<const void*>(kernel), name, shape, shared_bytes, arguments);
#else
    static const size_t sizes[] = {sizeof(P)..., 0};
    launch_emulated({name, run_emulated<P...>, reinterpret_cast<const void*>(kernel), int(sizeof...(P)), sizes}, shape,
                    shared_bytes, arguments);
#endif
  }, held);
}
#define SUAN_LAUNCH(kernel, ...) ::suan::cuda::launch(#kernel, kernel, __VA_ARGS__)

// Blocks for n items, `each` to a block; grid-stride loops take what is beyond the cap.
inline unsigned blocks_for(int64_t n, int64_t each, int64_t cap = 65535) {
  const int64_t blocks = (n + each - 1) / each;
  return unsigned(blocks < 1 ? 1 : blocks > cap ? cap : blocks);
}

}  // namespace suan::cuda
