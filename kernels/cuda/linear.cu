// x · weightᵀ + bias, through the library.
#include "kernels/cuda/lib/product.h"

namespace suan::cuda {
Kernel kernel_linear() { return product_kernel(); }
}  // namespace suan::cuda
