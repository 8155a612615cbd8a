// Variance in two passes: the mean, then squared distances from it.
#include "kernels/cpu/lib/reduce.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_var() {
  return {[](const KernelDesc& d) { return prepare_reduce<SumOf>(d, Finish::variance, d.attrs.integer(1)); }};
}

}  // namespace suan::cpu::SUAN_ISA
