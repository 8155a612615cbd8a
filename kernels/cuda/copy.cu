// A contiguous tensor with the input's values.
#include "kernels/cuda/lib/copy.cuh"

namespace suan::cuda {
Kernel kernel_copy() { return copying_kernel(); }
}  // namespace suan::cuda
