// Convolution of 8-bit integers, channels last: the rows of A are the image itself, read where a window puts them. An image
// with a border, of signed values, or whose rows do not come in fours, is copied once, with its border of zero points.
#include <algorithm>
#include <array>
#include <utility>

#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/int8_depthwise.h"
#include "kernels/cpu/lib/int8_dot.h"
#include "kernels/cpu/lib/int8_finish.h"
#include "ops/quant/int8_windows.h"

namespace suan::cpu::SUAN_ISA {
namespace {

using namespace int8;

#ifdef __AVX512F__
constexpr int most_rows = int8_max_rows;
#else
constexpr int most_rows = 6;
#endif
constexpr int half_panel = 2 * vec_lanes;   // columns of the register kernel: 32, or 16
constexpr int quad_bytes = 4 * int(int8_panel);
constexpr int64_t most_positions = 512;     // of a task, before columns are rounded up to whole strips
constexpr int64_t slack = 64;               // read beyond a row of four, never used

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct State {
  explicit State(const ops::Int8Packing& p) : pack(p) {}
  ops::Int8Packing pack;
  DType x, w, to;
  bool packed, scale_each, w_zero, w_zero_each, copied, folded;
  int64_t batch, in[2], channels, out[2], out_channels;
  int64_t stride[2], dilation[2], low[2], room[2];   // room: sizes of the copied image
  std::vector<int64_t> run_at;                       // bytes from a position's first element to each run of its window
  // A task: tile_lines × tile_cols positions by tile_panels panels of a group.
  int64_t tile_lines, tile_cols, tile_panels, line_tiles, col_tiles, panel_tiles;
  int64_t image_at, column_at, factor_at, scale_at, weight_at;  // workspace

  int64_t taps() const { return pack.height * pack.width; }
  int lowered() const { return w == DType::u8 ? 128 : 0; }   // what bytes of weights are, less than they say
  int64_t panel_bytes() const { return (pack.runs * pack.quads + 1) * quad_bytes; }
};

int32_t quad(const uint8_t* p) {
  int32_t x;
  std::memcpy(&x, p, 4);
  return x;
}

// Sums of R positions (the second half of them `second` bytes behind the first) by 2 vectors of columns.
struct Strip {
  const uint8_t* a;
  int64_t step, second;
  const int64_t* run_at;
  int64_t runs, quads;
  const char* b;
  const int32_t* column;     // what the sums begin with
  int32_t* sums;             // [R][32], unless bytes are stored:
  // Where weights have zero points: the positions' sums (of the second half: sums_second on), and what they count for.
  const int32_t *row_sums, *factor;
  int64_t sums_second;
  const float* scale;
  float high;                // the most that is rounded
  int32_t zero;              // added to it
  bool is_signed;
  uint8_t* to;
  int64_t to_step, to_second;
  int cols;                  // at most half_panel
};

// Two rows of 32 bit numbers, moved and saturated to bytes, of the first `cols` columns each; the second may be left out.
void store_bytes(const Vec* first, const Vec* second, const Strip& s, uint8_t* to, uint8_t* to_second) {
#ifdef __AVX512F__
  const __m512i moved = _mm512_set1_epi16(int16_t(s.zero));
  const __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(first[0], first[1]), moved);
  const __m512i b = _mm512_adds_epi16(_mm512_packs_epi32(second[0], second[1]), moved);
  // Packing goes by lanes of 16 bytes: four of a row's columns, four of its second vector's, the same of the other row.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i both = _mm512_permutexvar_epi32(order, s.is_signed ? _mm512_packs_epi16(a, b) : _mm512_packus_epi16(a, b));
  const __mmask32 there = s.cols == half_panel ? ~0u : (1u << s.cols) - 1;
  _mm256_mask_storeu_epi8(to, there, _mm512_castsi512_si256(both));
  if (to_second) _mm256_mask_storeu_epi8(to_second, there, _mm512_extracti64x4_epi64(both, 1));
#else
  const __m256i moved = _mm256_set1_epi16(int16_t(s.zero));
  const __m256i a = _mm256_adds_epi16(_mm256_packs_epi32(first[0], first[1]), moved);
  const __m256i b = _mm256_adds_epi16(_mm256_packs_epi32(second[0], second[1]), moved);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  alignas(32) uint8_t rows[2][16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(rows),
                     _mm256_permutevar8x32_epi32(s.is_signed ? _mm256_packs_epi16(a, b) : _mm256_packus_epi16(a, b), order));
  if (s.cols == half_panel) {
    std::memcpy(to, rows[0], 16);
    if (to_second) std::memcpy(to_second, rows[1], 16);
  } else {
    std::memcpy(to, rows[0], size_t(s.cols));
    if (to_second) std::memcpy(to_second, rows[1], size_t(s.cols));
  }
#endif
}

template <class Product, int R, bool Bytes>
void multiply(const Strip& s) {
  constexpr int half = (R + 1) / 2;
  Vec acc[R][2];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    acc[i][0] = fetch(s.column);
    acc[i][1] = fetch(s.column + vec_lanes);
  }
  const char* b = s.b;
  const int64_t step = s.step, quads = s.quads;
  for (int64_t run = 0; run < s.runs; ++run) {
    // A pointer for every three positions: registers are few.
    const uint8_t* at[2][3];
#pragma GCC unroll 4
    for (int j = 0; j < 3; ++j) {
      at[0][j] = s.a + s.run_at[run] + 3 * j * step;
      at[1][j] = at[0][j] + s.second;
    }
    for (int64_t q = 0; q < quads; ++q) {
      const Vec b0 = fetch(b), b1 = fetch(b + sizeof(Vec));
      __builtin_prefetch(b + 16 * quad_bytes);
      if constexpr (sizeof(Vec) == 64) __builtin_prefetch(b + 16 * quad_bytes + 64);
      b += quad_bytes;
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const int k = i < half ? i : i - half;
        const Vec a = spread(quad(at[i >= half][k / 3] + 4 * q + k % 3 * step));
        acc[i][0] = Product::run(acc[i][0], a, b0);
        acc[i][1] = Product::run(acc[i][1], a, b1);
      }
    }
  }
  if (s.row_sums) {
    const Vec factor[2] = {fetch(s.factor), fetch(s.factor + vec_lanes)};
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vec sum = spread(s.row_sums[i < half ? i : s.sums_second + i - half]);
      acc[i][0] = plus(acc[i][0], times(sum, factor[0]));
      acc[i][1] = plus(acc[i][1], times(sum, factor[1]));
    }
  }
  if constexpr (!Bytes) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      put(s.sums + i * int8_panel, acc[i][0]);
      put(s.sums + i * int8_panel + vec_lanes, acc[i][1]);
    }
  } else {
    const Real high = spread_real(s.high);   // what is too low for an integer rounds to the lowest
    const Real scale[2] = {load_real(s.scale), load_real(s.scale + vec_lanes)};
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) acc[i][j] = whole(least(to_real(acc[i][j]) * scale[j], high));
    const auto at = [&](int i) { return s.to + (i < half ? i * s.to_step : s.to_second + (i - half) * s.to_step); };
