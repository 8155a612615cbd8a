// -log softmax(logits)[target]: one warp per row, then one block adds the rows in a fixed order. Class weights
// and label smoothing run by the op's definition.
#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {
namespace {

struct Params { int64_t rows, classes, ignore; bool each, mean; };

// loss: per row; lse: the row's logsumexp.
__global__ void __launch_bounds__(128) rows_kernel(float* loss, float* lse, const float* logits,
                                                   const int64_t* targets, Params p, IndexNote* note) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t row = int64_t(blockIdx.x) * 4 + warp; row < p.rows; row += int64_t(gridDim.x) * 4) {
    const float* x = logits + row * p.classes;
    const int64_t t = targets[row];
    float top = -INFINITY;
    for (int64_t i = lane; i < p.classes; i += 32) top = Max::join(top, x[i]);
    top = warp_reduce<Max>(top);
    float total = 0;
    for (int64_t i = lane; i < p.classes; i += 32) total += expf(x[i] - top);
    const float norm = top + logf(warp_reduce<Sum>(total));
    if (lane != 0) continue;
    lse[row] = norm;
    if (t == p.ignore) {
      loss[row] = 0;
    } else if (t < 0 || t >= p.classes) {
      loss[row] = 0;
      if (atomicCAS(&note->set, 0, 1) == 0) note->value = t;
    } else {
      loss[row] = norm - x[t];
    }
  }
}

__global__ void __launch_bounds__(128) total_kernel(float* out, const float* loss, const int64_t* targets, Params p) {
  Smem shared;
  double* parts = shared.take<double>(4);
  double total = 0, count = 0;
  for (int64_t i = threadIdx.x; i < p.rows; i += 128) {
    total += loss[i];
    count += targets[i] != p.ignore ? 1.0 : 0.0;
  }
  total = block_reduce<Sum>(total, parts);
  count = block_reduce<Sum>(count, parts);
  if (threadIdx.x == 0) out[0] = float(p.mean ? total / count : total);
}

}  // namespace

Kernel kernel_cross_entropy() {
  Kernel k;
  k.supports = [](const KernelDesc& d) { return all_f32(d) && !d.has(2) && d.attrs.real(1) == 0; };
  k.prepare = [](const KernelDesc& d) {
    const Shape& s = d.in[0]->layout.shape;
    const std::string& r = d.attrs.string(2);
    const Params p{s[0], s[1], d.attrs.integer(0), r == "none", r == "mean"};
    return prepared<Params>(p, [](const Params& p, const KernelArgs& a) {
      float* loss = p.each ? out<float>(a, 0) : static_cast<float*>(a.workspace);
      if (p.rows) {
        SUAN_LAUNCH(rows_kernel, dim3(blocks_for(p.rows, 4)), dim3(128), 0, loss, out<float>(a, 1), in<float>(a, 0),
                    in<int64_t>(a, 1), p, index_note());
        check_index_note("cross_entropy", 0, p.classes);
      }
      if (!p.each)
        SUAN_LAUNCH(total_kernel, dim3(1), dim3(128), 4 * sizeof(double), out<float>(a, 0), loss, in<int64_t>(a, 1), p);
    }, p.each ? 0 : std::max<int64_t>(p.rows, 1) * int64_t(sizeof(float)));
  };
  return k;
}

}  // namespace suan::cuda
