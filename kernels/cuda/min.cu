// The smallest element over any axes; NaN if there is one.
#include <limits>

#include "kernels/cuda/lib/reduce.cuh"

namespace suan::cuda {
namespace {
struct Best {
  template <class T> __device__ static T identity() {
    if constexpr (std::is_same_v<T, int64_t>) return INT64_MAX;
    else return T(INFINITY);
  }
  template <class T> __device__ static T join(T a, T b) { return a != a || a < b ? a : b; }
  template <class T> __device__ static T finish(T v, int64_t) { return v; }
};
}  // namespace
Kernel kernel_min() { return reduce_kernel<Best>(); }
}  // namespace suan::cuda
