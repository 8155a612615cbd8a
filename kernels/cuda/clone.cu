// As copy; a tensor of its own even where copy would be folded.
#include "kernels/cuda/lib/copy.cuh"

namespace suan::cuda {
Kernel kernel_clone() { return copying_kernel(); }
}  // namespace suan::cuda
