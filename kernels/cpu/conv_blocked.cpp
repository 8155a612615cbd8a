// Convolution of channels in blocks of 16: vectors are channels in memory already, so that results are stored
// as they are summed and a window of one reads the image itself. A padded image is copied, box by box, into
// scratch with its border of zeros. Sums are those of conv, in the same order: see lib/conv.h.
#include <algorithm>
#include <limits>

#include "kernels/cpu/lib/conv_direct.h"
#include "kernels/cpu/lib/finish_vectors.h"
#include "kernels/cpu/lib/strided.h"
#include "ops/nn/windows.h"

namespace suan::cpu::SUAN_ISA {
namespace gemm_tiles {
namespace {

constexpr int64_t lane_block = 16;
constexpr int vectors_per_block = int(lane_block) / lanes<float>;
constexpr int blocks_per_panel = vectors_per_block == 1 ? 2 : 1;   // two vectors either way
constexpr int64_t panel_channels = blocks_per_panel * lane_block;

struct State {
  int64_t batch, in_blocks, out_blocks, groups;
  int64_t per;                       // inputs per group
  int64_t k;                         // per × taps
  int64_t pixel;                     // floats from one column of x to the next: 16, or 1 of a plain x
  int64_t in[2], out[2], kernel[2], stride[2], dilation[2], low[2];
  bool depthwise, padded;
  // A task: tile_lines × tile_cols positions, tile_panels panels of channels.
  int64_t tile_lines, tile_cols, tile_panels;
  int64_t line_tiles, col_tiles, panel_tiles;
  int64_t group_panels;              // of one group
  int64_t tasks;

  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t span(int d) const { return dilation[d] * (kernel[d] - 1) + 1; }
  int64_t in_plane() const { return in[0] * in[1] * pixel; }
  int64_t out_plane() const { return out[0] * out[1] * lane_block; }
  int64_t group_blocks() const { return out_blocks / groups; }
  int64_t block_channels() const {
    const int64_t most = most_channels(taps(), DType::f32);
    return ceil_div(per, ceil_div(per, most));
  }
  int64_t patch_width() const { return (tile_cols - 1) * stride[1] + span(1); }
  int64_t patch_height() const { return (tile_lines - 1) * stride[0] + span(0); }
  // Floats of the patch under a box: the blocks that `block_channels` channels touch.
  int64_t patch_size() const {
    const int64_t touched = pixel == 1 ? block_channels() : ceil_div(block_channels(), lane_block) + 1;
    return touched * patch_height() * patch_width() * pixel;
  }
};

// ---- the register kernel -------------------------------------------------------------------------------

// C[R positions, NV vectors of channels] = (C +) the sum over k of a[offsets[k] + step × position] × b (+ bias).
// The second half of the positions lies `second` behind the first in a, `c_second` in c.
struct Strip {
  const int64_t* offsets;
  int64_t kc;
  const float* a;
  int64_t step, second;
  const float* b;
  int64_t b_vector;        // from one vector of channels to the next
  float* c;
  int64_t c_vector, c_second;
  // In the last block of k alone:
  const float* bias;
  const Finish* finish;
  const float* other;      // added, as c
  bool add;                // to what c holds
  const float* ahead;      // weights that the next panel needs, asked for a line every k; null: none
};

// What a strip asks for while it multiplies: nothing, weights from `ahead`, or the positions that come after its own.
enum Asking { nothing, weights, positions };

template <int R, int NV, int Step, Asking Asks>
void multiply_strip(const Strip& s) {
  constexpr int half = (R + 1) / 2;
  const int64_t step = Step ? Step : s.step, kc = s.kc, b_vector = s.b_vector, second = s.second;
  const int64_t* offsets = s.offsets;
  const float *a = s.a, *b = s.b, *ahead = s.ahead;
  Vector<float> acc[R][NV] = {};
  for (int64_t k = 0; k < kc; ++k) {
    const float *at = a + offsets[k], *behind = at + second;
    Vector<float> bv[NV];
    for (int j = 0; j < NV; ++j) {
      bv[j] = load(b + j * b_vector);
    }
    b += lane_block;
    if constexpr (Asks == weights) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += lane_block;
    } else if constexpr (Asks == positions) {   // a line for each of the block's 16 channels
      __builtin_prefetch(at + (R + k % lane_block) * step, 0, 2);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vector<float> av = broadcast(i < half ? at[i * step] : behind[(i - half) * step]);
      for (int j = 0; j < NV; ++j) acc[i][j] = multiply_add<float>(av, bv[j], acc[i][j]);
    }
  }
  with_finish(s.finish, [&](auto kind) {
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) {   // unrolled, or the sums would pass through memory to be indexed
      float* c = s.c + j * s.c_vector;
      Vector<float> bias{};
      if (s.bias) bias = load(s.bias + j * lanes<float>);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const int64_t at = i < half ? i * lane_block : s.c_second + (i - half) * lane_block;
        Vector<float> v = acc[i][j];
        if (s.add) v = load(c + at) + v;
        if (s.bias) v = v + bias;
        if (s.other) v = v + load(s.other + j * s.c_vector + at);
        store(c + at, kind(v));
      }
    }
  });
}

