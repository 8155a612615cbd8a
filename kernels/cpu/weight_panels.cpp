// A weight into panels, from rows of inputs or of outputs.
#include "kernels/cpu/lib/rowwise.h"
#include "kernels/cpu/lib/tile_gemm.h"
#include "core/panels.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t n, k, out_step, in_step;
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const float* w = input<float>(a, 0);
  float* to = output<float>(a, 0);
  const int64_t columns = panel_columns(s.n), depth = panel_depth(s.k), panels = (columns + panel_width - 1) / panel_width;
  run_tasks((s.k + depth - 1) / depth * panels, s.n * s.k, [&](int64_t task) {
    const int64_t k0 = task / panels * depth, here = std::min(depth, s.k - k0), col = task % panels * panel_width;
    const int64_t width = std::min(panel_width, columns - col), live = std::min(width, s.n - col);
    const float* from = w + col * s.out_step + k0 * s.in_step;
    float* panel = to + k0 * columns + col * here;
    if (s.in_step == 1) return pack_transposed<float>(from, s.out_step, int(live), int(here), panel, int(width), int(width));
    for (int64_t d = 0; d < here; ++d, from += s.in_step, panel += width)
      for (int64_t j = 0; j < width; ++j) panel[j] = j < live ? from[j * s.out_step] : 0.0f;
  });
}

}  // namespace

Kernel kernel_weight_panels() {
  Kernel k;
  k.flags = kernel_strided_in;
  k.prepare = [](const KernelDesc& d) {
    const Layout& w = d.in[0]->layout;
    return Prepared{run, std::make_shared<State>(State{w.shape[0], w.shape[1], w.strides[0], w.strides[1]})};
  };
  k.supports = [](const KernelDesc& d) { return d.in[0]->dtype == DType::f32; };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
