// Matrix products belong to a library: cuBLASLt on a card (runtime/product.cu), the CPU backend in the
// emulation. Either way matmul and linear are prepared here, from the op's own description.
#pragma once

#include "core/op.h"

namespace suan::cuda {

Prepared prepare_product(const KernelDesc& d);
bool supports_product(const KernelDesc& d);
std::string product_library();   // its name and version, or why there is none

inline Kernel product_kernel() { return {prepare_product, kernel_strided_in, supports_product}; }

}  // namespace suan::cuda