using StripKernel = void (*)(const Strip&);
template <int Step, Asking Asks, int... I>
constexpr auto make_strips(std::integer_sequence<int, I...>) {
  return std::array<std::array<StripKernel, 2>, sizeof...(I)>{
      {{multiply_strip<I + 1, 1, Step, Asks>, multiply_strip<I + 1, 2, Step, Asks>}...}};
}
constexpr auto counts = std::make_integer_sequence<int, max_rows>{};
template <int Step>
constexpr std::array strips{make_strips<Step, nothing>(counts), make_strips<Step, weights>(counts),
                            make_strips<Step, Step == 16 ? positions : nothing>(counts)};

// Indexed by [what is asked for][positions - 1][vectors - 1].
const auto& strips_for(int64_t step) {
  switch (step) {
    case 16: return strips<16>;
    case 32: return strips<32>;
    default: return strips<0>;
  }
}

// ---- a box of positions --------------------------------------------------------------------------------

struct Box {
  int64_t image, y0, y1, x0, x1;
  int64_t lines() const { return y1 - y0; }
  int64_t cols() const { return x1 - x0; }
};

// The input under the box, planes [first, first + n) of blocks or channels, with zeros where the border is.
void fill_patch(const State& s, const Box& t, const float* image, int64_t first, int64_t n, float* to) {
  const int64_t p = s.pixel, height = (t.lines() - 1) * s.stride[0] + s.span(0);
  const int64_t width = (t.cols() - 1) * s.stride[1] + s.span(1);
  const int64_t y = t.y0 * s.stride[0] - s.low[0], x = t.x0 * s.stride[1] - s.low[1];
  const int64_t left = std::clamp<int64_t>(-x, 0, width), right = std::clamp(s.in[1] - x, left, width);
  for (int64_t b = first; b < first + n; ++b) {
    const float* plane = image + b * s.in_plane();
    for (int64_t h = y; h < y + height; ++h, to += width * p) {
      if (h < 0 || h >= s.in[0]) {
        std::fill_n(to, width * p, 0.f);
        continue;
      }
      std::fill_n(to, left * p, 0.f);
      std::copy_n(plane + (h * s.in[1] + x + left) * p, (right - left) * p, to + left * p);
      std::fill_n(to + right * p, (width - right) * p, 0.f);
    }
  }
}

