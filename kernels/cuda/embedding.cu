// One row of a table per index, as units of 4 bytes where rows allow, else of 1.
#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/rt.cuh"

namespace suan::cuda {
namespace {

struct Params { int64_t n, rows, width; bool words; };   // width in units

template <class T>
__global__ void __launch_bounds__(128) embedding_kernel(T* out, const T* table, const int64_t* index, Params p,
                                                        IndexNote* note) {
  for (int64_t i = blockIdx.x; i < p.n; i += gridDim.x) {
    const int64_t row = index[i];
    if (row < 0 || row >= p.rows) {
      if (threadIdx.x == 0 && atomicCAS(&note->set, 0, 1) == 0) note->value = row;
      continue;
    }
    for (int64_t c = threadIdx.x; c < p.width; c += blockDim.x) out[i * p.width + c] = table[row * p.width + c];
  }
}

}  // namespace

Kernel kernel_embedding() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape& table = d.in[0]->layout.shape;
    const int64_t bytes = table[1] * item_size(d.in[0]->dtype);
    const bool words = bytes % 4 == 0;
    return prepared<Params>({d.in[1]->layout.numel(), table[0], words ? bytes / 4 : bytes, words},
                            [](const Params& p, const KernelArgs& a) {
      if (p.n == 0) return;
      const dim3 grid(blocks_for(p.n, 1)), block(p.width < 64 ? 32 : 128);
      if (p.words)
        SUAN_LAUNCH(embedding_kernel<uint32_t>, grid, block, 0, out<uint32_t>(a, 0), in<uint32_t>(a, 0),
                    in<int64_t>(a, 1), p, index_note());
      else
        SUAN_LAUNCH(embedding_kernel<uint8_t>, grid, block, 0, out<uint8_t>(a, 0), in<uint8_t>(a, 0),
                    in<int64_t>(a, 1), p, index_note());
      check_index_note("embedding", 0, p.rows);
    });
  };
  return k;
}

}  // namespace suan::cuda
