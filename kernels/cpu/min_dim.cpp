// Smallest element along one axis and its position.
#include "kernels/cpu/lib/select.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_min_dim() { return {prepare_select<false, true>}; }

}  // namespace suan::cpu::SUAN_ISA
