// Sum over any axes: f32 accumulation for low precision, i64 for integers.
#include "kernels/cpu/lib/reduce.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_sum() {
  return {[](const KernelDesc& d) { return prepare_reduce<SumOf>(d); }};
}

}  // namespace suan::cpu::SUAN_ISA
