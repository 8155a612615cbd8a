// conv_winograd over bfloat16: tiles are transformed in float32, their numbers rounded to bf16 and multiplied in pairs by
// vdpbf16ps, sums transformed back in float32 and rounded once more. Steps and tasks are conv_winograd's. Only for
// processors where pairs are fast: elsewhere the definition runs.
#include <algorithm>
#include <array>

#include "core/pool.h"
#include "kernels/cpu/lib/conv_direct.h"
#include "kernels/cpu/lib/pairs.h"
#include "ops/nn/windows.h"

namespace suan::cpu::SUAN_ISA {

#ifdef __AVX512F__

namespace gemm_tiles {
namespace {

constexpr int most_panel = 4;   // blocks of outputs a product makes at a time
constexpr int64_t phased_bytes = 16 << 20;
constexpr int64_t few_weights = 5 << 18;   // bytes

struct State {
  int64_t batch, in_blocks, out_blocks, k;   // k: pairs of channels in
  int64_t in[2], out[2], low[2];
  int64_t numbers, tile;                     // of a tile; its side
  int64_t rows, cols;                        // tiles of an image
  int64_t tiles;                             // of all images
  int64_t group;                             // most tiles that are worked on together
  int64_t groups;
  bool fused;

  int64_t k_blocks() const { return ceil_div(k, block_pairs); }
  // Values from one number of the tiles to the next: an odd number of lines, so that they do not share sets.
  int64_t in_plane() const { return (ceil_div(k_blocks() * group, 2) | 1) * 2 * lane_block; }
  int64_t out_plane() const { return (out_blocks * group | 1) * lane_block; }
  int64_t bytes() const { return numbers * (2 * in_plane() + 4 * out_plane()); }
};

struct Run {
  const State& s;
  const uint16_t* x;
  const Pair* weight;
  const float* bias;
  uint16_t* y;
  const Finish* finish;
  TileEpilogue epilogue;
};

// Tiles [first, first + n) of a group, in memory for `s.group`.
struct Group {
  int64_t first, n;
  uint16_t* in;      // [numbers, blocks, tiles, 16]
  float* out;        // the same
};

struct Tile {
  int64_t image, row, col;
  Tile(const State& s, int64_t t) : image(t / (s.rows * s.cols)), row(t / s.cols % s.rows), col(t % s.cols) {}
};

// ---- tiles of the image -> numbers -------------------------------------------------------------------------

template <size_t N>
using Vectors = std::array<Vector<float>, N>;

inline Vectors<4> numbers_in(const Vectors<4>& d) { return {d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]}; }

inline Vectors<6> numbers_in(const Vectors<6>& d) {
  const Vector<float> large = broadcast(2.5f), two = broadcast(2.f), half = broadcast(.5f);
  const Vector<float> a = broadcast(0.70710678f), b = broadcast(1.41421356f);
  const auto minus = [](Vector<float> x, Vector<float> c, Vector<float> y) { return multiply_add<float>(-x, c, y); };   // y - c x
  const Vector<float> even_a = minus(d[2], two, d[4]), odd_a = minus(d[1], two, d[3]);
  const Vector<float> even_b = minus(d[2], half, d[4]), odd_b = minus(d[1], half, d[3]);
  return {minus(d[2], large, d[0] + d[4]), multiply_add<float>(a, odd_a, even_a), minus(odd_a, a, even_a),
          multiply_add<float>(b, odd_b, even_b), minus(odd_b, b, even_b), minus(d[3], large, d[1] + d[5])};
}

alignas(64) constexpr uint16_t zeros[lane_block] = {};

// N×N inputs at `from`, of which rows and columns [low, high) are in the image.
template <size_t N, bool Inside>
void transform_tile(const uint16_t* from, int64_t line, const int64_t* low, const int64_t* high, uint16_t* to, int64_t plane) {
  Vectors<N> half[N];   // [column]
#pragma GCC unroll 6
  for (size_t j = 0; j < N; ++j) {
    Vectors<N> d;
#pragma GCC unroll 6
    for (size_t i = 0; i < N; ++i) {
      const int64_t y = int64_t(i), x = int64_t(j);
      const bool there = Inside || (y >= low[0] && y < high[0] && x >= low[1] && x < high[1]);
      d[i] = load_wide(there ? from + y * line + x * lane_block : zeros);
    }
    half[j] = numbers_in(d);
  }
  for (size_t i = 0; i < N; ++i) {
    Vectors<N> row;
#pragma GCC unroll 6
    for (size_t j = 0; j < N; ++j) row[j] = half[j][i];
    row = numbers_in(row);
#pragma GCC unroll 6
    for (size_t j = 0; j < N; ++j) {
      const Narrow number = rounded(row[j]);
      std::memcpy(to + int64_t(i * N + j) * plane, &number, sizeof number);
    }
  }
}

// Items [begin, end) of blocks × tiles.
template <size_t N>
void transform_in(const Run& r, const Group& g, int64_t begin, int64_t end) {
  constexpr int64_t side = int64_t(N), tile = side - 2;
  const State& s = r.s;
  const int64_t line = s.in[1] * lane_block, plane = s.in_plane();
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block = item / g.n, at = item % g.n;
    const Tile t(s, g.first + at);
    const int64_t y = t.row * tile - s.low[0], x = t.col * tile - s.low[1];
    const uint16_t* image = r.x + (t.image * s.in_blocks + block) * s.in[0] * line;
    uint16_t* to = g.in + (block * s.group + at) * lane_block;
    const int64_t low[] = {-y, -x}, high[] = {s.in[0] - y, s.in[1] - x};
    const bool inside = y >= 0 && x >= 0 && high[0] >= side && high[1] >= side;
    const uint16_t* from = image + y * line + x * lane_block;
    if (inside) transform_tile<N, true>(from, line, low, high, to, plane);
    else transform_tile<N, false>(from, line, low, high, to, plane);
  }
}

// ---- products ----------------------------------------------------------------------------------------------

// c[R tiles, NV vectors of channels] = the sum over k of a[tile, k] × b[k].
struct Product {
  const Pair* a;
  int64_t a_block;    // from one block of channels to the next
  const Pair* b;
  int64_t b_block, k;
  float* c;
  int64_t c_block;
  const Pair* ahead;   // weights that come next, asked for two lines every k; null: none
};

template <int R, int NV, bool Ahead>
void multiply(const Product& p) {
  Vector<float> acc[R][NV] = {};
  const Pair *b = p.b, *ahead = p.ahead;
  for (int64_t k0 = 0; k0 < p.k; k0 += block_pairs) {
    const Pair* a = p.a + k0 / block_pairs * p.a_block;
    const Pair* end = a + std::min(block_pairs, p.k - k0);
    for (; a < end; ++a, b += lane_block) {
      Vector<Pair> bv[NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) bv[j] = load(b + j * p.b_block);
      if constexpr (Ahead) {
        __builtin_prefetch(ahead, 0, 2);
        __builtin_prefetch(ahead + lane_block, 0, 2);
        ahead += 2 * lane_block;
      }
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const Vector<Pair> av = broadcast(a[i * block_pairs]);
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) acc[i][j] = multiply_add<Pair>(av, bv[j], acc[i][j]);
      }
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < NV; ++j)
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) store(p.c + i * lane_block + j * p.c_block, acc[i][j]);
}

