// Convolution of bf16 whose channels lie in blocks of 16. Two neighbouring channels are one 32-bit number in memory
// already, which vdpbf16ps takes whole: half the steps of conv_blocked, from half the bytes. Sums stay in float32
// registers from the first channel to the last, so that a result is rounded once. A padded image is copied, box by box,
// into scratch with its border of zeros; so is a plain image, whose channels become pairs there. Depthwise convolutions
// multiply in float32 what they read. Only for processors where pairs are fast: elsewhere the definition runs.
#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cpu/lib/conv_direct.h"
#include "kernels/cpu/lib/pairs.h"
#include "ops/nn/windows.h"

namespace suan::cpu::SUAN_ISA {

#ifdef __AVX512F__

namespace gemm_tiles {
namespace {

struct State {
  int64_t batch, in_blocks, out_blocks, groups;
  int64_t channels;                  // of a plain x
  int64_t pairs;                     // of inputs per group
  int64_t k;                         // pairs × taps
  int64_t pixel;                     // pairs from one column to the next: 8, or all of a plain x
  int64_t in[2], out[2], kernel[2], stride[2], dilation[2], low[2];
  bool depthwise, plain, padded;
  // A task: tile_lines × tile_cols positions, tile_panels panels of channels.
  int64_t tile_lines, tile_cols, tile_panels;
  int64_t line_tiles, col_tiles, panel_tiles;
  int64_t group_panels;              // of one group
  int64_t tasks;
  std::vector<int32_t> offsets;      // of each k from a position's first pair

  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t span(int d) const { return dilation[d] * (kernel[d] - 1) + 1; }
  int64_t in_plane() const { return in[0] * in[1] * pixel; }
  int64_t out_plane() const { return out[0] * out[1] * lane_block; }
  int64_t group_blocks() const { return out_blocks / groups; }
  int64_t read_blocks() const { return plain ? 1 : ceil_div(pairs, block_pairs); }   // of one group
  int64_t patch_width() const { return (tile_cols - 1) * stride[1] + span(1); }
  int64_t patch_height() const { return (tile_lines - 1) * stride[0] + span(0); }
  // What a strip reads: a patch, or the image itself.
  int64_t width() const { return padded ? patch_width() : in[1]; }
  int64_t plane() const { return padded ? patch_height() * patch_width() * pixel : in_plane(); }
  size_t patch_bytes() const { return size_t(read_blocks() * patch_height() * patch_width() * pixel) * sizeof(Pair); }
};

// ---- a box of positions --------------------------------------------------------------------------------

struct Box {
  int64_t image, y0, y1, x0, x1;
  int64_t lines() const { return y1 - y0; }
  int64_t cols() const { return x1 - x0; }
};

// Columns [from, from + n) of one line as pairs: two channels side by side, the last one perhaps alone.
void join_channels(const State& s, const uint16_t* image, int64_t line, int64_t from, int64_t n, Pair* to) {
  const int64_t plane = s.in[0] * s.in[1];
  for (int64_t p = 0; p < s.pixel; ++p) {
    const uint16_t* first = image + 2 * p * plane + line * s.in[1] + from;
    if (2 * p + 1 < s.channels) {
      const uint16_t* next = first + plane;
      for (int64_t i = 0; i < n; ++i) to[i * s.pixel + p] = {uint32_t{next[i]} << 16 | first[i]};
    } else {
      for (int64_t i = 0; i < n; ++i) to[i * s.pixel + p] = {first[i]};
    }
  }
}

// The input under the box, blocks from `first` on, with zeros where the border is.
void fill_patch(const State& s, const Box& t, const uint16_t* image, int64_t first, Pair* patch) {
  const int64_t p = s.pixel, height = (t.lines() - 1) * s.stride[0] + s.span(0);
  const int64_t width = (t.cols() - 1) * s.stride[1] + s.span(1), full = s.patch_width();
  const int64_t y = t.y0 * s.stride[0] - s.low[0], x = t.x0 * s.stride[1] - s.low[1];
  const int64_t left = std::clamp<int64_t>(-x, 0, width), right = std::clamp(s.in[1] - x, left, width);
  for (int64_t b = 0; b < s.read_blocks(); ++b) {
    Pair* to = patch + b * s.plane();
    const Pair* plane = reinterpret_cast<const Pair*>(image) + (first + b) * s.in_plane();
    for (int64_t h = y; h < y + height; ++h, to += full * p) {
      if (h < 0 || h >= s.in[0]) {
        std::fill_n(to, width * p, Pair{});
        continue;
      }
      std::fill_n(to, left * p, Pair{});
      if (s.plain) join_channels(s, image, h, x + left, right - left, to + left * p);
      else std::copy_n(plane + (h * s.in[1] + x + left) * p, (right - left) * p, to + left * p);
      std::fill_n(to + right * p, (width - right) * p, Pair{});
    }
  }
}

struct Run {
  const uint16_t *x, *weight;
  const float* bias;
  uint16_t* y;
  const Finish* finish;
  TileEpilogue epilogue;
};

void run_box(const State& s, const Run& r, const Box& t, int64_t group, int64_t panel0, int64_t panels) {
  const int64_t first = group * s.read_blocks(), lines = t.lines(), cols = t.cols();
  const uint16_t* image = r.x + t.image * (s.plain ? s.channels * s.in[0] * s.in[1] : s.in_blocks * s.in_plane() * 2);
  const int64_t step = s.stride[1] * s.pixel, down = s.stride[0] * s.width() * s.pixel;
  const Pair* weight = reinterpret_cast<const Pair*>(r.weight);
  const Pair* a0;
  if (s.padded) {
    Pair* patch = reinterpret_cast<Pair*>(thread_scratch());
    fill_patch(s, t, image, first, patch);
    a0 = patch;
  } else {
    a0 = reinterpret_cast<const Pair*>(image) + first * s.plane() +
         (t.y0 * s.stride[0] * s.width() + t.x0 * s.stride[1]) * s.pixel;
  }
  const auto& kernels = strips_for(step);
  const bool twice = 2 * cols <= max_rows;
  const int64_t chunks = ceil_div(cols, max_rows);
  Strip strip;
  strip.offsets = s.offsets.data();
  strip.kc = s.k;
  strip.step = step;
  strip.b_block = s.k * lane_block;
  strip.c_block = s.out_plane();
  strip.c_step = lane_block;
  strip.finish = r.finish;
  const Bits other = r.finish ? r.finish->add_bf16 : nullptr;
  for (int64_t panel = panel0; panel < panel0 + panels; ++panel) {
    const int64_t block0 = group * s.group_blocks() + panel * panel_blocks;
    const int64_t n = std::min<int64_t>(panel_blocks, (group + 1) * s.group_blocks() - block0);
    uint16_t* c0 = r.y + ((t.image * s.out_blocks + block0) * s.out[0] + t.y0) * s.out[1] * lane_block + t.x0 * lane_block;
    strip.b = weight + block0 * s.k * lane_block;
    strip.bias = r.bias ? r.bias + block0 * lane_block : nullptr;
    int64_t fetched = panel + 1 == panel0 + panels ? panel_blocks : 0;
    // The first panel meets the image: of one long row it asks for what comes next, for weights at the end.
    int64_t left = s.taps() == 1 && step == block_pairs && panel == panel0 && lines == 1 ? chunks - panel_blocks : 0;
    const auto multiply = [&](int64_t m) {
      const Asking asks = left-- > 0 ? positions : fetched < panel_blocks ? weights : nothing;
      if (asks == weights) strip.ahead = strip.b + (panel_blocks + fetched++) * s.k * lane_block;
      strip.other = other ? other + (strip.c - r.y) : nullptr;
      kernels[size_t(asks)][size_t(m - 1)][size_t(n - 1)](strip);
    };
    for (int64_t row = 0; row < lines; ++row) {
      const Pair* a = a0 + row * down;
      uint16_t* c = c0 + row * s.out[1] * lane_block;
      if (twice && row + 1 < lines) {
        strip.a = a;
        strip.second = down;
        strip.c = c;
        strip.c_second = s.out[1] * lane_block;
        multiply(2 * cols);
        ++row;
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
    if (r.epilogue)
      r.epilogue(c0, t.image, block0, n, (t.y0 * s.out[1] + t.x0) * lane_block,
                 ((lines - 1) * s.out[1] + cols) * lane_block, s.out_plane());
  }
}

// ---- depthwise -----------------------------------------------------------------------------------------

// What the positions of one row have in common. Rows above and below the image point to zeros.
struct DepthwiseRow {
  const uint16_t* rows[64];
  const uint16_t* weight;
  Vector<float> bias;
  const Finish* finish;
  Bits other;              // added, as `to`; null: nothing
  uint16_t* to;
};
constexpr int64_t most_kernel_rows = std::extent_v<decltype(DepthwiseRow::rows)>;

// R positions from x on. Windows may reach over the image's left and right border.
template <int R>
void depthwise_any(const State& s, const DepthwiseRow& d, int64_t x) {
  const int64_t step = s.stride[1], first = x * step - s.low[1];
  const bool inside = first >= 0 && first + (R - 1) * step + s.span(1) <= s.in[1];
  Vector<float> acc[R] = {};
  const uint16_t* w = d.weight;
  for (int64_t i = 0; i < s.kernel[0]; ++i)
    for (int64_t j = 0; j < s.kernel[1]; ++j, w += lane_block) {
      const Vector<float> wv = load_wide(w);
      const int64_t at = first + j * s.dilation[1];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const int64_t col = at + r * step;
        const bool there = inside || (col >= 0 && col < s.in[1]);
        acc[r] = multiply_add<float>(there ? load_wide(d.rows[i] + col * lane_block) : Vector<float>{}, wv, acc[r]);
      }
    }
  with_finish(d.finish, [&](auto kind) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const int64_t at = (x + r) * lane_block;
      store_finished(d.to + at, acc[r] + d.bias, d.other ? d.other + at : nullptr, kind);
    }
  });
}

// R positions of a 3×3 window. Its first column may lie left of the image at the first position (`left`), its last
// one right of it at the last.
template <int R, int Step>
void depthwise_3x3(const State& s, const DepthwiseRow& d, int64_t x, bool left, bool right) {
  Vector<float> acc[R] = {};
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    const uint16_t* row = d.rows[i] + (x * Step - s.low[1]) * lane_block;
    Vector<float> in[Step * (R - 1) + 3];
    in[0] = left ? Vector<float>{} : load_wide(row);
#pragma GCC unroll 32
    for (int c = 1; c < Step * (R - 1) + 2; ++c) in[c] = load_wide(row + c * lane_block);
    in[Step * (R - 1) + 2] = right ? Vector<float>{} : load_wide(row + (Step * (R - 1) + 2) * lane_block);
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) {
      const Vector<float> wv = load_wide(d.weight + (3 * i + j) * lane_block);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r] = multiply_add<float>(in[r * Step + j], wv, acc[r]);
    }
  }
  with_finish(d.finish, [&](auto kind) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const int64_t at = (x + r) * lane_block;
      store_finished(d.to + at, acc[r] + d.bias, d.other ? d.other + at : nullptr, kind);
    }
  });
}

