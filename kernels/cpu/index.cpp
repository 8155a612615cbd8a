// Advanced indexing, reading: whole blocks of trailing axes are copied at a time.
#include <cstring>

#include "kernels/cpu/lib/advanced.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run(const void* state, const KernelArgs& a) {
  const Advanced& p = *static_cast<const Advanced*>(state);
  int64_t* at = static_cast<int64_t*>(a.workspace);
  locate(p, "index", a.in + 1, at);
  const int64_t n = p.n_points * p.n_rest;
  run_ranges(n, inline_elements / (p.block + 1), n * p.block, [&](int64_t begin, int64_t end) {
    if (p.block == 1) {
      with_word(p.item, [&](auto word) {
        using W = decltype(word);
        for (int64_t b = begin; b < end; ++b)
          static_cast<W*>(a.out[0])[b] = static_cast<const W*>(a.in[0])[block_offset(p, at, b)];
      });
      return;
    }
    for (int64_t b = begin; b < end; ++b)
      std::memcpy(element(a.out[0], b * p.block, p.item),
                  element(a.in[0], block_offset(p, at, b), p.item), size_t(p.block * p.item));
  });
}

}  // namespace

Kernel kernel_index() {
  return {[](const KernelDesc& d) {
    auto p = std::make_shared<Advanced>(plan_advanced(d, d.in[0]->layout.shape, 1));
    return Prepared{run, p, p->workspace()};
  }};
}

}  // namespace suan::cpu::SUAN_ISA
