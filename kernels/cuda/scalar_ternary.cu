// where, clamp and cast.
#include "kernels/cuda/lib/elementwise.cuh"
#include "ops/scalar.h"

namespace suan::cuda {

namespace {

// Written out: where takes a mask, and clamp may lack a bound. The expressions are those of ops/scalar.h.
struct row_where {
  static constexpr int types = rows::any;
  static constexpr bool masked = true;
  template <class T> __device__ static T eval(Truth x, T y, T z) { return x.v ? y : z; }
};
struct row_clamp {
  static constexpr int types = rows::num;
  static constexpr bool masked = false;
  template <class T> __device__ static T eval(T x, T y, T z) { return prelude::min(prelude::max(x, y), z); }
};
struct row_lower {
  static constexpr int types = rows::num;
  static constexpr bool masked = false;
  template <class T> __device__ static T eval(T x, T y) { return prelude::max(x, y); }
};
struct row_upper {
  static constexpr int types = rows::num;
  static constexpr bool masked = false;
  template <class T> __device__ static T eval(T x, T y) { return prelude::min(x, y); }
};
struct row_same {
  static constexpr int types = rows::any;
  static constexpr bool masked = false;
  template <class T> __device__ static T eval(T x) { return x; }
};

Prepared prepare_clamp(const KernelDesc& d) {
  const bool low = d.has(1), high = d.has(2);
  if (low && high) return prepare_row_of<row_clamp, 3>(d, {0, 1, 2});
  if (low) return prepare_row_of<row_lower, 2>(d, {0, 1});
  if (high) return prepare_row_of<row_upper, 2>(d, {0, 2});
  return prepare_row_of<row_same, 1>(d, {0});
}

}  // namespace

void add_scalar_ternary(RowList& list) {
  list.emplace_back("where", row_kernel<row_where, 3>());
  Kernel clamp = row_kernel<row_clamp, 3>();
  clamp.prepare = prepare_clamp;
  list.emplace_back("clamp", clamp);
  list.emplace_back("cast", row_kernel<row_same, 1>());   // computes in the source's type, stores in the other
}

}  // namespace suan::cuda
