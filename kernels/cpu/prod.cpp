// Product over any axes.
#include "kernels/cpu/lib/reduce.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_prod() {
  return {[](const KernelDesc& d) { return prepare_reduce<ProductOf>(d); }};
}

}  // namespace suan::cpu::SUAN_ISA
