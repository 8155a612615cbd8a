// Strided copies and fills of any dtype, by element size.
#pragma once

#include "kernels/cuda/lib/nest.cuh"
#include "kernels/cuda/lib/prepare.h"

namespace suan::cuda {

template <class T>
__global__ void __launch_bounds__(256) copy_kernel(T* out, const T* in, Nest<2> nest) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < nest.n; i += step) {
    int64_t at[2];
    nest.places(i, at);
    out[at[1]] = in[at[0]];
  }
}

// nest: places of the input, then of the output.
inline void copy_strided(void* out, const void* in, const Nest<2>& nest, int64_t item) {
  if (nest.n == 0) return;
  const dim3 grid(blocks_for(nest.n, 1024)), block(256);
  switch (item) {
    case 1: SUAN_LAUNCH(copy_kernel<uint8_t>, grid, block, 0, static_cast<uint8_t*>(out), static_cast<const uint8_t*>(in), nest); break;
    case 2: SUAN_LAUNCH(copy_kernel<uint16_t>, grid, block, 0, static_cast<uint16_t*>(out), static_cast<const uint16_t*>(in), nest); break;
    case 4: SUAN_LAUNCH(copy_kernel<uint32_t>, grid, block, 0, static_cast<uint32_t*>(out), static_cast<const uint32_t*>(in), nest); break;
    default: SUAN_LAUNCH(copy_kernel<uint64_t>, grid, block, 0, static_cast<uint64_t*>(out), static_cast<const uint64_t*>(in), nest);
  }
}

inline bool copies_items(const KernelDesc& d) {
  const int64_t item = item_size(d.out[0]->dtype);
  return item == 1 || item == 2 || item == 4 || item == 8;
}

// out = in, broadcast to out's shape.
inline Kernel copying_kernel() {
  Kernel k;
  k.flags = kernel_strided_in | kernel_strided_out | kernel_in_place;
  k.supports = copies_items;
  k.prepare = [](const KernelDesc& d) {
    struct P { Nest<2> nest; int64_t item; };
    const Layout* layouts[2] = {&d.in[0]->layout, &d.out[0]->layout};
    return prepared<P>({make_nest<2>(d.out[0]->layout.shape, layouts), item_size(d.out[0]->dtype)},
                       [](const P& p, const KernelArgs& a) { copy_strided(a.out[0], a.in[0], p.nest, p.item); });
  };
  return k;
}

}  // namespace suan::cuda
