// Floats as u8 over their own range: one pass for the range, one for the numbers.
#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/quantize.h"

namespace suan::cpu::SUAN_ISA {
namespace {

void run(const void* state, const KernelArgs& a) {
  const int64_t n = *static_cast<const int64_t*>(state);
  const int64_t pieces = (n + quantize_piece - 1) / quantize_piece;
  const float* x = static_cast<const float*>(a.in[0]);
  Range* ranges = static_cast<Range*>(a.workspace);
  const auto each = [&](auto f) {
    parallel_for(pieces, [&](int64_t t) { f(t, t * quantize_piece, std::min(quantize_piece, n - t * quantize_piece)); });
  };
  each([&](int64_t t, int64_t at, int64_t m) { ranges[t] = range_of(x + at, m); });
  Range r;
  for (int64_t t = 0; t < pieces; ++t) r = joined(r, ranges[t]);
  const Steps steps = steps_of(r);
  *static_cast<float*>(a.out[1]) = steps.scale;
  *static_cast<uint8_t*>(a.out[2]) = steps.zero;
  uint8_t* out = static_cast<uint8_t*>(a.out[0]);
  each([&](int64_t, int64_t at, int64_t m) { quantize_row(x + at, steps.scale, steps.zero, m, out + at); });
}

}  // namespace

Kernel kernel_dynamic_quantize() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    auto n = std::make_shared<int64_t>(d.in[0]->layout.numel());
    const int64_t pieces = (*n + quantize_piece - 1) / quantize_piece;
    return Prepared{run, n, pieces * int64_t(sizeof(Range))};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
