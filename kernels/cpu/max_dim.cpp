// Largest element along one axis and its position.
#include "kernels/cpu/lib/select.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_max_dim() { return {prepare_select<true, true>}; }

}  // namespace suan::cpu::SUAN_ISA
