// Element numbers to places in strided tensors. Neighbouring dimensions that every tensor walks alike are
// joined first, so that a contiguous tensor costs no division.
#pragma once

#include "core/op.h"
#include "kernels/cuda/lib/storage.cuh"

namespace suan::cuda {

template <int N>   // tensors
struct Nest {
  int rank = 0;
  int64_t n = 1;
  int64_t size[max_rank] = {};
  int64_t stride[N][max_rank] = {};

  __device__ __forceinline__ void places(int64_t i, int64_t (&at)[N]) const {
    for (int k = 0; k < N; ++k) at[k] = 0;
    for (int d = rank - 1; d > 0; --d) {
      const int64_t q = i / size[d], r = i - q * size[d];
      for (int k = 0; k < N; ++k) at[k] += r * stride[k][d];
      i = q;
    }
    if (rank)
      for (int k = 0; k < N; ++k) at[k] += i * stride[k][0];
  }
};

// All layouts broadcast to `shape` (missing leading dimensions and sizes of 1 have stride 0). `stride` has a row of
// max_rank for each of them.
inline void fill_nest(const Shape& shape, const Layout* const* layouts, int tensors, int64_t& rank, int64_t& n,
                      int64_t* size, int64_t* stride) {
  rank = 0;
  n = 1;
  const auto of = [&](int k, int d) -> int64_t {
    const Layout* l = layouts[k];
    const int own = l ? d - (shape.size() - l->rank()) : -1;
    return own < 0 || l->shape[own] == 1 ? 0 : l->strides[own];
  };
  for (int d = 0; d < shape.size(); ++d) {
    n *= shape[d];
    if (shape[d] == 1) continue;
    bool joins = rank > 0;
    for (int k = 0; k < tensors && joins; ++k) joins = stride[k * max_rank + rank - 1] == of(k, d) * shape[d];
    const int64_t at = joins ? rank - 1 : rank++;
    size[at] = joins ? size[at] * shape[d] : shape[d];
    for (int k = 0; k < tensors; ++k) stride[k * max_rank + at] = of(k, d);
  }
}

template <int N>
Nest<N> make_nest(const Shape& shape, const Layout* const (&layouts)[N]) {
  Nest<N> nest;
  int64_t rank = 0;
  fill_nest(shape, layouts, N, rank, nest.n, nest.size, &nest.stride[0][0]);
  nest.rank = int(rank);
  return nest;
}

}  // namespace suan::cuda
