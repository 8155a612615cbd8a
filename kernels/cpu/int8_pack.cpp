// Weights into panels: see lib/int8_gemm.h.
#include <algorithm>

#include "core/op.h"
#include "kernels/cpu/lib/int8_gemm.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t k, n;
  uint8_t flip;
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  parallel_for(int8_panels(s.n), [&](int64_t p) {
    const int64_t col0 = p * int8_panel;
    int8_pack_panel(static_cast<const uint8_t*>(a.in[0]) + col0, s.n, 1, s.k, std::min(int8_panel, s.n - col0), s.flip,
                    static_cast<std::byte*>(a.out[0]) + p * int8_panel_bytes(s.k));
  });
}

}  // namespace

Kernel kernel_int8_pack() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape& w = d.in[0]->layout.shape;
    return Prepared{run, std::make_shared<State>(State{w[0], w[1], uint8_t(d.in[0]->dtype == DType::u8 ? 0x80 : 0)})};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