using Multiply = void (*)(const Product&);
template <int NV, bool Ahead, int... I>
constexpr auto make_multiplies(std::integer_sequence<int, I...>) {
  return std::array<Multiply, 12>{multiply<I + 1, NV, Ahead>...};
}
struct Multiplies {
  int rows;
  std::array<std::array<Multiply, 12>, 2> of;   // [with `ahead`][tiles - 1]
};
template <int NV, int Rows>
constexpr Multiplies multiplies_of{Rows, {make_multiplies<NV, false>(std::make_integer_sequence<int, Rows>{}),
                                          make_multiplies<NV, true>(std::make_integer_sequence<int, Rows>{})}};
// [blocks - 1]. Wide rather than tall: a broadcast is a load, and loads are what neighbours on the core contend for.
constexpr std::array<Multiplies, size_t(most_panel)> multiplies =
    {multiplies_of<1, 12>, multiplies_of<2, 12>, multiplies_of<3, 8>, multiplies_of<4, 6>};

int64_t panels_of(const State& s) { return ceil_div(s.out_blocks, most_panel); }

void multiply_panels(const Run& r, const Group& g, int64_t number, int64_t begin, int64_t end) {
  const State& s = r.s;
  const int64_t panels = panels_of(s);
  for (int64_t panel = begin; panel < end; ++panel) {
    const int64_t block = s.out_blocks * panel / panels, blocks = s.out_blocks * (panel + 1) / panels - block;
    const Multiplies& kernels = multiplies[size_t(blocks - 1)];
    const int64_t chunks = ceil_div(g.n, kernels.rows);
    Product p;
    p.k = s.k;
    p.a_block = s.group * block_pairs;
    p.b = r.weight + (number * s.out_blocks + block) * s.k * lane_block;
    p.b_block = s.k * lane_block;
    p.c_block = s.group * lane_block;
    // Lines of the next panel, which lie behind this one's. Few weights stay in cache anyway.
    int64_t wanted = s.fused || panel + 1 == end ? 0 : (s.out_blocks * (panel + 2) / panels - block - blocks) * s.k;
    p.ahead = p.b + blocks * p.b_block;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t at = g.n * chunk / chunks, n = g.n * (chunk + 1) / chunks - at;
      p.a = reinterpret_cast<const Pair*>(g.in + number * s.in_plane()) + at * block_pairs;
      p.c = g.out + number * s.out_plane() + (block * s.group + at) * lane_block;
      const bool asks = wanted >= 2 * s.k;
      kernels.of[asks][size_t(n - 1)](p);
      if (!asks) continue;
      wanted -= 2 * s.k;
      p.ahead += 2 * s.k * lane_block;
    }
  }
}

