// Regions of images at one size, by bilinear samples. What a row and a column of samples reads is found once a region.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/cpu/lib/rowwise.h"

namespace suan::cpu::SUAN_ISA {
namespace {

struct State {
  int64_t batch, channels, height, width, n, out_h, out_w, ratio;
  double scale;
  bool aligned, maximum;
};

template <class T>
struct Between {
  int64_t low, high;
  T at_low, at_high;  // weights
};

// The samples of bin `bin` in one direction that lie in the image (others count as 0), and how many there are in all.
template <class T>
struct Line {
  T start, bin_size, step;
  int64_t count;

  Line(T low, T high, int64_t bins, int64_t ratio, bool aligned) : start(low) {
    T size = high - low;
    if (!aligned) size = std::max(size, T(1));
    bin_size = size / T(bins);
    // What no image can have is cut: such samples are outside anyway.
    const double wanted = ratio > 0 ? double(ratio) : std::ceil(double(bin_size));
    count = wanted > 0 ? int64_t(std::min(wanted, 1e9)) : 0;
    step = count ? bin_size / T(count) : T(0);
  }

  template <class F>
  void each(int64_t bin, int64_t size, F&& f) const {
    const T first = start + T(bin) * bin_size;
    // Samples lie at first + (i + 0.5) step: those between -1 and size, one more on both sides to be safe.
    int64_t from = 0, to = count;
    if (step > 0) {
      const double a = std::floor((-1.0 - double(first)) / double(step) - 1.5), b = std::ceil((double(size) - double(first)) / double(step) + 1.5);
      from = int64_t(std::clamp(a, 0.0, double(count)));
      to = int64_t(std::clamp(b, 0.0, double(count)));
    }
    for (int64_t i = from; i < to; ++i) {
      T p = first + (T(i) + T(0.5)) * bin_size / T(count);
      if (!(p >= T(-1)) || p > T(size)) continue;
      p = std::max(p, T(0));
      int64_t low = int64_t(p), high = low + 1;
      if (low >= size - 1) {
        low = high = size - 1;
        p = T(low);
      }
      f(Between<T>{low, high, 1 - (p - T(low)), p - T(low)});
    }
  }
};

template <class T>
void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  const T *x = input<T>(a, 0), *rois = input<T>(a, 1);
  const int64_t* which = input<int64_t>(a, 2);
  T* out = output<T>(a, 0);
  for (int64_t r = 0; r < s.n; ++r)
    if (which[r] < 0 || which[r] >= s.batch)
      fail<IndexError>("roi_align", "no such image: expected 0 to {}, got {}", s.batch - 1, which[r]);
  run_tasks(s.n, s.n * s.channels * s.out_h * s.out_w * 16, [&](int64_t r) {
    const T* roi = rois + 4 * r;
    const T shift = s.aligned ? T(0.5) : T(0), scale = T(s.scale);
    const Line<T> columns(roi[0] * scale - shift, roi[2] * scale - shift, s.out_w, s.ratio, s.aligned),
        rows(roi[1] * scale - shift, roi[3] * scale - shift, s.out_h, s.ratio, s.aligned);
    const double count = std::max(1.0, double(rows.count) * double(columns.count));
    for (int64_t h = 0; h < s.out_h; ++h)
      for (int64_t w = 0; w < s.out_w; ++w)
        for (int64_t c = 0; c < s.channels; ++c) {
          const T* plane = x + (which[r] * s.channels + c) * s.height * s.width;
          T sum = 0, most = 0;
          double seen = 0;
          rows.each(h, s.height, [&](const Between<T>& y) {
            columns.each(w, s.width, [&](const Between<T>& z) {
              const T *low = plane + y.low * s.width, *high = plane + y.high * s.width;
              const T v[] = {y.at_low * z.at_low * low[z.low], y.at_low * z.at_high * low[z.high],
                             y.at_high * z.at_low * high[z.low], y.at_high * z.at_high * high[z.high]};
              if (s.maximum) {
                const T m = std::max(std::max(v[0], v[1]), std::max(v[2], v[3]));
                most = seen == 0 ? m : std::max(most, m);
              } else {
                sum += (v[0] + v[1]) + (v[2] + v[3]);
              }
              ++seen;
            });
          });
          if (s.maximum && seen > 0 && seen < count) most = std::max(most, T(0));  // a sample outside is 0
          out[((r * s.channels + c) * s.out_h + h) * s.out_w + w] = s.maximum ? most : sum / T(count);
        }
  });
}

template <class T>
struct Make {
  static Prepared prepare(const KernelDesc& d) {
    const Shape& x = d.in[0]->layout.shape;
    auto s = std::make_shared<State>(State{x[0], x[1], x[2], x[3], d.in[1]->layout.shape[0], d.attrs.integer(0), d.attrs.integer(1),
                                           d.attrs.integer(2), d.attrs.real(3), d.attrs.boolean(4), d.attrs.string(5) == "max"});
    return {run<T>, s};
  }
};

}  // namespace

Kernel kernel_roi_align() { return float_kernel<Make<float>, Make<double>>(); }

}  // namespace suan::cpu::SUAN_ISA
