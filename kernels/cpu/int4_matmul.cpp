// Products with weights of 4 bits. For a few rows, values are widened in registers, so that the weight is read from
// memory as it is: a block's sum is taken of the plain values 0 to 15, then scaled and moved by its zero point. For many
// rows, a strip of columns is widened once and multiplied as floats.
#include <algorithm>

#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/tile_gemm.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int64_t lanes = 16, strip = 4;   // columns of a group, groups of a task's step
constexpr int64_t few_rows = 8, most_depth = 2048;

struct State {
  int64_t m, n, k, groups, eights, blocks, per_task;
  bool biased;
  int64_t block() const { return eights * 8 / blocks; }
};

// The j-th of the eight values of each column.
SUAN_INLINE f32x16 widened(u32x16 packed, int j) {
#ifdef __AVX512F__
  const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return (f32x16)_mm512_permutexvar_ps(_mm512_srli_epi32((__m512i)packed, unsigned(4 * j)), values);   // reads four bits of an index
#else
  return to_f32(bits_as<i32x16>((packed >> uint32_t(4 * j)) & 15u));
#endif
}

struct Operands {
  const float *x, *scale, *zero, *bias, *sums;   // sums: of x by block
  const uint8_t* w;
  float* y;
};

// R rows of x from `row` by G groups from `group`.
template <int R, int G>
void few(const State& s, const Operands& o, int64_t row, int64_t group) {
  const int64_t eights = s.block() / 8;
  f32x16 total[R][G] = {};
  for (int64_t b = 0; b < s.blocks; ++b) {
    f32x16 acc[R][G] = {};
    const float* x = o.x + row * s.k + b * s.block();
    const auto eight = [&](int64_t e, int live) __attribute__((always_inline)) {
      u32x16 packed[G];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g)
        packed[g] = load(reinterpret_cast<const uint32_t*>(o.w + (((group + g) * s.eights) + b * eights + e) * 64));
#pragma GCC unroll 8
      for (int j = 0; j < live; ++j) {
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
          const f32x16 w = widened(packed[g], j);
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) acc[r][g] = fma(splat<f32x16>(x[r * s.k + 8 * e + j]), w, acc[r][g]);
        }
      }
    };
    const int64_t values = std::min(s.block(), s.k - b * s.block());
    for (int64_t e = 0; e < values / 8; ++e) eight(e, 8);
    if (values % 8) eight(values / 8, int(values % 8));
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
      const int64_t at = ((group + g) * s.blocks + b) * lanes;
      const f32x16 scale = load(o.scale + at), zero = load(o.zero + at);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
        total[r][g] = fma(scale, fma(-zero, splat<f32x16>(o.sums[(row + r) * s.blocks + b]), acc[r][g]), total[r][g]);
    }
  }
  for (int g = 0; g < G; ++g) {
    const int64_t col = (group + g) * lanes;
    const int live = int(std::min(lanes, s.n - col));
    for (int r = 0; r < R; ++r)
      store_partial(o.y + (row + r) * s.n + col, o.bias ? total[r][g] + load_partial(o.bias + col, live) : total[r][g], live);
  }
}

template <int R>
void few_of(const State& s, const Operands& o, int64_t row, int64_t group, int64_t end) {
  constexpr int together = R <= 2 ? 4 : 2;
  for (; group + together <= end; group += together) few<R, together>(s, o, row, group);
  for (; group < end; ++group) few<R, 1>(s, o, row, group);
}

// All rows by at most `strip` groups.
void many(const State& s, const Operands& o, int64_t group, int64_t end) {
  float* wide = reinterpret_cast<float*>(thread_scratch());   // [depth][columns]
  const int64_t width = (end - group) * lanes, col = group * lanes, cols = std::min(width, s.n - col);
  for (int64_t r = 0; r < s.m; ++r)
    for (int64_t j = 0; j < cols; ++j) o.y[r * s.n + col + j] = o.bias ? o.bias[col + j] : 0;
  for (int64_t k0 = 0; k0 < s.k; k0 += most_depth) {
    const int64_t depth = std::min(most_depth, s.k - k0);
    for (int64_t g = group; g < end; ++g)
      for (int64_t e = 0; e < (depth + 7) / 8; ++e) {
        const int64_t at = (g * s.blocks + (k0 + 8 * e) / s.block()) * lanes;
        const f32x16 scale = load(o.scale + at), zero = load(o.zero + at);
        const u32x16 packed = load(reinterpret_cast<const uint32_t*>(o.w + (g * s.eights + k0 / 8 + e) * 64));
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) store(wide + (8 * e + j) * width + (g - group) * lanes, (widened(packed, j) - zero) * scale);
      }
    for (int64_t r = 0; r < s.m; r += kTileRows)
      tile_gemm<float>({o.x + r * s.k + k0, s.k, 1, wide, width, o.y + r * s.n + col, s.n, int(depth), true},
                       int(std::min<int64_t>(kTileRows, s.m - r)), int(cols));
  }
}

void run(const void* state, const KernelArgs& a) {
  const State& s = *static_cast<const State*>(state);
  if (s.m == 0) return;
  const auto real = [&](int i) { return static_cast<const float*>(a.in[i]); };
  float* sums = static_cast<float*>(a.workspace);
  const Operands o{real(0), real(2), real(3), s.biased ? real(4) : nullptr, sums, static_cast<const uint8_t*>(a.in[1]), static_cast<float*>(a.out[0])};
  if (s.m <= few_rows)
    for (int64_t r = 0; r < s.m; ++r)
      for (int64_t b = 0; b < s.blocks; ++b) {
        const int64_t from = b * s.block(), n = std::min(s.block(), s.k - from);
        f32x16 sum{};
        for (int64_t i = 0; i < n; i += 16) sum += load_partial(o.x + r * s.k + from + i, int(std::min<int64_t>(16, n - i)));
        sums[r * s.blocks + b] = sum_lanes(sum);
      }
  parallel_for((s.groups + s.per_task - 1) / s.per_task, [&](int64_t task) {
    const int64_t first = task * s.per_task, last = std::min(s.groups, first + s.per_task);
    for (int64_t group = first; group < last; group += strip) {
      const int64_t end = std::min(last, group + strip);
      if (s.m > few_rows) {
        many(s, o, group, end);
        continue;
      }
      int64_t r = 0;
      for (; r + 4 <= s.m; r += 4) few_of<4>(s, o, r, group, end);
      if (s.m - r == 3) few_of<3>(s, o, r, group, end);
      if (s.m - r == 2) few_of<2>(s, o, r, group, end);
      if (s.m - r == 1) few_of<1>(s, o, r, group, end);
    }
  });
}

Prepared prepare(const KernelDesc& d) {
  const Shape &x = d.in[0]->layout.shape, &w = d.in[1]->layout.shape;
  const int64_t k = x.back(), m = k > 0 ? d.in[0]->layout.numel() / k : 0;
  auto s = std::make_shared<State>(State{m, d.attrs.integer(0), k, w[0], w[1], d.in[2]->layout.shape[1], 0, d.has(4)});
  // Tasks of 64 KiB of weight, or as much work.
  const int64_t work = s->eights * 64 * strip * std::max<int64_t>(1, m / 4);
  s->per_task = strip * std::clamp<int64_t>(65536 / std::max<int64_t>(work, 1), 1, (s->groups + strip - 1) / strip);
  return {run, s, m <= few_rows ? m * s->blocks * int64_t(sizeof(float)) : 0};
}

}  // namespace

Kernel kernel_int4_matmul() {
  Kernel k;
  k.prepare = prepare;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
