// Convolution and its input gradient with the result's channels as vectors: weights are packed as
// panels of channels, the image's values are broadcast from a padded slice of it, so nothing is
// gathered tap by tap; a finished strip is transposed on its way out. Private to conv.cpp.
//
// An input gradient of a strided convolution falls apart into phases, one for each remainder of the
// position by the stride: each is a correlation over the output's gradient with the taps that meet
// it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "kernels/cpu/lib/conv.h"
#include "kernels/cpu/lib/conv_gather.h"

namespace suan::cpu::SUAN_ISA::gemm_tiles {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
inline int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
inline int64_t volume(const Dims3& d) { return d[0] * d[1] * d[2]; }

constexpr int64_t task_work = 600'000;  // multiply-adds worth a dispatch
constexpr int64_t enough_tasks = 32;
constexpr int64_t most_partial = 4 << 20;  // elements of all ranges' partial weight gradients

// The result's positions phase, phase + spread, … in one dimension: number j reads the input at
// j * step + shift + i * shift_step for tap + i * tap_step of the window, i < taps.
struct Axis {
  int64_t phase, spread, step, in;
  int64_t tap = 0, tap_step = 1, taps = 0;
  int64_t shift = 0, shift_step = 1;

  Axis(const ConvPlan& p, int d, int64_t phase)
      : phase(phase), spread(p.spread[d]), step(p.stride[d]), in(p.in[d]) {
    const int64_t dilation = p.shape.dilation[d], kernel = p.shape.kernel[d];
    const auto at = [&](int64_t t) { return phase - p.pad_low[d] + t * dilation; };
    while (tap < std::min(kernel, spread) && at(tap) % spread != 0) ++tap;
    if (tap >= std::min(kernel, spread)) return;
    tap_step = spread / std::gcd(spread, dilation);
    taps = ceil_div(kernel - tap, tap_step);
    shift = at(tap) / spread;
    shift_step = tap_step * dilation / spread;
  }
  int64_t last_shift() const { return shift + (taps - 1) * shift_step; }
  // How many of the positions lie before this one.
  int64_t number(int64_t position) const {
    return std::max<int64_t>(0, ceil_div(position - phase, spread));
  }
};

struct Phase {
  Axis z, y, x;
  Phase(const ConvPlan& p, int64_t number)
      : z(p, 0, number / (p.spread[1] * p.spread[2])),
        y(p, 1, number / p.spread[2] % p.spread[1]), x(p, 2, number % p.spread[2]) {}
  int64_t taps() const { return z.taps * y.taps * x.taps; }
  // The window's tap that is number i of this phase's.
  int64_t tap(int64_t i, const Dims3& kernel) const {
    const int64_t tx = x.tap + i % x.taps * x.tap_step;
    const int64_t ty = y.tap + i / x.taps % y.taps * y.tap_step;
    const int64_t tz = z.tap + i / (x.taps * y.taps) * z.tap_step;
    return (tz * kernel[1] + ty) * kernel[2] + tx;
  }
};

// With a long stride few phases meet a tap: at most as many a dimension as its window has.
inline std::vector<int64_t> phases_with_taps(const ConvPlan& p) {
  std::vector<int64_t> all{0};
  for (int d = 0; d < 3; ++d) {
    std::vector<int64_t> own, next;
    for (int64_t t = 0; t < p.shape.kernel[d]; ++t) {
      const int64_t r = (p.pad_low[d] - t * p.shape.dilation[d]) % p.spread[d];
      own.push_back(r < 0 ? r + p.spread[d] : r);
    }
    std::sort(own.begin(), own.end());
    own.erase(std::unique(own.begin(), own.end()), own.end());
    for (int64_t before : all)
      for (int64_t phase : own) next.push_back(before * p.spread[d] + phase);
    all = std::move(next);
  }
  return all;
}

// Values of k per partial sum: whole channels, in blocks of about equal size.
constexpr int64_t most_block_k = 1024;
inline int64_t most_channels(int64_t taps, DType t) {
  return std::max<int64_t>(1, 9 * gemm_k_block(t) / 8 / taps);
}
inline int64_t block_channels(const ConvPlan& p, int64_t taps) {
  return ceil_div(p.channels, ceil_div(p.channels, most_channels(taps, p.shape.dtype)));
}

// The padded part of the input under a box of a phase's positions, for some channels.
struct Patch {
  int64_t z, y, x;  // the first position's numbers
  // The kernel steps over columns side by side by 1 or 2; of a larger step each tap in x has a copy
  // of its own.
  bool copied;
  int64_t copies, step;
  int64_t down, row_step;  // patch rows from one position to the next, input rows per patch row
  int64_t depth, height, width;
  int64_t channel;  // elements from one channel to the next

