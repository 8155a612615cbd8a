// Reading an image as the virtual matrix of a convolution: element (k, pixel) is the input under
// tap k of the window at that pixel. A slice is a zero-padded copy of the channels and rows that a
// strip of pixels needs; in it each tap is a constant offset, so gathering is copying runs. Private
// to conv.cpp.
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

// A run of pixels of one output row: `to` from the first pixel asked for, `from` from the slice's
// origin.
struct Run {
  int64_t to, from, length;
};

// The runs of pixels [first, last) of a plane; returns how many. Room for one per pixel is enough.
inline int64_t runs_of(const Window& w, const Slice& s, int64_t row_stride, int64_t first,
                       int64_t last, Run* runs) {
  int64_t n = 0;
  for (int64_t p = first; p < last;) {
    const int64_t y = p / w.out[2], x = p % w.out[2];
    const int64_t length = std::min(w.out[2] - x, last - p);
    runs[n++] = {p - first, (y - s.row0) * w.stride[1] * row_stride + (x - s.col0) * w.stride[2],
                 length};
    p += length;
  }
  return n;
}

// The first n lanes of a vector: loads and stores touch no other memory.
#ifdef __AVX512F__
struct Lanes {
  uint32_t bits;
  explicit Lanes(int64_t n) : bits((1u << n) - 1) {}
  void copy(const float* from, float* to) const {
    _mm512_mask_storeu_ps(to, __mmask16(bits), _mm512_maskz_loadu_ps(__mmask16(bits), from));
  }
  void copy(const double* from, double* to) const {
    _mm512_mask_storeu_pd(to, __mmask8(bits), _mm512_maskz_loadu_pd(__mmask8(bits), from));
  }
};
#else
struct Lanes {
  __m256i f32, f64;
  explicit Lanes(int64_t n)
      : f32(_mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)),
                               _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))),
        f64(_mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3))) {}
  void copy(const float* from, float* to) const {
    _mm256_maskstore_ps(to, f32, _mm256_maskload_ps(from, f32));
  }
  void copy(const double* from, double* to) const {
    _mm256_maskstore_pd(to, f64, _mm256_maskload_pd(from, f64));
  }
};
#endif

// Copies `channels` channels of one image into the slice's dense [channel][size] layout, which has
// a vector's slack behind it.
template <class T, class S>
void fill_slice(const Window& w, const Slice& s, const S* image, int64_t channels, T* to) {
  const int64_t channel_stride = w.in[0] * w.in[1] * w.in[2];
  const int64_t width = s.size[2], left = std::clamp<int64_t>(-s.low[2], 0, width);
  const int64_t right = std::clamp<int64_t>(w.in[2] - s.low[2], left, width);
  for (int64_t c = 0; c < channels; ++c, image += channel_stride) {
    for (int64_t z = 0; z < s.size[0]; ++z) {
      const int64_t iz = s.low[0] + z;
      for (int64_t y = 0; y < s.size[1]; ++y, to += width) {
        // Whole vectors, over the start of the next row, which comes later, or the slack at the
        // end.
        const auto zero = [&] {
          for (int64_t x = 0; x < width; x += lanes<T>) store(to + x, Vector<T>{});
        };
        const int64_t iy = s.low[1] + y;
        if (iz < 0 || iz >= w.in[0] || iy < 0 || iy >= w.in[1]) {
          zero();
          continue;
        }
        const S* row = image + (iz * w.in[1] + iy) * w.in[2];
        if (right - left < width) zero();
        const S* from = row + s.low[2];
        int64_t x = left;
        if constexpr (std::is_same_v<S, T>) {
          for (; x + lanes<T> < right; x += lanes<T>) store(to + x, load(from + x));
          if (x < right) Lanes(right - x).copy(from + x, to + x);
        } else {
          for (; x < right; ++x) to[x] = widen<T>(from[x]);
        }
      }
    }
  }
}

