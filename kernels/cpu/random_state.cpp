// Another state each time it runs: see core/random_state.h.
#include "core/random_state.h"

#include "core/op.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_random_state() {
  return {[](const KernelDesc&) {
    return Prepared{[](const void*, const KernelArgs& a) { next_random_state(static_cast<uint64_t*>(a.out[0])); }, {}};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
