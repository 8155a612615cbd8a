// Hands x to the communicator.
#include "kernels/cpu/lib/collective.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run_all_gather(Communicator& c, const CollectiveCall& call, const KernelArgs& a) {
  c.all_gather(call, a.in[0], a.out[0]);
}

}  // namespace

Kernel kernel_all_gather() {
  return {[](const KernelDesc& d) {
    return prepare_collective<run_all_gather>(d, {.op = "all_gather"}, d.attrs.integer(0));
  }};
}

}  // namespace suan::cpu::SUAN_ISA
