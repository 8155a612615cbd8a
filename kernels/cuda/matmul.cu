// Matrix product, through the library.
#include "kernels/cuda/lib/product.h"

namespace suan::cuda {

Kernel kernel_matmul() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.supports = supports_product;
  k.prepare = prepare_product;
  return k;
}

}  // namespace suan::cuda