void run_box(const State& s, const float* x, const float* weight, const float* bias, float* y, const Box& t,
             int64_t group, int64_t panel0, int64_t panels, TileEpilogue epilogue, const Finish* finish) {
  const int64_t taps = s.taps(), block = s.block_channels(), p = s.pixel;
  const int64_t first_channel = group * s.per;
  const float* image = x + t.image * s.in_blocks * s.in_plane();
  float* patch = reinterpret_cast<float*>(thread_scratch());
  const int64_t lines = t.lines(), cols = t.cols();
  const int64_t width = s.padded ? (cols - 1) * s.stride[1] + s.span(1) : s.in[1];
  const int64_t plane = s.padded ? ((lines - 1) * s.stride[0] + s.span(0)) * width * p : s.in_plane();
  const int64_t step = s.stride[1] * p, down = s.stride[0] * width * p;
  const auto& kernels = strips_for(step);
  const bool pairs = 2 * cols <= max_rows;
  const int64_t chunks = ceil_div(cols, max_rows);
  int64_t offsets[most_block_k];

  for (int64_t c0 = 0; c0 < s.per; c0 += block) {
    const int64_t channels = std::min(block, s.per - c0), kc = channels * taps;
    const int64_t first = (first_channel + c0) / p, last = (first_channel + c0 + channels - 1) / p;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t channel = first_channel + c0 + c, at = (channel / p - first) * plane + channel % p;
      for (int64_t tap = 0; tap < taps; ++tap)
        offsets[c * taps + tap] =
            at + (tap / s.kernel[1] * s.dilation[0] * width + tap % s.kernel[1] * s.dilation[1]) * p;
    }
    const float* a0;
    if (s.padded) {
      fill_patch(s, t, image, first, last - first + 1, patch);
      a0 = patch;
    } else {
      a0 = image + first * plane + (t.y0 * s.stride[0] * width + t.x0 * s.stride[1]) * p;
    }
    const bool whole = c0 + channels == s.per;
    for (int64_t panel = panel0; panel < panel0 + panels; ++panel) {
      const int64_t block0 = group * s.group_blocks() + panel * blocks_per_panel;
      const int64_t n = std::min<int64_t>(blocks_per_panel, (group + 1) * s.group_blocks() - block0);
      const int vectors = int(n) * vectors_per_block;
      float* c0_at = y + ((t.image * s.out_blocks + block0) * s.out[0] + t.y0) * s.out[1] * lane_block + t.x0 * lane_block;
      Strip strip;
      strip.offsets = offsets;
      strip.kc = kc;
      strip.step = step;
      strip.b = weight + (block0 * s.k + c0 * taps) * lane_block;
      strip.b_vector = blocks_per_panel == 2 ? s.k * lane_block : lanes<float>;
      strip.c_vector = blocks_per_panel == 2 ? s.out_plane() : lanes<float>;
      strip.bias = whole && bias ? bias + block0 * lane_block : nullptr;
      strip.finish = whole ? finish : nullptr;
      const float* other = strip.finish ? finish->add : nullptr;
      strip.add = c0 > 0;
      // The next panel's weights, or the first one's of the next channels.
      const float* next = strip.b + blocks_per_panel * s.k * lane_block;
      if (panel + 1 == panel0 + panels)
        next = weight + ((group * s.group_blocks() + panel0 * blocks_per_panel) * s.k + (c0 + channels) * taps) * lane_block;
      int64_t fetched = whole && panel + 1 == panel0 + panels ? blocks_per_panel : 0;
      // The first panel meets the image: of one long row it asks for what comes next, for weights at the end.
      int64_t left = taps == 1 && step == lane_block && panel == panel0 && lines == 1 ? chunks - blocks_per_panel : 0;
      const auto multiply = [&](int64_t n) {
        const Asking asks = left-- > 0 ? positions : fetched < blocks_per_panel ? weights : nothing;
        if (asks == weights) strip.ahead = next + fetched++ * s.k * lane_block;
        strip.other = other ? other + (strip.c - y) : nullptr;
        kernels[size_t(asks)][size_t(n - 1)][size_t(vectors - 1)](strip);
      };
      for (int64_t r = 0; r < lines; ++r) {
        const float* a = a0 + r * down;
        float* c = c0_at + r * s.out[1] * lane_block;
        if (pairs && r + 1 < lines) {
          strip.a = a;
          strip.second = down;
          strip.c = c;
          strip.c_second = s.out[1] * lane_block;
          multiply(2 * cols);
          ++r;
          continue;
        }
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          const int64_t at = cols * chunk / chunks, m = cols * (chunk + 1) / chunks - at, half = (m + 1) / 2;
          strip.a = a + at * step;
          strip.second = half * step;
          strip.c = c + at * lane_block;
          strip.c_second = half * lane_block;
          multiply(m);
        }
      }
      if (whole && epilogue)
        epilogue(c0_at, t.image, block0, n, (t.y0 * s.out[1] + t.x0) * lane_block,
                 ((lines - 1) * s.out[1] + cols) * lane_block, s.out_plane());
    }
  }
}

// ---- depthwise -----------------------------------------------------------------------------------------

// What the positions of one row have in common. Rows above and below the image point to zeros.
struct DepthwiseRow {
  const float* rows[64];
  const float* weight;
  const float* bias;
  const Finish* finish;
  const float* other;      // added, as `to`; null: nothing
  float* to;
};
constexpr int64_t most_kernel_rows = std::extent_v<decltype(DepthwiseRow::rows)>;

