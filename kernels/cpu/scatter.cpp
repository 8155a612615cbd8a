// scatter along one axis: where positions repeat, the last one in the index tensor's order stays.
#include "kernels/cpu/lib/scatter.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_scatter() {
  return {[](const KernelDesc& d) { return Prepared{run_scatter<void>, scatter_state(d)}; }};
}

}  // namespace suan::cpu::SUAN_ISA
