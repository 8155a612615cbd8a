// Softmax and log-softmax along any axis of contiguous f32 tensors, and their gradients: one warp per row.
#pragma once

#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {

struct SoftmaxParams { int64_t rows, n, inner; };   // rows = outer x inner; elements of a row are `inner` apart

inline SoftmaxParams softmax_params(const KernelDesc& d) {
  const Shape& s = d.in[0]->layout.shape;
  const int axis = normalize_axis(d.op.name, d.attrs.integer(0), s.size());
  SoftmaxParams p{1, s.empty() ? 1 : s[axis], 1};
  for (int i = 0; i < s.size(); ++i) {
    if (i > axis) p.inner *= s[i];
    if (i != axis) p.rows *= s[i];
  }
  return p;
}

template <bool Log>
__global__ void __launch_bounds__(128, 8) softmax_kernel(float* out, const float* in, SoftmaxParams p) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t row = int64_t(blockIdx.x) * 4 + warp; row < p.rows; row += int64_t(gridDim.x) * 4) {
    const int64_t base = row / p.inner * p.n * p.inner + row % p.inner;
    float top = -INFINITY;
    for (int64_t i = lane; i < p.n; i += 32) top = Max::join(top, in[base + i * p.inner]);
    top = warp_reduce<Max>(top);
    float total = 0;
    for (int64_t i = lane; i < p.n; i += 32) total += expf(in[base + i * p.inner] - top);
    total = warp_reduce<Sum>(total);
    const float norm = Log ? top + logf(total) : 1.0f / total;
    for (int64_t i = lane; i < p.n; i += 32) {
      const float x = in[base + i * p.inner];
      out[base + i * p.inner] = Log ? x - norm : expf(x - top) * norm;
    }
  }
}

// y is what the forward gave. softmax: y (g - sum(g y)); log-softmax: g - exp(y) sum(g).
template <bool Log>
__global__ void __launch_bounds__(128, 8) softmax_grad_kernel(float* dx, const float* g, const float* y, SoftmaxParams p) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t row = int64_t(blockIdx.x) * 4 + warp; row < p.rows; row += int64_t(gridDim.x) * 4) {
    const int64_t base = row / p.inner * p.n * p.inner + row % p.inner;
    float total = 0;
    for (int64_t i = lane; i < p.n; i += 32) {
      const int64_t at = base + i * p.inner;
      total += Log ? g[at] : g[at] * y[at];
    }
    total = warp_reduce<Sum>(total);
    for (int64_t i = lane; i < p.n; i += 32) {
      const int64_t at = base + i * p.inner;
      dx[at] = Log ? g[at] - expf(y[at]) * total : y[at] * (g[at] - total);
    }
  }
}

template <bool Log>
Kernel softmax_forward() {
  Kernel k;
  k.flags = kernel_in_place;
  k.supports = all_f32;
  k.prepare = [](const KernelDesc& d) {
    return prepared<SoftmaxParams>(softmax_params(d), [](const SoftmaxParams& p, const KernelArgs& a) {
      if (p.rows * p.n == 0) return;
      SUAN_LAUNCH(softmax_kernel<Log>, dim3(blocks_for(p.rows, 4)), dim3(128), 0, out<float>(a, 0), in<float>(a, 0), p);
    });
  };
  return k;
}
template <bool Log>
Kernel softmax_backward() {
  Kernel k;
  k.flags = kernel_in_place;
  k.supports = all_f32;
  k.prepare = [](const KernelDesc& d) {
    return prepared<SoftmaxParams>(softmax_params(d), [](const SoftmaxParams& p, const KernelArgs& a) {
      if (p.rows * p.n == 0) return;
      SUAN_LAUNCH(softmax_grad_kernel<Log>, dim3(blocks_for(p.rows, 4)), dim3(128), 0, out<float>(a, 0),
                  in<float>(a, 0), in<float>(a, 1), p);
    });
  };
  return k;
}

}  // namespace suan::cuda
