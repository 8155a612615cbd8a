// Largest element over any axes; NaN wins.
#include "kernels/cpu/lib/reduce.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_max() {
  return {[](const KernelDesc& d) { return prepare_reduce<MaxOf>(d); }};
}

}  // namespace suan::cpu::SUAN_ISA
