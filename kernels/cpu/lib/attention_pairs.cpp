// Attention forward of bf16 by vdpbf16ps: attention.cpp's blocks and its order of sums, with softmax, masks and packing on
// whole vectors between the products. Numbers along depth lie in pairs already; keys are transposed as such, rows of values
// joined two by two, and a row of the softmax leaves its registers as pairs.
#include "kernels/cpu/lib/attention_pairs.h"

#include "core/pool.h"
#include "kernels/cpu/lib/math.h"
#include "kernels/cpu/lib/tile_gemm.h"
#include "kernels/cpu/lib/tile_pairs.h"

namespace suan::cpu::SUAN_ISA {

#ifdef __AVX512F__

namespace {

constexpr int kKeys = attention_keys;
constexpr int kQueries = 48;    // rows of a score tile: whole groups of 16 and of 6
constexpr int kTaskRows = 288;  // queries of a task
constexpr int kLanes = 16, kVecs = kKeys / kLanes;
constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

using Bf16s = HeadsView<const std::uint16_t>;

// Rows as pairs, the earlier number in the high half; an odd last one beside zero.
void copy_pairs(const std::uint16_t* from, std::int64_t stride, int rows, int depth, Pair* to, std::int64_t to_row) {
  for (int i = 0; i < rows; ++i, from += stride, to += to_row) {
    for (int d = 0; d < depth; d += 32) {
      const int n = std::min(32, depth - d);
      const __m512i both = _mm512_maskz_loadu_epi16(_bzhi_u32(~0u, n), from + d);
      _mm512_mask_storeu_epi32(to + d / 2, __mmask16(_bzhi_u32(~0u, (n + 1) / 2)), _mm512_rol_epi32(both, 16));
    }
  }
}

// Rows two by two, side by side; an odd last one beside zeros. The last vector's lanes past depth become zeros.
void join_values(const std::uint16_t* from, std::int64_t stride, int rows, int depth, Pair* to, std::int64_t to_row) {
  for (int i = 0; i < rows; i += 2, from += 2 * stride, to += to_row) {
    for (int d = 0; d < depth; d += kLanes) {
      const auto mask = __mmask16(_bzhi_u32(~0u, std::min(kLanes, depth - d)));
      const auto at = [&](const std::uint16_t* p) { return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p)); };
      __m512i both = _mm512_slli_epi32(at(from + d), 16);
      if (i + 1 < rows) both = _mm512_or_si512(both, at(from + stride + d));
      _mm512_storeu_si512(to + d, both);
    }
  }
}

// Two vectors, rounded to bf16, as pairs of neighbours.
SUAN_INLINE void store_pairs(Pair* to, f32x16 first, f32x16 second) {
  __m512i both;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first), "v"(second));
  _mm512_storeu_si512(to, _mm512_rol_epi32(both, 16));
}

// The 16 vectors' sum_lanes() or max_lanes(), by the same tree.
template <class F>
SUAN_INLINE f32x16 reduce_rows(const f32x16 (&rows)[16], F f) {
  f32x16 halves[8], quarters[4], pairs[2];
  const auto blocks = [&](f32x16 a, f32x16 b, auto low, auto high) {
    return f(f32x16(_mm512_shuffle_f32x4(__m512(a), __m512(b), low.value)),
             f32x16(_mm512_shuffle_f32x4(__m512(a), __m512(b), high.value)));
  };
#define SUAN_IMM(n) std::integral_constant<int, n>{}
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) halves[i] = blocks(rows[i], rows[i + 8], SUAN_IMM(0x44), SUAN_IMM(0xee));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) quarters[i] = blocks(halves[i], halves[i + 4], SUAN_IMM(0x88), SUAN_IMM(0xdd));
#undef SUAN_IMM
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512d a = __m512d(quarters[i]), b = __m512d(quarters[i + 2]);
    pairs[i] = f(f32x16(_mm512_unpacklo_pd(a, b)), f32x16(_mm512_unpackhi_pd(a, b)));
  }
  const __m512 a = __m512(pairs[0]), b = __m512(pairs[1]);
  const f32x16 mixed = f(f32x16(_mm512_shuffle_ps(a, b, 0x88)), f32x16(_mm512_shuffle_ps(a, b, 0xdd)));
  // Row r is in block (bit 3, bit 2) at (bit 1, bit 0), each with its bits swapped.
  return __builtin_shuffle(mixed, i32x16{0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15});
}

