// A table of 256 values, byte by byte: 64 KiB of bytes a task.
#include "core/op.h"
#include "core/pool.h"

namespace suan::cpu::SUAN_ISA {

Kernel kernel_int8_lookup() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    return Prepared{[](const void* state, const KernelArgs& a) {
                      constexpr int64_t piece = 1 << 16;
                      const int64_t n = *static_cast<const int64_t*>(state);
                      const uint8_t *x = static_cast<const uint8_t*>(a.in[0]), *table = static_cast<const uint8_t*>(a.in[1]);
                      uint8_t* out = static_cast<uint8_t*>(a.out[0]);
                      parallel_for((n + piece - 1) / piece, [&](int64_t t) {
                        const int64_t last = std::min(n, (t + 1) * piece);
                        for (int64_t i = t * piece; i < last; ++i) out[i] = table[x[i]];
                      });
                    },
                    std::make_shared<int64_t>(d.in[0]->layout.numel())};
  };
  k.flags = kernel_in_place;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
