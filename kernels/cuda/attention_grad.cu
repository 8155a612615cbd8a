// Attention's gradients, scores recomputed from logsumexp (Dao et al. 2022), f32 and bf16 on the tensor cores,
// without atomics: one kernel passes the keys by each block of queries (dq), one the queries by each block of
// keys (dk, dv). That is seven products instead of five, and the same bits on every run.
// With weight w = exp(s - lse): dv = sum w g; ds = w (g . v - delta) scale, delta = g . out;
// dq = sum ds k; dk = sum ds q.
#include "kernels/cuda/lib/attention.cuh"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {
namespace {

// delta [batch, heads, queries], less what reaches logsumexp (g_lse, may be null); one warp per query.
template <class T>
__global__ void __launch_bounds__(128, 1) delta_kernel(float* delta, const T* g, const T* out, const float* g_lse,
                                                    AttentionParams p) {
  const int64_t rows = int64_t(p.batches) * p.heads * p.queries;
  const int width = p.value_width;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t row = int64_t(blockIdx.x) * 4 + warp; row < rows; row += int64_t(gridDim.x) * 4) {
    const T* gr = head_of(g, p.g, int(row / p.queries / p.heads), int(row / p.queries % p.heads)) + row % p.queries * p.g.row;
    float s = 0;
    for (int c = lane; c < width; c += 32) s += widen(gr[c * p.g.column]) * widen(out[row * width + c]);
    s = warp_reduce<Sum>(s);
    if (lane == 0) delta[row] = g_lse ? s - g_lse[row] : s;
  }
}

template <class T, int W>
__global__ void __launch_bounds__(128, 1) dq_kernel(T* dq, const T* q, const T* k, const T* v, const T* grad,
                                                 const float* lse, const float* delta, AttentionParams p) {
  constexpr int ld = row_stride<T, W>;
  Smem shared;
  T* queries = shared.take<T>(block_rows * ld);
  T* grads = shared.take<T>(block_rows * ld);
  T* keys = shared.take<T>(2 * tile_rows * ld);
  T* values = shared.take<T>(2 * tile_rows * ld);
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32;
  const QueryBlock b = query_block(p);
  const KeyTiles<T, W> tiles{keys, values, head_of(k, p.k, b.batch, b.kv_head), head_of(v, p.v, b.batch, b.kv_head), p};
  const int row0 = b.warp_first;
  const int64_t first_row = int64_t(blockIdx.y) * p.queries;
  if (b.seen > 0) {
    load_rows<block_rows, W>(queries, head_of(q, p.q, b.batch, b.head), p.q, b.first, p.queries, p.width);
    load_rows<block_rows, W>(grads, head_of(grad, p.g, b.batch, b.head), p.g, b.first, p.queries, p.value_width);
    tiles.load(0);
  }
  float norm[2], d[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = row0 + g + 8 * h;
    norm[h] = row < p.queries ? lse[first_row + row] * log2_e : 0.0f;
    d[h] = row < p.queries ? delta[first_row + row] : 0.0f;
  }
  float acc[W / 8][4] = {};
  for (int k0 = 0; k0 < b.seen; k0 += tile_rows) {
    tiles.arrive(k0, b.seen);
    if (row0 < p.queries) {
      const int stage = tiles.stage(k0), rows = warp * warp_rows * ld;
      float s[tile_parts][4] = {}, dw[tile_parts][4] = {};
      multiply_rows<T, W>(s, queries + rows, keys + stage);
      multiply_rows<T, W>(dw, grads + rows, values + stage);
      const bool edge = k0 + tile_rows > p.keys || (p.causal && k0 + tile_rows - 1 > row0);
#pragma unroll
      for (int j = 0; j < tile_parts; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = k0 + 8 * j + 2 * t + i % 2, query = row0 + g + i / 2 * 8;
          float weight = exp2f(s[j][i] * (p.scale * log2_e) - norm[i / 2]);
          if (edge && (key >= p.keys || (p.causal && key > query))) weight = 0;
          s[j][i] = weight * (dw[j][i] - d[i / 2]);
        }
      multiply_columns<T, W>(acc, s, keys + stage);
    }
    __syncthreads();
  }
  const float scale[2] = {p.scale, p.scale};
  store_rows<W>(dq + first_row * p.width, acc, scale, row0, p.queries, p.width);
}

