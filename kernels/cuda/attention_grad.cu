// Attention's gradients, scores recomputed from logsumexp (Dao et al. 2022), f32, without atomics: one kernel
// walks the keys for each block of queries (dq), one the queries for each block of keys (dk, dv).
// With weight w = exp(s - lse): dv = sum w g; ds = w (g . v - delta) scale, delta = g . out;
// dq = sum ds k; dk = sum ds q.
#include "kernels/cuda/lib/attention.cuh"

namespace suan::cuda {
namespace {

// delta [batch, heads, queries], less what reaches logsumexp (g_lse, may be null); one warp per query.
__global__ void __launch_bounds__(128) delta_kernel(float* delta, const float* g, const float* out,
                                                    const float* g_lse, AttentionParams p) {
  const int64_t rows = p.batches * p.heads * p.queries;
  const int width = p.value_width;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t row = int64_t(blockIdx.x) * 4 + warp; row < rows; row += int64_t(gridDim.x) * 4) {
    const float* gr = g + row / (p.heads * p.queries) * p.g.batch + row / p.queries % p.heads * p.g.head +
                      row % p.queries * p.g.row;
    float s = 0;
    for (int c = lane; c < width; c += 32) s += gr[c * p.g.column] * out[row * width + c];
    s = warp_reduce<Sum>(s);
    if (lane == 0) delta[row] = g_lse ? s - g_lse[row] : s;
  }
}

// W: 32-wide pieces of the wider of the two widths.
template <int W>
__global__ void __launch_bounds__(128) dq_kernel(float* dq, const float* q, const float* k, const float* v,
                                                 const float* g, const float* lse, const float* delta,
                                                 AttentionParams p) {
  Smem shared;
  const int ld = p.width + 1, ldv = p.value_width + 1;
  float* keys = shared.take<float>(tile_keys * ld);
  float* values = shared.take<float>(tile_keys * ldv);
  float* queries = shared.take<float>(block_rows * ld);
  float* grads = shared.take<float>(block_rows * ldv);
  float* slopes = shared.take<float>(4 * 32);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t head = blockIdx.y % p.heads, batch = blockIdx.y / p.heads;
  const int64_t kv_head = head / (p.heads / p.kv_heads), q0 = int64_t(blockIdx.x) * block_rows;
  q += batch * p.q.batch + head * p.q.head;
  k += batch * p.k.batch + kv_head * p.k.head;
  v += batch * p.v.batch + kv_head * p.v.head;
  const int64_t first_row = int64_t(blockIdx.y) * p.queries;
  load_rows(queries, ld, q, p.q, q0, block_rows, p.queries, p.width);
  load_rows(grads, ldv, g + batch * p.g.batch + head * p.g.head, p.g, q0, block_rows, p.queries, p.value_width);
  float acc[rows_per_warp][W], norm[rows_per_warp], d[rows_per_warp];
#pragma unroll
  for (int r = 0; r < rows_per_warp; ++r) {
    const int64_t qi = q0 + warp * rows_per_warp + r;
    norm[r] = qi < p.queries ? lse[first_row + qi] : 0.0f;
    d[r] = qi < p.queries ? delta[first_row + qi] : 0.0f;
#pragma unroll
    for (int w = 0; w < W; ++w) acc[r][w] = 0;
  }
  const int64_t seen = p.causal && q0 + block_rows < p.keys ? q0 + block_rows : p.keys;
  for (int64_t k0 = 0; k0 < seen; k0 += tile_keys) {
    __syncthreads();
    load_rows(keys, ld, k, p.k, k0, tile_keys, p.keys, p.width);
    load_rows(values, ldv, v, p.v, k0, tile_keys, p.keys, p.value_width);
    __syncthreads();
#pragma unroll
    for (int r = 0; r < rows_per_warp; ++r) {
      const int row = warp * rows_per_warp + r;
      const int64_t qi = q0 + row, kj = k0 + lane;
      const float s = dot_rows(queries + row * ld, keys + lane * ld, p.width) * p.scale;
      const bool sees = kj < p.keys && !(p.causal && kj > qi);
      const float weight = sees ? expf(s - norm[r]) : 0.0f;
      const float dw = dot_rows(grads + row * ldv, values + lane * ldv, p.value_width);
      slopes[warp * 32 + lane] = weight * (dw - d[r]) * p.scale;
      __syncwarp();
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const int c = w * 32 + lane;
        if (c < p.width)
          for (int j = 0; j < tile_keys; ++j) acc[r][w] = fmaf(slopes[warp * 32 + j], keys[j * ld + c], acc[r][w]);
      }
      __syncwarp();
    }
  }
#pragma unroll
  for (int r = 0; r < rows_per_warp; ++r) {
    const int64_t qi = q0 + warp * rows_per_warp + r;
    if (qi >= p.queries) continue;
#pragma unroll
    for (int w = 0; w < W; ++w)
      if (w * 32 + lane < p.width) dq[(first_row + qi) * p.width + w * 32 + lane] = acc[r][w];
  }
}