#pragma GCC unroll 16
    for (int i = 0; i < R; i += 2) {
      const int next = i + 1 < R ? i + 1 : i;
      store_bytes(acc[i], acc[next], s, at(i), next > i ? at(next) : nullptr);
    }
  }
}

using Kernels = std::array<std::array<void (*)(const Strip&), 2>, most_rows>;
template <class Product, int... I>
constexpr Kernels make_kernels(std::integer_sequence<int, I...>) {
  return {{{multiply<Product, I + 1, false>, multiply<Product, I + 1, true>}...}};
}
// By positions - 1, and whether bytes are stored.
const Kernels& kernels() {
  static constexpr Kernels dot = make_kernels<Dot>(std::make_integer_sequence<int, most_rows>{});
  static constexpr Kernels wide = make_kernels<Wide>(std::make_integer_sequence<int, most_rows>{});
  return has_dot() ? dot : wide;
}

// ---- what is made ready for a call -------------------------------------------------------------------------

// The image with its border, unsigned.
void copy_image(const State& s, const uint8_t* x, uint8_t zero, uint8_t* to) {
  const uint8_t flip = s.x == DType::i8 ? 0x80 : 0;
  if (s.folded) {   // one line: no border
    const int64_t n = s.in[1] * s.channels;
    parallel_for(ceil_div(n, 65536), [&](int64_t t) {
      for (int64_t i = t * 65536; i < std::min(n, (t + 1) * 65536); ++i) to[i] = x[i] ^ flip;
    });
    std::memset(to + n, 0, slack);
    return;
  }
  const int64_t row = s.room[1] * s.channels, lines = s.batch * s.room[0], piece = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, row));
  parallel_for(ceil_div(lines, piece), [&](int64_t t) {
    for (int64_t i = t * piece; i < std::min(lines, (t + 1) * piece); ++i) {
      uint8_t* at = to + i * row;
      const int64_t y = i % s.room[0] - s.low[0];
      if (y < 0 || y >= s.in[0]) {
        std::memset(at, zero, size_t(row));
        continue;
      }
      const uint8_t* from = x + (i / s.room[0] * s.in[0] + y) * s.in[1] * s.channels;
      const int64_t left = std::min(s.low[1] * s.channels, row), inside = std::min(s.in[1] * s.channels, row - left);
      std::memset(at, zero, size_t(left));
      if (flip) for (int64_t j = 0; j < inside; ++j) at[left + j] = from[j] ^ flip;
      else std::memcpy(at + left, from, size_t(inside));
      std::memset(at + left + inside, zero, size_t(row - left - inside));
    }
  });
  std::memset(to + lines * row, 0, slack);
}