// Results are transposed: rows are keys, columns queries.
template <class T, int W>
__global__ void __launch_bounds__(128, 1) dkv_kernel(T* dk, T* dv, const T* q, const T* k, const T* v, const T* grad,
                                                  const float* lse, const float* delta, AttentionParams p) {
  constexpr int ld = row_stride<T, W>;
  Smem shared;
  T* keys = shared.take<T>(block_rows * ld);
  T* values = shared.take<T>(block_rows * ld);
  T* queries = shared.take<T>(2 * tile_rows * ld);
  T* grads = shared.take<T>(2 * tile_rows * ld);
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32;
  const int kv_head = int(blockIdx.y) % p.kv_heads, batch = int(blockIdx.y) / p.kv_heads, group = p.heads / p.kv_heads;
  const int k0 = int(blockIdx.x) * block_rows, row0 = k0 + warp * warp_rows;
  // The heads that share these keys, in order; of each the queries that see any of them.
  const int first = p.causal ? k0 / tile_rows * tile_rows : 0;
  const int tiles = first < p.queries ? (p.queries - first + tile_rows - 1) / tile_rows : 0, steps = group * tiles;
  const auto load = [&](int step) {
    const int head = kv_head * group + step / tiles, q0 = first + step % tiles * tile_rows;
    const int stage = step % 2 * tile_rows * ld;
    load_rows<tile_rows, W>(queries + stage, head_of(q, p.q, batch, head), p.q, q0, p.queries, p.width);
    load_rows<tile_rows, W>(grads + stage, head_of(grad, p.g, batch, head), p.g, q0, p.queries, p.value_width);
    cp_async_commit();
  };
  if (steps > 0) {
    load_rows<block_rows, W>(keys, head_of(k, p.k, batch, kv_head), p.k, k0, p.keys, p.width);
    load_rows<block_rows, W>(values, head_of(v, p.v, batch, kv_head), p.v, k0, p.keys, p.value_width);
    load(0);
  }
  float acc_k[W / 8][4] = {}, acc_v[W / 8][4] = {};
  for (int step = 0; step < steps; ++step) {
    if (step + 1 < steps) {
      load(step + 1);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();
    if (row0 < p.keys) {
      const int q0 = first + step % tiles * tile_rows;
      const int64_t first_row = int64_t(batch * p.heads + kv_head * group + step / tiles) * p.queries;
      const int stage = step % 2 * tile_rows * ld, rows = warp * warp_rows * ld;
      const bool edge = q0 + tile_rows > p.queries || (p.causal && row0 + warp_rows - 1 > q0);
      float w[tile_parts][4] = {}, ds[tile_parts][4] = {};
      multiply_rows<T, W>(w, keys + rows, queries + stage);
#pragma unroll
      for (int j = 0; j < tile_parts; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int query = q0 + 8 * j + 2 * t + i % 2;
          const float norm = query < p.queries ? lse[first_row + query] * log2_e : 0.0f;
          w[j][i] = exp2f(w[j][i] * (p.scale * log2_e) - norm);
          if (edge && (query >= p.queries || (p.causal && row0 + g + i / 2 * 8 > query))) w[j][i] = 0;
        }
      multiply_columns<T, W>(acc_v, w, grads + stage);
      multiply_rows<T, W>(ds, values + rows, grads + stage);
#pragma unroll
      for (int j = 0; j < tile_parts; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int query = q0 + 8 * j + 2 * t + i % 2;
          ds[j][i] = w[j][i] * (ds[j][i] - (query < p.queries ? delta[first_row + query] : 0.0f));
        }
      multiply_columns<T, W>(acc_k, ds, queries + stage);
    }
    __syncthreads();
  }
  const int64_t first_key = int64_t(blockIdx.y) * p.keys;
  const float scale[2] = {p.scale, p.scale}, one[2] = {1, 1};
  store_rows<W>(dk + first_key * p.width, acc_k, scale, row0, p.keys, p.width);
  store_rows<W>(dv + first_key * p.value_width, acc_v, one, row0, p.keys, p.value_width);
}

void run(const AttentionParams& prepared, const KernelArgs& a) {
  AttentionParams p = prepared;
  with_attention_types(p, [&](auto element, auto width) {
    using T = decltype(element);
    constexpr int W = width;
    const T *g = in<T>(a, 0), *q = in<T>(a, 1), *k = in<T>(a, 2), *v = in<T>(a, 3);
    p.g.wide = rows_are_wide(g, p.g, p.value_width, sizeof(T));
    p.q.wide = rows_are_wide(q, p.q, p.width, sizeof(T));
    p.k.wide = rows_are_wide(k, p.k, p.width, sizeof(T));
    p.v.wide = rows_are_wide(v, p.v, p.value_width, sizeof(T));
    auto* delta = static_cast<float*>(a.workspace);
    const float* lse = in<float>(a, 6);
    const int64_t rows = int64_t(p.batches) * p.heads * p.queries;
    constexpr size_t bytes = sizeof(T) * (2 * block_rows + 4 * tile_rows) * row_stride<T, W>;
    const auto grid = [](int n, int heads) { return dim3(unsigned((n + block_rows - 1) / block_rows), unsigned(heads)); };
    if (rows) {
      SUAN_LAUNCH(delta_kernel<T>, dim3(blocks_for(rows, 4)), dim3(128), 0, delta, g, in<T>(a, 5),
                  p.lse_grad ? in<float>(a, 7) : nullptr, p);
      SUAN_LAUNCH((dq_kernel<T, W>), grid(p.queries, p.batches * p.heads), dim3(128), bytes, out<T>(a, 0), q, k, v, g,
                  lse, delta, p);
    }
    if (p.batches > 0 && p.keys > 0)
      SUAN_LAUNCH((dkv_kernel<T, W>), grid(p.keys, p.batches * p.kv_heads), dim3(128), bytes, out<T>(a, 1),
                  out<T>(a, 2), q, k, v, g, lse, delta, p);
  });
}

}  // namespace

Kernel kernel_attention_grad() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.supports = [](const KernelDesc& d) {
    if (d.has(4) || !supports_attention(*d.in[1], *d.in[3])) return false;
    for (int i : {6, 7})
      if (d.has(i) && d.in[size_t(i)]->dtype != DType::f32) return false;
    for (int i : {5, 6, 7})
      if (d.has(i) && !d.in[size_t(i)]->layout.is_contiguous()) return false;
    return true;
  };
  k.prepare = [](const KernelDesc& d) {
    AttentionParams p = attention_params(*d.in[1], *d.in[2], *d.in[3], d.attrs);
    p.lse_grad = d.has(7);
    p.g = operand4(d.in[0]->layout);
    const int64_t workspace = int64_t(p.batches) * p.heads * p.queries * int64_t(sizeof(float));
    return prepared<AttentionParams>(p, run, workspace);
  };
  return k;
}

}  // namespace suan::cuda
