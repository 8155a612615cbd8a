// Whether all elements are non-zero: the minimum of truth values.
#include "kernels/cpu/lib/reduce.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_all() {
  return {[](const KernelDesc& d) { return prepare_reduce_in<MinOf, uint8_t>(d); }};
}

}  // namespace suan::cpu::SUAN_ISA
