// Depthwise convolution of 8-bit integers. Four rows under a line of positions are interleaved, so that a lane holds four
// values of one channel; every column of the window is then one product of four. Unpacking bytes puts channels in an order
// of its own, in which the weights lie, and which packing the results undoes.
#include "kernels/cpu/lib/int8_depthwise.h"

#include <algorithm>

#include "core/pool.h"
#include "kernels/cpu/lib/int8_dot.h"
#include "kernels/cpu/lib/int8_finish.h"

namespace suan::cpu::SUAN_ISA {
namespace {

using namespace int8;

constexpr int part = 4 * vec_lanes;         // channels at once: those of a vector of bytes
constexpr int64_t block = 64, four_bytes = 4 * block;

#ifdef __AVX512F__
Vec low8(Vec a, Vec b) { return _mm512_unpacklo_epi8(a, b); }
Vec high8(Vec a, Vec b) { return _mm512_unpackhi_epi8(a, b); }
Vec low16(Vec a, Vec b) { return _mm512_unpacklo_epi16(a, b); }
Vec high16(Vec a, Vec b) { return _mm512_unpackhi_epi16(a, b); }
Vec packed_bytes(const Vec* v) {
  return _mm512_packus_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
}
Vec load_some(const uint8_t* p, int n) { return _mm512_maskz_loadu_epi8(n == part ? ~0ull : (1ull << n) - 1, p); }
void store_some(uint8_t* p, Vec v, int n) { _mm512_mask_storeu_epi8(p, n == part ? ~0ull : (1ull << n) - 1, v); }
#else
Vec low8(Vec a, Vec b) { return _mm256_unpacklo_epi8(a, b); }
Vec high8(Vec a, Vec b) { return _mm256_unpackhi_epi8(a, b); }
Vec low16(Vec a, Vec b) { return _mm256_unpacklo_epi16(a, b); }
Vec high16(Vec a, Vec b) { return _mm256_unpackhi_epi16(a, b); }
Vec packed_bytes(const Vec* v) {
  return _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
}
Vec load_some(const uint8_t* p, int n) {
  if (n == part) return fetch(p);
  alignas(64) uint8_t row[part] = {};
  std::memcpy(row, p, size_t(n));
  return fetch(row);
}
void store_some(uint8_t* p, Vec v, int n) {
  if (n == part) return put(p, v);
  alignas(64) uint8_t row[part];
  put(row, v);
  std::memcpy(p, row, size_t(n));
}
#endif

// The channel of a block that stands at `lane` of vector j of its part `half`.
int channel_at(int half, int j, int lane) { return half * part + lane / 4 * 16 + 4 * j + lane % 4; }

// What the positions of one part of a block have in common.
struct Part {
  int n;                       // channels that are there
  const uint8_t* weight;       // [width, fours, 4 vectors], four_bytes a four
  alignas(64) int32_t column[part];   // in vectors' order
  alignas(64) int32_t factor[part];   // what the sum of a window counts for
  alignas(64) float scale[part];
  float low, high;
  int32_t zero;
  uint8_t flip;
};

// Rows of the image from `top` on and columns from `left` on, interleaved: [fours][cols][4 vectors]. x_zero outside.
void interleave(const Int8Depthwise& d, const uint8_t* image, int64_t top, int64_t left, int64_t cols, int n, uint8_t* to) {
  const Vec outside = spread(int32_t(uint32_t(d.x_zero) * 0x01010101u)), flip = spread(int32_t(uint32_t(d.x_flip) * 0x01010101u));
  const int64_t inside_from = std::clamp<int64_t>(-left, 0, cols), inside_to = std::clamp<int64_t>(d.in[1] - left, inside_from, cols);
  for (int64_t first = 0; first < d.kernel[0]; first += 4) {
    const uint8_t* row[4];
    bool there[4];
    for (int i = 0; i < 4; ++i) {
      const int64_t y = top + (first + i) * d.dilation[0];
      there[i] = y >= 0 && y < d.in[0] && first + i < d.kernel[0];
      row[i] = image + (there[i] ? y * d.in[1] + left : 0) * d.channels;
    }
    const auto column = [&](int64_t c, bool in) __attribute__((always_inline)) {
      Vec r[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) r[i] = in && there[i] ? load_some(row[i] + c * d.channels, n) ^ flip : outside;
      const Vec l01 = low8(r[0], r[1]), h01 = high8(r[0], r[1]), l23 = low8(r[2], r[3]), h23 = high8(r[2], r[3]);
      put(to, low16(l01, l23));
      put(to + sizeof(Vec), high16(l01, l23));
      put(to + 2 * sizeof(Vec), low16(h01, h23));
      put(to + 3 * sizeof(Vec), high16(h01, h23));
      to += 4 * sizeof(Vec);
    };
    int64_t c = 0;
    for (; c < inside_from; ++c) column(c, false);
    for (; c < inside_to; ++c) column(c, true);
    for (; c < cols; ++c) column(c, false);
  }
}

// `cols` positions of a line. Width: the window's, with up to four rows; 0: any. Zeros: weights have zero points.
template <class Product, int Width, bool Zeros, class T>
void line(const Int8Depthwise& d, const Part& p, const uint8_t* lines, int64_t line_cols, int64_t cols, T* to) {
  const int64_t width = Width ? Width : d.kernel[1], fours = Width ? 1 : (d.kernel[0] + 3) / 4;
  const int64_t step = d.stride[1] * 4 * int64_t(sizeof(Vec)), across = d.dilation[1] * 4 * int64_t(sizeof(Vec));
  Vec column[4], w[Width ? Width : 1][4];
  Real scale[4];
  for (int j = 0; j < 4; ++j) {
    column[j] = fetch(p.column + j * vec_lanes);
    scale[j] = load_real(p.scale + j * vec_lanes);
    if constexpr (Width > 0)
      for (int i = 0; i < Width; ++i) w[i][j] = fetch(p.weight + i * four_bytes + j * block);
  }
  const Real low = spread_real(p.low), high = spread_real(p.high);
  const Vec zero = spread(p.zero), flip = spread(int32_t(uint32_t(p.flip) * 0x01010101u));
  for (int64_t x = 0; x < cols; ++x, to += d.channels) {
    const uint8_t* at = lines + x * step;
    Vec acc[4] = {column[0], column[1], column[2], column[3]};
    if constexpr (Width > 0) {
#pragma GCC unroll 8
      for (int i = 0; i < Width; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) acc[j] = Product::run(acc[j], fetch(at + i * across + j * int64_t(sizeof(Vec))), w[i][j]);
    } else {
      Vec plain[4] = {};
      for (int64_t f = 0; f < fours; ++f) {
        const Vec ones = spread(int32_t(0x01010101u >> 8 * std::max<int64_t>(0, 4 * f + 4 - d.kernel[0])));
        for (int64_t i = 0; i < width; ++i)
          for (int j = 0; j < 4; ++j) {
            const Vec v = fetch(at + (f * line_cols * 4 + j) * int64_t(sizeof(Vec)) + i * across);
            acc[j] = Product::run(acc[j], v, fetch(p.weight + (i * fours + f) * four_bytes + j * block));
            if constexpr (Zeros) plain[j] = Product::run(plain[j], v, ones);
          }
      }
      if constexpr (Zeros)
        for (int j = 0; j < 4; ++j) acc[j] = plus(acc[j], times(plain[j], fetch(p.factor + j * vec_lanes)));
    }
    if constexpr (sizeof(T) == 1) {
      for (int j = 0; j < 4; ++j) acc[j] = plus(whole(least(most(to_real(acc[j]) * scale[j], low), high)), zero);
      store_some(reinterpret_cast<uint8_t*>(to), packed_bytes(acc) ^ flip, p.n);
    } else {
      alignas(64) int32_t sums[part];
      for (int j = 0; j < 4; ++j) put(sums + j * vec_lanes, acc[j]);
      for (int i = 0; i < part; ++i) {
        const int c = channel_at(0, i / vec_lanes, i % vec_lanes);
        if (c >= p.n) continue;
        if constexpr (std::is_same_v<T, float>) to[c] = float(sums[i]) * p.scale[i];
        else to[c] = sums[i];
      }
    }
  }
}

template <class Product, class T>
void run(const Int8Depthwise& d) {
  const int64_t fours = (d.kernel[0] + 3) / 4, span = d.dilation[1] * (d.kernel[1] - 1) + 1;
  // Positions whose interleaved rows stay in the second cache; tasks worth their dispatch.
  constexpr int64_t most_cols = 256, task_positions = 600;
  const int64_t col_tile = std::clamp<int64_t>((most_cols / fours - span) / d.stride[1] + 1, 1, d.out[1]);
  const int64_t line_tile = std::clamp<int64_t>(task_positions / d.out[1], 1, d.out[0]), line_tiles = (d.out[0] + line_tile - 1) / line_tile;
  const int64_t parts = (d.channels + part - 1) / part;
  const int64_t part_tile = std::clamp<int64_t>(task_positions / (line_tile * d.out[1]), 1, parts), part_tiles = (parts + part_tile - 1) / part_tile;
  const int32_t raised = d.out_zero + (std::is_same_v<T, int8_t> ? 128 : 0);
  parallel_for(d.batch * line_tiles * part_tiles, [&](int64_t task) {
    const int64_t first = task % part_tiles * part_tile, tile = task / part_tiles % line_tiles, picture = task / (part_tiles * line_tiles);
    uint8_t* lines = reinterpret_cast<uint8_t*>(thread_scratch());
    for (int64_t k = first; k < std::min(parts, first + part_tile); ++k) {
      const int half = int(k * part % block / part);
      Part p;
      p.n = int(std::min<int64_t>(part, d.channels - k * part));
      p.weight = static_cast<const uint8_t*>(d.weight) + k * part / block * d.kernel[1] * fours * four_bytes + half * int(sizeof(Vec));
      p.low = float(-raised);
      p.high = float(255 - raised);
      p.zero = raised;
      p.flip = std::is_same_v<T, int8_t> ? 0x80 : 0;
      for (int j = 0; j < 4; ++j) {
        Vec sum{};
        for (int64_t i = 0; i < d.kernel[1] * fours; ++i) sum = Product::run(sum, spread(0x01010101), fetch(p.weight + i * four_bytes + j * block));
        put(p.column + j * vec_lanes, sum);
      }
      for (int i = 0; i < part; ++i) {
        const int64_t c = k * part + channel_at(0, i / vec_lanes, i % vec_lanes);
        const bool there = c < d.channels;
        const int32_t zero = there && d.w_zero ? d.w_zero[c] : 0;
        p.factor[i] = -zero;
        p.column[i] = there ? int32_t((d.bias ? uint32_t(d.bias[c]) : 0) - uint32_t(d.x_zero) * uint32_t(p.column[i]) +
                                      uint32_t(d.x_zero) * uint32_t(d.kernel[0] * d.kernel[1]) * uint32_t(zero))
                            : 0;
        p.scale[i] = there && d.scale ? d.scale[d.scale_each ? c : 0] : 0;
      }
      for (int64_t y = tile * line_tile; y < std::min(d.out[0], (tile + 1) * line_tile); ++y)
        for (int64_t x = 0; x < d.out[1]; x += col_tile) {
          const int64_t cols = std::min(col_tile, d.out[1] - x), line_cols = (cols - 1) * d.stride[1] + span;
          interleave(d, d.x + picture * d.in[0] * d.in[1] * d.channels + k * part, y * d.stride[0] - d.low[0],
                     x * d.stride[1] - d.low[1], line_cols, p.n, lines);
          T* to = static_cast<T*>(d.out_at) + ((picture * d.out[0] + y) * d.out[1] + x) * d.channels + k * part;
          if (d.w_zero) line<Product, 0, true>(d, p, lines, line_cols, cols, to);
          else if (fours == 1 && d.kernel[1] == 3) line<Product, 3, false>(d, p, lines, line_cols, cols, to);
          else line<Product, 0, false>(d, p, lines, line_cols, cols, to);
        }
    }
  });
}

}  // namespace

void int8_depthwise(const Int8Depthwise& d) {
  with_int8_result(d.to, [&](auto t) {
    if (has_dot()) run<Dot, decltype(t)>(d);
    else run<Wide, decltype(t)>(d);
  });
}

void int8_depthwise_pack(const uint8_t* w, int64_t channels, int64_t height, int64_t width, uint8_t flip, uint8_t* packed) {
  const int64_t fours = (height + 3) / 4, blocks = (channels + block - 1) / block;
  std::memset(packed, 0, size_t(blocks * width * fours * four_bytes));
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < height; ++i)
      for (int64_t j = 0; j < width; ++j) {
        const int64_t in = c % block, at = in % 16 / 4 * block + in / 16 * 16 + in % 4 * 4;
        packed[((c / block * width + j) * fours + i / 4) * four_bytes + at + i % 4] = w[(c * height + i) * width + j] ^ flip;
      }
}

}  // namespace suan::cpu::SUAN_ISA
