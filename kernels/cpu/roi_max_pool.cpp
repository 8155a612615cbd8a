// Regions of images at one size, by the maximum over bins of whole elements.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t batch, channels, height, width, n, out_h, out_w;
  double scale;
};

// The elements of a bin in one direction.
struct Range {
  int64_t from, to;
};
template <class T>
Range bin_of(int64_t bin, int64_t bins, T low, T high, int64_t size) {
  const T first = std::round(low), length = std::max(std::round(high) - first + 1, T(1)), step = length / T(bins);
  auto place = [&](T at) { return int64_t(at > 0 ? std::min(at, T(size)) : T(0)); };
  return {place(std::floor(T(bin) * step) + first), place(std::ceil(T(bin + 1) * step) + first)};
}

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const T *x = input<T>(a, 0), *rois = input<T>(a, 1);
  T* out = output<T>(a, 0);
  for (int64_t r = 0; r < s.n; ++r)
    if (!(rois[5 * r] >= 0 && rois[5 * r] < T(s.batch)))
      fail<IndexError>("roi_max_pool", "no such image: expected 0 to {}, got {}", s.batch - 1, double(rois[5 * r]));
  run_tasks(s.n * s.channels, s.n * s.channels * s.height * s.width, [&](int64_t task) {
    const int64_t r = task / s.channels, c = task % s.channels;
    const T *roi = rois + 5 * r, scale = T(s.scale);
    const T* plane = x + (int64_t(roi[0]) * s.channels + c) * s.height * s.width;
    for (int64_t h = 0; h < s.out_h; ++h) {
      const Range rows = bin_of<T>(h, s.out_h, roi[2] * scale, roi[4] * scale, s.height);
      for (int64_t w = 0; w < s.out_w; ++w) {
        const Range columns = bin_of<T>(w, s.out_w, roi[1] * scale, roi[3] * scale, s.width);
        T most = 0;
        bool any = false;
        for (int64_t i = rows.from; i < rows.to; ++i)
          for (int64_t j = columns.from; j < columns.to; ++j) {
            const T v = plane[i * s.width + j];
            most = any ? std::max(most, v) : v;
            any = true;
          }
        out[(task * s.out_h + h) * s.out_w + w] = most;
      }
    }
  });
}

template <class T>
struct Make {
  static Prepared prepare(const KernelDesc& d) {
    const Shape& x = d.in[0]->layout.shape;
    auto s = std::make_shared<State>(State{x[0], x[1], x[2], x[3], d.in[1]->layout.shape[0], d.attrs.integer(0),
                                           d.attrs.integer(1), d.attrs.real(2)});
    return {run<T>, s};
  }
};

}  // namespace

Kernel kernel_roi_max_pool() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