// Plain weights [out, per, height, width], packed.
void pack_weight(const State& s, const uint8_t* w, char* to, uint8_t* rows) {
  const ops::Int8Packing& p = s.pack;
  const uint8_t flip = s.w == DType::u8 ? 0x80 : 0;
  for (int64_t g = 0; g < p.groups; ++g) {
    std::memset(rows, 0, size_t(p.runs * p.quads * 4 * p.out));
    for (int64_t tap = 0; tap < s.taps(); ++tap)
      for (int64_t c = 0; c < p.per; ++c) {
        const int64_t run = p.runs == s.taps() ? tap : tap / p.width, in_run = (p.runs == s.taps() ? 0 : tap % p.width) * p.per + c;
        uint8_t* row = rows + (run * p.quads * 4 + in_run) * p.out;
        for (int64_t o = 0; o < p.out; ++o) row[o] = w[((g * p.out + o) * p.per + c) * s.taps() + tap] ^ flip;
      }
    for (int64_t panel = 0; panel < p.panels; ++panel)
      int8_pack_panel(rows + panel * int8_panel, p.out, 1, p.runs * p.quads * 4, std::min(int8_panel, p.out - panel * int8_panel), 0,
                      to + (g * p.panels + panel) * s.panel_bytes());
  }
}

// What a sum needs beside itself and its scale, by panel.
void find_columns(const State& s, const KernelArgs& a, const char* panels, int32_t x_zero, int32_t* column, int32_t* factor, float* scales) {
  const ops::Int8Packing& p = s.pack;
  const int32_t* bias = static_cast<const int32_t*>(a.in[4]);
  const float* scale = static_cast<const float*>(a.in[5]);
  const uint32_t of_zeros = uint32_t(x_zero) * uint32_t(s.taps() * p.per);
  for (int64_t i = 0; i < p.groups * p.panels; ++i) {
    const int32_t* sums = reinterpret_cast<const int32_t*>(panels + (i + 1) * s.panel_bytes() - quad_bytes);
    const int64_t first = i / p.panels * p.out + i % p.panels * int8_panel, cols = std::min(int8_panel, p.out - i % p.panels * int8_panel);
    for (int64_t j = 0; j < int8_panel; ++j) {
      const bool there = j < cols;
      const int32_t zero = there && s.w_zero ? read_byte(a.in[3], s.w, s.w_zero_each ? first + j : 0) - s.lowered() : 0;
      factor[i * int8_panel + j] = -zero;
      column[i * int8_panel + j] =
          there ? int32_t((bias ? uint32_t(bias[first + j]) : 0) - uint32_t(x_zero) * uint32_t(sums[j]) + of_zeros * uint32_t(zero)) : 0;
      scales[i * int8_panel + j] = there && scale ? scale[s.scale_each ? first + j : 0] : 0;
    }
  }
}

