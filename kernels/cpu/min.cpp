// Smallest element over any axes; NaN wins.
#include "kernels/cpu/lib/reduce.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_min() {
  return {[](const KernelDesc& d) { return prepare_reduce<MinOf>(d); }};
}

}  // namespace suan::cpu::SUAN_ISA