// R positions from x on. Windows may reach over the image's left and right border.
template <int R>
void depthwise_any(const State& s, const DepthwiseRow& d, int64_t x) {
  const int64_t step = s.stride[1], first = x * step - s.low[1];
  const bool inside = first >= 0 && first + (R - 1) * step + s.span(1) <= s.in[1];
  for (int64_t v = 0; v < lane_block; v += lanes<float>) {
    Vector<float> acc[R] = {};
    const float* w = d.weight + v;
    for (int64_t i = 0; i < s.kernel[0]; ++i)
      for (int64_t j = 0; j < s.kernel[1]; ++j, w += lane_block) {
        const Vector<float> wv = load(w);
        const int64_t at = first + j * s.dilation[1];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const int64_t col = at + r * step;
          const bool there = inside || (col >= 0 && col < s.in[1]);
          acc[r] = multiply_add<float>(there ? load(d.rows[i] + col * lane_block + v) : Vector<float>{}, wv, acc[r]);
        }
      }
    with_finish(d.finish, [&](auto kind) {
      for (int r = 0; r < R; ++r) {
        const int64_t at = (x + r) * lane_block + v;
        if (d.bias) acc[r] = acc[r] + load(d.bias + v);
        if (d.other) acc[r] = acc[r] + load(d.other + at);
        store(d.to + at, kind(acc[r]));
      }
    });
  }
}

// R positions of a 3×3 window. Its first column may lie left of the image at the first position (`left`), its last
// one right of it at the last.
template <int R, int Step>
void depthwise_3x3(const State& s, const DepthwiseRow& d, int64_t x, bool left, bool right) {
  for (int64_t v = 0; v < lane_block; v += lanes<float>) {
    Vector<float> acc[R] = {};
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) {
      const float* row = d.rows[i] + (x * Step - s.low[1]) * lane_block + v;
      Vector<float> in[Step * (R - 1) + 3];
      in[0] = left ? Vector<float>{} : load(row);
#pragma GCC unroll 32
      for (int c = 1; c < Step * (R - 1) + 2; ++c) in[c] = load(row + c * lane_block);
      in[Step * (R - 1) + 2] = right ? Vector<float>{} : load(row + (Step * (R - 1) + 2) * lane_block);
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) {
        const Vector<float> wv = load(d.weight + (3 * i + j) * lane_block + v);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[r] = multiply_add<float>(in[r * Step + j], wv, acc[r]);
      }
    }
    with_finish(d.finish, [&](auto kind) {
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const int64_t at = (x + r) * lane_block + v;
        if (d.bias) acc[r] = acc[r] + load(d.bias + v);
        if (d.other) acc[r] = acc[r] + load(d.other + at);
        store(d.to + at, kind(acc[r]));
      }
    });
  }
}

constexpr int most_3x3 = vector_bytes == 64 ? 8 : 4;   // registers: R sums, a row of inputs, a weight
using Depthwise3x3 = void (*)(const State&, const DepthwiseRow&, int64_t, bool, bool);
template <int Step, int... I>
constexpr auto make_3x3(std::integer_sequence<int, I...>) {
  return std::array<Depthwise3x3, sizeof...(I)>{depthwise_3x3<I + 1, Step>...};
}
// Indexed by [stride - 1][positions - 1].
constexpr std::array depthwise_3x3s{make_3x3<1>(std::make_integer_sequence<int, most_3x3>{}),
                                    make_3x3<2>(std::make_integer_sequence<int, most_3x3>{})};

void run_depthwise(const State& s, const float* x, const float* weight, const float* bias, float* y, const Box& t,
                   int64_t block, TileEpilogue epilogue, const Finish* finish) {
  const float* plane = x + (t.image * s.in_blocks + block) * s.in_plane();
  float* zeros = reinterpret_cast<float*>(thread_scratch());
  std::fill_n(zeros, s.in[1] * lane_block, 0.f);
  DepthwiseRow d;
  d.weight = weight + block * s.k * lane_block;
  d.bias = bias ? bias + block * lane_block : nullptr;
  d.finish = finish;
  const int64_t cols = s.out[1], step = s.stride[1];
  // How far the last window reaches over the border.
  const int64_t over = (cols - 1) * step - s.low[1] + 3 - s.in[1];
  const bool small = s.kernel[0] == 3 && s.kernel[1] == 3 && s.dilation[1] == 1 && step <= 2 && s.low[1] <= 1 && over <= 1;
  const int64_t chunks = ceil_div(cols, most_3x3);
  float* first = y + ((t.image * s.out_blocks + block) * s.out[0] + t.y0) * cols * lane_block;
  for (int64_t row = t.y0; row < t.y1; ++row) {
    for (int64_t i = 0; i < s.kernel[0]; ++i) {
      const int64_t at = row * s.stride[0] - s.low[0] + i * s.dilation[0];
      d.rows[i] = at >= 0 && at < s.in[0] ? plane + at * s.in[1] * lane_block : zeros;
    }
    d.to = first + (row - t.y0) * cols * lane_block;
    d.other = finish && finish->add ? finish->add + (d.to - y) : nullptr;
    if (small) {
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t p = cols * chunk / chunks, n = cols * (chunk + 1) / chunks - p;
        depthwise_3x3s[size_t(step - 1)][size_t(n - 1)](s, d, p, p == 0 && s.low[1] > 0, p + n == cols && over > 0);
      }
      continue;
    }
    int64_t p = 0;
    for (; p + 4 <= cols; p += 4) depthwise_any<4>(s, d, p);
    for (; p < cols; ++p) depthwise_any<1>(s, d, p);
  }
  if (epilogue)
    epilogue(first, t.image, block, 1, t.y0 * cols * lane_block, t.lines() * cols * lane_block, s.out_plane());
}