template <class T>
void run_tiles(const State& s, const KernelArgs& x, const uint8_t* image, const char* panels, const int32_t* column, const int32_t* factor,
               const float* scales) {
  constexpr bool bytes = sizeof(T) == 1;
  const ops::Int8Packing& p = s.pack;
  const Kernels& all = kernels();
  const int32_t zero = x.in[6] ? read_byte(x.in[6], s.to) : 0;
  const int64_t step = s.stride[1] * s.channels, down = s.stride[0] * s.room[1] * s.channels, to_step = s.out_channels;
  static constexpr int64_t no_runs[1] = {0};
  parallel_for(s.batch * s.line_tiles * s.col_tiles * p.groups * s.panel_tiles, [&](int64_t task) {
    const int64_t panel_tile = task % s.panel_tiles, group = task / s.panel_tiles % p.groups, tile = task / (s.panel_tiles * p.groups);
    const int64_t x0 = tile % s.col_tiles * s.tile_cols, y0 = tile / s.col_tiles % s.line_tiles * s.tile_lines;
    const int64_t picture = tile / (s.col_tiles * s.line_tiles);
    const int64_t cols = std::min(s.tile_cols, s.out[1] - x0), y1 = std::min(y0 + s.tile_lines, s.out[0]);
    const bool pairs = 2 * cols <= most_rows;
    const int64_t chunks = ceil_div(cols, most_rows);
    alignas(64) int32_t sums[most_rows * int8_panel];
    int32_t window_sums[2 * most_positions];
    if (s.w_zero)
      for (int64_t y = y0; y < y1; ++y)
        for (int64_t i = 0; i < cols; ++i) {
          const uint8_t* a = image + picture * s.room[0] * s.room[1] * s.channels + y * down + (x0 + i) * step + group * p.per;
          int32_t sum = 0;
          for (int64_t r = 0; r < p.runs; ++r)
            for (int64_t j = 0; j < p.run; ++j) sum += a[(s.run_at.empty() ? 0 : s.run_at[size_t(r)]) + j];
          window_sums[(y - y0) * cols + i] = sum;
        }
    for (int64_t panel = panel_tile * s.tile_panels; panel < std::min(p.panels, (panel_tile + 1) * s.tile_panels); ++panel) {
      const int64_t number = group * p.panels + panel, of_group = std::min(int8_panel, p.out - panel * int8_panel);
      const char* b = panels + number * s.panel_bytes();
      T* out = static_cast<T*>(x.out[0]) + picture * s.out[0] * s.out[1] * to_step + group * p.out + panel * int8_panel;
      Strip strip{};
      strip.step = step;
      strip.run_at = s.run_at.empty() ? no_runs : s.run_at.data();
      strip.runs = p.runs;
      strip.quads = p.quads;
      strip.high = float(255 - zero);
      strip.zero = zero;
      strip.is_signed = std::is_same_v<T, int8_t>;
      strip.to_step = to_step;
      const auto multiply = [&](const uint8_t* a, T* to, int64_t n, int64_t second, int64_t to_second, int64_t position, int64_t sums_second) {
        strip.row_sums = s.w_zero ? window_sums + position : nullptr;
        strip.sums_second = sums_second;
        for (int64_t v = 0; v < int8_panel && v < of_group; v += half_panel) {
          strip.a = a;
          strip.second = second;
          strip.b = b + 4 * v;
          strip.sums = sums + v;
          strip.column = column + number * int8_panel + v;
          strip.factor = factor + number * int8_panel + v;
          strip.scale = scales + number * int8_panel + v;
          strip.to = reinterpret_cast<uint8_t*>(to + v);
          strip.to_second = to_second;
          strip.cols = int(std::min<int64_t>(half_panel, of_group - v));
          all[size_t(n - 1)][bytes](strip);
        }
        if constexpr (!bytes) {
          static constexpr int32_t none[int8_panel] = {};
          const int64_t half = (n + 1) / 2;
          for (int64_t i = 0; i < n; ++i)
            finish_row<T>({sums + i * int8_panel, none, none, 0, 0}, scales + number * int8_panel, 0, of_group,
                          to + (i < half ? i * to_step : to_second + (i - half) * to_step));
        }
      };
      for (int64_t y = y0; y < y1; ++y) {
        const uint8_t* a = image + picture * s.room[0] * s.room[1] * s.channels + y * down + x0 * step + group * p.per;
        T* to = out + (y * s.out[1] + x0) * to_step;
        if (pairs && y + 1 < y1) {
          multiply(a, to, 2 * cols, down, s.out[1] * to_step, (y - y0) * cols, cols);
          ++y;
          continue;
        }
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          const int64_t at = cols * chunk / chunks, n = cols * (chunk + 1) / chunks - at, half = (n + 1) / 2;
          multiply(a + at * step, to + at * to_step, n, half * step, half * to_step, (y - y0) * cols + at, half);
        }
      }
    }
  });
}