  // `line` values fill a cache line.
  Patch(const Phase& f, int64_t z, int64_t y, int64_t rows, int64_t x, int64_t cols, int64_t line)
      : z(z), y(y), x(x), copied(f.x.step > 2), copies(copied ? f.x.taps : 1),
        step(copied ? 1 : f.x.step), down(f.y.taps == 1 ? 1 : f.y.step),
        row_step(f.y.taps == 1 ? f.y.step : 1), depth(f.z.last_shift() - f.z.shift + 1),
        height((rows - 1) * down + f.y.last_shift() - f.y.shift + 1),
        width((cols - 1) * step + 1 + (copied ? 0 : f.x.last_shift() - f.x.shift)) {
    // An odd number of lines, so that channels do not share sets.
    channel = (ceil_div(copies * depth * height * width, line) | 1) * line;
  }
  int64_t offset(const Phase& f, int64_t tap) const {
    const int64_t x = tap % f.x.taps, y = tap / f.x.taps % f.y.taps, z = tap / f.x.taps / f.y.taps;
    return (z * f.z.shift_step * height + y * f.y.shift_step) * width +
           x * (copied ? depth * height * width : f.x.shift_step);
  }
};

// Lanes [low, high) of the vector at p, zeros in the others, whose memory is not touched.
#ifdef __AVX512F__
inline Vector<float> load_between(const float* p, int64_t low, int64_t high) {
  const uint32_t bits = _bzhi_u32(~0u, uint32_t(high)) & ~_bzhi_u32(~0u, uint32_t(low));
  return (Vector<float>)_mm512_maskz_loadu_ps(__mmask16(bits), p);
}
inline Vector<double> load_between(const double* p, int64_t low, int64_t high) {
  const uint32_t bits = _bzhi_u32(~0u, uint32_t(high)) & ~_bzhi_u32(~0u, uint32_t(low));
  return (Vector<double>)_mm512_maskz_loadu_pd(__mmask8(bits), p);
}
#else
inline Vector<float> load_between(const float* p, int64_t low, int64_t high) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(int(low)), lane),
                                           _mm256_cmpgt_epi32(_mm256_set1_epi32(int(high)), lane));
  return (Vector<float>)_mm256_maskload_ps(p, mask);
}
inline Vector<double> load_between(const double* p, int64_t low, int64_t high) {
  const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
  const __m256i mask = _mm256_andnot_si256(_mm256_cmpgt_epi64(_mm256_set1_epi64x(low), lane),
                                           _mm256_cmpgt_epi64(_mm256_set1_epi64x(high), lane));
  return (Vector<double>)_mm256_maskload_pd(p, mask);
}
#endif

// row[x] = from[x * step] for left <= x < right, else zero, x < width. With a step of 1 in whole
// vectors: what lies behind the row is written later, or slack.
template <class T, class S>
void fill_row(const S* from, int64_t step, int64_t left, int64_t right, int64_t width, T* row) {
  if constexpr (std::is_same_v<S, T>) {
    if (step == 1) {
      for (int64_t x = 0; x < width; x += lanes<T>) {
        const auto lane = [&](int64_t edge) { return std::clamp<int64_t>(edge - x, 0, lanes<T>); };
        store(row + x, load_between(from + x, lane(left), lane(right)));
      }
      return;
    }
  }
  std::fill(row, row + left, T{});
  std::fill(row + right, row + width, T{});
  for (int64_t x = left; x < right; ++x) row[x] = widen<T>(from[step * x]);
}

