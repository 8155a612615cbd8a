// Pooling windows over [planes, up to three sizes]: the geometry that the pooling kernels share.
#pragma once

#include <algorithm>

#include "kernels/cpu/lib/rowwise.h"
#include "ops/nn/windows.h"

namespace suan::cpu::SUAN_ISA {

// Missing leading dimensions have size 1 and a window of 1.
struct Pooling {
  int64_t planes = 0;
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  int64_t kernel[3] = {1, 1, 1}, stride[3] = {1, 1, 1}, dilation[3] = {1, 1, 1};
  int64_t low[3] = {0, 0, 0}, high[3] = {0, 0, 0};
  int64_t in_size() const { return in[0] * in[1] * in[2]; }
  int64_t out_size() const { return out[0] * out[1] * out[2]; }

  // The window at position o of dimension d, and the part of its taps [first, last) inside the
  // input.
  struct Taps {
    int64_t start, first, last;
  };
  Taps taps(int d, int64_t o) const {
    const int64_t start = o * stride[d] - low[d], step = dilation[d];
    const int64_t first = start < 0 ? (-start + step - 1) / step : 0;
    const int64_t room = in[d] - start;
    const int64_t last = std::min(kernel[d], room <= 0 ? 0 : (room + step - 1) / step);
    return {start, first, std::max(first, last)};
  }
};

inline Pooling pooling(const Shape& in, const Shape& out, const ops::Windows& w) {
  Pooling p;
  p.planes = in[0] * in[1];
  for (int d = 0; d < w.n; ++d) {
    const int at = 3 - w.n + d;
    p.in[at] = in[2 + d];
    p.out[at] = out[2 + d];
    p.kernel[at] = w.kernel[d];
    p.stride[at] = w.strides[d];
    p.dilation[at] = w.dilation[d];
    p.low[at] = w.padding[d];
    p.high[at] = w.padding[w.n + d];
  }
  return p;
}

// fn(plane) for all planes, in groups that are worth a task.
template <class F>
void for_planes(const Pooling& p, F&& fn) {
  const int64_t work = p.in_size() + p.out_size() * p.kernel[0] * p.kernel[1] * p.kernel[2];
  run_ranges(p.planes, std::max<int64_t>(1, inline_elements / std::max<int64_t>(1, work)),
             p.planes * work, [&](int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i) fn(i);
             });
}

}  // namespace suan::cpu::SUAN_ISA
