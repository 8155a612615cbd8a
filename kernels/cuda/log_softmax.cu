// Log-softmax along any axis.
#include "kernels/cuda/lib/softmax.cuh"

namespace suan::cuda {
Kernel kernel_log_softmax() { return softmax_forward<true>(); }
}  // namespace suan::cuda
