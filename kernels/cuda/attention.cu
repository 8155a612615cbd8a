// Attention by blocks with a running maximum (Dao et al. 2022), f32. A block has 16 queries of one head, a warp
// four of them; keys come in tiles of 32, one to a lane. Scores never leave the chip. A mask runs by the
// op's definition, as does a width over 128.
#include "kernels/cuda/lib/attention.cuh"

namespace suan::cuda {
namespace {

// W: 32-wide pieces of the value width that a lane accumulates.
template <int W>
__global__ void __launch_bounds__(128) attention_kernel(float* out, float* lse, const float* q, const float* k,
                                                        const float* v, AttentionParams p) {
  Smem shared;
  const int ld = p.width + 1, ldv = p.value_width + 1;
  float* keys = shared.take<float>(tile_keys * ld);
  float* values = shared.take<float>(tile_keys * ldv);
  float* queries = shared.take<float>(block_rows * ld);
  float* weights = shared.take<float>(4 * 32);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t head = blockIdx.y % p.heads, batch = blockIdx.y / p.heads;
  const int64_t kv_head = head / (p.heads / p.kv_heads), q0 = int64_t(blockIdx.x) * block_rows;
  q += batch * p.q.batch + head * p.q.head;
  k += batch * p.k.batch + kv_head * p.k.head;
  v += batch * p.v.batch + kv_head * p.v.head;
  load_rows(queries, ld, q, p.q, q0, block_rows, p.queries, p.width);

  float top[rows_per_warp], total[rows_per_warp], acc[rows_per_warp][W];
#pragma unroll
  for (int r = 0; r < rows_per_warp; ++r) {
    top[r] = -INFINITY;
    total[r] = 0;
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
      float s = dot_rows(queries + row * ld, keys + lane * ld, p.width) * p.scale;
      if (kj >= p.keys || (p.causal && kj > qi)) s = -INFINITY;
      const float best = fmaxf(top[r], warp_reduce<Max>(s));
      const float base = best == -INFINITY ? 0.0f : best;   // a query that has seen nothing yet
      const float weight = expf(s - base), keep = expf(top[r] - base);
      total[r] = total[r] * keep + warp_reduce<Sum>(weight);
      top[r] = best;
      weights[warp * 32 + lane] = weight;
      __syncwarp();
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const int c = w * 32 + lane;
        float a = acc[r][w] * keep;
        if (c < p.value_width)
          for (int j = 0; j < tile_keys; ++j) a = fmaf(weights[warp * 32 + j], values[j * ldv + c], a);
        acc[r][w] = a;
      }
      __syncwarp();
    }
  }
#pragma unroll
  for (int r = 0; r < rows_per_warp; ++r) {
    const int64_t qi = q0 + warp * rows_per_warp + r;
    if (qi >= p.queries) continue;
    const int64_t row = int64_t(blockIdx.y) * p.queries + qi;
    const float scale = total[r] > 0 ? 1.0f / total[r] : 0.0f;
#pragma unroll
    for (int w = 0; w < W; ++w)
      if (w * 32 + lane < p.value_width) out[row * p.value_width + w * 32 + lane] = acc[r][w] * scale;
    if (lane == 0) lse[row] = top[r] + logf(total[r]);
  }
}

void run(const AttentionParams& p, const KernelArgs& a) {
  if (p.batches * p.heads * p.queries == 0) return;
  const size_t bytes = sizeof(float) * size_t(tile_keys * (p.width + 1) + tile_keys * (p.value_width + 1) +
                                              block_rows * (p.width + 1) + 4 * 32) + 64;
  const dim3 grid(unsigned((p.queries + block_rows - 1) / block_rows), unsigned(p.batches * p.heads)), block(128);
  const auto launch_with = [&](auto kernel) {
    SUAN_LAUNCH(kernel, grid, block, bytes, out<float>(a, 0), out<float>(a, 1), in<float>(a, 0), in<float>(a, 1),
                in<float>(a, 2), p);
  };
  if (p.value_width <= 32) launch_with(attention_kernel<1>);
  else if (p.value_width <= 64) launch_with(attention_kernel<2>);
  else launch_with(attention_kernel<4>);
}

}  // namespace

Kernel kernel_attention() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.supports = [](const KernelDesc& d) {
    if (!all_f32(d) || d.has(3)) return false;
    const Shape &q = d.in[0]->layout.shape, &v = d.in[2]->layout.shape;
    return q[3] <= max_width && v[3] <= max_width && q[0] * q[1] <= 65535 && v[1] > 0;
  };
  k.prepare = [](const KernelDesc& d) {
    return prepared<AttentionParams>(attention_params(*d.in[0], *d.in[1], *d.in[2], d.attrs), run);
  };
  return k;
}

}  // namespace suan::cuda