// ---- tasks ---------------------------------------------------------------------------------------------

void run_tasks(const void* state, const KernelArgs& a, const Finish* finish) {
  const State& s = *static_cast<const State*>(state);
  const TileEpilogue next = a.epilogue ? *a.epilogue : TileEpilogue{};
  const float *x = static_cast<const float*>(a.in[0]), *weight = static_cast<const float*>(a.in[1]);
  const float* bias = static_cast<const float*>(a.in[2]);
  float* y = static_cast<float*>(a.out[0]);
  parallel_for(s.tasks, [&](int64_t task) {
    const auto take = [&](int64_t n) {
      const int64_t i = task % n;
      task /= n;
      return i;
    };
    Box t;
    t.x0 = take(s.col_tiles) * s.tile_cols;
    t.y0 = take(s.line_tiles) * s.tile_lines;
    t.x1 = std::min(t.x0 + s.tile_cols, s.out[1]);
    t.y1 = std::min(t.y0 + s.tile_lines, s.out[0]);
    if (s.depthwise) {
      const int64_t block = take(s.in_blocks);
      t.image = task;
      return run_depthwise(s, x, weight, bias, y, t, block, next, finish);
    }
    t.image = take(s.batch);
    const int64_t panel0 = take(s.panel_tiles) * s.tile_panels;
    run_box(s, x, weight, bias, y, t, task, panel0, std::min(s.tile_panels, s.group_panels - panel0), next, finish);
  });
}

void run(const void* state, const KernelArgs& a) { run_tasks(state, a, nullptr); }

// Cuts the work into tasks. What counts: loading a panel of weights (shared by positions), the input (shared by
// channels), and how evenly few or many threads end.
void choose_tiles(State& s) {
  const bool flat = s.taps() == 1 && s.stride[0] * s.stride[1] == 1 && !s.padded;
  if (flat) {  // a plane is one long row
    s.in[1] = s.out[1] = s.in[0] * s.in[1];
    s.in[0] = s.out[0] = 1;
  }
  const double work = double(s.batch * s.groups * s.group_blocks() * lane_block) * double(s.k * s.out[0] * s.out[1]);
  const double most_tasks = std::max(1.0, work / double(task_work));
  double best = std::numeric_limits<double>::infinity();
  State tried = s;
  for (const int64_t positions : {448, 224, 126, 112, 98, 84, 56, 28, 14, 1}) {
    if (s.out[1] > positions) {
      tried.tile_lines = 1;
      tried.tile_cols = std::min(s.out[1], positions);
    } else {
      tried.tile_lines = std::min(s.out[0], std::max<int64_t>(1, positions / s.out[1]));
      if (2 * s.out[1] <= max_rows && tried.tile_lines > 1) tried.tile_lines -= tried.tile_lines % 2;
      tried.tile_cols = s.out[1];
    }
    tried.line_tiles = ceil_div(s.out[0], tried.tile_lines);
    tried.col_tiles = ceil_div(s.out[1], tried.tile_cols);
    if (s.padded && size_t(tried.patch_size()) * sizeof(float) > thread_scratch_bytes) continue;
    for (int64_t panels = s.group_panels;; panels = ceil_div(panels, 2)) {
      tried.tile_panels = panels;
      tried.panel_tiles = ceil_div(s.group_panels, panels);
      tried.tasks = s.batch * s.groups * tried.line_tiles * tried.col_tiles * tried.panel_tiles;
      const double tasks = double(tried.tasks);
      const double padding = s.padded ? double(tried.patch_size()) / double(tried.block_channels() * tried.tile_lines * tried.tile_cols) : 0;
      double cost = 4.0 / double(tried.tile_lines * tried.tile_cols) +
                    (2.0 + 2.0 * padding) / double(std::max<int64_t>(panels, 1) * panel_channels) / double(s.padded ? s.taps() : 1);
      const double per_task = work / tasks / double(task_work);
      if (per_task < 1) cost += 0.02 / per_task;
      for (const double threads : {2.0, 8.0}) {
        const double rounds = std::ceil(tasks / threads) * threads;
        cost += 0.5 / threads * (rounds / std::min(tasks, std::max(most_tasks, 1.0)) - 1.0);
      }
      if (cost < best) {
        best = cost;
        s.tile_lines = tried.tile_lines, s.tile_cols = tried.tile_cols, s.tile_panels = tried.tile_panels;
        s.line_tiles = tried.line_tiles, s.col_tiles = tried.col_tiles, s.panel_tiles = tried.panel_tiles;
        s.tasks = tried.tasks;
      }
      if (panels == 1) break;
    }
  }
}

