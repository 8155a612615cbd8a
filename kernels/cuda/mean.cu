// Mean over any axes.
#include "kernels/cuda/lib/reduce.cuh"

namespace suan::cuda {
namespace {
struct MeanOf : Sum {
  template <class T> __device__ static T finish(T v, int64_t n) { return v / T(n); }
};
}  // namespace
Kernel kernel_mean() { return reduce_kernel<MeanOf>(); }
}  // namespace suan::cuda
