// What the attention kernels share: strided [batch, heads, length, width] operands, tiles in shared memory.
#pragma once

#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {

inline constexpr int tile_keys = 32;       // a warp's lanes, one key (or query) each
inline constexpr int block_rows = 16;      // rows of a block, four to each of its four warps
inline constexpr int rows_per_warp = 4;
inline constexpr int max_width = 128;

struct Operand4 {
  int64_t batch, head, row, column;   // strides in elements
};

struct AttentionParams {
  int64_t batches, heads, kv_heads, queries, keys;
  int width, value_width;
  float scale;
  bool causal, lse_grad;
  Operand4 q, k, v, g;       // g: the gradient of the output
};

inline Operand4 operand4(const Layout& l) { return {l.strides[0], l.strides[1], l.strides[2], l.strides[3]}; }

inline AttentionParams attention_params(const TensorDesc& q, const TensorDesc& k, const TensorDesc& v,
                                        const Attrs& attrs) {
  const Shape &qs = q.layout.shape, &vs = v.layout.shape;
  AttentionParams p{};
  p.batches = qs[0], p.heads = qs[1], p.kv_heads = vs[1], p.queries = qs[2], p.keys = vs[2];
  p.width = int(qs[3]), p.value_width = int(vs[3]);
  p.scale = float(attrs.has(1) ? attrs.real(1) : 1.0 / std::sqrt(double(qs[3])));
  p.causal = attrs.boolean(0);
  p.q = operand4(q.layout), p.k = operand4(k.layout), p.v = operand4(v.layout);
  return p;
}

// Rows [first, first + n) of one head into shared memory, `ld` floats apart; rows past the end are 0.
__device__ __forceinline__ void load_rows(float* to, int ld, const float* from, const Operand4& o, int64_t first,
                                          int n, int64_t end, int width) {
  for (int i = threadIdx.x; i < n * width; i += 128) {
    const int r = i / width, c = i % width;
    to[r * ld + c] = first + r < end ? from[(first + r) * o.row + c * o.column] : 0.0f;
  }
}

__device__ __forceinline__ float dot_rows(const float* a, const float* b, int width) {
  float s = 0;
  for (int d = 0; d < width; ++d) s = fmaf(a[d], b[d], s);
  return s;
}

}  // namespace suan::cuda
