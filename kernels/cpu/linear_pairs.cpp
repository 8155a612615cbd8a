// linear_pairs: rows of bf16 are read where they lie, two values of k at a time, through panels of two blocks of outputs.
// Only for processors where pairs are fast: elsewhere the definition runs.
#include <algorithm>
#include <numeric>
#include <vector>

#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/pairs.h"

namespace suan::cpu::SUAN_ISA {

#ifdef __AVX512F__

namespace gemm_tiles {
namespace {

struct State {
  int64_t m, k, blocks;             // k: pairs
  int64_t tile_rows, tile_panels;   // of a task
  int64_t row_tiles, panel_tiles;
  std::vector<int32_t> offsets;

  int64_t panels() const { return (blocks + panel_blocks - 1) / panel_blocks; }
};

void run_task(const State& s, const KernelArgs& a, int64_t row0, int64_t panel0) {
  const int64_t rows = std::min(s.tile_rows, s.m - row0), n = s.blocks * lane_block;
  const int64_t panels = std::min(s.tile_panels, s.panels() - panel0), chunks = (rows + max_rows - 1) / max_rows;
  const Pair* x = static_cast<const Pair*>(a.in[0]) + row0 * s.k;
  const Pair* weight = static_cast<const Pair*>(a.in[1]);
  uint16_t* y = static_cast<uint16_t*>(a.out[0]) + row0 * n;
  Strip strip{};
  strip.offsets = s.offsets.data();
  strip.kc = s.k;
  strip.step = strip.second = s.k;
  strip.b_block = s.k * lane_block;
  strip.c_block = lane_block;
  strip.c_step = n;
  for (int64_t panel = panel0; panel < panel0 + panels; ++panel) {
    const int64_t block0 = panel * panel_blocks, here = std::min(panel_blocks, s.blocks - block0);
    strip.b = weight + block0 * strip.b_block;
    strip.bias = a.in[2] ? static_cast<const float*>(a.in[2]) + block0 * lane_block : nullptr;
    // The next panel's weights, which another task may need.
    int64_t wanted = std::min(panel_blocks, s.blocks - block0 - here);
    strip.ahead = strip.b + here * strip.b_block;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t at = rows * chunk / chunks, m = rows * (chunk + 1) / chunks - at, half = (m + 1) / 2;
      strip.a = x + at * s.k;
      strip.second = half * s.k;
      strip.c = y + at * n + block0 * lane_block;
      strip.c_second = half * n;
      strips<0>[wanted > 0 ? weights : nothing][size_t(m - 1)][size_t(here - 1)](strip);
      if (wanted-- > 0) strip.ahead += strip.b_block;
    }
    if (a.epilogue)
      (*a.epilogue)(y + block0 * lane_block, 0, row0, rows, block0 * lane_block, here * lane_block, n);
  }
}

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  parallel_for(s.row_tiles * s.panel_tiles, [&](int64_t task) {
    run_task(s, a, task / s.panel_tiles * s.tile_rows, task % s.panel_tiles * s.tile_panels);
  });
}

}  // namespace
}  // namespace gemm_tiles

Kernel kernel_linear_pairs() {
  using namespace gemm_tiles;
  Kernel k;
  k.supports = [](const KernelDesc& d) {
    constexpr int64_t most_k = 1 << 16;
    return fast_pairs() && d.in[0]->layout.numel() > 0 && d.in[1]->layout.numel() > 0 && d.in[1]->layout.shape[1] <= most_k;
  };
  k.prepare = [](const KernelDesc& d) {
    const Shape &x = d.in[0]->layout.shape, &w = d.in[1]->layout.shape;
    auto s = std::make_shared<State>();
    s->k = w[1];
    s->blocks = w[0];
    s->m = d.in[0]->layout.numel() / x.back();
    // Rows that stay in cache while weights pass, and panels enough for the next one to be asked for.
    constexpr int64_t most_rows = 16 * max_rows, least_panels = 3, enough = 16;
    s->row_tiles = (s->m + most_rows - 1) / most_rows;
    s->tile_rows = (s->m + s->row_tiles - 1) / s->row_tiles;
    s->tile_panels = std::max((s->panels() + enough - 1) / enough, std::min(least_panels, (s->panels() + 7) / 8));
    s->panel_tiles = (s->panels() + s->tile_panels - 1) / s->tile_panels;
    s->offsets.resize(size_t(s->k));
    std::iota(s->offsets.begin(), s->offsets.end(), 0);
    const int64_t n = s->blocks * lane_block;
    return Prepared{run, std::move(s), 0, n};
  };
  return k;
}

#else

Kernel kernel_linear_pairs() {
  Kernel k;
  k.supports = [](const KernelDesc&) { return false; };
  k.prepare = [](const KernelDesc&) { return Prepared{}; };
  return k;
}

#endif

}  // namespace suan::cpu::SUAN_ISA
