// Log-softmax's gradient.
#include "kernels/cuda/lib/softmax.cuh"

namespace suan::cuda {
Kernel kernel_log_softmax_grad() { return softmax_backward<true>(); }
}  // namespace suan::cuda