// Copies image channels into a patch, which has a vector's slack behind it.
template <class T, class S>
void fill_patch(const Phase& f, const Patch& s, const S* image, int64_t channels, T* to) {
  const int64_t plane = f.y.in * f.x.in, z0 = s.z * f.z.step + f.z.shift;
  const int64_t y0 = s.y * f.y.step + f.y.shift;
  for (int64_t copy = 0; copy < s.copies; ++copy) {
    const int64_t x0 = s.x * f.x.step + f.x.shift + copy * f.x.shift_step;
    const int64_t step = s.copied ? f.x.step : 1;
    const int64_t left = std::clamp<int64_t>(ceil_div(-x0, step), 0, s.width);
    const int64_t right = std::clamp(ceil_div(f.x.in - x0, step), left, s.width);
    for (int64_t c = 0; c < channels; ++c) {
      const S* from = image + c * f.z.in * plane + x0;
      T* row = to + c * s.channel + copy * s.depth * s.height * s.width;
      for (int64_t z = z0; z < z0 + s.depth; ++z) {
        for (int64_t h = 0; h < s.height; ++h, row += s.width) {
          const int64_t y = y0 + h * s.row_step;
          const bool inside = z >= 0 && z < f.z.in && y >= 0 && y < f.y.in;
          fill_row(inside ? from + z * plane + y * f.x.in : from, step, left, inside ? right : left,
                   s.width, row);
        }
      }
    }
  }
}