void choose_depthwise_tiles(State& s) {
  const int64_t line = s.out[1] * lane_block * s.taps();
  s.tile_lines = std::clamp<int64_t>(task_work / 4 / std::max<int64_t>(line, 1), 1, s.out[0]);
  s.line_tiles = ceil_div(s.out[0], s.tile_lines);
  s.tile_lines = ceil_div(s.out[0], s.line_tiles);
  s.tile_cols = s.out[1];
  s.col_tiles = 1;
  s.tasks = s.batch * s.in_blocks * s.line_tiles;
}

State state_of(const KernelDesc& d) {
  const Shape &x = d.in[0]->layout.shape, &w = d.in[1]->layout.shape, &y = d.out[0]->layout.shape;
  const ops::Windows win = ops::windows(d.op.name, d.attrs.dims(0), d.attrs.dims(1), d.attrs.dims(2), d.attrs.dims(3));
  State s{};
  s.batch = x[0];
  s.in_blocks = x[1];
  s.out_blocks = w[0];
  s.groups = d.attrs.integer(4);
  s.pixel = x.size() == 5 ? lane_block : 1;
  s.k = w[1];
  for (int i = 0; i < 2; ++i) {
    s.in[i] = x[2 + i];
    s.out[i] = y[2 + i];
    s.kernel[i] = win.kernel[i];
    s.stride[i] = win.strides[i];
    s.dilation[i] = win.dilation[i];
    s.low[i] = win.padding[i];
    // Windows that touch the border, on either side.
    s.padded |= s.low[i] > 0 || (s.out[i] - 1) * s.stride[i] + s.span(i) > s.in[i];
  }
  // A picture of one column is one of one row, which lies in memory the same way: positions side by side fill registers.
  if (s.in[1] == 1 && s.out[1] == 1 && s.kernel[1] == 1 && s.low[1] == 0)
    for (int64_t* pair : {s.in, s.out, s.kernel, s.stride, s.dilation, s.low}) std::swap(pair[0], pair[1]);
  s.per = s.k / s.taps();
  s.depthwise = s.groups > 1 && s.per == 1;
  s.group_panels = ceil_div(s.group_blocks(), blocks_per_panel);
  return s;
}

}  // namespace
}  // namespace gemm_tiles

void conv_blocked_finished(const void* state, const KernelArgs& a, const Finish& finish) {
  gemm_tiles::run_tasks(state, a, &finish);
}

Kernel kernel_conv_blocked() {
  using namespace gemm_tiles;
  Kernel k;
  k.supports = [](const KernelDesc& d) {
    if (d.in[0]->dtype != DType::f32) return false;
    State s = state_of(d);
    if (s.depthwise) return s.kernel[0] <= most_kernel_rows && size_t(s.in[1] * lane_block) * sizeof(float) <= thread_scratch_bytes;
    if (s.taps() > most_block_k) return false;
    s.tile_lines = 1;
    s.tile_cols = std::min<int64_t>(s.out[1], 14);
    return !s.padded || size_t(s.patch_size()) * sizeof(float) <= thread_scratch_bytes;
  };
  k.prepare = [](const KernelDesc& d) {
    auto s = std::make_shared<State>(state_of(d));
    if (numel(d.out[0]->layout.shape) > 0) s->depthwise ? choose_depthwise_tiles(*s) : choose_tiles(*s);
    const int64_t row = s->out_plane();
    return Prepared{run, std::move(s), 0, row};
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