constexpr int most_3x3 = 8;   // registers: R sums, a row of inputs, a weight
using Depthwise3x3 = void (*)(const State&, const DepthwiseRow&, int64_t, bool, bool);
template <int Step, int... I>
constexpr auto make_3x3(std::integer_sequence<int, I...>) {
  return std::array<Depthwise3x3, sizeof...(I)>{depthwise_3x3<I + 1, Step>...};
}
// Indexed by [stride - 1][positions - 1].
constexpr std::array depthwise_3x3s{make_3x3<1>(std::make_integer_sequence<int, most_3x3>{}),
                                    make_3x3<2>(std::make_integer_sequence<int, most_3x3>{})};

void run_depthwise(const State& s, const Run& r, const Box& t, int64_t block) {
  const int64_t line = s.in[1] * lane_block;
  const uint16_t* plane = r.x + (t.image * s.in_blocks + block) * s.in[0] * line;
  uint16_t* zeros = reinterpret_cast<uint16_t*>(thread_scratch());
  std::fill_n(zeros, line, uint16_t{0});
  DepthwiseRow d;
  d.weight = r.weight + block * s.taps() * lane_block;
  d.bias = r.bias ? load(r.bias + block * lane_block) : Vector<float>{};
  d.finish = r.finish;
  const int64_t cols = s.out[1], step = s.stride[1];
  // How far the last window reaches over the border.
  const int64_t over = (cols - 1) * step - s.low[1] + 3 - s.in[1];
  const bool small = s.kernel[0] == 3 && s.kernel[1] == 3 && s.dilation[1] == 1 && step <= 2 && s.low[1] <= 1 && over <= 1;
  const int64_t chunks = ceil_div(cols, most_3x3);
  uint16_t* first = r.y + ((t.image * s.out_blocks + block) * s.out[0] + t.y0) * cols * lane_block;
  for (int64_t row = t.y0; row < t.y1; ++row) {
    for (int64_t i = 0; i < s.kernel[0]; ++i) {
      const int64_t at = row * s.stride[0] - s.low[0] + i * s.dilation[0];
      d.rows[i] = at >= 0 && at < s.in[0] ? plane + at * line : zeros;
    }
    d.to = first + (row - t.y0) * cols * lane_block;
    d.other = r.finish && r.finish->add_bf16 ? r.finish->add_bf16 + (d.to - r.y) : nullptr;
    if (small) {
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t p = cols * chunk / chunks, n = cols * (chunk + 1) / chunks - p;
        depthwise_3x3s[size_t(step - 1)][size_t(n - 1)](s, d, p, p == 0 && s.low[1] > 0, p + n == cols && over > 0);
      }
      continue;
    }
    int64_t p = 0;
    for (; p + 8 <= cols; p += 8) depthwise_any<8>(s, d, p);
    for (; p + 4 <= cols; p += 4) depthwise_any<4>(s, d, p);
    for (; p < cols; ++p) depthwise_any<1>(s, d, p);
  }
  if (r.epilogue)
    r.epilogue(first, t.image, block, 1, t.y0 * cols * lane_block, t.lines() * cols * lane_block, s.out_plane());
}