void run(const void* state, const KernelArgs& x) {
  const State& s = *static_cast<const State*>(state);
  std::byte* workspace = static_cast<std::byte*>(x.workspace);
  const uint8_t flip = s.x == DType::i8 ? 0x80 : 0;
  const uint8_t x_zero = uint8_t((x.in[2] ? *static_cast<const uint8_t*>(x.in[2]) : 0) ^ flip);
  const uint8_t* image = static_cast<const uint8_t*>(x.in[0]);
  if (s.copied) {
    uint8_t* to = reinterpret_cast<uint8_t*>(workspace + s.image_at);
    copy_image(s, image, x_zero, to);
    image = to;
  }
  const char* weight = static_cast<const char*>(x.in[1]);
  int32_t* column = reinterpret_cast<int32_t*>(workspace + s.column_at);
  int32_t* factor = reinterpret_cast<int32_t*>(workspace + s.factor_at);
  float* scales = reinterpret_cast<float*>(workspace + s.scale_at);
  if (s.pack.depthwise) {
    uint8_t* packed = reinterpret_cast<uint8_t*>(workspace + s.weight_at);
    if (!s.packed) int8_depthwise_pack(static_cast<const uint8_t*>(x.in[1]), s.pack.groups, s.pack.height, s.pack.width, s.w == DType::u8 ? 0x80 : 0, packed);
    int32_t* w_zero = s.w_zero ? column : nullptr;
    for (int64_t c = 0; w_zero && c < s.channels; ++c) w_zero[c] = read_byte(x.in[3], s.w, s.w_zero_each ? c : 0) - s.lowered();
    const Int8Depthwise d{.batch = s.batch, .channels = s.channels, .in = {s.in[0], s.in[1]}, .out = {s.out[0], s.out[1]},
                          .kernel = {s.pack.height, s.pack.width}, .stride = {s.stride[0], s.stride[1]},
                          .dilation = {s.dilation[0], s.dilation[1]}, .low = {s.low[0], s.low[1]}, .to = s.to,
                          .scale_each = s.scale_each, .x_flip = flip, .x_zero = x_zero,
                          .out_zero = x.in[6] ? read_byte(x.in[6], s.to) : 0, .w_zero = w_zero, .x = image,
                          .weight = s.packed ? x.in[1] : packed, .bias = static_cast<const int32_t*>(x.in[4]),
                          .scale = static_cast<const float*>(x.in[5]), .out_at = x.out[0]};
    return int8_depthwise(d);
  }
  if (!s.packed) {
    char* packed = reinterpret_cast<char*>(workspace + s.weight_at);
    pack_weight(s, static_cast<const uint8_t*>(x.in[1]), packed, reinterpret_cast<uint8_t*>(packed) + s.pack.groups * s.pack.panels * s.panel_bytes());
    weight = packed;
  }
  find_columns(s, x, weight, x_zero, column, factor, scales);
  with_int8_result(s.to, [&](auto t) { run_tiles<decltype(t)>(s, x, image, weight, column, factor, scales); });
}

