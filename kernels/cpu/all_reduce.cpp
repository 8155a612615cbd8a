// Hands x to the communicator, with scratch memory for the other ranks' parts.
#include "kernels/cpu/lib/collective.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run_all_reduce(Communicator& c, const CollectiveCall& call, const KernelArgs& a) {
  c.all_reduce(call, a.in[0], a.out[0], a.workspace);
}

}  // namespace

Kernel kernel_all_reduce() {
  return {[](const KernelDesc& d) {
    const Reduce reduce = parse_reduce("all_reduce", d.attrs.string(0));
    return prepare_collective<run_all_reduce>(d, {.op = "all_reduce", .reduce = reduce}, d.attrs.integer(1), true);
  }};
}

}  // namespace suan::cpu::SUAN_ISA
