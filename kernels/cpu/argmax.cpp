// Position of the largest element.
#include "kernels/cpu/lib/select.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_argmax() { return {prepare_select<true, false>}; }

}  // namespace suan::cpu::SUAN_ISA
