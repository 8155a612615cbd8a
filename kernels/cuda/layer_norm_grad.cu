// Gradients of layer norm. dx: one warp per row. dweight and dbias: fixed chunks of rows are summed by one
// thread per column into a workspace, then the chunks in order, so that the bits do not depend on timing.
#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {
namespace {

constexpr int64_t chunk_rows = 32;
struct Params { int64_t rows, cols; bool weight, dweight, dbias; };

__global__ void __launch_bounds__(128) dx_kernel(float* dx, const float* g, const float* x, const float* weight,
                                                 const float* mean, const float* rstd, Params p) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t row = int64_t(blockIdx.x) * 4 + warp; row < p.rows; row += int64_t(gridDim.x) * 4) {
    const int64_t at = row * p.cols;
    const float m = mean[row], r = rstd[row];
    float sum_g = 0, sum_gy = 0;
    for (int64_t i = lane; i < p.cols; i += 32) {
      const float gw = weight ? g[at + i] * weight[i] : g[at + i];
      sum_g += gw;
      sum_gy += gw * ((x[at + i] - m) * r);
    }
    sum_g = warp_reduce<Sum>(sum_g) / float(p.cols);
    sum_gy = warp_reduce<Sum>(sum_gy) / float(p.cols);
    for (int64_t i = lane; i < p.cols; i += 32) {
      const float gw = weight ? g[at + i] * weight[i] : g[at + i];
      dx[at + i] = (gw - sum_g - (x[at + i] - m) * r * sum_gy) * r;
    }
  }
}

// part: [2, chunks, cols]. Block y: a chunk of rows.
__global__ void __launch_bounds__(128) chunk_kernel(float* part, const float* g, const float* x, const float* mean,
                                                    const float* rstd, Params p, int64_t chunks) {
  const int64_t col = int64_t(blockIdx.x) * 128 + threadIdx.x;
  if (col >= p.cols) return;
  for (int64_t chunk = blockIdx.y; chunk < chunks; chunk += gridDim.y) {
    const int64_t first = chunk * chunk_rows, end = first + chunk_rows < p.rows ? first + chunk_rows : p.rows;
    float dw = 0, db = 0;
    for (int64_t row = first; row < end; ++row) {
      const float v = g[row * p.cols + col];
      dw += v * ((x[row * p.cols + col] - mean[row]) * rstd[row]);
      db += v;
    }
    part[chunk * p.cols + col] = dw;
    part[(chunks + chunk) * p.cols + col] = db;
  }
}
__global__ void __launch_bounds__(128) join_kernel(float* dweight, float* dbias, const float* part, int64_t cols,
                                                   int64_t chunks) {
  const int64_t col = int64_t(blockIdx.x) * 128 + threadIdx.x;
  if (col >= cols) return;
  float dw = 0, db = 0;
  for (int64_t i = 0; i < chunks; ++i) {
    dw += part[i * cols + col];
    db += part[(chunks + i) * cols + col];
  }
  if (dweight) dweight[col] = dw;
  if (dbias) dbias[col] = db;
}

}  // namespace

Kernel kernel_layer_norm_grad() {
  Kernel k;
  k.supports = all_f32;
  k.prepare = [](const KernelDesc& d) {
    const Shape& s = d.in[1]->layout.shape;
    Params p{1, 1, d.has(2), d.attrs.boolean(2), d.attrs.boolean(3)};
    for (int i = 0; i < s.size(); ++i) (i < s.size() - int(d.attrs.integer(0)) ? p.rows : p.cols) *= s[i];
    const int64_t chunks = (p.rows + chunk_rows - 1) / chunk_rows;
    const int64_t workspace = p.dweight || p.dbias ? 2 * chunks * p.cols * int64_t(sizeof(float)) : 0;
    return prepared<Params>(p, [](const Params& p, const KernelArgs& a) {
      if (p.cols == 0) return;
      if (p.rows)
        SUAN_LAUNCH(dx_kernel, dim3(blocks_for(p.rows, 4)), dim3(128), 0, out<float>(a, 0), in<float>(a, 0),
                    in<float>(a, 1), p.weight ? in<float>(a, 2) : nullptr, in<float>(a, 3), in<float>(a, 4), p);
      if (!p.dweight && !p.dbias) return;
      const int64_t chunks = (p.rows + chunk_rows - 1) / chunk_rows;
      auto* part = static_cast<float*>(a.workspace);
      const unsigned columns = blocks_for(p.cols, 128);
      if (chunks)
        SUAN_LAUNCH(chunk_kernel, dim3(columns, blocks_for(chunks, 1)), dim3(128), 0, part, in<float>(a, 0),
                    in<float>(a, 1), in<float>(a, 3), in<float>(a, 4), p, chunks);
      SUAN_LAUNCH(join_kernel, dim3(columns), dim3(128), 0, p.dweight ? out<float>(a, 1) : nullptr,
                  p.dbias ? out<float>(a, 2) : nullptr, part, p.cols, chunks);
    }, workspace);
  };
  return k;
}

}  // namespace suan::cuda
