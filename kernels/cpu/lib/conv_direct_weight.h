// A convolution's weight gradient with the input's channels as vectors. Per block of pixels the
// input is transposed to [pixel][channel] and the output's gradient copied to rows; then the
// pixels whose tap lies inside the image are runs of both, so nothing is gathered and no padding is
// multiplied. Private to conv.cpp.
#pragma once

#include "kernels/cpu/lib/conv_direct.h"

namespace suan::cpu::SUAN_ISA::gemm_tiles {

struct PixelRun {
  int64_t a, b, length;  // elements from the start of the gradient's rows and of the panel
};

// C[R outputs, NV vectors of channels] (+)= the gradient's rows, row_stride apart, times the
// pixels of the panel, ldb apart, over the runs.
template <class T, int R, int NV>
void multiply_runs(const PixelRun* runs, int64_t n, const T* a, const T* b, int64_t ldb, T* c,
                   int64_t ldc, bool add) {
  Vector<T> acc[R][NV] = {};
  for (int64_t r = 0; r < n; ++r) {
    const T *row = a + runs[r].a, *pixel = b + runs[r].b;
    for (const T* end = row + runs[r].length; row < end; ++row, pixel += ldb) {
      Vector<T> bv[NV];
      for (int j = 0; j < NV; ++j) bv[j] = load(pixel + j * lanes<T>);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const Vector<T> av = broadcast(row[i * row_stride<T>]);
        for (int j = 0; j < NV; ++j) acc[i][j] = multiply_add<T>(av, bv[j], acc[i][j]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < NV; ++j) {
      T* to = c + i * ldc + j * lanes<T>;
      store(to, add ? load(to) + acc[i][j] : acc[i][j]);
    }
  }
}

template <class T>
using RunKernel = void (*)(const PixelRun*, int64_t, const T*, const T*, int64_t, T*, int64_t,
                           bool);
template <class T, int... I>
constexpr auto make_run_kernels(std::integer_sequence<int, I...>) {
  return std::array<std::array<RunKernel<T>, 2>, sizeof...(I)>{
      {{multiply_runs<T, I + 1, 1>, multiply_runs<T, I + 1, 2>}...}};
}
template <class T>
inline constexpr auto run_kernels =
    make_run_kernels<T>(std::make_integer_sequence<int, max_rows>{});

// Some channels x outputs of the result, and a block of pixels: the box [low, high) of the output
// positions of `images` images.
struct GradBlock {
  int64_t group, channel0, channels, output0, outputs;
  int64_t image, images;
  Dims3 low, high;
  int64_t cols() const { return high[2] - low[2]; }
  int64_t size() const { return (high[1] - low[1]) * cols(); }
};

// The part of the input under a block.
struct Under {
  Dims3 low, size;
  Under(const ConvShape& s, const Dims3& from, const Dims3& to) {
    for (int d = 0; d < 3; ++d) {
      const int64_t first = from[d] * s.stride[d] - s.pad_low[d];
      const int64_t last = (to[d] - 1) * s.stride[d] - s.pad_low[d] +
                           s.dilation[d] * (s.kernel[d] - 1);
      low[d] = std::clamp<int64_t>(first, 0, s.in[d]);
      size[d] = std::clamp<int64_t>(last + 1, low[d], s.in[d]) - low[d];
    }
  }
};

// The runs of pixels whose tap lies inside the image; returns how many.
inline int64_t runs_of_tap(const ConvShape& s, const GradBlock& t, const Under& u, int64_t tap,
                           int64_t width, PixelRun* runs) {
  const Dims3 at{tap / (s.kernel[1] * s.kernel[2]), tap / s.kernel[2] % s.kernel[1],
                 tap % s.kernel[2]};
  Dims3 shift;
  for (int d = 0; d < 3; ++d) shift[d] = at[d] * s.dilation[d] - s.pad_low[d];
  const int64_t z = t.low[0] * s.stride[0] + shift[0], step = s.stride[2];
  const int64_t first = std::max(t.low[2], ceil_div(-shift[2], step));
  const int64_t last = std::min(t.high[2], ceil_div(s.in[2] - shift[2], step));
  if (z < 0 || z >= s.in[0] || first >= last) return 0;
  int64_t n = 0;
  for (int64_t i = 0; i < t.images; ++i) {
    for (int64_t line = t.low[1]; line < t.high[1]; ++line) {
      const int64_t y = line * s.stride[1] + shift[1];
      if (y < 0 || y >= s.in[1]) continue;
      const int64_t a = i * t.size() + (line - t.low[1]) * t.cols() + first - t.low[2];
      const int64_t b = ((i * u.size[0] + z - u.low[0]) * u.size[1] + y - u.low[1]) * u.size[2] +
                        first * step + shift[2] - u.low[2];
      const int64_t length = n > 0 ? runs[n - 1].length : 0;
      if (n > 0 && runs[n - 1].a + length == a && runs[n - 1].b + length * step * width == b * width)
        runs[n - 1].length += last - first;
      else
        runs[n++] = {a, b * width, last - first};
    }
  }
  return n;
}

// Adds one block of pixels to tile, [output][tap][channel], each padded to whole vectors.
template <class S, class T>
void add_block(const ConvShape& s, const S* x, const S* dy, T* tile, T* scratch, const GradBlock& t,
               bool add) {
  const Under u(s, t.low, t.high);
  const int64_t taps = volume(s.kernel), ldc = round_up(t.channels, lanes<T>);
  const int64_t in_pixels = volume(s.in), out_pixels = volume(s.out);

  T* rows = scratch;
  const S* grad = dy + ((t.image * s.groups + t.group) * s.out_per_group + t.output0) * out_pixels +
                  (t.low[0] * s.out[1] + t.low[1]) * s.out[2] + t.low[2];
  for (int64_t o = 0; o < t.outputs; ++o, grad += out_pixels) {
    T* to = rows + o * row_stride<T>;
    for (int64_t i = 0; i < t.images; ++i, to += t.size()) {
      const S* from = grad + i * s.groups * s.out_per_group * out_pixels;
      for (int64_t j = 0; j < t.size(); ++j) to[j] = widen<T>(from[j]);
    }
  }

  T* panel = rows + t.outputs * row_stride<T>;
  const bool whole_rows = u.size[2] == s.in[2];
  const int64_t pieces = whole_rows ? 1 : u.size[1];
  const int64_t pixels = whole_rows ? u.size[1] * u.size[2] : u.size[2];
  const int64_t height = ceil_div(t.outputs, ceil_div(t.outputs, max_rows));
  for (int64_t c = 0; c < t.channels; c += panel_cols<T>) {
    const int64_t channels = std::min<int64_t>(panel_cols<T>, t.channels - c);
    const int64_t width = round_up(channels, lanes<T>);
    T* to = panel;
    for (int64_t i = 0; i < t.images; ++i) {
      const S* image = x + (((t.image + i) * s.groups + t.group) * s.in_per_group + t.channel0 + c) *
                               in_pixels;
      for (int64_t z = u.low[0]; z < u.low[0] + u.size[0]; ++z) {
        for (int64_t piece = 0; piece < pieces; ++piece, to += pixels * width) {
          pack_b_panel<true>(
              image + (z * s.in[1] + u.low[1] + piece) * s.in[2] + u.low[2], in_pixels, pixels,
              channels, width, to);
        }
      }
    }
    for (int64_t tap = 0; tap < taps; ++tap) {
      PixelRun runs[k_block<T>];
      const int64_t n = runs_of_tap(s, t, u, tap, width, runs);
      for (int64_t o = 0; o < t.outputs; o += height) {
        run_kernels<T>[std::min(height, t.outputs - o) - 1][width / lanes<T> - 1](
            runs, n, rows + o * row_stride<T>, panel, width * s.stride[2],
            tile + (o * taps + tap) * ldc + c, taps * ldc, add);
      }
    }
  }
}

// Elements of scratch that a task needs at most.
inline int64_t grad_scratch(const ConvPlan& p) {
  const ConvShape& s = p.shape;
  const Dims3 block{1, p.tile_lines, p.tile_cols};
  int64_t pixels = p.group;
  for (int d = 0; d < 3; ++d) {
    pixels *= std::min(s.in[d],
                       (block[d] - 1) * s.stride[d] + s.dilation[d] * (s.kernel[d] - 1) + 1);
  }
  const int64_t item = item_size(compute_type(s.dtype)), lane = 64 / item;
  const int64_t weights = volume(s.kernel) * round_up(p.tile_channels, lane);
  return p.tile_outputs * (17 * lane + weights) + pixels * 2 * lane + weights;
}

// Whether this path takes the shape; cuts it into tasks.
inline bool plan_direct_weight(ConvPlan& p) {
  const ConvShape& s = p.shape;
  const int64_t item = item_size(compute_type(s.dtype)), lane = 64 / item;
  if (5 * s.in_per_group < 3 * round_up(s.in_per_group, lane)) return false;
  const int64_t taps = volume(s.kernel), most_pixels = gemm_k_block(s.dtype);
  const int64_t plane = p.out[1] * p.out[2];
  p.tile_cols = ceil_div(p.out[2], ceil_div(p.out[2], most_pixels));
  p.tile_lines = p.tile_cols < p.out[2] ? 1 : std::max<int64_t>(1, most_pixels / p.out[2]);
  p.tile_lines = ceil_div(p.out[1], ceil_div(p.out[1], p.tile_lines));
  const bool whole = p.out[0] == 1 && p.tile_lines * p.tile_cols == plane;

  // A tile's sums stay in the second-level cache.
  const auto fair = [](int64_t n, int64_t most, int64_t unit) {
    return std::min(n, round_up(ceil_div(n, ceil_div(n, most)), unit));
  };
  p.tile_channels = fair(s.in_per_group, std::clamp<int64_t>(320 / taps, 2 * lane, 256), 2 * lane);
  p.tile_outputs =
      fair(s.out_per_group, std::clamp<int64_t>(320'000 / item / taps / p.tile_channels, 8, 256), 1);
  const int64_t weights = s.groups * p.k * s.out_per_group;
  const auto tiles = [&] {
    return s.groups * ceil_div(s.in_per_group, p.tile_channels) *
           ceil_div(s.out_per_group, p.tile_outputs);
  };
  const double work = double(weights) * double(plane * p.out[0]) * double(s.batch);
  const int64_t want = int64_t(std::clamp(work / double(task_work), 1.0, double(enough_tasks)));
  p.ranges = std::clamp<int64_t>(std::min(ceil_div(want, tiles()), most_partial / weights), 1,
                                 s.batch);
  while (tiles() * p.ranges < want && p.tile_outputs > 32)
    p.tile_outputs = ceil_div(p.tile_outputs, 2);
  p.group = whole ? std::clamp<int64_t>(most_pixels / plane, 1, s.batch / p.ranges) : 1;
  if (grad_scratch(p) * item > int64_t{thread_scratch_bytes}) return false;
  p.direct = true;
  p.tasks = p.ranges * tiles();
  p.workspace = p.ranges > 1 ? size_t(p.ranges * weights * item) : 0;
  return true;
}

template <class S, class T>
void run_direct_weight(const ConvPlan& p, const S* x, const S* dy, S* dw, T* partials) {
  const ConvShape& s = p.shape;
  const int64_t taps = volume(s.kernel), weights = s.groups * s.out_per_group * p.k;
  const int64_t channel_tiles = ceil_div(s.in_per_group, p.tile_channels);
  const int64_t output_tiles = ceil_div(s.out_per_group, p.tile_outputs);
  parallel_for(p.tasks, [&](int64_t task) {
    const auto next = [&](int64_t n) {
      const int64_t i = task % n;
      task /= n;
      return i;
    };
    const int64_t range = next(p.ranges);
    GradBlock t;
    t.output0 = next(output_tiles) * p.tile_outputs;
    t.channel0 = next(channel_tiles) * p.tile_channels;
    t.group = task;
    t.outputs = std::min(p.tile_outputs, s.out_per_group - t.output0);
    t.channels = std::min(p.tile_channels, s.in_per_group - t.channel0);
    const int64_t ld = round_up(t.channels, lanes<T>);
    T* tile = reinterpret_cast<T*>(thread_scratch());
    T* turned = tile + t.outputs * taps * ld;
    T* scratch = turned + taps * ld;

    bool add = false;
    const int64_t last = s.batch * (range + 1) / p.ranges;
    for (t.image = s.batch * range / p.ranges; t.image < last; t.image += t.images) {
      t.images = std::min(p.group, last - t.image);
      for (int64_t z = 0; z < p.out[0]; ++z) {
        for (int64_t y = 0; y < p.out[1]; y += p.tile_lines) {
          for (int64_t col = 0; col < p.out[2]; col += p.tile_cols) {
            t.low = {z, y, col};
            t.high = {z + 1, std::min(y + p.tile_lines, p.out[1]),
                      std::min(col + p.tile_cols, p.out[2])};
            add_block(s, x, dy, tile, scratch, t, add);
            add = true;
          }
        }
      }
    }
    for (int64_t o = 0; o < t.outputs; ++o) {
      const int64_t to =
          ((t.group * s.out_per_group + t.output0 + o) * s.in_per_group + t.channel0) * taps;
      const T* from = tile + o * taps * ld;
      if (p.ranges > 1) {
        transpose(from, ld, taps, t.channels, partials + range * weights + to, taps);
      } else if constexpr (std::is_same_v<S, T>) {
        transpose(from, ld, taps, t.channels, dw + to, taps);
      } else {
        transpose(from, ld, taps, t.channels, turned, taps);
        for (int64_t i = 0; i < t.channels * taps; ++i) dw[to + i] = narrow<S>(turned[i]);
      }
    }
  });
  if (p.ranges == 1) return;
  constexpr int64_t piece = 1024;
  parallel_for(ceil_div(weights, piece), [&](int64_t task) {
    const int64_t first = task * piece, n = std::min(piece, weights - first);
    T sum[piece];
    std::copy_n(partials + first, n, sum);
    for (int64_t r = 1; r < p.ranges; ++r) {
      const T* from = partials + r * weights + first;
      for (int64_t i = 0; i < n; ++i) sum[i] += from[i];
    }
    for (int64_t i = 0; i < n; ++i) dw[first + i] = narrow<S>(sum[i]);
  });
}

}  // namespace suan::cpu::SUAN_ISA::gemm_tiles