// C[R positions, NV vectors of channels] (+)= the sum over k of a[offsets[k] + Step * position] times
// the packed b. The second half of the positions lies `second` behind the first in a, `c_second` in c.
template <class T, int R, int NV, int Step>
void multiply_positions(const int64_t* offsets, int64_t kc, const T* a, int64_t second, const T* b,
                        T* c, int64_t ldc, int64_t c_second, bool add) {
  constexpr int half = (R + 1) / 2;
  Vector<T> acc[R][NV] = {};
  for (int64_t k = 0; k < kc; ++k) {
    const T *at = a + offsets[k], *behind = at + second;
    Vector<T> bv[NV];
    for (int j = 0; j < NV; ++j) bv[j] = load(b + j * lanes<T>);
    b += NV * lanes<T>;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vector<T> av = broadcast(i < half ? at[i * Step] : behind[(i - half) * Step]);
      for (int j = 0; j < NV; ++j) acc[i][j] = multiply_add<T>(av, bv[j], acc[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    T* row = i < half ? c + i * ldc : c + c_second + (i - half) * ldc;
    for (int j = 0; j < NV; ++j) {
      T* to = row + j * lanes<T>;
      store(to, add ? load(to) + acc[i][j] : acc[i][j]);
    }
  }
}

template <class T>
using PositionKernel = void (*)(const int64_t*, int64_t, const T*, int64_t, const T*, T*, int64_t,
                                int64_t, bool);
template <class T, int Step, int... I>
constexpr auto make_position_kernels(std::integer_sequence<int, I...>) {
  return std::array<std::array<PositionKernel<T>, 2>, sizeof...(I)>{
      {{multiply_positions<T, I + 1, 1, Step>, multiply_positions<T, I + 1, 2, Step>}...}};
}
// Indexed by [step - 1][positions - 1][vectors - 1].
template <class T>
inline constexpr std::array position_kernels{
    make_position_kernels<T, 1>(std::make_integer_sequence<int, max_rows>{}),
    make_position_kernels<T, 2>(std::make_integer_sequence<int, max_rows>{})};

// dst[j][i] = src[i][j] for i < rows, j < cols. The last block may overlap the one before.
template <class T>
void transpose(const T* src, int64_t ld, int64_t rows, int64_t cols, T* dst, int64_t ld_dst) {
  if constexpr (std::is_same_v<T, float>) {
    if (rows >= 8 && cols >= 8) {
      for (int64_t j = 0; j < cols; j += 8) {
        const int64_t col = std::min(j, cols - 8);
        for (int64_t i = 0; i < rows; i += 8) {
          const int64_t row = std::min(i, rows - 8);
          transpose_8x8(src + row * ld + col, ld, dst + col * ld_dst + row, ld_dst);
        }
      }
      return;
    }
  }
  for (int64_t j = 0; j < cols; ++j) {
    for (int64_t i = 0; i < rows; ++i) dst[j * ld_dst + i] = src[i * ld + j];
  }
}

// One panel of the packed weights: for each phase, [k][channel], zeros beyond the last channel.
template <class S, class T>
void pack_channels(const ConvPlan& p, const S* weight, T* to, int64_t group, int64_t row0) {
  const int64_t rows = std::min<int64_t>(panel_cols<T>, p.rows - row0);
  const int64_t width = round_up(rows, lanes<T>), all = volume(p.shape.kernel);
  const S* from = weight + group * p.rows * p.k;
  if (p.kind == ConvKind::forward) {
    pack_b_panel<true>(from + row0 * p.k, p.k, p.k, rows, width, to);
    return;
  }
  T* turned = reinterpret_cast<T*>(thread_scratch());  // one channel's weights as [tap][row]
  for (int64_t c = 0; c < p.channels; ++c) {
    pack_b_panel<true>(from + (c * p.rows + row0) * all, all, all, rows, width, turned);
    T* block = to;
    for (int64_t phase : p.phases) {
      const Phase f(p, phase);
      const int64_t taps = f.taps();
      for (int64_t t = 0; t < taps; ++t) {
        // Taps count from the window's far end.
        std::copy_n(turned + (all - 1 - f.tap(t, p.shape.kernel)) * width, width,
                    block + (c * taps + t) * width);
      }
      block += p.channels * taps * width;
    }
  }
}

// One task of forward or input_grad: the box [y0, y1) x [x0, x1) of one plane of `images` images,
// and `rows` of the group's channels.
struct Box {
  int64_t image, images, group, row0, rows, depth, y0, y1, x0, x1;
  int64_t cols() const { return x1 - x0; }
  int64_t size() const { return (y1 - y0) * cols(); }
};

// Adds up one phase of the box into wide, [image, position][channel]. Before the last addition to
// some positions fetch(image, first position, first channel) is called, after all those to a panel
// of channels finish(first channel).
template <class S, class T, class Fetch, class Finish>
void add_phase(const ConvPlan& p, const S* in, const T* packed, const Box& t, const Phase& f,
               int64_t k_before, T* patches, T* wide, int64_t ld, Fetch fetch, Finish finish) {
  if (f.z.phase != t.depth % f.z.spread) return;
  const int64_t y0 = f.y.number(t.y0), rows = f.y.number(t.y1) - y0;
  const int64_t x0 = f.x.number(t.x0), cols = f.x.number(t.x1) - x0;
  if (rows <= 0 || cols <= 0) return;
  const int64_t pixel = f.x.spread * ld, line = f.y.spread * t.cols() * ld;
  T* first = wide + ((y0 * f.y.spread + f.y.phase - t.y0) * t.cols() + x0 * f.x.spread +
                     f.x.phase - t.x0) * ld;
  const Patch s(f, t.depth / f.z.spread, y0, rows, x0, cols, 64 / int64_t{sizeof(T)});
  const int64_t taps = f.taps(), block = block_channels(p, taps);
  const int64_t in_image = p.shape.groups * p.channels * volume(p.in);
  const auto& kernels = position_kernels<T>[s.step - 1];
  const bool pairs = 2 * cols <= max_rows;
  const int64_t chunks = ceil_div(cols, max_rows);
  for (int64_t c0 = 0; c0 < p.channels; c0 += block) {
    const int64_t channels = std::min(block, p.channels - c0), kc = channels * taps;
    const int64_t patch = channels * s.channel;
    const bool last = c0 + channels == p.channels;
    int64_t offsets[most_block_k];
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t offset = s.offset(f, tap);
      for (int64_t c = 0; c < channels; ++c) offsets[c * taps + tap] = offset + c * s.channel;
    }
    for (int64_t i = 0; i < t.images; ++i) {
      fill_patch<T>(f, s, in + (t.image + i) * in_image + (t.group * p.channels + c0) * volume(p.in),
                    channels, patches + i * patch);
    }
    for (int64_t row = 0; row < t.rows; row += panel_cols<T>) {
      const int64_t width = round_up(std::min<int64_t>(panel_cols<T>, t.rows - row), lanes<T>);
      const T* b = packed + (t.row0 + row) * p.k + (k_before + c0 * taps) * width;
      const auto place = [&](int64_t r, const T*& a, T*& c) {
        a = patches + r / rows * patch + r % rows * s.down * s.width;
        c = first + r / rows * t.size() * ld + r % rows * line + row;
      };
      for (int64_t r = 0; r < t.images * rows; ++r) {
        const T *a, *a2;
        T *c, *c2;
        place(r, a, c);
        if (last && pairs) fetch(r / rows, r % rows * t.cols(), row);
        if (pairs && r + 1 < t.images * rows) {
          place(++r, a2, c2);
          kernels[2 * cols - 1][width / lanes<T> - 1](offsets, kc, a, a2 - a, b, c, pixel, c2 - c,
                                                      c0 > 0);
          continue;
        }
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          const int64_t x = cols * chunk / chunks, n = cols * (chunk + 1) / chunks - x;
          if (last) fetch(r / rows, r % rows * t.cols() + x, row);
          const int64_t half = (n + 1) / 2;
          kernels[n - 1][width / lanes<T> - 1](offsets, kc, a + x * s.step, half * s.step, b,
                                              c + x * pixel, pixel, half * pixel, c0 > 0);
        }
      }
      if (last) finish(row);
    }
  }
}

