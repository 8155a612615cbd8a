// Sum over any axes divided by the count, before the one rounding to the output.
#include "kernels/cpu/lib/reduce.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_mean() {
  return {[](const KernelDesc& d) { return prepare_reduce<SumOf>(d, Finish::mean); }};
}

}  // namespace suan::cpu::SUAN_ISA