// ---- tasks ---------------------------------------------------------------------------------------------

void run_tasks(const void* state, const KernelArgs& a, const Finish* finish) {
  const State& s = *static_cast<const State*>(state);
  const Run r{static_cast<const uint16_t*>(a.in[0]),
              static_cast<const uint16_t*>(a.in[1]),
              static_cast<const float*>(a.in[2]),
              static_cast<uint16_t*>(a.out[0]),
              finish,
              a.epilogue ? *a.epilogue : TileEpilogue{}};
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
      return run_depthwise(s, r, t, block);
    }
    t.image = take(s.batch);
    const int64_t panel0 = take(s.panel_tiles) * s.tile_panels;
    run_box(s, r, t, task, panel0, std::min(s.tile_panels, s.group_panels - panel0));
  });
}

void run(const void* state, const KernelArgs& a) { run_tasks(state, a, nullptr); }

// Cuts the work into tasks. What counts: loading a panel of weights (shared by positions), the input (shared by
// channels), and how evenly few or many threads end. False where no patch fits.
bool choose_tiles(State& s) {
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
      if (2 * s.out[1] <= max_rows && tried.tile_lines > 1 && tried.tile_lines < s.out[0]) tried.tile_lines -= tried.tile_lines % 2;
      tried.tile_cols = s.out[1];
    }
    tried.line_tiles = ceil_div(s.out[0], tried.tile_lines);
    tried.col_tiles = ceil_div(s.out[1], tried.tile_cols);
    if (s.padded && tried.patch_bytes() > thread_scratch_bytes) continue;
    for (int64_t panels = s.group_panels;; panels = ceil_div(panels, 2)) {
      tried.tile_panels = panels;
      tried.panel_tiles = ceil_div(s.group_panels, panels);
      tried.tasks = s.batch * s.groups * tried.line_tiles * tried.col_tiles * tried.panel_tiles;
      const double tasks = double(tried.tasks);
      const double pixels = double(s.read_blocks() * s.pixel * tried.tile_lines * tried.tile_cols);
      const double padding = s.padded ? double(tried.patch_bytes() / sizeof(Pair)) / pixels : 0;
      double cost = 4.0 / double(tried.tile_lines * tried.tile_cols) +
                    (2.0 + 2.0 * padding) / double(std::max<int64_t>(panels, 1) * panel_blocks * lane_block) /
                        double(s.padded ? s.taps() : 1);
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
  return best < std::numeric_limits<double>::infinity();
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

// k runs over pairs, then taps.
void lay_offsets(State& s) {
  s.offsets.reserve(size_t(s.k));
  for (int64_t pair = 0; pair < s.pairs; ++pair)
    for (int64_t tap = 0; tap < s.taps(); ++tap)
      s.offsets.push_back(int32_t(
          pair / s.pixel * s.plane() + pair % s.pixel +
          (tap / s.kernel[1] * s.dilation[0] * s.width() + tap % s.kernel[1] * s.dilation[1]) * s.pixel));
}

State state_of(const KernelDesc& d) {
  const Shape &x = d.in[0]->layout.shape, &w = d.in[1]->layout.shape, &y = d.out[0]->layout.shape;
  const ops::Windows win = ops::windows(d.op.name, d.attrs.dims(0), d.attrs.dims(1), d.attrs.dims(2), d.attrs.dims(3));
  State s{};
  s.batch = x[0];
  s.plain = x.size() == 4;
  s.in_blocks = s.channels = x[1];
  s.out_blocks = w[0];
  s.groups = d.attrs.integer(4);
  s.depthwise = w[3] == 1;
  s.k = w[1];
  s.padded = s.plain;
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
  s.pairs = s.k / s.taps();
  s.pixel = s.plain ? s.pairs : block_pairs;
  s.group_panels = ceil_div(s.group_blocks(), panel_blocks);
  return s;
}

}  // namespace
}  // namespace gemm_tiles

