// Softmax's gradient.
#include "kernels/cuda/lib/softmax.cuh"

namespace suan::cuda {
Kernel kernel_softmax_grad() { return softmax_backward<false>(); }
}  // namespace suan::cuda
