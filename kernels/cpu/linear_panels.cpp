// x times a weight in panels, with the bias added to each tile while it is in cache.
#include "kernels/cpu/lib/gemm_panels.h"
#include "kernels/cpu/lib/gemm_strassen.h"

#include "core/op.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  GemmPlan gemm;
  StrassenPlan strassen;
  bool biased, fewer;   // fewer: products, by Strassen's algorithm, where x suits it

  void product(const KernelArgs& a, TileEpilogue next) const {
    const bool by_halves = fewer && strassen_suits(strassen, static_cast<const float*>(a.in[0]));
    if (!by_halves) return gemm_run(gemm, a.in[0], a.in[1], a.out[0], a.workspace, next);
    const auto floats = [&](int i) { return static_cast<const float*>(a.in[i]); };
    strassen_run(strassen, floats(0), floats(1), static_cast<float*>(a.out[0]), a.workspace, next);
  }
};

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const TileEpilogue next = a.epilogue ? *a.epilogue : TileEpilogue{};
  if (!s.biased) return s.product(a, next);
  const float* bias = static_cast<const float*>(a.in[2]);
  auto add = [bias, next](void* tile, int64_t batch, int64_t row0, int64_t rows, int64_t col0, int64_t cols, int64_t ldc) {
    for (int64_t i = 0; i < rows; ++i) {
      float* row = static_cast<float*>(tile) + i * ldc;
      for (int64_t j = 0; j < cols; ++j) row[j] += bias[col0 + j];
    }
    if (next) next(tile, batch, row0, rows, col0, cols, ldc);
  };
  s.product(a, add);
}

}  // namespace

Kernel kernel_linear_panels() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const Shape& x = d.in[0]->layout.shape;
    const int64_t n = d.attrs.integer(0), in = x.back(), m = d.in[0]->layout.numel() / in;
    auto s = std::make_shared<State>();
    s->biased = d.has(2);
    s->fewer = d.attrs.boolean(1) && strassen_fits(m, n, in);
    s->gemm = gemm_prepare_panels(m, n, in);
    if (s->fewer) s->strassen = strassen_prepare(m, n, in);
    return Prepared{run, s, int64_t(std::max(s->gemm.workspace, s->strassen.workspace)), n};
  };
  k.supports = [](const KernelDesc& d) {
    return d.in[0]->dtype == DType::f32 && d.in[0]->layout.numel() > 0 && d.attrs.integer(0) > 0;
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
