// Sliding windows: the checks and sizes that convolutions and poolings share.
#pragma once

#include "ops/nn/common.h"

namespace suan::ops {

// Per spatial dimension; padding holds all low sides, then all high ones, as ONNX does.
struct Windows {
  int n = 0;
  Dims kernel, strides, padding, dilation;
  int64_t span(int d) const { return dilation[d] * (kernel[d] - 1) + 1; }
  // Positions of the window along dimension d of a padded input. With ceil_mode a last window may
  // hang over the end, but must start inside the input or its low padding (torch's rule).
  int64_t positions(int d, int64_t size, bool ceil_mode = false) const {
    const int64_t room = size + padding[d] + padding[n + d] - span(d);
    if (room < 0) return 0;
    int64_t out = (room + (ceil_mode ? strides[d] - 1 : 0)) / strides[d] + 1;
    if (ceil_mode && (out - 1) * strides[d] >= size + padding[d]) --out;
    return out;
  }
};

// Empty lists stand for strides 1 (or the kernel's size), no padding and no dilation.
inline Windows windows(std::string_view op, const Dims& kernel, const Dims& strides,
                       const Dims& padding, const Dims& dilation, bool strides_as_kernel = false) {
  const int n = kernel.size();
  Windows w{n, kernel, strides, padding, dilation};
  if (strides.empty()) w.strides = strides_as_kernel ? kernel : Dims::filled(n, 1);
  if (padding.empty()) w.padding = Dims::filled(2 * n, 0);
  if (dilation.empty()) w.dilation = Dims::filled(n, 1);
  if (w.strides.size() != n || w.dilation.size() != n || w.padding.size() != 2 * n)
    fail<ValueError>(op,
                     "wrong number of entries: expected {} strides, {} dilations and {} paddings, "
                     "got {}, {} and {}",
                     n, n, 2 * n, w.strides.size(), w.dilation.size(), w.padding.size());
  for (int d = 0; d < n; ++d) {
    if (kernel[d] < 1 || w.strides[d] < 1 || w.dilation[d] < 1)
      fail<ValueError>(
          op, "wrong window: expected kernel, stride and dilation of at least 1, got {}, {} and {}",
          kernel[d], w.strides[d], w.dilation[d]);
    if (w.padding[d] < 0 || w.padding[n + d] < 0)
      fail<ValueError>(op, "negative padding: expected at least 0, got {} and {}", w.padding[d],
                       w.padding[n + d]);
  }
  return w;
}

// [batch, channels, size...] -> the spatial part of the result.
inline Shape window_positions(std::string_view op, const Windows& w, const Shape& x,
                              bool ceil_mode = false) {
  Shape out;
  for (int d = 0; d < w.n; ++d) {
    out.push_back(w.positions(d, x[2 + d], ceil_mode));
    if (out.back() < 1)
      fail<ShapeError>(
          op, "window larger than the padded input: expected at most {}, got {} (dimension {})",
          x[2 + d] + w.padding[d] + w.padding[w.n + d], w.span(d), 2 + d);
  }
  return out;
}

inline Dims spatial(const Shape& s) { return trailing(s, s.size() - 2); }

}  // namespace suan::ops
