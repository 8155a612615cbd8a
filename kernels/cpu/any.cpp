// Whether any element is non-zero: the maximum of truth values.
#include "kernels/cpu/lib/reduce.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_any() {
  return {[](const KernelDesc& d) { return prepare_reduce_in<MaxOf, uint8_t>(d); }};
}

}  // namespace suan::cpu::SUAN_ISA
