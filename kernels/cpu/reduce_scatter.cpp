// Hands x to the communicator, with scratch memory for the other ranks' parts.
#include "kernels/cpu/lib/collective.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run_reduce_scatter(Communicator& c, const CollectiveCall& call, const KernelArgs& a) {
  c.reduce_scatter(call, a.in[0], a.out[0], a.workspace);
}

}  // namespace

Kernel kernel_reduce_scatter() {
  return {[](const KernelDesc& d) {
    const Reduce reduce = parse_reduce("reduce_scatter", d.attrs.string(0));
    return prepare_collective<run_reduce_scatter>(d, {.op = "reduce_scatter", .reduce = reduce}, d.attrs.integer(1), true);
  }};
}

}  // namespace suan::cpu::SUAN_ISA
