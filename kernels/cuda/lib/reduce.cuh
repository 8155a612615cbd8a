// Reductions over any axes of a contiguous tensor. Each output has one block (long reductions) or one thread
// (short ones, or where the kept axis is innermost, so that neighbours read neighbours). The order of the
// additions depends on the shape alone.
#pragma once

#include <algorithm>

#include "kernels/cuda/lib/nest.cuh"
#include "kernels/cuda/lib/prepare.h"
#include "kernels/cuda/lib/warp.cuh"

namespace suan::cuda {

struct ReduceParams {
  Nest<1> kept, reduced;
  DType in_dtype, out_dtype;
  bool by_block;
};

// Op: identity, join, and finish(value, count).
template <class Op, class C>
__global__ void __launch_bounds__(128, 8) reduce_blocks(void* out, const void* in, ReduceParams p) {
  Smem shared;
  C* parts = shared.take<C>(4);
  for (int64_t o = blockIdx.x; o < p.kept.n; o += gridDim.x) {
    int64_t base[1];
    p.kept.places(o, base);
    C v = Op::template identity<C>();
    for (int64_t i = threadIdx.x; i < p.reduced.n; i += 128) {
      int64_t at[1];
      p.reduced.places(i, at);
      v = Op::join(v, load_as<C>(in, p.in_dtype, base[0] + at[0]));
    }
    v = block_reduce<Op>(v, parts);
    if (threadIdx.x == 0) store_as<C>(out, p.out_dtype, o, Op::finish(v, p.reduced.n));
  }
}

template <class Op, class C>
__global__ void __launch_bounds__(128, 8) reduce_threads(void* out, const void* in, ReduceParams p) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t o = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; o < p.kept.n; o += step) {
    int64_t base[1];
    p.kept.places(o, base);
    C v = Op::template identity<C>();
    for (int64_t i = 0; i < p.reduced.n; ++i) {
      int64_t at[1];
      p.reduced.places(i, at);
      v = Op::join(v, load_as<C>(in, p.in_dtype, base[0] + at[0]));
    }
    store_as<C>(out, p.out_dtype, o, Op::finish(v, p.reduced.n));
  }
}

template <class Op, class C>
void run_reduce(const ReduceParams& p, const KernelArgs& a) {
  if (p.kept.n == 0) return;
  if (p.by_block)
    SUAN_LAUNCH((reduce_blocks<Op, C>), dim3(blocks_for(p.kept.n, 1)), dim3(128), 4 * sizeof(C), a.out[0], a.in[0], p);
  else
    SUAN_LAUNCH((reduce_threads<Op, C>), dim3(blocks_for(p.kept.n, 128)), dim3(128), 0, a.out[0], a.in[0], p);
}

// Attribute 0: the axes (none: all).
inline ReduceParams reduce_params(const KernelDesc& d) {
  const Shape& s = d.in[0]->layout.shape;
  const Dims strides = contiguous_strides(s);
  Dims axes;
  for (int64_t a : d.attrs.dims(0)) axes.push_back(normalize_axis(d.op.name, a, s.size()));
  Shape kept, reduced;
  Dims kept_strides, reduced_strides;
  bool inner_reduced = true;
  for (int i = 0; i < s.size(); ++i) {
    const bool gone = axes.empty() || std::find(axes.begin(), axes.end(), i) != axes.end();
    (gone ? reduced : kept).push_back(s[i]);
    (gone ? reduced_strides : kept_strides).push_back(strides[i]);
    if (s[i] > 1) inner_reduced = gone;
  }
  ReduceParams p;
  Layout k(kept, kept_strides, 0), r(reduced, reduced_strides, 0);
  const Layout* kl[1] = {&k};
  const Layout* rl[1] = {&r};
  p.kept = make_nest<1>(kept, kl);
  p.reduced = make_nest<1>(reduced, rl);
  p.in_dtype = d.in[0]->dtype;
  p.out_dtype = d.out[0]->dtype;
  p.by_block = p.reduced.n >= 64 && (inner_reduced || p.kept.n < 64);
  return p;
}

template <class Op>
Kernel reduce_kernel() {
  Kernel k;
  k.supports = [](const KernelDesc& d) {
    return known_dtype(d.in[0]->dtype) && known_dtype(d.out[0]->dtype);
  };
  k.prepare = [](const KernelDesc& d) {
    const ReduceParams p = reduce_params(d);
    switch (accumulate_type(p.in_dtype)) {
      case DType::f32: return prepared<ReduceParams>(p, run_reduce<Op, float>);
      case DType::f64: return prepared<ReduceParams>(p, run_reduce<Op, double>);
      default: return prepared<ReduceParams>(p, run_reduce<Op, int64_t>);
    }
  };
  return k;
}

}  // namespace suan::cuda