template <int W>
__global__ void __launch_bounds__(128) dkv_kernel(float* dk, float* dv, const float* q, const float* k, const float* v,
                                                  const float* g, const float* lse, const float* delta,
                                                  AttentionParams p) {
  Smem shared;
  const int ld = p.width + 1, ldv = p.value_width + 1;
  float* queries = shared.take<float>(tile_keys * ld);
  float* grads = shared.take<float>(tile_keys * ldv);
  float* keys = shared.take<float>(block_rows * ld);
  float* values = shared.take<float>(block_rows * ldv);
  float* slopes = shared.take<float>(4 * 32);
  float* weights = shared.take<float>(4 * 32);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t kv_head = blockIdx.y % p.kv_heads, batch = blockIdx.y / p.kv_heads, group = p.heads / p.kv_heads;
  const int64_t k0 = int64_t(blockIdx.x) * block_rows;
  k += batch * p.k.batch + kv_head * p.k.head;
  v += batch * p.v.batch + kv_head * p.v.head;
  load_rows(keys, ld, k, p.k, k0, block_rows, p.keys, p.width);
  load_rows(values, ldv, v, p.v, k0, block_rows, p.keys, p.value_width);
  float acc_k[rows_per_warp][W], acc_v[rows_per_warp][W];
#pragma unroll
  for (int r = 0; r < rows_per_warp; ++r)
#pragma unroll
    for (int w = 0; w < W; ++w) acc_k[r][w] = acc_v[r][w] = 0;
  // The heads that share these keys, in order.
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const float* qh = q + batch * p.q.batch + head * p.q.head;
    const int64_t first_row = (batch * p.heads + head) * p.queries;
    const int64_t first = p.causal ? k0 / tile_keys * tile_keys : 0;   // earlier queries see none of them
    for (int64_t q0 = first; q0 < p.queries; q0 += tile_keys) {
      __syncthreads();
      load_rows(queries, ld, qh, p.q, q0, tile_keys, p.queries, p.width);
      load_rows(grads, ldv, g + batch * p.g.batch + head * p.g.head, p.g, q0, tile_keys, p.queries, p.value_width);
      __syncthreads();
      const int64_t qi = q0 + lane;
      const float norm = qi < p.queries ? lse[first_row + qi] : 0.0f;
      const float d = qi < p.queries ? delta[first_row + qi] : 0.0f;
#pragma unroll
      for (int r = 0; r < rows_per_warp; ++r) {
        const int row = warp * rows_per_warp + r;
        const int64_t kj = k0 + row;
        const float s = dot_rows(keys + row * ld, queries + lane * ld, p.width) * p.scale;
        const bool sees = kj < p.keys && qi < p.queries && !(p.causal && kj > qi);
        const float weight = sees ? expf(s - norm) : 0.0f;
        const float dw = dot_rows(values + row * ldv, grads + lane * ldv, p.value_width);
        weights[warp * 32 + lane] = weight;
        slopes[warp * 32 + lane] = weight * (dw - d) * p.scale;
        __syncwarp();
#pragma unroll
        for (int w = 0; w < W; ++w) {
          const int c = w * 32 + lane;
          if (c < p.width)
            for (int j = 0; j < tile_keys; ++j)
              acc_k[r][w] = fmaf(slopes[warp * 32 + j], queries[j * ld + c], acc_k[r][w]);
          if (c < p.value_width)
            for (int j = 0; j < tile_keys; ++j)
              acc_v[r][w] = fmaf(weights[warp * 32 + j], grads[j * ldv + c], acc_v[r][w]);
        }
        __syncwarp();
      }
    }
  }
  const int64_t first_key = int64_t(blockIdx.y) * p.keys;
