// Floats as u8 over their own range: one pass for the range, one for the numbers.
#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/quantize.h"
#include "kernels/cpu/lib/vec.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct Range {
  float lo = 0, hi = 0;   // 0 belongs to it; NaN does not
};

Range range_of(const float* x, int64_t n) {
  f32x16 lo[4] = {}, hi[4] = {};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const f32x16 v = load(x + i + 16 * j);
      lo[j] = min_or_second(v, lo[j]);
      hi[j] = max_or_second(v, hi[j]);
    }
  }
  float all[2][16];
  for (int j = 1; j < 4; ++j) {
    lo[0] = min_or_second(lo[j], lo[0]);
    hi[0] = max_or_second(hi[j], hi[0]);
  }
  store(all[0], lo[0]);
  store(all[1], hi[0]);
  Range r;
  for (int j = 0; j < 16; ++j) r = {std::min(r.lo, all[0][j]), std::max(r.hi, all[1][j])};
  for (; i < n; ++i) r = {x[i] < r.lo ? x[i] : r.lo, x[i] > r.hi ? x[i] : r.hi};
  return r;
}

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
  for (int64_t t = 0; t < pieces; ++t) r = {std::min(r.lo, ranges[t].lo), std::max(r.hi, ranges[t].hi)};
  float scale = (r.hi - r.lo) / 255.0f;
  if (scale == 0) scale = 1;
  uint8_t zero;
  const float low = -r.lo;
  quantize_row(&low, scale, 0, 1, &zero);
  *static_cast<float*>(a.out[1]) = scale;
  *static_cast<uint8_t*>(a.out[2]) = zero;
  uint8_t* out = static_cast<uint8_t*>(a.out[0]);
  each([&](int64_t, int64_t at, int64_t m) { quantize_row(x + at, scale, zero, m, out + at); });
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
