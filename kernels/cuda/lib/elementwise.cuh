// One scalar row over strided operands of any dtype. A row's text (ops/scalar.h) becomes a device function
// per compute type; operands convert on load, the result on store.
#pragma once

#include "kernels/cuda/lib/nest.cuh"
#include "kernels/cuda/lib/prelude.cuh"
#include "kernels/cuda/lib/prepare.h"

namespace suan::cuda {

namespace rows {
// Compute types a row has code for, as ops/scalar.h names them (u64, bit 3, is left out here).
enum Types { fp = 3, num = 15, ints = 12, bits = 28, any = 31 };
template <class T> inline constexpr int bit_of = 4;            // int64_t
template <> inline constexpr int bit_of<float> = 1;
template <> inline constexpr int bit_of<double> = 2;
template <> inline constexpr int bit_of<Truth> = 16;
}  // namespace rows

template <int N>
struct Operands {
  const void* in[N];
  void* out;
  DType in_dtype[N];
  DType out_dtype;
};

// C: what the row computes in; M: the first operand's (a mask for where).
template <class Row, class C, class M, int N>
__global__ void __launch_bounds__(256, 4) elementwise_kernel(Operands<N> x, Nest<N + 1> nest) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < nest.n; i += step) {
    int64_t at[N + 1];
    nest.places(i, at);
    const M a = load_as<M>(x.in[0], x.in_dtype[0], at[0]);
    if constexpr (N == 1) {
      store_as(x.out, x.out_dtype, at[N], Row::eval(a));
    } else {
      const C b = load_as<C>(x.in[1], x.in_dtype[1], at[1]);
      if constexpr (N == 2) store_as(x.out, x.out_dtype, at[N], Row::eval(a, b));
      else store_as(x.out, x.out_dtype, at[N], Row::eval(a, b, load_as<C>(x.in[2], x.in_dtype[2], at[2])));
    }
  }
}

template <int N>
struct RowParams {
  Nest<N + 1> nest;
  DType in_dtype[N];
  DType out_dtype;
  int operand[N];    // inputs of the op
};

template <class Row, class C, class M, int N>
void run_row(const RowParams<N>& p, const KernelArgs& a) {
  if (p.nest.n == 0) return;
  Operands<N> x;
  for (int i = 0; i < N; ++i) x.in[i] = a.in[p.operand[i]], x.in_dtype[i] = p.in_dtype[i];
  x.out = a.out[0];
  x.out_dtype = p.out_dtype;
  SUAN_LAUNCH((elementwise_kernel<Row, C, M, N>), dim3(blocks_for(p.nest.n, 1024)), dim3(256), 0, x, p.nest);
}

inline bool row_takes(const KernelDesc& d) {
  for (const TensorDesc* t : d.in)
    if (t && !known_dtype(t->dtype)) return false;
  return known_dtype(d.out[0]->dtype);
}

// Inputs `operand` of the op, N of them; computes in the type of the last one.
template <class Row, int N>
Prepared prepare_row_of(const KernelDesc& d, const int (&operand)[N]) {
  RowParams<N> p;
  const Layout* layouts[N + 1];
  for (int i = 0; i < N; ++i) {
    p.operand[i] = operand[i];
    p.in_dtype[i] = d.in[size_t(operand[i])]->dtype;
    layouts[i] = &d.in[size_t(operand[i])]->layout;
  }
  layouts[N] = &d.out[0]->layout;
  p.out_dtype = d.out[0]->dtype;
  p.nest = make_nest<N + 1>(d.out[0]->layout.shape, layouts);
  Prepared made;
  with_compute(p.in_dtype[N - 1], [&](auto v) {
    using C = decltype(v);
    if constexpr ((Row::types & rows::bit_of<C>) != 0) {
      using M = std::conditional_t<Row::masked, Truth, C>;
      made = prepared<RowParams<N>>(p, run_row<Row, C, M, N>);
    }
  });
  if (!made.run) fail<TypeError>(d.op.name, "dtype not supported on this device: got {}", name(p.in_dtype[N - 1]));
  return made;
}

template <class Row, int N>
Kernel row_kernel() {
  Kernel k;
  k.flags = kernel_strided_in | kernel_strided_out | kernel_in_place;
  k.supports = row_takes;
  k.prepare = [](const KernelDesc& d) {
    int operand[N];
    for (int i = 0; i < N; ++i) operand[i] = i;
    return prepare_row_of<Row, N>(d, operand);
  };
  return k;
}

using RowList = std::vector<std::pair<const char*, Kernel>>;

#define SUAN_ROW_BODY(types_, expr)                                   \
    static constexpr int types = rows::types_;                        \
    static constexpr bool masked = false;
#define SUAN_CUDA_ROW1(name, types_, result, cost, expr, ...)         \
  struct row_##name {                                                 \
    SUAN_ROW_BODY(types_, expr)                                       \
    template <class T> __device__ static auto eval(T x) {             \
      using namespace prelude;                                        \
      [[maybe_unused]] constexpr Constant<T> k;                       \
      return expr;                                                    \
    }                                                                 \
  };
#define SUAN_CUDA_ROW2(name, types_, result, cost, expr, ...)         \
  struct row_##name {                                                 \
    SUAN_ROW_BODY(types_, expr)                                       \
    template <class T> __device__ static auto eval(T x, T y) {        \
      using namespace prelude;                                        \
      [[maybe_unused]] constexpr Constant<T> k;                       \
      return expr;                                                    \
    }                                                                 \
  };
#define SUAN_CUDA_ADD1(name, ...) list.emplace_back(#name, row_kernel<row_##name, 1>());
#define SUAN_CUDA_ADD2(name, ...) list.emplace_back(#name, row_kernel<row_##name, 2>());

}  // namespace suan::cuda
