// scatter_add along one axis: repeated positions add up in the index tensor's order.
#include "kernels/cpu/lib/scatter.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_scatter_add() {
  return {[](const KernelDesc& d) {
    return with_compute(d.in[0]->dtype,
                        [&](auto t) { return Prepared{run_scatter<decltype(t)>, scatter_state(d)}; });
  }};
}

}  // namespace suan::cpu::SUAN_ISA