enum class Masked { no, added, kept };

// What one key block's mask is for a query, 64 numbers: added to the scores, or nonzero where a key is kept.
struct MaskLine {
  alignas(64) float line[kKeys];

  void fill(const AttentionMask<std::uint16_t>& m, std::int64_t at, int n) {
    if (m.key == 1 && m.additive) {
      for (int j = 0; j < n; j += kLanes) {
        const auto mask = __mmask16(_bzhi_u32(~0u, std::min(kLanes, n - j)));
        const __m256i bits = _mm256_maskz_loadu_epi16(mask, m.additive + at + j);
        _mm512_store_si512(line + j, _mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
      }
      return;
    }
    for (int j = 0; j < n; ++j) {
      const std::int64_t from = at + j * m.key;
      line[j] = m.additive ? std::bit_cast<float>(std::uint32_t{m.additive[from]} << 16) : float(m.keep[from]);
    }
  }
};

struct Task {
  const AttentionProblem<float>& p;
  AttentionMask<std::uint16_t> mask;   // its pointers at this batch and head
  float *maximum = nullptr, *sum = nullptr;   // [kTaskRows + kQueries]
  float* tile = nullptr;                      // [kQueries, kKeys]
  Pair* weights = nullptr;                    // [kQueries, kKeys / 2]
  float factor[kQueries];                     // what a row's earlier results shrink by
  MaskLine line;

  Task(const AttentionProblem<float>& problem, const AttentionMask<std::uint16_t>& m, std::int64_t offset)
      : p(problem), mask(m) {
    if (m.additive) mask.additive += offset;
    if (m.keep) mask.keep += offset;
  }

  // Keys of the block starting at key `first` that query i may see: a prefix of it.
  int visible(std::int64_t i, std::int64_t first) const {
    std::int64_t n = std::min<std::int64_t>(p.kv_len - first, kKeys);
    if (p.causal) n = std::min(n, i + p.causal_offset + 1 - first);
    return static_cast<int>(std::max<std::int64_t>(n, 0));
  }

  // The first query from `begin` on that sees any key of that block; those before it see no later ones.
  std::int64_t first_query(std::int64_t first, std::int64_t begin) const {
    return std::max(begin, p.causal ? first - p.causal_offset : 0);
  }

