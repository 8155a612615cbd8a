// Position of the smallest element.
#include "kernels/cpu/lib/select.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_argmin() { return {prepare_select<false, false>}; }

}  // namespace suan::cpu::SUAN_ISA
