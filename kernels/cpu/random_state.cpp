// A seed of the process, and counters 2^40 apart.
#include <atomic>
#include <random>

#include "core/op.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_random_state() {
  return {[](const KernelDesc&) {
    return Prepared{[](const void*, const KernelArgs& a) {
      static const uint64_t seed = [] {
        std::random_device device;
        return uint64_t(device()) << 32 | device();
      }();
      static std::atomic<uint64_t> runs{0};
      // The high bits of the count change the seed: 2^24 runs share one.
      const uint64_t run = runs.fetch_add(1, std::memory_order_relaxed);
      uint64_t* out = static_cast<uint64_t*>(a.out[0]);
      out[0] = seed + (run >> 24);
      out[1] = run << 40;
    }, {}};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