#pragma unroll
  for (int r = 0; r < rows_per_warp; ++r) {
    const int64_t kj = k0 + warp * rows_per_warp + r;
    if (kj >= p.keys) continue;
#pragma unroll
    for (int w = 0; w < W; ++w) {
      const int c = w * 32 + lane;
      if (c < p.width) dk[(first_key + kj) * p.width + c] = acc_k[r][w];
      if (c < p.value_width) dv[(first_key + kj) * p.value_width + c] = acc_v[r][w];
    }
  }
}

template <int W>
void run_with(const AttentionParams& p, const KernelArgs& a) {
  auto* delta = static_cast<float*>(a.workspace);
  const float *g = in<float>(a, 0), *q = in<float>(a, 1), *k = in<float>(a, 2), *v = in<float>(a, 3);
  const float* lse = in<float>(a, 6);
  const int64_t rows = p.batches * p.heads * p.queries;
  const size_t tile = sizeof(float) * size_t((tile_keys + block_rows) * (p.width + p.value_width + 2));
  if (rows) {
    SUAN_LAUNCH(delta_kernel, dim3(blocks_for(rows, 4)), dim3(128), 0, delta, g, in<float>(a, 5),
                p.lse_grad ? in<float>(a, 7) : nullptr, p);
    SUAN_LAUNCH(dq_kernel<W>, dim3(unsigned((p.queries + block_rows - 1) / block_rows), unsigned(p.batches * p.heads)),
                dim3(128), tile + 4 * 32 * sizeof(float) + 80, out<float>(a, 0), q, k, v, g, lse, delta, p);
  }
  if (p.batches * p.kv_heads * p.keys != 0)
    SUAN_LAUNCH(dkv_kernel<W>, dim3(unsigned((p.keys + block_rows - 1) / block_rows), unsigned(p.batches * p.kv_heads)),
                dim3(128), tile + 8 * 32 * sizeof(float) + 96, out<float>(a, 1), out<float>(a, 2), q, k, v, g, lse,
                delta, p);
}
void run(const AttentionParams& p, const KernelArgs& a) {
  const int widest = p.width > p.value_width ? p.width : p.value_width;
  if (widest <= 32) run_with<1>(p, a);
  else if (widest <= 64) run_with<2>(p, a);
  else run_with<4>(p, a);
}

}  // namespace

Kernel kernel_attention_grad() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.supports = [](const KernelDesc& d) {
    if (!all_f32(d) || d.has(4)) return false;
    for (size_t i : {size_t(5), size_t(6), size_t(7)})
      if (d.has(int(i)) && !d.in[i]->layout.is_contiguous()) return false;
    const Shape &q = d.in[1]->layout.shape, &v = d.in[3]->layout.shape;
    return q[3] <= max_width && v[3] <= max_width && q[0] * q[1] <= 65535 && v[1] > 0;
  };
  k.prepare = [](const KernelDesc& d) {
    AttentionParams p = attention_params(*d.in[1], *d.in[2], *d.in[3], d.attrs);
    p.lse_grad = d.has(7);
    p.g = operand4(d.in[0]->layout);
    const int64_t workspace = p.batches * p.heads * p.queries * int64_t(sizeof(float));
    return prepared<AttentionParams>(p, run, workspace);
  };
  return k;
}

}  // namespace suan::cuda
