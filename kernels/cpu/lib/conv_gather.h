// Reading an image as the virtual matrix of a convolution: element (k, pixel) is the input under tap k of
// the window at that pixel. A slice is a zero-padded copy of the channels and rows that a strip of pixels
// needs; in it each tap is a constant offset, so gathering is copying runs. Private to conv.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/lib/gemm_tile.h"

namespace suan::cpu::SUAN_ISA::gemm_tiles {

using Dims3 = std::array<int64_t, 3>;

// The window's motion over the input, in the coordinates of the correlation.
struct Window {
  Dims3 in, out, kernel, stride, dilation, pad_low, spread;
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t plane() const { return out[1] * out[2]; }
  int64_t span(int d) const { return dilation[d] * (kernel[d] - 1) + 1; }
};

// The box of padded input under pixels [first, last) of one output plane.
struct Slice {
  Dims3 low, size;
  int64_t row0, col0;  // the output position that lies at the slice's origin
  int64_t channel_size() const { return size[0] * size[1] * size[2]; }
};

inline Slice slice_for(const Window& w, int64_t depth, int64_t first, int64_t last) {
  Slice s;
  s.row0 = first / w.out[2];
  const int64_t row1 = (last - 1) / w.out[2];
  s.col0 = s.row0 == row1 ? first % w.out[2] : 0;
  const int64_t col1 = s.row0 == row1 ? (last - 1) % w.out[2] : w.out[2] - 1;
  const Dims3 from{depth, s.row0, s.col0}, to{depth, row1, col1};
  for (int d = 0; d < 3; ++d) {
    s.low[d] = from[d] * w.stride[d] - w.pad_low[d];
    s.size[d] = (to[d] - from[d]) * w.stride[d] + w.span(d);
  }
  return s;
}

// Copies `channels` channels of one image into the slice's dense [channel][size] layout.
template <class T, class S>
void fill_slice(const Window& w, const Slice& s, const S* image, int64_t channels, T* to) {
  const int64_t channel_stride = w.in[0] * w.in[1] * w.in[2];
  // The input index at a coordinate of the spread, padded input, or -1 where there is a zero.
  const auto source = [&](int d, int64_t at) {
    return at < 0 || at % w.spread[d] || at / w.spread[d] >= w.in[d] ? int64_t{-1} : at / w.spread[d];
  };
  const int64_t width = s.size[2], left = std::clamp<int64_t>(-s.low[2], 0, width);
  const int64_t right = std::clamp<int64_t>(w.in[2] - s.low[2], left, width);
  for (int64_t c = 0; c < channels; ++c, image += channel_stride) {
    for (int64_t z = 0; z < s.size[0]; ++z) {
      const int64_t iz = source(0, s.low[0] + z);
      for (int64_t y = 0; y < s.size[1]; ++y, to += width) {
        const int64_t iy = source(1, s.low[1] + y);
        if (iz < 0 || iy < 0) {
          std::fill_n(to, width, T{});
          continue;
        }
        const S* row = image + (iz * w.in[1] + iy) * w.in[2];
        if (w.spread[2] == 1) {
          std::fill_n(to, left, T{});
          for (int64_t x = left; x < right; ++x) to[x] = widen<T>(row[s.low[2] + x]);
          std::fill_n(to + right, width - right, T{});
        } else {
          for (int64_t x = 0; x < width; ++x) {
            const int64_t ix = source(2, s.low[2] + x);
            to[x] = ix < 0 ? T{} : widen<T>(row[ix]);
          }
        }
      }
    }
  }
}

// Where k = (channel, tap) lies in memory whose channels and rows have these strides.
struct TapOffsets {
  const Window& w;
  int64_t channel, depth, row;
  int64_t operator()(int64_t k) const {
    const int64_t c = k / w.taps(), tap = k % w.taps();
    const int64_t x = tap % w.kernel[2], y = tap / w.kernel[2] % w.kernel[1];
    const int64_t z = tap / (w.kernel[2] * w.kernel[1]);
    return c * channel + z * w.dilation[0] * depth + y * w.dilation[1] * row + x * w.dilation[2];
  }
};

// A run of pixels of one output row: `to` from the first pixel asked for, `from` from the slice's origin.
struct Run {
  int64_t to, from, length;
};

// The runs of pixels [first, last) of a plane; returns how many. Room for one per pixel is enough.
inline int64_t runs_of(const Window& w, const Slice& s, int64_t row_stride, int64_t first, int64_t last,
                       Run* runs) {
  int64_t n = 0;
  for (int64_t p = first; p < last;) {
    const int64_t y = p / w.out[2], x = p % w.out[2];
    const int64_t length = std::min(w.out[2] - x, last - p);
    runs[n++] = {p - first, (y - s.row0) * w.stride[1] * row_stride + (x - s.col0) * w.stride[2], length};
    p += length;
  }
  return n;
}

// dst[to, to + length) = src[from + i * step]. With step 1 whole vectors are copied, up to one vector past
// the run's end on both sides: the next run, or the slack behind, takes it. `end` bounds what may be read.
template <class T>
inline void copy_run(const Run& r, const T* src, int64_t step, const T* end, T* dst) {
  const T* from = src + r.from;
  T* to = dst + r.to;
  if (step == 1 && from + r.length + lanes<T> <= end) {
    for (int64_t i = 0; i < r.length; i += lanes<T>) store(to + i, load(from + i));
  } else {
    for (int64_t i = 0; i < r.length; ++i) to[i] = from[i * step];
  }
}

// One value, for windows so wide that not even one channel's slice fits its buffer.
template <class T, class S>
T gather_one(const Window& w, const S* image, int64_t k, int64_t depth, int64_t pixel) {
  const int64_t tap = k % w.taps();
  const Dims3 at{depth, pixel / w.out[2], pixel % w.out[2]};
  const Dims3 t{tap / (w.kernel[2] * w.kernel[1]), tap / w.kernel[2] % w.kernel[1], tap % w.kernel[2]};
  int64_t index = k / w.taps();
  for (int d = 0; d < 3; ++d) {
    const int64_t v = at[d] * w.stride[d] - w.pad_low[d] + t[d] * w.dilation[d];
    if (v < 0 || v % w.spread[d] || v / w.spread[d] >= w.in[d]) return T{};
    index = index * w.in[d] + v / w.spread[d];
  }
  return widen<T>(image[index]);
}

// Whether every tap of every window lies inside the input as it is stored.
inline bool needs_no_slice(const Window& w) {
  for (int d = 0; d < 3; ++d) {
    if (w.pad_low[d] != 0 || w.spread[d] != 1) return false;
    if ((w.out[d] - 1) * w.stride[d] + w.span(d) > w.in[d]) return false;
  }
  return true;
}

// Gathers pixels [first, last) of a plane for k in [k0, k0 + kc). Slices are made in `buffer` for as many
// channels as fit; for each it calls rows(k_first, k_last, slice, row_stride, row), which lays out runs
// with that stride and then, per k and group of runs, calls row(k, runs, n_runs, first_pixel, dst).
template <class T, class S, class Rows>
void gather(const Window& w, const S* image, const S* image_end, int64_t depth, int64_t first, int64_t last,
            int64_t k0, int64_t kc, T* buffer, int64_t buffer_size, Rows rows) {
  Slice s = slice_for(w, depth, first, last);
  const int64_t taps = w.taps(), step = w.stride[2];
  if constexpr (std::is_same_v<S, T>) {
    if (needs_no_slice(w)) {
      const int64_t row = w.in[2], plane = w.in[1] * row;
      const T* origin = image + s.low[0] * plane + s.low[1] * row + s.low[2];
      const TapOffsets offset{w, w.in[0] * plane, plane, row};
      rows(k0, k0 + kc, s, row, [&](int64_t k, const Run* runs, int64_t n, int64_t, T* dst) {
        const T* src = origin + offset(k);
        for (int64_t i = 0; i < n; ++i) copy_run(runs[i], src, step, image_end, dst);
      });
      return;
    }
  }
  const int64_t per = (buffer_size - 2 * lanes<T>) / s.channel_size();
  if (per == 0) {
    rows(k0, k0 + kc, s, s.size[2], [&](int64_t k, const Run* runs, int64_t n, int64_t pixel, T* dst) {
      for (int64_t i = 0; i < runs[n - 1].to + runs[n - 1].length; ++i) {
        dst[i] = gather_one<T>(w, image, k, depth, pixel + i);
      }
    });
    return;
  }
  const int64_t channel_stride = w.in[0] * w.in[1] * w.in[2];
  const int64_t last_channel = (k0 + kc - 1) / taps;
  for (int64_t c = k0 / taps; c <= last_channel; c += per) {
    const int64_t channels = std::min(per, last_channel + 1 - c);
    fill_slice(w, s, image + c * channel_stride, channels, buffer);
    const TapOffsets offset{w, s.channel_size(), s.size[1] * s.size[2], s.size[2]};
    rows(std::max(k0, c * taps), std::min(k0 + kc, (c + channels) * taps), s, s.size[2],
         [&](int64_t k, const Run* runs, int64_t n, int64_t, T* dst) {
           const T* src = buffer + offset(k - c * taps);
           for (int64_t i = 0; i < n; ++i) copy_run(runs[i], src, step, buffer + buffer_size, dst);
         });
  }
}

}  // namespace suan::cpu::SUAN_ISA::gemm_tiles
