// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): 32 counters at a time.
// Element i is lane i mod 4 of counter offset + i / 4, so no partition changes a result.
#include <algorithm>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int width = 32;

struct Block {
  uint32_t lane[4][width];
};

void philox(uint64_t seed, uint64_t counter, Block& b) {
  uint32_t* x0 = b.lane[0];
  uint32_t* x1 = b.lane[1];
  uint32_t* x2 = b.lane[2];
  uint32_t* x3 = b.lane[3];
  for (int i = 0; i < width; ++i) {
    const uint64_t c = counter + uint64_t(i);
    x0[i] = uint32_t(c);
    x1[i] = uint32_t(c >> 32);
    x2[i] = x3[i] = 0;
  }
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < width; ++i) {
      const uint64_t p = uint64_t{0xD2511F53} * x0[i], q = uint64_t{0xCD9E8D57} * x2[i];
      const uint32_t y0 = uint32_t(q >> 32) ^ x1[i] ^ k0, y2 = uint32_t(p >> 32) ^ x3[i] ^ k1;
      x1[i] = uint32_t(q);
      x3[i] = uint32_t(p);
      x0[i] = y0;
      x2[i] = y2;
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

void run(const void* state, const KernelArgs& a) {
  const int64_t n = *static_cast<const int64_t*>(state);
  const uint64_t seed = static_cast<const uint64_t*>(a.in[0])[0];
  const uint64_t offset = static_cast<const uint64_t*>(a.in[0])[1];
  uint32_t* out = static_cast<uint32_t*>(a.out[0]);
  constexpr int64_t step = 4 * width;
  run_ranges((n + step - 1) / step, inline_elements / step, n, [&](int64_t begin, int64_t end) {
    Block b;
    for (int64_t t = begin; t < end; ++t) {
      philox(seed, offset + uint64_t(t) * width, b);
      const int64_t at = t * step, m = std::min(step, n - at);
      if (m == step) {
        for (int i = 0; i < width; ++i)
          for (int k = 0; k < 4; ++k) out[at + 4 * i + k] = b.lane[k][i];
      } else {
        for (int64_t i = 0; i < m; ++i) out[at + i] = b.lane[i % 4][i / 4];
      }
    }
  });
}

}  // namespace

Kernel kernel_random_bits() {
  return {[](const KernelDesc& d) {
    return Prepared{run, std::make_shared<int64_t>(d.out[0]->layout.numel())};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
