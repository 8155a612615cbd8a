// Waits for all ranks, then copies.
#include "kernels/cpu/lib/collective.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run_barrier(Communicator& c, const CollectiveCall& call, const KernelArgs& a) {
  c.barrier();
  if (const int64_t n = bytes_for(call.dtype, numel(call.shape))) std::memcpy(a.out[0], a.in[0], size_t(n));
}

}  // namespace

Kernel kernel_barrier() {
  return {[](const KernelDesc& d) {
    return prepare_collective<run_barrier>(d, {.op = "barrier"}, d.attrs.integer(0));
  }};
}

}  // namespace suan::cpu::SUAN_ISA
