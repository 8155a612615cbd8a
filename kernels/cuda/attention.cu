// Attention by blocks with a running maximum (Dao et al. 2022) on the tensor cores, f32 and bf16. A warp has 16
// queries of one head, keys pass in tiles of 32; scores and weights never leave the registers. A mask runs by
// the op's definition, as does a width over 128.
#include "kernels/cuda/lib/attention.cuh"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {
namespace {

template <class T, int W>
__global__ void __launch_bounds__(128, 1) attention_kernel(T* out, float* lse, const T* q, const T* k, const T* v,
                                                        AttentionParams p) {
  constexpr int ld = row_stride<T, W>;
  Smem shared;
  T* queries = shared.take<T>(block_rows * ld);
  T* keys = shared.take<T>(2 * tile_rows * ld);
  T* values = shared.take<T>(2 * tile_rows * ld);
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32;
  const QueryBlock b = query_block(p);
  const KeyTiles<T, W> tiles{keys, values, head_of(k, p.k, b.batch, b.kv_head), head_of(v, p.v, b.batch, b.kv_head), p};
  const int row0 = b.warp_first;
  if (b.seen > 0) {
    load_rows<block_rows, W>(queries, head_of(q, p.q, b.batch, b.head), p.q, b.first, p.queries, p.width);
    tiles.load(0);
  }
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};   // of rows g and g + 8; total: this lane's columns
  float acc[W / 8][4] = {};
  for (int k0 = 0; k0 < b.seen; k0 += tile_rows) {
    tiles.arrive(k0, b.seen);
    if (row0 < p.queries) {
      const int stage = tiles.stage(k0);
      float s[tile_parts][4] = {};
      multiply_rows<T, W>(s, queries + warp * warp_rows * ld, keys + stage);
      const bool edge = k0 + tile_rows > p.keys || (p.causal && k0 + tile_rows - 1 > row0);
      float best[2] = {top[0], top[1]};
#pragma unroll
      for (int j = 0; j < tile_parts; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[j][i] *= p.scale * log2_e;
          const int key = k0 + 8 * j + 2 * t + i % 2, query = row0 + g + i / 2 * 8;
          if (edge && (key >= p.keys || (p.causal && key > query))) s[j][i] = -INFINITY;
          best[i / 2] = fmaxf(best[i / 2], s[j][i]);
        }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        best[h] = row_reduce<Max>(best[h]);
        const float base = best[h] == -INFINITY ? 0.0f : best[h];   // a query that has seen nothing yet
        const float keep = exp2f(top[h] - base);
        top[h] = best[h];
        total[h] *= keep;
#pragma unroll
        for (int j = 0; j < tile_parts; ++j)
#pragma unroll
          for (int i = 2 * h; i < 2 * h + 2; ++i) total[h] += s[j][i] = exp2f(s[j][i] - base);
#pragma unroll
        for (int j = 0; j < W / 8; ++j) acc[j][2 * h] *= keep, acc[j][2 * h + 1] *= keep;
      }
      multiply_columns<T, W>(acc, s, values + stage);
    }
    __syncthreads();
  }
  const int64_t first_row = int64_t(blockIdx.y) * p.queries;
  float factor[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total[h] = row_reduce<Sum>(total[h]);
    factor[h] = total[h] > 0 ? 1.0f / total[h] : total[h];   // NaN stays
    if (t == 0 && row0 + g + 8 * h < p.queries) lse[first_row + row0 + g + 8 * h] = top[h] * ln_2 + logf(total[h]);
  }
  store_rows<W>(out + first_row * p.value_width, acc, factor, row0, p.queries, p.value_width);
}

void run(const AttentionParams& prepared, const KernelArgs& a) {
  AttentionParams p = prepared;
  if (p.batches == 0 || p.heads == 0 || p.queries == 0) return;
  with_attention_types(p, [&](auto element, auto width) {
    using T = decltype(element);
    constexpr int W = width;
    p.q.wide = rows_are_wide(a.in[0], p.q, p.width, sizeof(T));
    p.k.wide = rows_are_wide(a.in[1], p.k, p.width, sizeof(T));
    p.v.wide = rows_are_wide(a.in[2], p.v, p.value_width, sizeof(T));
    const dim3 grid(unsigned((p.queries + block_rows - 1) / block_rows), unsigned(p.batches * p.heads));
    SUAN_LAUNCH((attention_kernel<T, W>), grid, dim3(128), sizeof(T) * (block_rows + 4 * tile_rows) * row_stride<T, W>,
                out<T>(a, 0), out<float>(a, 1), in<T>(a, 0), in<T>(a, 1), in<T>(a, 2), p);
  });
}

}  // namespace

Kernel kernel_attention() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.supports = [](const KernelDesc& d) { return !d.has(3) && supports_attention(*d.in[0], *d.in[2]); };
  k.prepare = [](const KernelDesc& d) {
    return prepared<AttentionParams>(attention_params(*d.in[0], *d.in[1], *d.in[2], d.attrs), run);
  };
  return k;
}

}  // namespace suan::cuda