  // Scores to weights, 16 rows at a time: what is one number per row is done for all of them at once.
  template <Masked Mask, bool Full>
  void soften(std::int64_t i0, int rows, std::int64_t first, std::int64_t at) {
    const f32x16 lowest = splat<f32x16>(kMinusInf), scale = splat<f32x16>(p.scale);
    const i32x16 lane{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int r0 = 0; r0 < rows; r0 += kLanes) {
      const int n = std::min(kLanes, rows - r0);
      f32x16 best[kLanes], total[kLanes];
      for (int r = 0; r < n; ++r) {
        float* row = tile + (r0 + r) * kKeys;
        const int seen = Full ? kKeys : visible(i0 + r0 + r, first);
        if (Mask != Masked::no && mask.query != 0) line.fill(mask, (i0 + r0 + r) * mask.query + first * mask.key, seen);
        best[r] = lowest;
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
          f32x16 x = load(row + v * kLanes) * scale;
          if constexpr (Mask != Masked::no) {
            const f32x16 m = load(line.line + v * kLanes);
            if constexpr (Mask == Masked::added) x = x + m;
            else x = select(m != 0.0f, x, lowest);
            store(row + v * kLanes, x);
          }
          if constexpr (!Full) x = select(lane < seen - v * kLanes, x, lowest);
          best[r] = max_or_second(x, best[r]);
        }
      }
      for (int r = n; r < kLanes; ++r) best[r] = lowest, total[r] = f32x16{};
      const f32x16 before = load(maximum + at + r0);
      const f32x16 top = max(before, reduce_rows(best, [](f32x16 a, f32x16 b) { return max(a, b); }));
      const f32x16 safe = select(top == kMinusInf, f32x16{}, top);  // -inf - -inf would be NaN
      const f32x16 shrink = select(before == kMinusInf, f32x16{}, exp_weight(before - safe));
      float shift[kLanes];
      store(shift, -safe);
      store(maximum + at + r0, top);
      store(factor + r0, shrink);
      for (int r = 0; r < n; ++r) {
        const float* row = tile + (r0 + r) * kKeys;
        const int seen = Full ? kKeys : visible(i0 + r0 + r, first);
        const f32x16 minus_top = splat<f32x16>(shift[r]);
        f32x16 e[kVecs];
        total[r] = f32x16{};
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
          e[v] = exp_weight(fma(load(row + v * kLanes), Mask == Masked::no ? scale : splat<f32x16>(1.0f), minus_top));
          if constexpr (!Full) e[v] = select(lane < seen - v * kLanes, e[v], f32x16{});
          total[r] = total[r] + e[v];
        }
        Pair* to = weights + (r0 + r) * (kKeys / 2);
#pragma GCC unroll 2
        for (int v = 0; v < kVecs; v += 2) store_pairs(to + v * kLanes / 2, e[v], e[v + 1]);
      }
      const f32x16 sums = reduce_rows(total, [](f32x16 a, f32x16 b) { return a + b; });
      store(sum + at + r0, fma(load(sum + at + r0), shrink, sums));
    }
  }

  void soften(std::int64_t i0, int rows, std::int64_t first, std::int64_t at) {
    const bool full = visible(i0, first) == kKeys;
    if (mask.additive)
      full ? soften<Masked::added, true>(i0, rows, first, at) : soften<Masked::added, false>(i0, rows, first, at);
    else if (mask.keep)
      full ? soften<Masked::kept, true>(i0, rows, first, at) : soften<Masked::kept, false>(i0, rows, first, at);
    else full ? soften<Masked::no, true>(i0, rows, first, at) : soften<Masked::no, false>(i0, rows, first, at);
  }
};