Prepared prepare(const KernelDesc& d) {
  const Shape &x = d.in[0]->layout.shape, &out = d.out[0]->layout.shape;
  const ops::Windows w = ops::windows(d.op.name, d.attrs.dims(2), d.attrs.dims(3), d.attrs.dims(4), d.attrs.dims(5));
  auto state = std::make_shared<State>(ops::Int8Packing(w.kernel, w.dilation, x[3], out[3], d.attrs.integer(6)));
  State& s = *state;
  const ops::Int8Packing& p = s.pack;
  s.x = d.in[0]->dtype;
  s.w = d.in[1]->dtype;
  s.to = d.attrs.dtype(0);
  s.packed = d.attrs.integer(1) > 0;
  s.w_zero = d.has(3);
  s.w_zero_each = s.w_zero && d.in[3]->layout.rank() == 1;
  s.scale_each = d.has(5) && d.in[5]->layout.rank() == 1;
  s.batch = x[0];
  s.channels = x[3];
  s.out_channels = out[3];
  bool border = false;
  for (int i = 0; i < 2; ++i) {
    s.in[i] = x[1 + i];
    s.out[i] = out[1 + i];
    s.stride[i] = w.strides[i];
    s.dilation[i] = w.dilation[i];
    s.low[i] = w.padding[i];
    border |= w.padding[i] || w.padding[2 + i];
  }
  if (numel(out) == 0) return {[](const void*, const KernelArgs&) {}, state};
  s.copied = !p.depthwise && (border || s.x == DType::i8 || p.run % 4);
  s.folded = p.taps_are_one() && s.stride[0] == 1 && s.stride[1] == 1 && !border && !p.depthwise;
  if (s.folded) {   // one line of positions
    s.in[1] = s.out[1] = s.batch * s.out[0] * s.out[1];
    s.in[0] = s.out[0] = s.batch = 1;
  }
  for (int i = 0; i < 2; ++i) s.room[i] = s.copied ? (s.out[i] - 1) * s.stride[i] + w.span(i) : s.in[i];
  if (p.runs > 1 || p.height * p.width > 1)
    for (int64_t r = 0; r < p.runs; ++r) {
      const bool rows = p.runs == p.height;
      const int64_t line = rows ? r : r / p.width, column = rows ? 0 : r % p.width;
      s.run_at.push_back((line * s.dilation[0] * s.room[1] + column * s.dilation[1]) * s.channels);
    }
  // Positions whose windows stay in L2, and tasks worth their dispatch.
  constexpr int64_t a_bytes = 256 << 10, task_products = 1'500'000;
  const int64_t k = p.runs * p.quads * 4, each = std::max<int64_t>(1, s.stride[0] * s.stride[1] * s.channels);
  const int64_t positions = std::clamp<int64_t>(a_bytes / each, 2 * most_rows, most_positions);
  s.col_tiles = ceil_div(s.out[1], positions);
  s.tile_cols = ceil_div(ceil_div(s.out[1], s.col_tiles), most_rows) * most_rows;
  s.col_tiles = ceil_div(s.out[1], s.tile_cols);
  s.tile_lines = std::clamp<int64_t>(positions / std::min(s.tile_cols, s.out[1]), 1, s.out[0]);
  s.tile_lines = s.tile_lines > 1 ? s.tile_lines / 2 * 2 : 1;
  s.line_tiles = ceil_div(s.out[0], s.tile_lines);
  const int64_t per_panel = s.tile_lines * std::min(s.tile_cols, s.out[1]) * k * int8_panel;
  s.tile_panels = std::clamp<int64_t>(ceil_div(task_products, std::max<int64_t>(1, per_panel)), 1, p.panels);
  s.panel_tiles = ceil_div(p.panels, s.tile_panels);
  int64_t workspace = 0;
  const auto take = [&](int64_t bytes) { return std::exchange(workspace, (workspace + bytes + 63) / 64 * 64); };
  s.image_at = s.copied ? take(s.batch * s.room[0] * s.room[1] * s.channels + slack) : 0;
  const int64_t columns = p.depthwise ? s.channels : p.groups * p.panels * int8_panel;
  s.column_at = take(columns * 4);
  s.factor_at = take(columns * 4);
  s.scale_at = take(columns * 4);
  const int64_t weights = p.depthwise ? numel(p.shape()) : p.groups * p.panels * s.panel_bytes() + k * p.out;
  s.weight_at = s.packed ? 0 : take(weights);
  return {run, state, workspace};
}

}  // namespace

Kernel kernel_int8_conv() {
  Kernel k;
  k.prepare = prepare;
  k.supports = [](const KernelDesc& d) {
    const ops::Windows w = ops::windows(d.op.name, d.attrs.dims(2), d.attrs.dims(3), d.attrs.dims(4), d.attrs.dims(5));
    const ops::Int8Packing p(w.kernel, w.dilation, d.in[0]->layout.shape[3], d.out[0]->layout.shape[3], d.attrs.integer(6));
    return !p.depthwise || int8_depthwise_fits(p.height, w.span(1));
  };
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
