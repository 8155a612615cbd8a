// The 0-d value everywhere: a copy whose input has stride 0.
#include "kernels/cuda/lib/copy.cuh"

namespace suan::cuda {
Kernel kernel_full() { return copying_kernel(); }
}  // namespace suan::cuda
