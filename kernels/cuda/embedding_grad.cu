// Rows summed into a table, in the order of the positions and without float atomics: one warp per position
// looks whether an earlier one has its index; if none has, it adds up all rows of that index. Reads the
// indices n times, which for the batches of training is little beside the rows.
#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {
namespace {

struct Params { int64_t n, rows, width; };

__global__ void __launch_bounds__(128) embedding_grad_kernel(float* table, const float* g, const int64_t* index,
                                                             Params p, IndexNote* note) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t i = int64_t(blockIdx.x) * 4 + warp; i < p.n; i += int64_t(gridDim.x) * 4) {
    const int64_t row = index[i];
    if (row < 0 || row >= p.rows) {
      if (lane == 0 && atomicCAS(&note->set, 0, 1) == 0) note->value = row;
      continue;
    }
    bool earlier = false;
    for (int64_t j = 0; j < i && !earlier; j += 32)
      earlier = __any_sync(full_warp, j + lane < i && index[j + lane] == row);
    if (earlier) continue;
    for (int64_t c0 = 0; c0 < p.width; c0 += 32) {
      const int64_t c = c0 + lane;
      float total = 0;
      for (int64_t j = i; j < p.n; j += 32) {
        unsigned same = __ballot_sync(full_warp, j + lane < p.n && index[j + lane] == row);
        for (; same; same &= same - 1) {
          const int64_t at = j + __ffs(int(same)) - 1;
          if (c < p.width) total += g[at * p.width + c];
        }
      }
      if (c < p.width) table[row * p.width + c] = total;
    }
  }
}

}  // namespace

Kernel kernel_embedding_grad() {
  Kernel k;
  k.supports = all_f32;
  k.prepare = [](const KernelDesc& d) {
    return prepared<Params>({d.in[1]->layout.numel(), d.attrs.integer(0), d.in[0]->layout.shape.back()},
                            [](const Params& p, const KernelArgs& a) {
      if (p.rows * p.width == 0) return;
      set_zero(a.out[0], p.rows * p.width * int64_t(sizeof(float)));
      if (p.n == 0) return;
      SUAN_LAUNCH(embedding_grad_kernel, dim3(blocks_for(p.n, 4)), dim3(128), 0, out<float>(a, 0), in<float>(a, 0),
                  in<int64_t>(a, 1), p, index_note());
      check_index_note("embedding_grad", 0, p.rows);
    });
  };
  return k;
}

}  // namespace suan::cuda
