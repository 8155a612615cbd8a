// Sum over any axes: f32 accumulation for low precision, i64 for integers.
#include "kernels/cuda/lib/reduce.cuh"

namespace suan::cuda {
namespace {
struct SumOf : Sum {
  template <class T> __device__ static T finish(T v, int64_t) { return v; }
};
}  // namespace
Kernel kernel_sum() { return reduce_kernel<SumOf>(); }
}  // namespace suan::cuda