// ---- sums -> results ---------------------------------------------------------------------------------------

inline Vectors<2> results_of(const Vectors<4>& m) { return {m[0] + m[1] + m[2], m[1] - m[2] + m[3]}; }

inline Vectors<4> results_of(const Vectors<6>& m) {
  const Vector<float> two = broadcast(2.f), half = broadcast(.5f), a = broadcast(0.70710678f), b = broadcast(1.41421356f);
  const Vector<float> a3 = broadcast(0.35355339f), b3 = broadcast(2.82842712f);
  const Vector<float> even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
  return {m[0] + even_a + even_b, multiply_add<float>(a, odd_a, b * odd_b), multiply_add<float>(half, even_a, two * even_b),
          multiply_add<float>(a3, odd_a, multiply_add<float>(b3, odd_b, m[5]))};
}

template <size_t N>
void transform_out(const Run& r, const Group& g, int64_t begin, int64_t end) {
  constexpr size_t side = N - 2;
  constexpr int64_t tile = int64_t(side);
  const State& s = r.s;
  const int64_t line = s.out[1] * lane_block, plane = s.out_plane();
  with_finish(r.finish, [&](auto kind) __attribute__((always_inline)) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t block = item / g.n, at = item % g.n;
      const Tile t(s, g.first + at);
      const int64_t y = t.row * tile, x = t.col * tile;
      const int64_t height = std::min(tile, s.out[0] - y), width = std::min(tile, s.out[1] - x);
      const float* from = g.out + (block * s.group + at) * lane_block;
      uint16_t* to = r.y + ((t.image * s.out_blocks + block) * s.out[0] + y) * line + x * lane_block;
      Bits other = r.finish && r.finish->add_bf16 ? r.finish->add_bf16 + (to - r.y) : nullptr;
      Vectors<side> half[N];   // [column]
#pragma GCC unroll 6
      for (size_t j = 0; j < N; ++j) {
        Vectors<N> m;
#pragma GCC unroll 6
        for (size_t i = 0; i < N; ++i) m[i] = load(from + int64_t(i * N + j) * plane);
        half[j] = results_of(m);
      }
      const Vector<float> bias = r.bias ? load(r.bias + block * lane_block) : Vector<float>{};
#pragma GCC unroll 4
      for (size_t i = 0; i < side; ++i) {
        Vectors<N> m;
#pragma GCC unroll 6
        for (size_t j = 0; j < N; ++j) m[j] = half[j][i];
        const Vectors<side> row = results_of(m);
        if (int64_t(i) >= height) continue;
#pragma GCC unroll 4
        for (size_t j = 0; j < side; ++j) {
          if (int64_t(j) >= width) continue;
          const int64_t offset = int64_t(i) * line + int64_t(j) * lane_block;
          store_finished(to + offset, row[j] + bias, other ? other + offset : nullptr, kind);
        }
      }
      if (r.epilogue)
        for (int64_t i = 0; i < height; ++i)
          r.epilogue(to + i * line, t.image, block, 1, (y + i) * line + x * lane_block, width * lane_block, s.out[0] * line);
    }
  });
}

// ---- tasks -------------------------------------------------------------------------------------------------

// f(begin, end) over items in tasks of at least `least`.
template <class F>
void in_tasks(int64_t items, int64_t least, F f) {
  const int64_t tasks = std::clamp<int64_t>(items / least, 1, enough_tasks);
  parallel_for(tasks, [&](int64_t i) { f(items * i / tasks, items * (i + 1) / tasks); });
}

