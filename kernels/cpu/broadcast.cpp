// Hands x to the communicator.
#include "kernels/cpu/lib/collective.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run_broadcast(Communicator& c, const CollectiveCall& call, const KernelArgs& a) {
  c.broadcast(call, a.in[0], a.out[0]);
}

}  // namespace

Kernel kernel_broadcast() {
  return {[](const KernelDesc& d) {
    return prepare_collective<run_broadcast>(d, {.op = "broadcast", .root = int(d.attrs.integer(0))},
                                   d.attrs.integer(1));
  }};
}

}  // namespace suan::cpu::SUAN_ISA
