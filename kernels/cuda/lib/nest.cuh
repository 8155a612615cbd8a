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

// All layouts broadcast to `shape` (missing leading dimensions and sizes of 1 have stride 0).
template <int N>
Nest<N> make_nest(const Shape& shape, const Layout* const (&layouts)[N]) {
  Nest<N> nest;
  for (int d = 0; d < shape.size(); ++d) {
    nest.n *= shape[d];
    if (shape[d] == 1) continue;
    int64_t s[N];
    for (int k = 0; k < N; ++k) {
      const Layout* l = layouts[k];
      const int own = l ? d - (shape.size() - l->rank()) : -1;
      s[k] = own < 0 || l->shape[own] == 1 ? 0 : l->strides[own];
    }
    bool joins = nest.rank > 0;
    for (int k = 0; k < N && joins; ++k) joins = nest.stride[k][nest.rank - 1] == s[k] * shape[d];
    const int at = joins ? nest.rank - 1 : nest.rank++;
    nest.size[at] = joins ? nest.size[at] * shape[d] : shape[d];
    for (int k = 0; k < N; ++k) nest.stride[k][at] = s[k];
  }
  return nest;
}

}  // namespace suan::cuda
