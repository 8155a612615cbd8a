// x times a weight in panels, with the bias added to each tile while it is in cache.
#include "kernels/cpu/lib/gemm_panels.h"

#include "core/op.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  GemmPlan gemm;
  bool biased;
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const TileEpilogue next = a.epilogue ? *a.epilogue : TileEpilogue{};
  if (!s.biased) return gemm_run(s.gemm, a.in[0], a.in[1], a.out[0], a.workspace, next);
  const float* bias = static_cast<const float*>(a.in[2]);
  auto add = [bias, next](void* tile, int64_t batch, int64_t row0, int64_t rows, int64_t col0, int64_t cols, int64_t ldc) {
    for (int64_t i = 0; i < rows; ++i) {
      float* row = static_cast<float*>(tile) + i * ldc;
      for (int64_t j = 0; j < cols; ++j) row[j] += bias[col0 + j];
    }
    if (next) next(tile, batch, row0, rows, col0, cols, ldc);
  };
  gemm_run(s.gemm, a.in[0], a.in[1], a.out[0], a.workspace, add);
}

}  // namespace

Kernel kernel_linear_panels() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape& x = d.in[0]->layout.shape;
    const int64_t n = d.attrs.integer(0);
    auto s = std::make_shared<State>(State{gemm_prepare_panels(d.in[0]->layout.numel() / x.back(), n, x.back()), d.has(2)});
    return Prepared{run, s, int64_t(s->gemm.workspace), n};
  };
  k.supports = [](const KernelDesc& d) {
    return d.in[0]->dtype == DType::f32 && d.in[0]->layout.numel() > 0 && d.attrs.integer(0) > 0;
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