template <size_t N>
void run_tiles(const State& s, const KernelArgs& a, const Finish* finish) {
  const Run r{s,
              static_cast<const uint16_t*>(a.in[0]),
              static_cast<const Pair*>(a.in[1]),
              static_cast<const float*>(a.in[2]),
              static_cast<uint16_t*>(a.out[0]),
              finish,
              a.epilogue ? *a.epilogue : TileEpilogue{}};
  const auto group = [&](int64_t i, void* memory) {
    const int64_t first = s.tiles * i / s.groups;
    uint16_t* in = static_cast<uint16_t*>(memory);
    return Group{first, s.tiles * (i + 1) / s.groups - first, in, reinterpret_cast<float*>(in + s.numbers * s.in_plane())};
  };
  const int64_t panels = panels_of(s);
  if (s.fused) {
    parallel_for(s.groups, [&](int64_t i) {
      const Group g = group(i, thread_scratch());
      transform_in<N>(r, g, 0, s.k_blocks() * g.n);
      for (int64_t n = 0; n < s.numbers; ++n) multiply_panels(r, g, n, 0, panels);
      transform_out<N>(r, g, 0, s.out_blocks * g.n);
    });
    return;
  }
  for (int64_t i = 0; i < s.groups; ++i) {
    const Group g = group(i, a.workspace);
    in_tasks(s.k_blocks() * g.n, 32, [&](int64_t begin, int64_t end) { transform_in<N>(r, g, begin, end); });
    parallel_for(s.numbers, [&](int64_t n) { multiply_panels(r, g, n, 0, panels); });
    in_tasks(s.out_blocks * g.n, 32, [&](int64_t begin, int64_t end) { transform_out<N>(r, g, begin, end); });
  }
}

void run_all(const void* state, const KernelArgs& a, const Finish* finish) {
  const State& s = *static_cast<const State*>(state);
  if (s.tile == 2) run_tiles<4>(s, a, finish);
  else run_tiles<6>(s, a, finish);
}

void run(const void* state, const KernelArgs& a) { run_all(state, a, nullptr); }

State state_of(const KernelDesc& d) {
  const Shape &x = d.in[0]->layout.shape, &w = d.in[1]->layout.shape, &y = d.out[0]->layout.shape;
  const Dims& padding = d.attrs.dims(0);
  State s{};
  s.batch = x[0];
  s.in_blocks = x[1];
  s.out_blocks = w[1];
  s.k = w[2];
  for (int i = 0; i < 2; ++i) {
    s.in[i] = x[2 + i];
    s.out[i] = y[2 + i];
    s.low[i] = padding.empty() ? 0 : padding[i];
  }
  s.numbers = w[0];
  s.tile = w[0] == 16 ? 2 : 4;
  s.rows = ceil_div(s.out[0], s.tile);
  s.cols = ceil_div(s.out[1], s.tile);
  s.tiles = s.batch * s.rows * s.cols;
  // Tiles in a task's scratch, a line kept for each number's plane.
  const int64_t per_tile = s.numbers * (2 * s.k_blocks() + 4 * s.out_blocks) * lane_block;
  const int64_t fit = (int64_t{thread_scratch_bytes} - 4 * s.numbers * 64) / per_tile;
  const int64_t weights = s.numbers * s.out_blocks * s.k * lane_block * int64_t{sizeof(Pair)};
  // A product streams weights past its tiles: with fewer tiles than these it would wait for them.
  s.fused = weights <= few_weights ? fit >= 12 && s.tiles >= 48 : fit >= 24 && s.tiles >= 96;
  s.group = s.fused ? std::min<int64_t>(fit, weights <= few_weights ? 18 : 28)
                    : std::max<int64_t>(phased_bytes / per_tile, 1);
  s.groups = std::max<int64_t>(ceil_div(s.tiles, s.group), 1);
  if (s.fused && s.groups % 2) ++s.groups;   // ends evenly on two threads
  s.group = ceil_div(s.tiles, s.groups);
  return s;
}

}  // namespace
}  // namespace gemm_tiles

void conv_winograd_pairs_finished(const void* state, const KernelArgs& a, const Finish& finish) {
  gemm_tiles::run_all(state, a, &finish);
}

Kernel kernel_conv_winograd_pairs() {
  using namespace gemm_tiles;
  Kernel k;
  k.supports = [](const KernelDesc&) { return fast_pairs(); };
  k.prepare = [](const KernelDesc& d) {
    auto s = std::make_shared<State>(state_of(d));
    const size_t workspace = s->fused || s->tiles == 0 ? 0 : size_t(s->bytes());
    const int64_t row = s->out[0] * s->out[1] * lane_block;
    return Prepared{run, std::move(s), int64_t(workspace), row};
  };
  return k;
}

#else

void conv_winograd_pairs_finished(const void*, const KernelArgs&, const Finish&) {}   // of no kernel

Kernel kernel_conv_winograd_pairs() {
  Kernel k;
  k.supports = [](const KernelDesc&) { return false; };
  k.prepare = [](const KernelDesc&) { return Prepared{}; };
  return k;
}

#endif

}  // namespace suan::cpu::SUAN_ISA