void conv_pairs_finished(const void* state, const KernelArgs& a, const Finish& finish) {
  gemm_tiles::run_tasks(state, a, &finish);
}

Kernel kernel_conv_pairs() {
  using namespace gemm_tiles;
  Kernel k;
  k.supports = [](const KernelDesc& d) {
    if (!fast_pairs()) return false;
    State s = state_of(d);
    if (s.depthwise) return s.kernel[0] <= most_kernel_rows && size_t(2 * s.in[1] * lane_block) <= thread_scratch_bytes;
    const int64_t image = s.in_blocks * s.in[0] * s.in[1] * block_pairs;
    constexpr int64_t most_k = 1 << 16;
    return s.k <= most_k && image < std::numeric_limits<int32_t>::max() &&
           (numel(d.out[0]->layout.shape) == 0 || choose_tiles(s));
  };
  k.prepare = [](const KernelDesc& d) {
    auto s = std::make_shared<State>(state_of(d));
    const int64_t row = s->out_plane();
    if (numel(d.out[0]->layout.shape) > 0) {
      if (s->depthwise) {
        choose_depthwise_tiles(*s);
      } else {
        choose_tiles(*s);
        lay_offsets(*s);
      }
    }
    return Prepared{run, std::move(s), 0, row};
  };
  return k;
}

#else

void conv_pairs_finished(const void*, const KernelArgs&, const Finish&) {}   // of no kernel

Kernel kernel_conv_pairs() {
  Kernel k;
  k.supports = [](const KernelDesc&) { return false; };
  k.prepare = [](const KernelDesc&) { return Prepared{}; };
  return k;
}

#endif

}  // namespace suan::cpu::SUAN_ISA
