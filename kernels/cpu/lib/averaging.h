// The divisor of each averaging window, shared by avg_pool and its gradient.
#pragma once

#include "kernels/cpu/lib/pooling.h"

namespace suan::cpu::SUAN_ISA {

// fn(position, divisor, taps of the three dimensions) for every window of a plane.
template <class F>
void for_windows(const Pooling& p, bool count_padding, F&& fn) {
  const auto width = [&](int d, int64_t o) {  // with padding, without what hangs over it
    const int64_t start = o * p.stride[d] - p.low[d];
    return std::min(start + p.kernel[d], p.in[d] + p.high[d]) - start;
  };
  int64_t o = 0;
  for (int64_t i = 0; i < p.out[0]; ++i)
    for (int64_t j = 0; j < p.out[1]; ++j)
      for (int64_t k = 0; k < p.out[2]; ++k, ++o) {
        const Pooling::Taps t[3] = {p.taps(0, i), p.taps(1, j), p.taps(2, k)};
        const int64_t inside =
            (t[0].last - t[0].first) * (t[1].last - t[1].first) * (t[2].last - t[2].first);
        fn(o, count_padding ? width(0, i) * width(1, j) * width(2, k) : inside, t);
      }
}

// fn(element index) for the elements of a window.
template <class F>
void for_taps(const Pooling& p, const Pooling::Taps (&t)[3], F&& fn) {
  for (int64_t r = t[0].first; r < t[0].last; ++r)
    for (int64_t s = t[1].first; s < t[1].last; ++s) {
      const int64_t row = ((t[0].start + r) * p.in[1] + t[1].start + s) * p.in[2] + t[2].start;
      for (int64_t e = t[2].first; e < t[2].last; ++e) fn(row + e);
    }
}

}  // namespace suan::cpu::SUAN_ISA
