// Convolution and its gradients: choosing the way, and the one that gathers.
// forward, input_grad: a task owns some channels of a strip of pixels of one plane; per block of k
// it gathers the strip's virtual matrix into scratch (L2) and runs the packed weights over it.
// weight_grad: a task owns some (channel, tap) x outputs of the result for one range of the batch;
// the gathered rows are the left operand, the output's gradient, transposed while packing, the
// right one.
#include "kernels/cpu/lib/conv.h"

#include <algorithm>
#include <cstddef>

#include "core/error.h"
#include "kernels/cpu/lib/conv_direct.h"
#include "kernels/cpu/lib/conv_direct_weight.h"
#include "kernels/cpu/lib/conv_gather.h"
#include "kernels/cpu/lib/gemm_tile.h"

namespace suan::cpu::SUAN_ISA {
namespace {

using namespace gemm_tiles;

constexpr int64_t max_strip = 416;      // pixels
constexpr int64_t max_outputs = 256;    // of a weight gradient's tile
constexpr int64_t most_taps = 256;      // rows of it
constexpr int64_t wide_bytes = 190 << 10;  // a narrow result's tile in full precision

template <class T>
constexpr int64_t panel_stride = k_block<T> * panel_cols<T>;
template <class T>
constexpr int64_t strip_size = max_strip * k_block<T>;
template <class T>
constexpr int64_t scratch_size = int64_t{thread_scratch_bytes / sizeof(T)};

Window window_of(const ConvPlan& p) {
  const ConvShape& s = p.shape;
  return {p.in, p.out, s.kernel, p.stride, s.dilation, p.pad_low, p.spread};
}

void check(const ConvShape& s) {
  if (s.dtype != DType::f16 && s.dtype != DType::bf16 && s.dtype != DType::f32 &&
      s.dtype != DType::f64) {
    fail<TypeError>("conv", "no convolution for this dtype: expected f16, bf16, f32 or f64, got {}",
                    brief(s.dtype));
  }
  if (s.batch < 0 || s.groups < 1 || s.in_per_group < 0 || s.out_per_group < 0) {
    fail<ShapeError>(
        "conv", "bad sizes: expected batch >= 0, groups >= 1, channels >= 0, got {}, {}, {}, {}",
        s.batch, s.groups, s.in_per_group, s.out_per_group);
  }
  for (int d = 0; d < 3; ++d) {
    if (s.in[d] < 0 || s.out[d] < 0 || s.kernel[d] < 1 || s.stride[d] < 1 || s.dilation[d] < 1 ||
        s.pad_low[d] < 0) {
      fail<ShapeError>(
          "conv",
          "bad window: expected sizes and padding >= 0, kernel, stride and dilation >= 1, "
          "got in {} out {} kernel {} stride {} dilation {} padding {}",
          s.in[d], s.out[d], s.kernel[d], s.stride[d], s.dilation[d], s.pad_low[d]);
    }
  }
}

void plan_correlation(ConvPlan& p) {
  const ConvShape& s = p.shape;
  const int64_t plane = p.out[1] * p.out[2];
  const double image_work =
      double(p.rows) * double(p.k) * double(plane * p.out[0]) * double(s.groups);
  const double want =
      std::clamp(image_work * double(s.batch) / double(task_work), 1.0, double(enough_tasks));
  p.panel_rows = ceil_div(p.rows, ceil_div(p.rows, max_rows));
  p.col_tiles = ceil_div(plane, max_strip);
  // More strips, then fewer rows, while there are too few tasks; a strip's gathering is shared by
  // its rows.
  const auto tasks = [&] { return s.batch * s.groups * p.out[0] * p.col_tiles * p.row_tiles; };
  p.row_tiles = 1;
  while (double(tasks()) < want && plane / p.col_tiles > 128) ++p.col_tiles;
  while (double(tasks()) < want && p.rows / p.row_tiles > 2 * max_rows) ++p.row_tiles;
  p.tile_cols = std::min(round_up(ceil_div(plane, p.col_tiles), 32), max_strip);
  p.col_tiles = ceil_div(plane, p.tile_cols);
  if (s.dtype == DType::bf16 || s.dtype == DType::f16) {
    const int64_t most_rows = wide_bytes / 4 / p.tile_cols - max_rows;
    p.row_tiles = std::max(p.row_tiles, ceil_div(p.rows, most_rows));
  }
  p.tile_rows = round_up(ceil_div(p.rows, p.row_tiles), p.panel_rows);
  p.row_tiles = ceil_div(p.rows, p.tile_rows);
  if (double(tasks()) > want) {
    const double one = image_work / double(s.groups * p.out[0] * p.col_tiles * p.row_tiles);
    p.group = std::clamp<int64_t>(int64_t(double(task_work) / std::max(one, 1.0)), 1, s.batch);
  }
  p.tasks = ceil_div(s.batch, p.group) * s.groups * p.out[0] * p.col_tiles * p.row_tiles;
  const int64_t block = gemm_k_block(s.dtype), compute = item_size(compute_type(s.dtype));
  p.workspace = size_t(s.groups * ceil_div(p.k, block) * ceil_div(p.rows, p.panel_rows) *
                       p.panel_rows * (block + 64 / compute) * compute);
}

void plan_weight_grad(ConvPlan& p) {
  const ConvShape& s = p.shape;
  const int64_t plane = p.out[1] * p.out[2], taps = volume(s.kernel);
  p.tile_channels = std::clamp<int64_t>(most_taps / taps, 1, s.in_per_group);
  p.tile_outputs = std::min(s.out_per_group, max_outputs);
  const auto tiles = [&] {
    return s.groups * ceil_div(s.in_per_group, p.tile_channels) *
           ceil_div(s.out_per_group, p.tile_outputs);
  };
  // The number of ranges decides bits, so it comes before anything an instruction set could change.
  const int64_t weights = s.groups * p.k * s.out_per_group;
  p.ranges = std::clamp<int64_t>(
      std::min(ceil_div(enough_tasks, tiles()), most_partial / std::max<int64_t>(1, weights)), 1,
      s.batch);
  while (tiles() * p.ranges < enough_tasks && p.tile_channels * taps > 64 && p.tile_channels > 1) {
    p.tile_channels = ceil_div(p.tile_channels, 2);
  }
  const int64_t block = gemm_k_block(s.dtype);
  p.pixel_block = ceil_div(plane, ceil_div(plane, block));
  if (p.out[2] <= p.pixel_block) p.pixel_block = p.pixel_block / p.out[2] * p.out[2];
  p.tasks = p.ranges * tiles();
  p.workspace = size_t(p.ranges * weights * item_size(compute_type(s.dtype)));
}

// The weights as panels of the left operand, for one group and block of k.
template <class S, class T>
void pack_weights(const ConvPlan& p, const S* weight, T* packed, int64_t group, int64_t block) {
  const ConvShape& s = p.shape;
  const int64_t k0 = block * k_block<T>, kc = std::min(k_block<T>, p.k - k0);
  const int64_t taps = volume(s.kernel), panels = ceil_div(p.rows, p.panel_rows);
  T* to =
      packed + (group * ceil_div(p.k, k_block<T>) + block) * panels * p.panel_rows * row_stride<T>;
  const S* from = weight + group * p.rows * p.k;
  for (int64_t row = 0; row < p.rows; ++row, to += row_stride<T>) {
    if (p.kind == ConvKind::forward) {
      for (int64_t k = 0; k < kc; ++k) to[k] = widen<T>(from[row * p.k + k0 + k]);
    } else {
      // Row is an input channel, k an output channel and a tap counted from the window's far end.
      for (int64_t k = 0; k < kc; ++k) {
        const int64_t channel = (k0 + k) / taps, tap = taps - 1 - (k0 + k) % taps;
        to[k] = widen<T>(from[(channel * p.rows + row) * taps + tap]);
      }
    }
  }
}

// One task's part of one image.
struct Part {
  int64_t image, group, row0, rows, depth, col0, cols;
};

template <class S, class T>
void correlate(const ConvPlan& p, const S* in, const T* packed, S* out, const Part& t,
               TileEpilogue epilogue) {
  const ConvShape& s = p.shape;
  const Window w = window_of(p);
  T* strip = reinterpret_cast<T*>(thread_scratch());
  T* wide = strip + strip_size<T>;
  T* buffer = wide + wide_bytes / int64_t{sizeof(T)};
  const int64_t buffer_size = scratch_size<T> - (buffer - strip);
  const int64_t in_image = p.channels * volume(p.in), pixels = volume(p.out);
  const S* image = in + (t.image * s.groups + t.group) * in_image;
  const int64_t channel0 = t.group * p.rows + t.row0, pixel0 = t.depth * w.plane() + t.col0;
  S* c = out + (t.image * s.groups * p.rows + channel0) * pixels + pixel0;
  const int64_t blocks = ceil_div(p.k, k_block<T>), panels = ceil_div(p.rows, p.panel_rows);
  constexpr bool in_place = std::is_same_v<S, T>;

  for (int64_t k0 = 0; k0 < p.k; k0 += k_block<T>) {
    const int64_t kc = std::min(k_block<T>, p.k - k0);
    gather<T>(w, image, t.depth, t.col0, t.col0 + t.cols, k0, kc, buffer, buffer_size,
              [&](int64_t k_first, int64_t k_last, const Slice& slice, int64_t row, auto fill) {
                T* panel = strip;
                for (int64_t col = 0; col < t.cols;
                     col += panel_cols<T>, panel += panel_stride<T>) {
                  const int64_t cols = std::min<int64_t>(panel_cols<T>, t.cols - col);
                  const int64_t width = round_up(cols, lanes<T>);
                  Run runs[panel_cols<T>];
                  const int64_t first = t.col0 + col;
                  const int64_t n = runs_of(w, slice, row, first, first + cols, runs);
                  fill(k_first, k_last, runs, n, first, panel + (k_first - k0) * width, width);
                }
              });
    const T* a = packed + ((t.group * blocks + k0 / k_block<T>)*panels * p.panel_rows + t.row0) *
                              row_stride<T>;
    for (int64_t i = 0; i < t.rows; i += p.panel_rows, a += p.panel_rows * row_stride<T>) {
      const int64_t rows = std::min(p.panel_rows, t.rows - i);
      T* to;
      int64_t ld;
      if constexpr (in_place) {
        to = c + i * pixels;
        ld = pixels;
      } else {
        to = wide + i * t.cols;
        ld = t.cols;
      }
      const T* panel = strip;
      for (int64_t col = 0; col < t.cols; col += panel_cols<T>, panel += panel_stride<T>) {
        const int64_t cols = std::min<int64_t>(panel_cols<T>, t.cols - col);
        const int64_t vectors = ceil_div(cols, lanes<T>);
        panel_kernels<T, false>[rows - 1][vectors - 1](kc, a, 1, panel, vectors* lanes<T>, to + col,
                                                       ld, cols, k0 > 0, nothing_ahead(a));
      }
      if (k0 + kc < p.k) continue;
      if constexpr (!in_place) {
        for (int64_t r = i; r < i + rows; ++r) {
          for (int64_t j = 0; j < t.cols; ++j) c[r * pixels + j] = narrow<S>(wide[r * t.cols + j]);
        }
      }
      if (epilogue) epilogue(c + i * pixels, t.image, channel0 + i, rows, pixel0, t.cols, pixels);
    }
  }
}

template <class S, class T>
void run_correlation(const ConvPlan& p, const void* a, const void* b, void* c, void* workspace,
                     TileEpilogue epilogue) {
  const ConvShape& s = p.shape;
  T* packed = static_cast<T*>(workspace);
  if (p.direct) {
    run_direct(p, static_cast<const S*>(a), static_cast<const S*>(b), static_cast<S*>(c), packed,
               epilogue);
    return;
  }
  const int64_t blocks = ceil_div(p.k, k_block<T>);
  parallel_for(s.groups * blocks, [&](int64_t task) {
    pack_weights<S, T>(p, static_cast<const S*>(b), packed, task / blocks, task % blocks);
  });
  const int64_t plane = p.out[1] * p.out[2];
  parallel_for(p.tasks, [&](int64_t task) {
    Part t;
    const auto next = [&](int64_t n) {
      const int64_t i = task % n;
      task /= n;
      return i;
    };
    t.row0 = next(p.row_tiles) * p.tile_rows;
    t.col0 = next(p.col_tiles) * p.tile_cols;
    t.depth = next(p.out[0]);
    t.group = next(s.groups);
    t.rows = std::min(p.tile_rows, p.rows - t.row0);
    t.cols = std::min(p.tile_cols, plane - t.col0);
    for (t.image = task * p.group; t.image < std::min((task + 1) * p.group, s.batch); ++t.image) {
      correlate<S, T>(p, static_cast<const S*>(a), packed, static_cast<S*>(c), t, epilogue);
    }
  });
}

// One range's partial weight gradient, as [channel, tap][output]: adds one block of pixels to it.
template <class S, class T>
void add_pixels(const ConvPlan& p, const S* x, const S* dy, T* partial, const Part& t,
                int64_t output0, int64_t outputs, bool add) {
  const ConvShape& s = p.shape;
  const Window w = window_of(p);
  const int64_t pixels = volume(p.out), taps = w.taps();
  T* strip = reinterpret_cast<T*>(thread_scratch());
  T* panel = strip + max_outputs * k_block<T>;
  T* buffer = panel + max_rows * row_stride<T>;
  const int64_t buffer_size = scratch_size<T> - (buffer - strip);
  const S* grad = dy + ((t.image * s.groups + t.group) * s.out_per_group + output0) * pixels +
                  t.depth * w.plane() + t.col0;
  for (int64_t col = 0; col < outputs; col += panel_cols<T>) {
    const int64_t cols = std::min<int64_t>(panel_cols<T>, outputs - col);
    pack_b_panel<true>(grad + col * pixels, pixels, t.cols, cols, round_up(cols, lanes<T>),
                             strip + col * k_block<T>);
  }
  const int64_t in_image = s.in_per_group * volume(p.in);
  const S* image = x + (t.image * s.groups + t.group) * in_image;
  gather<T>(w, image, t.depth, t.col0, t.col0 + t.cols, t.row0 * taps, t.rows * taps, buffer,
            buffer_size,
            [&](int64_t k_first, int64_t k_last, const Slice& slice, int64_t row, auto fill) {
              Run runs[k_block<T>];
              const int64_t n = runs_of(w, slice, row, t.col0, t.col0 + t.cols, runs);
              for (int64_t k = k_first; k < k_last; k += max_rows) {
                const int64_t rows = std::min<int64_t>(max_rows, k_last - k);
                fill(k, k + rows, runs, n, t.col0, panel, row_stride<T>);
                T* to = partial + k * s.out_per_group + output0;
                for (int64_t col = 0; col < outputs; col += panel_cols<T>) {
                  const int64_t cols = std::min<int64_t>(panel_cols<T>, outputs - col);
                  const int64_t vectors = ceil_div(cols, lanes<T>);
                  panel_kernels<T, false>[rows - 1][vectors - 1](
                      t.cols, panel, 1, strip + col* k_block<T>, vectors* lanes<T>, to + col,
                      s.out_per_group, cols, add, nothing_ahead(panel));
                }
              }
            });
}

template <class S, class T>
void run_weight_grad(const ConvPlan& p, const void* a, const void* b, void* c, void* workspace) {
  const ConvShape& s = p.shape;
  const int64_t size = s.groups * p.k * s.out_per_group, plane = p.out[1] * p.out[2];
  const int64_t channel_tiles = ceil_div(s.in_per_group, p.tile_channels);
  const int64_t output_tiles = ceil_div(s.out_per_group, p.tile_outputs);
  T* partials = static_cast<T*>(workspace);
  parallel_for(p.tasks, [&](int64_t task) {
    Part t;
    const int64_t range = task % p.ranges;
    task /= p.ranges;
    const int64_t output0 = task % output_tiles * p.tile_outputs;
    task /= output_tiles;
    t.row0 = task % channel_tiles * p.tile_channels;
    t.rows = std::min(p.tile_channels, s.in_per_group - t.row0);
    t.group = task / channel_tiles;
    const int64_t outputs = std::min(p.tile_outputs, s.out_per_group - output0);
    T* partial = partials + range * size + t.group * p.k * s.out_per_group;
    const int64_t first = s.batch * range / p.ranges, last = s.batch * (range + 1) / p.ranges;
    bool add = false;
    for (t.image = first; t.image < last; ++t.image) {
      for (t.depth = 0; t.depth < p.out[0]; ++t.depth) {
        for (t.col0 = 0; t.col0 < plane; t.col0 += p.pixel_block) {
          t.cols = std::min(p.pixel_block, plane - t.col0);
          add_pixels(p, static_cast<const S*>(a), static_cast<const S*>(b), partial, t, output0,
                     outputs, add);
          add = true;
        }
      }
    }
  });
  constexpr int64_t k_tile = 16;
  const int64_t k_tiles = ceil_div(p.k, k_tile);
  parallel_for(s.groups * k_tiles, [&](int64_t task) {
    const int64_t group = task / k_tiles, k0 = task % k_tiles * k_tile;
    const int64_t k1 = std::min(k0 + k_tile, p.k);
    const T* from = partials + group * p.k * s.out_per_group;
    S* to = static_cast<S*>(c) + group * s.out_per_group * p.k;
    for (int64_t o = 0; o < s.out_per_group; ++o) {
      for (int64_t k = k0; k < k1; ++k) {
        T sum = from[k * s.out_per_group + o];
        for (int64_t r = 1; r < p.ranges; ++r) sum += from[r * size + k * s.out_per_group + o];
        to[o * p.k + k] = narrow<S>(sum);
      }
    }
  });
}

template <class S, class T>
void run_typed(const ConvPlan& p, const void* a, const void* b, void* c, void* workspace,
               TileEpilogue epilogue) {
  if (p.kind == ConvKind::weight_grad && p.direct) {
    run_direct_weight(p, static_cast<const S*>(a), static_cast<const S*>(b), static_cast<S*>(c),
                      static_cast<T*>(workspace));
  } else if (p.kind == ConvKind::weight_grad) {
    run_weight_grad<S, T>(p, a, b, c, workspace);
  } else {
    run_correlation<S, T>(p, a, b, c, workspace, epilogue);
  }
}

ConvPlan plan(ConvPlan p) {
  const ConvShape& s = p.shape;
  p.in = s.in, p.out = s.out, p.stride = s.stride, p.pad_low = s.pad_low;
  p.rows = s.out_per_group, p.channels = s.in_per_group;
  if (p.kind == ConvKind::input_grad) {
    // A correlation over dy with zeros spread between its values and the window turned around.
    p.in = s.out, p.out = s.in, p.spread = s.stride, p.stride = {1, 1, 1};
    // One value has no next one at a stride from it.
    for (int d = 0; d < 3; ++d)
      if (p.in[d] == 1) p.spread[d] = std::min(p.spread[d], (s.kernel[d] - 1) * s.dilation[d] + 1);
    p.rows = s.in_per_group, p.channels = s.out_per_group;
    for (int d = 0; d < 3; ++d) p.pad_low[d] = s.dilation[d] * (s.kernel[d] - 1) - s.pad_low[d];
  }
  p.k = p.channels * volume(s.kernel);
  const int64_t result =
      p.kind == ConvKind::weight_grad ? p.rows * p.k : s.batch * p.rows * volume(p.out);
  const int64_t terms = p.kind == ConvKind::weight_grad ? s.batch * volume(p.out) : p.k;
  if (result == 0 || terms == 0) return p;
  if (p.kind == ConvKind::weight_grad) {
    if (!plan_direct_weight(p)) plan_weight_grad(p);
  } else if (!plan_direct(p)) {
    plan_correlation(p);
  }
  return p;
}

}  // namespace

ConvPlan conv_prepare(ConvKind kind, const ConvShape& s) {
  check(s);
  ConvPlan p;
  p.shape = s;
  p.kind = kind;
  if (s.kernel[1] * s.kernel[2] * s.stride[1] * s.stride[2] == 1 && s.in[1] == s.out[1] &&
      s.in[2] == s.out[2]) {
    // A window of one: a plane is one long row.
    p.shape.in = p.shape.out = {s.in[0], 1, s.in[1] * s.in[2]};
    p.shape.out[0] = s.out[0];
  }
  return plan(p);
}

void conv_run(const ConvPlan& p, const void* a, const void* b, void* c, void* workspace,
              TileEpilogue epilogue) {
  const ConvShape& s = p.shape;
  if (p.tasks == 0) {
    // An empty sum: zeros, where there is a result at all.
    const int64_t size = p.kind == ConvKind::weight_grad
                             ? s.groups * p.rows * p.k
                             : s.batch * s.groups * p.rows * volume(p.out);
    std::fill_n(static_cast<std::byte*>(c), size * item_size(s.dtype), std::byte{0});
    if (epilogue && size > 0 && p.kind != ConvKind::weight_grad) {
      const int64_t channels = s.groups * p.rows, pixels = volume(p.out);
      for (int64_t i = 0; i < s.batch; ++i) {
        epilogue(static_cast<std::byte*>(c) + i * channels * pixels * item_size(s.dtype), i, 0,
                 channels, 0, pixels, pixels);
      }
    }
    return;
  }
  switch (s.dtype) {
    case DType::f32: return run_typed<float, float>(p, a, b, c, workspace, epilogue);
    case DType::f64: return run_typed<double, double>(p, a, b, c, workspace, epilogue);
    case DType::bf16: return run_typed<Bf16, float>(p, a, b, c, workspace, epilogue);
    default: return run_typed<F16, float>(p, a, b, c, workspace, epilogue);
  }
}

}  // namespace suan::cpu::SUAN_ISA