// From one position's channels to the next in `wide`.
inline int64_t wide_stride(const ConvPlan& p) { return round_up(p.tile_rows, 16) + 16; }

template <class S, class T>
void run_box(const ConvPlan& p, const S* in, const T* packed, S* out, const Box& t,
             TileEpilogue epilogue) {
  const int64_t ld = wide_stride(p), size = t.size(), pixels = volume(p.out);
  T* wide = reinterpret_cast<T*>(thread_scratch());
  T* narrowed = wide + t.images * size * ld;
  T* patches = std::is_same_v<S, T> ? narrowed : narrowed + size * panel_cols<T>;
  const int64_t pixel0 = (t.depth * p.out[1] + t.y0) * p.out[2] + t.x0;
  const int64_t channel0 = t.group * p.rows + t.row0, all = p.shape.groups * p.rows;
  const auto place = [&](int64_t image, int64_t row) {
    return out + ((t.image + image) * all + channel0 + row) * pixels + pixel0;
  };
  const auto finish = [&](int64_t row) {
    const int64_t rows = std::min<int64_t>(panel_cols<T>, t.rows - row);
    for (int64_t i = 0; i < t.images; ++i) {
      const T* from = wide + i * size * ld + row;
      S* c = place(i, row);
      if constexpr (std::is_same_v<S, T>) {
        transpose(from, ld, size, rows, c, pixels);
      } else {
        transpose(from, ld, size, rows, narrowed, size);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t j = 0; j < size; ++j) c[r * pixels + j] = narrow<S>(narrowed[r * size + j]);
        }
      }
      if (epilogue) epilogue(c, t.image + i, channel0 + row, rows, pixel0, size, pixels);
    }
  };
  if (volume(p.spread) == 1) {
    // The result's memory arrives while its last sums are made.
    const auto fetch = [&](int64_t image, int64_t position, int64_t row) {
      const S* c = place(image, row) + position;
      const int64_t rows = std::min<int64_t>(panel_cols<T>, t.rows - row);
      for (int64_t r = 0; r < rows; ++r) __builtin_prefetch(c + r * pixels);
    };
    add_phase(p, in, packed, t, Phase(p, 0), 0, patches, wide, ld, fetch, finish);
    return;
  }
  if (int64_t(p.phases.size()) < volume(p.spread)) std::fill_n(wide, t.images * size * ld, T{});
  int64_t k_before = 0;
  for (int64_t phase : p.phases) {
    const Phase f(p, phase);
    const auto nothing = [](auto...) {};
    add_phase(p, in, packed, t, f, k_before, patches, wide, ld, nothing, nothing);
    k_before += p.channels * f.taps();
  }
  for (int64_t row = 0; row < t.rows; row += panel_cols<T>) finish(row);
}

// Elements of scratch that a task needs at most.
inline int64_t box_scratch(const ConvPlan& p) {
  const int64_t positions = p.group * p.tile_lines * p.tile_cols;
  const int64_t line = 64 / item_size(compute_type(p.shape.dtype));
  int64_t patches = 0;
  for (int64_t phase : p.phases) {
    const Phase f(p, phase);
    const Patch s(f, 0, 0, ceil_div(p.tile_lines, f.y.spread), 0,
                  ceil_div(p.tile_cols, f.x.spread), line);
    patches = std::max(patches, p.group * block_channels(p, f.taps()) * s.channel);
  }
  return positions * wide_stride(p) + p.tile_lines * p.tile_cols * 32 + patches + 64;
}

