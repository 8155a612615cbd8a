// Rows of a table: one memcpy per index.
#include <cstring>

#include "kernels/cpu/lib/positions.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t n, rows, bytes;
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const int64_t* index = static_cast<const int64_t*>(a.in[1]);
  check_positions("embedding", index, s.n, 0, s.rows, 0);
  run_ranges(s.n, inline_elements * 4 / (s.bytes + 1), s.n * s.bytes / 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(element(a.out[0], i, s.bytes), element(a.in[0], index[i], s.bytes), size_t(s.bytes));
  });
}

}  // namespace

Kernel kernel_embedding() {
  return {[](const KernelDesc& d) {
    const Shape& table = d.in[0]->layout.shape;
    return Prepared{run, std::make_shared<State>(State{d.in[1]->layout.numel(), table[0],
                                                       table[1] * item_size(d.in[0]->dtype)})};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
