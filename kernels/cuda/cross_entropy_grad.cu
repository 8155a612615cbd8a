// (softmax - one_hot) times the gradient that reaches the row; with the mean, divided by the rows that count.
#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {
namespace {

struct Params { int64_t rows, classes, ignore; bool each, mean; };

__global__ void __launch_bounds__(128) count_kernel(float* count, const int64_t* targets, Params p) {
  Smem shared;
  double* parts = shared.take<double>(4);
  double n = 0;
  for (int64_t i = threadIdx.x; i < p.rows; i += 128) n += targets[i] != p.ignore ? 1.0 : 0.0;
  n = block_reduce<Sum>(n, parts);
  if (threadIdx.x == 0) *count = float(n);
}

__global__ void __launch_bounds__(128) grad_kernel(float* dx, const float* g, const float* logits,
                                                   const int64_t* targets, const float* lse, const float* count,
                                                   Params p) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t row = int64_t(blockIdx.x) * 4 + warp; row < p.rows; row += int64_t(gridDim.x) * 4) {
    const int64_t t = targets[row], at = row * p.classes;
    float scale = p.each ? g[row] : g[0];
    if (p.mean) scale /= *count;
    if (t == p.ignore) scale = 0;
    const float norm = lse[row];
    for (int64_t i = lane; i < p.classes; i += 32) {
      const float q = expf(logits[at + i] - norm);
      dx[at + i] = t == p.ignore ? 0.0f : scale * (i == t ? q - 1.0f : q);
    }
  }
}

}  // namespace

Kernel kernel_cross_entropy_grad() {
  Kernel k;
  k.supports = [](const KernelDesc& d) { return all_f32(d) && !d.has(3) && d.attrs.real(1) == 0; };
  k.prepare = [](const KernelDesc& d) {
    const Shape& s = d.in[1]->layout.shape;
    const std::string& r = d.attrs.string(2);
    const Params p{s[0], s[1], d.attrs.integer(0), r == "none", r == "mean"};
    return prepared<Params>(p, [](const Params& p, const KernelArgs& a) {
      if (p.rows * p.classes == 0) return;
      auto* count = static_cast<float*>(a.workspace);
      if (p.mean)
        SUAN_LAUNCH(count_kernel, dim3(1), dim3(128), 4 * sizeof(double), count, in<int64_t>(a, 2), p);
      SUAN_LAUNCH(grad_kernel, dim3(blocks_for(p.rows, 4)), dim3(128), 0, out<float>(a, 0), in<float>(a, 0),
                  in<float>(a, 1), in<int64_t>(a, 2), in<float>(a, 4), count, p);
    }, int64_t(sizeof(float)));
  };
  return k;
}

}  // namespace suan::cuda