// Whether this path takes the shape; cuts it into tasks.
inline bool plan_direct(ConvPlan& p) {
  constexpr int64_t most_positions = 256, most_rows = 256, fewest_rows = 32, direct_tasks = 16;
  const ConvShape& s = p.shape;
  const int64_t lane = 64 / item_size(compute_type(s.dtype));
  // Few channels would leave lanes idle, a short sum would not pay for the transposition; but a
  // strided gradient without phases would multiply zeros.
  if (volume(p.spread) == 1 && (5 * p.rows < 3 * round_up(p.rows, lane) || p.k < 32)) return false;
  if (volume(s.kernel) > most_block_k) return false;
  p.direct = true;
  p.phases = phases_with_taps(p);
  p.tile_cols = ceil_div(p.out[2], ceil_div(p.out[2], most_positions));
  const int64_t lines = std::max<int64_t>(1, p.tile_cols == p.out[2] ? most_positions / p.out[2] : 1);
  p.tile_lines = ceil_div(p.out[1], ceil_div(p.out[1], lines));
  const int64_t plane = p.out[1] * p.out[2];
  const bool whole = p.out[0] == 1 && p.tile_lines * p.tile_cols == plane;
  p.group = whole ? std::clamp<int64_t>(most_positions / plane, 1, s.batch) : 1;
  p.row_tiles = ceil_div(p.rows, most_rows);
  const auto tasks = [&] {
    p.tile_rows = round_up(ceil_div(p.rows, p.row_tiles), fewest_rows);
    p.row_tiles = ceil_div(p.rows, p.tile_rows);
    return ceil_div(s.batch, p.group) * s.groups * p.out[0] * p.row_tiles *
           ceil_div(p.out[1], p.tile_lines) * ceil_div(p.out[2], p.tile_cols);
  };
  const double work = double(s.batch * s.groups) * double(p.rows * p.k) * double(volume(p.out)) /
                      double(volume(p.spread));
  const double want = std::clamp(work / double(task_work), 1.0, double(direct_tasks));
  // Splitting pixels costs the overlap of their windows, splitting channels a second filling of
  // patches, both the reuse of what was loaded.
  const bool overlap = volume(s.kernel) > 1;
  while (double(tasks()) < want && !overlap && p.tile_cols > 112)
    p.tile_cols = ceil_div(p.tile_cols, 2);
  while (double(tasks()) < want && p.tile_rows >= 4 * fewest_rows) p.row_tiles *= 2;
  while (double(tasks()) < want && p.group > 1) p.group = ceil_div(p.group, 2);
  while (double(tasks()) < want && p.tile_lines * p.tile_cols > 112 && p.tile_lines > 1)
    p.tile_lines = ceil_div(p.tile_lines, 2);
  const int64_t most = int64_t{thread_scratch_bytes} / item_size(compute_type(s.dtype));
  while (box_scratch(p) > most && p.group > 1) p.group = ceil_div(p.group, 2);
  while (box_scratch(p) > most && p.tile_lines > 1) p.tile_lines = ceil_div(p.tile_lines, 2);
  while (box_scratch(p) > most && p.tile_cols > 64) p.tile_cols = ceil_div(p.tile_cols, 2);
  if (box_scratch(p) > most) return p.direct = false;
  p.tasks = tasks();
  p.workspace = size_t(s.groups * round_up(p.rows, 16) * p.k * item_size(compute_type(s.dtype)));
  return true;
}

template <class S, class T>
void run_direct(const ConvPlan& p, const S* in, const S* weight, S* out, T* packed,
                TileEpilogue epilogue) {
  const ConvShape& s = p.shape;
  const int64_t panels = ceil_div(p.rows, panel_cols<T>);
  const int64_t group_size = round_up(p.rows, lanes<T>) * p.k;
  parallel_for(s.groups * panels, [&](int64_t task) {
    const int64_t group = task / panels, row0 = task % panels * panel_cols<T>;
    pack_channels(p, weight, packed + group * group_size + row0 * p.k, group, row0);
  });
  parallel_for(p.tasks, [&](int64_t task) {
    const auto next = [&](int64_t n) {
      const int64_t i = task % n;
      task /= n;
      return i;
    };
    // Images before channels: neighbours share the weights.
    Box t;
    t.x0 = next(ceil_div(p.out[2], p.tile_cols)) * p.tile_cols;
    t.y0 = next(ceil_div(p.out[1], p.tile_lines)) * p.tile_lines;
    t.depth = next(p.out[0]);
    t.image = next(ceil_div(s.batch, p.group)) * p.group;
    t.row0 = next(p.row_tiles) * p.tile_rows;
    t.group = task;
    t.images = std::min(p.group, s.batch - t.image);
    t.rows = std::min(p.tile_rows, p.rows - t.row0);
    t.y1 = std::min(t.y0 + p.tile_lines, p.out[1]);
    t.x1 = std::min(t.x0 + p.tile_cols, p.out[2]);
    run_box(p, in, packed + t.group * group_size, out, t, epilogue);
  });
}

}  // namespace suan::cpu::SUAN_ISA::gemm_tiles
