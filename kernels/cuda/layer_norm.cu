// Layer norm of f32 rows, one warp each: mean, then the variance of what is left (two passes over a row that
// stays in cache).
#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {
namespace {

struct Params { int64_t rows, cols; float eps; bool weight, bias; };

__global__ void __launch_bounds__(128) layer_norm_kernel(float* out, float* mean_out, float* rstd_out, const float* x,
                                                         const float* weight, const float* bias, Params p) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t row = int64_t(blockIdx.x) * 4 + warp; row < p.rows; row += int64_t(gridDim.x) * 4) {
    const float* xr = x + row * p.cols;
    float* yr = out + row * p.cols;
    float total = 0;
    for (int64_t i = lane; i < p.cols; i += 32) total += xr[i];
    const float mean = warp_reduce<Sum>(total) / float(p.cols);
    float squares = 0;
    for (int64_t i = lane; i < p.cols; i += 32) {
      const float d = xr[i] - mean;
      squares += d * d;
    }
    const float rstd = 1.0f / sqrtf(warp_reduce<Sum>(squares) / float(p.cols) + p.eps);
    for (int64_t i = lane; i < p.cols; i += 32) {
      float y = (xr[i] - mean) * rstd;
      if (weight) y *= weight[i];
      if (bias) y += bias[i];
      yr[i] = y;
    }
    if (lane == 0) mean_out[row] = mean, rstd_out[row] = rstd;
  }
}

}  // namespace

Kernel kernel_layer_norm() {
  Kernel k;
  k.supports = all_f32;
  k.prepare = [](const KernelDesc& d) {
    const Shape& s = d.in[0]->layout.shape;
    Params p{1, 1, float(d.attrs.real(1)), d.has(1), d.has(2)};
    for (int i = 0; i < s.size(); ++i) (i < s.size() - int(d.attrs.integer(0)) ? p.rows : p.cols) *= s[i];
    return prepared<Params>(p, [](const Params& p, const KernelArgs& a) {
      if (p.rows * p.cols == 0) return;
      SUAN_LAUNCH(layer_norm_kernel, dim3(blocks_for(p.rows, 4)), dim3(128), 0, out<float>(a, 0), out<float>(a, 1),
                  out<float>(a, 2), in<float>(a, 0), p.weight ? in<float>(a, 1) : nullptr,
                  p.bias ? in<float>(a, 2) : nullptr, p);
    });
  };
  return k;
}

}  // namespace suan::cuda