void forward_task(const AttentionProblem<float>& p, const AttentionMask<std::uint16_t>& mask, std::int64_t b, std::int64_t h,
                  std::int64_t begin, Bf16s qs, Bf16s ks, Bf16s vs, HeadsView<std::uint16_t> outs, float* lse) {
  const int depth = static_cast<int>(p.head_dim), half = (depth + 1) / 2, wide = (depth + kLanes - 1) / kLanes * kLanes;
  const std::int64_t kv_head = h / (p.heads / p.kv_heads);
  const std::uint16_t* q = qs.data + b * qs.batch + h * qs.head;
  const std::uint16_t* k = ks.data + b * ks.batch + kv_head * ks.head;
  const std::uint16_t* v = vs.data + b * vs.batch + kv_head * vs.head;
  std::uint16_t* out = outs.data + b * outs.batch + h * outs.head;
  const std::int64_t end = std::min(begin + kTaskRows, p.q_len);

  Task t(p, mask, b * mask.batch + h * mask.head);
  char* next = reinterpret_cast<char*>(thread_scratch());
  const auto take = [&]<class T>(T*& to, std::int64_t n) {
    to = reinterpret_cast<T*>(next);
    next += (n * std::int64_t{sizeof(T)} + 63) / 64 * 64;
  };
  Pair *keys, *values, *rows_of_pairs;   // [half, kKeys], [kKeys / 2, wide], [kKeys, half]
  float* sums;                           // of the products with values, [kTaskRows, wide]
  take(keys, half * kKeys), take(values, kKeys / 2 * wide), take(rows_of_pairs, kKeys * half);
  take(t.tile, kQueries * kKeys), take(t.weights, kQueries * kKeys / 2);
  take(t.maximum, kTaskRows + kQueries), take(t.sum, kTaskRows + kQueries);
  take(sums, kTaskRows * wide);
  std::fill_n(t.maximum, kTaskRows + kQueries, kMinusInf);
  std::fill_n(t.sum, kTaskRows + kQueries, 0.0f);
  // Queries that see no key at all; the others' sums begin with the first block.
  const std::int64_t seeing = p.kv_len == 0 ? end : std::min(t.first_query(0, begin), end);
  std::fill_n(sums, (seeing - begin) * wide, 0.0f);

  for (std::int64_t first = 0; first < p.kv_len; first += kKeys) {
    const std::int64_t start = t.first_query(first, begin);
    if (start >= end) break;
    const int n = static_cast<int>(std::min<std::int64_t>(kKeys, p.kv_len - first));
    copy_pairs(k + first * ks.seq, ks.seq, n, depth, rows_of_pairs, half);
    pack_transposed(reinterpret_cast<const float*>(rows_of_pairs), half, n, half, reinterpret_cast<float*>(keys), kKeys,
                    (n + 15) / 16 * 16);
    join_values(v + first * vs.seq, vs.seq, n, depth, values, wide);
    if (mask.query == 0 && (mask.additive || mask.keep)) t.line.fill(t.mask, first * mask.key, n);
    for (std::int64_t i0 = start; i0 < end; i0 += kQueries) {
      const int rows = static_cast<int>(std::min<std::int64_t>(kQueries, end - i0));
      copy_pairs(q + i0 * qs.seq, qs.seq, rows, depth, rows_of_pairs, half);
      int seen[kQueries / kTileRows];   // by the last row of each group
      for (int r = 0; r < rows; r += kTileRows) {
        const int m = std::min(kTileRows, rows - r), width = t.visible(i0 + r + m - 1, first);
        seen[r / kTileRows] = width;
        pair_tile({rows_of_pairs + r * half, half, 1, keys, kKeys, t.tile + r * kKeys, kKeys, half, false}, m,
                  (width + 15) / 16 * 16);
      }
      t.soften(i0, rows, first, i0 - begin);
      for (int r = 0; r < rows; r += kTileRows) {
        pair_tile({t.weights + r * (kKeys / 2), kKeys / 2, 1, values, wide, sums + (i0 - begin + r) * wide, wide,
                   (seen[r / kTileRows] + 1) / 2, first > 0, t.factor + r},
                  std::min(kTileRows, rows - r), wide);
      }
    }
  }
  for (std::int64_t i = begin; i < end; ++i) {
    const float total = t.sum[i - begin];
    const f32x16 scale = splat<f32x16>(total == 0 ? 1.0f : 1.0f / total);
    const float* from = sums + (i - begin) * wide;
    std::uint16_t* to = out + i * outs.seq;
    for (int d = 0; d < depth; d += kLanes) {
      const u16x16 bits = f32_to_bf16(load(from + d) * scale);
      _mm256_mask_storeu_epi16(to + d, __mmask16(_bzhi_u32(~0u, std::min(kLanes, depth - d))), (__m256i)bits);
    }
  }
  if (lse == nullptr) return;
  lse += (b * p.heads + h) * p.q_len;
  for (std::int64_t i = begin; i < end; i += kLanes) {
    // A row that saw nothing: maximum and log(0) are both -inf, and so is their sum.
    const f32x16 row_lse = load(t.maximum + (i - begin)) + log(load(t.sum + (i - begin)));
    store_partial(lse + i, row_lse, static_cast<int>(std::min<std::int64_t>(kLanes, end - i)));
  }
}

}  // namespace

void attention_forward_pairs(const AttentionProblem<float>& problem, const AttentionMask<std::uint16_t>& mask, Bf16s q, Bf16s k,
                             Bf16s v, HeadsView<std::uint16_t> out, float* lse) {
  const std::int64_t chunks = (problem.q_len + kTaskRows - 1) / kTaskRows;
  parallel_for(problem.batch * problem.heads * chunks, [&](std::int64_t task) {
    const std::int64_t chunk = task % chunks, head = task / chunks;
    forward_task(problem, mask, head / problem.heads, head % problem.heads, chunk * kTaskRows, q, k, v, out, lse);
  });
}

#endif

}  // namespace suan::cpu::SUAN_ISA
