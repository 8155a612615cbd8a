// Advanced indexing, reading: whole blocks of trailing axes are copied at a time, neighbours that stay neighbours
// together (a reflected border leaves most of a row as it was).
#include <algorithm>
#include <cstring>

#include "kernels/cpu/lib/advanced.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run(const void* state, const KernelArgs& a) {
  const Advanced& p = *static_cast<const Advanced*>(state);
  int64_t* at = static_cast<int64_t*>(a.workspace);
  locate(p, "index", a.in + 1, at);
  // Blocks of the result stand in rows of the one, columns of the other.
  const int64_t cols = p.rest_first ? p.n_points : p.n_rest, n = p.n_points * p.n_rest;
  const int64_t *along = p.rest_first ? at : at + p.n_points, *across = p.rest_first ? at + p.n_points : at;
  run_ranges(n, inline_elements / (p.block + 1), n * p.block, [&](int64_t begin, int64_t end) {
    with_word(p.item, [&](auto word) {
      using W = decltype(word);
      for (int64_t b = begin, row = begin / cols; b < end; ++row) {
        const int64_t first = b - row * cols, last = std::min(cols, first + end - b);
        const W* from = static_cast<const W*>(a.in[0]) + across[row];
        W* to = static_cast<W*>(a.out[0]) + row * cols * p.block;
        for (int64_t i = first, run = 1; i < last; i += run, run = 1) {
          while (i + run < last && along[i + run] == along[i] + run * p.block) ++run;
          if (run * p.block == 1) to[i] = from[along[i]];
          else std::memcpy(to + i * p.block, from + along[i], size_t(run * p.block) * sizeof(W));
        }
        b += last - first;
      }
    });
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