// Copies one run for n taps: dst[i * dst_stride + to + j] = src[offsets[i] + from + j * step].
template <class T>
void copy_run(const Run& r, const T* src, const int64_t* offsets, int64_t n, int64_t step, T* dst,
              int64_t dst_stride) {
  src += r.from;
  dst += r.to;
  if (step == 1) {
    const int64_t whole = (r.length - 1) / lanes<T> * lanes<T>;
    const Lanes rest(r.length - whole);
    for (int64_t i = 0; i < n; ++i, dst += dst_stride) {
      const T* from = src + offsets[i];
      for (int64_t j = 0; j < whole; j += lanes<T>) store(dst + j, load(from + j));
      rest.copy(from + whole, dst + whole);
    }
  } else if (step == 2) {
    for (int64_t i = 0; i < n; ++i, dst += dst_stride) {
      const T* from = src + offsets[i];
      for (int64_t j = 0; j < r.length; ++j) dst[j] = from[2 * j];
    }
  } else {
    for (int64_t i = 0; i < n; ++i, dst += dst_stride) {
      const T* from = src + offsets[i];
      for (int64_t j = 0; j < r.length; ++j) dst[j] = from[step * j];
    }
  }
}

// One value, for windows so wide that not even one channel's slice fits its buffer, and for zeros
// spread between the values.
template <class T, class S>
T gather_one(const Window& w, const S* image, int64_t k, int64_t depth, int64_t pixel) {
  const int64_t tap = k % w.taps();
  const Dims3 at{depth, pixel / w.out[2], pixel % w.out[2]};
  const Dims3 t{tap / (w.kernel[2] * w.kernel[1]), tap / w.kernel[2] % w.kernel[1],
                tap % w.kernel[2]};
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

// Gathers pixels [first, last) of a plane for k in [k0, k0 + kc). Slices are made in `buffer` for
// as many channels as fit; for each range of k that is ready, rows(k_first, k_last, slice,
// row_stride, fill) is called, which lays out runs with that stride and has fill(k_first, k_last,
// runs, n_runs, first_pixel, dst, dst_stride) write one row of dst per k.
template <class T, class S, class Rows>
void gather(const Window& w, const S* image, int64_t depth, int64_t first, int64_t last, int64_t k0,
            int64_t kc, T* buffer, int64_t buffer_size, Rows rows) {
  constexpr int64_t most_offsets = 1024;
  const Slice s = slice_for(w, depth, first, last);
  const int64_t taps = w.taps();
  const auto from_memory = [&](const T* src, int64_t k_first, int64_t k_last, int64_t channel0,
                               int64_t channel, int64_t plane, int64_t row) {
    const TapOffsets offset{w, channel, plane, row};
    for (int64_t k = k_first; k < k_last; k += most_offsets) {
      int64_t offsets[most_offsets];
      const int64_t end = std::min(k + most_offsets, k_last);
      for (int64_t i = k; i < end; ++i) offsets[i - k] = offset(i - channel0 * taps);
      rows(k, end, s, row,
           [&](int64_t from, int64_t to, const Run* runs, int64_t n, int64_t, T* dst,
               int64_t dst_stride) {
             for (int64_t i = 0; i < n; ++i) {
               copy_run(runs[i], src, offsets + (from - k), to - from, w.stride[2], dst,
                        dst_stride);
             }
           });
    }
  };
  if constexpr (std::is_same_v<S, T>) {
    if (needs_no_slice(w)) {
      const int64_t row = w.in[2], plane = w.in[1] * row;
      from_memory(image + s.low[0] * plane + s.low[1] * row + s.low[2], k0, k0 + kc, 0,
                  w.in[0] * plane, plane, row);
      return;
    }
  }
  const bool spread = w.spread[0] * w.spread[1] * w.spread[2] > 1;
  const int64_t per = spread ? 0 : (buffer_size - lanes<T>) / s.channel_size();
  if (per == 0) {
    rows(k0, k0 + kc, s, s.size[2],
         [&](int64_t from, int64_t to, const Run* runs, int64_t n, int64_t pixel, T* dst,
             int64_t dst_stride) {
           const int64_t pixels = runs[n - 1].to + runs[n - 1].length;
           for (int64_t k = from; k < to; ++k, dst += dst_stride) {
             for (int64_t i = 0; i < pixels; ++i)
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
    from_memory(buffer, std::max(k0, c * taps), std::min(k0 + kc, (c + channels) * taps), c,
                s.channel_size(), s.size[1] * s.size[2], s.size[2]);
  }
}

}  // namespace suan::cpu::SUAN_ISA::gemm_tiles
