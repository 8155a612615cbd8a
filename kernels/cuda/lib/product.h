// Matrix products belong to a library: cuBLASLt on a card (lib/product_cublas.cu), the CPU backend in the
// emulation. Either way matmul and linear are prepared here, from the op's own description.
#pragma once

#include "core/op.h"

namespace suan::cuda {

Prepared prepare_product(const KernelDesc& d);
bool supports_product(const KernelDesc& d);

inline Kernel product_kernel() { return {prepare_product, kernel_strided_in, supports_product}; }

}  // namespace suan::cuda
