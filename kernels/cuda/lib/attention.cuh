// What the attention kernels share: strided [batch, heads, length, width] operands, f32 or bf16, in tiles of
// shared memory. A block of 128 threads has 64 rows (queries, or keys where the queries pass by), 16 to a warp;
// the other side passes in tiles of 32 rows, the next one on its way while one is worked on.
#pragma once

#include <cmath>

#include "kernels/cuda/lib/mma.cuh"
#include "kernels/cuda/lib/prepare.h"

namespace suan::cuda {

inline constexpr int block_rows = 64, warp_rows = 16, tile_rows = 32;
inline constexpr int tile_parts = tile_rows / 8;   // 16 x 8 results of a warp and a tile
inline constexpr int max_width = 128, longest = 1 << 30;
inline constexpr float log2_e = 1.44269504088896340736f, ln_2 = 0.69314718055994530942f;

struct Operand4 {
  int64_t batch, head, row, column;   // strides in elements
  bool wide;                          // rows can be copied 16 bytes at a time
};

struct AttentionParams {
  int batches, heads, kv_heads, queries, keys, width, value_width;
  float scale;
  bool causal, lse_grad;
  DType dtype;
  Operand4 q, k, v, g;       // g: the gradient of the output
};

inline Operand4 operand4(const Layout& l) { return {l.strides[0], l.strides[1], l.strides[2], l.strides[3], false}; }

inline AttentionParams attention_params(const TensorDesc& q, const TensorDesc& k, const TensorDesc& v,
                                        const Attrs& attrs) {
  const Shape &qs = q.layout.shape, &vs = v.layout.shape;
  AttentionParams p{};
  p.batches = int(qs[0]), p.heads = int(qs[1]), p.kv_heads = int(vs[1]), p.queries = int(qs[2]), p.keys = int(vs[2]);
  p.width = int(qs[3]), p.value_width = int(vs[3]);
  p.scale = float(attrs.has(1) ? attrs.real(1) : 1.0 / std::sqrt(double(qs[3])));
  p.causal = attrs.boolean(0);
  p.dtype = q.dtype;
  p.q = operand4(q.layout), p.k = operand4(k.layout), p.v = operand4(v.layout);
  return p;
}

inline bool supports_attention(const TensorDesc& q, const TensorDesc& v) {
  const Shape &qs = q.layout.shape, &vs = v.layout.shape;
  return (q.dtype == DType::f32 || q.dtype == DType::bf16) && qs[3] <= max_width && vs[3] <= max_width &&
         qs[0] <= 65535 && qs[0] * qs[1] <= 65535 && vs[1] > 0 && qs[2] < longest && vs[2] < longest;
}

inline bool rows_are_wide(const void* p, const Operand4& o, int width, int64_t element) {
  return o.column == 1 && (uintptr_t(p) | uintptr_t(o.batch * element) | uintptr_t(o.head * element) |
                           uintptr_t(o.row * element) | uintptr_t(width * element)) % 16 == 0;
}

// Calls f with an element (float or Bfloat) and the padded width as a constant.
template <class F>
void with_attention_types(const AttentionParams& p, F f) {
  const auto with_element = [&](auto element) {
    const int widest = p.width > p.value_width ? p.width : p.value_width;
    if (widest <= 32) f(element, std::integral_constant<int, 32>());
    else if (widest <= 64) f(element, std::integral_constant<int, 64>());
    else f(element, std::integral_constant<int, 128>());
  };
  if (p.dtype == DType::f32) with_element(float());
  else with_element(Bfloat());
}

template <class T>
__device__ __forceinline__ const T* head_of(const T* x, const Operand4& o, int batch, int head) {
  return x + batch * o.batch + head * o.head;
}

// Rows [first, first + Rows) of one head into shared memory, W wide; 0 past the end and past `width`.
// Some of it is there only after cp_async_commit, cp_async_wait and a barrier.
template <int Rows, int W, class T>
__device__ __forceinline__ void load_rows(T* to, const T* from, const Operand4& o, int first, int end,
                                          int width) {
  constexpr int n = in_16_bytes<T>, ld = row_stride<T, W>;
  if (o.wide) {
    for (int i = threadIdx.x; i < Rows * W / n; i += 128) {
      const int r = i / (W / n), c = i % (W / n) * n;
      const bool there = first + r < end && c < width;
      cp_async16(to + r * ld + c, there ? from + (first + r) * o.row + c : from, there);
    }
  } else {
    for (int i = threadIdx.x; i < Rows * W; i += 128) {
      const int r = i / W, c = i % W;
      to[r * ld + c] = first + r < end && c < width ? from[(first + r) * o.row + c * o.column] : T{};
    }
  }
}

// Where a block of queries stands. Causal: the blocks that see most begin first.
struct QueryBlock {
  int batch, head, kv_head;
  int first, warp_first;   // queries: the block's, this warp's
  int seen;                // keys that any of the block's queries may see
};
__device__ __forceinline__ QueryBlock query_block(const AttentionParams& p) {
  QueryBlock b;
  b.head = int(blockIdx.y) % p.heads, b.batch = int(blockIdx.y) / p.heads, b.kv_head = b.head / (p.heads / p.kv_heads);
  b.first = int(p.causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * block_rows;
  b.warp_first = b.first + int(threadIdx.x) / 32 * warp_rows;
  b.seen = p.causal && b.first + block_rows < p.keys ? b.first + block_rows : p.keys;
  return b;
}

// The keys and values that a block of queries sees, by tiles, in two stages of shared memory.
template <class T, int W>
struct KeyTiles {
  T *keys, *values;        // shared: two tiles of each
  const T *k, *v;          // of the head
  const AttentionParams& p;

  __device__ __forceinline__ static int stage(int k0) { return k0 / tile_rows % 2 * tile_rows * row_stride<T, W>; }
  __device__ __forceinline__ void load(int k0) const {
    load_rows<tile_rows, W>(keys + stage(k0), k, p.k, k0, p.keys, p.width);
    load_rows<tile_rows, W>(values + stage(k0), v, p.v, k0, p.keys, p.value_width);
    cp_async_commit();
  }
  // The tile at k0 is there, the next one on its way.
  __device__ __forceinline__ void arrive(int k0, int seen) const {
    if (k0 + tile_rows < seen) {
      load(k0 + tile_rows);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();
  }
};

// The four lanes that share a row of a result.
template <class Op>
__device__ __forceinline__ float row_reduce(float v) {
  v = Op::join(v, __shfl_xor_sync(0xffffffffu, v, 1));
  return Op::join(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

// A warp's 16 x W result times a factor per row (g and g + 8), to rows [first, end) of `out`, `width` wide.
template <int W, class T>
__device__ __forceinline__ void store_rows(T* out, const float (&c)[W / 8][4], const float (&factor)[2], int first,
                                           int end, int width) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first + g + i / 2 * 8;
    if (row >= end) continue;
#pragma unroll
    for (int j = 0; j < W / 8; ++j) {
      const int column = 8 * j + 2 * t + i % 2;
      if (column < width) out[int64_t(row) * width + column] = narrow<T>(c[j][i] * factor[i / 2]);
    }
  }
}

}  // namespace suan::cuda
