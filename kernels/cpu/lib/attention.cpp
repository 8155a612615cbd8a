// Attention forward and backward in blocks of kKeys keys by kQueries queries (see attention.h).
// A task walks the keys outside and its queries inside, so a block of K^T (and V^T backward) is
// packed once and stays in L1; scores live in one tile of scratch. Causal tiles right of the
// diagonal are neither computed nor read.
#include "kernels/cpu/lib/attention.h"

#include "core/error.h"
#include "core/pool.h"
#include "kernels/cpu/lib/fast_pairs.h"
#include "kernels/cpu/lib/rows.h"
#include "kernels/cpu/lib/tile_gemm.h"
#include "kernels/cpu/lib/tile_pairs.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int kKeys = attention_keys;   // columns of a score tile
constexpr int kQueries = 48;    // rows of a score tile: 8 groups of kTileRows, whole vectors
constexpr int kTaskRows = 288;  // queries of one forward task

template <class T>
constexpr T kMinusInf = -std::numeric_limits<T>::infinity();

// One (batch, head): where its rows begin, and which keys a query sees.
template <class T>
struct Scope {
  const AttentionProblem<T>* problem;
  const T* additive = nullptr;
  const bool* keep = nullptr;

  Scope(const AttentionProblem<T>& p, std::int64_t b, std::int64_t h) : problem(&p) {
    const std::int64_t offset = b * p.mask.batch + h * p.mask.head;
    if (p.mask.additive != nullptr) additive = p.mask.additive + offset;
    if (p.mask.keep != nullptr) keep = p.mask.keep + offset;
  }
  // Keys of the block starting at key `first` that query i may see: a prefix of it.
  int visible(std::int64_t i, std::int64_t first) const {
    std::int64_t n = std::min<std::int64_t>(problem->kv_len - first, kKeys);
    if (problem->causal) n = std::min(n, i + problem->causal_offset + 1 - first);
    return static_cast<int>(std::max<std::int64_t>(n, 0));
  }
  // The first query that sees key j.
  std::int64_t first_query(std::int64_t j) const {
    return problem->causal ? std::max<std::int64_t>(j - problem->causal_offset, 0) : 0;
  }
  bool has_mask() const { return additive != nullptr || keep != nullptr; }

  // row[0, n) = scale * row + mask, in place. The usual step of 1 is a loop of its own: it
  // vectorizes.
  void apply_mask(T* row, int n, std::int64_t i, std::int64_t first) const {
    const AttentionMask<T>& m = problem->mask;
    const std::int64_t at = i * m.query + first * m.key;
    if (m.key == 1) {
      mask_row(row, n, at, 1);
    } else {
      mask_row(row, n, at, m.key);
    }
  }

 private:
  SUAN_INLINE void mask_row(T* row, int n, std::int64_t at, std::int64_t step) const {
    const T scale = problem->scale;
    if (additive != nullptr) {
      for (int j = 0; j < n; ++j) row[j] = scale * row[j] + additive[at + j * step];
    } else {
      for (int j = 0; j < n; ++j) row[j] = keep[at + j * step] ? scale * row[j] : kMinusInf<T>;
    }
  }
};

template <class T>
const T* rows_of(const HeadsView<const T>& view, std::int64_t b, std::int64_t h) {
  return view.data + b * view.batch + h * view.head;
}
template <class T>
T* rows_of(const HeadsView<T>& view, std::int64_t b, std::int64_t h) {
  return view.data + b * view.batch + h * view.head;
}

// Scores of the `rows` queries at q, the first being i0, against the packed keys.
template <class T>
void score_tile(const Scope<T>& scope, const T* q, std::int64_t q_row, std::int64_t i0, int rows,
                const T* packed, std::int64_t first, int depth, T* tile) {
  for (int r = 0; r < rows; r += kTileRows) {
    const int m = std::min(kTileRows, rows - r);
    const int n = scope.visible(i0 + r + m - 1, first);
    constexpr int lanes = lanes_of<T>;
    const int padded = (n + lanes - 1) / lanes * lanes;
    tile_gemm<T>({q + r * q_row, q_row, 1, packed, kKeys, tile + r * kKeys, kKeys, depth, false}, m,
                 padded);
  }
}

// The running maximum and sum of a task's rows, and the softmax of one tile of scores: exponentials
// in place of the scores, zeros after each row's visible keys. Row by row it only reduces and maps;
// what is one number per row is done for 16 rows at a time.
template <class T>
struct OnlineSoftmax {
  T* maximum;  // [kTaskRows + kQueries]
  T* sum;
  T tops[kQueries], shift[kQueries], factor[kQueries], partial[kQueries];

  // seen[r] keys of row r; afterwards factor[r] is what the row's earlier outputs shrink by.
  void tile(T* scores, const int* seen, int rows, T scale, std::int64_t at) {
    using V = vec_of<T>;
    constexpr int lanes = lanes_of<T>;
    const V lowest = splat<V>(kMinusInf<T>);
    for (int r = 0; r < rows; ++r) {
      const T* row = scores + r * kKeys;
      V best = lowest;
      int j = 0;
      for (; j + lanes <= seen[r]; j += lanes) best = max_or_second(load(row + j) * scale, best);
      if (j < seen[r]) {
        const V last = first_lanes<V>(load(row + j) * scale, seen[r] - j, lowest);
        best = max_or_second(last, best);
      }
      tops[r] = max_lanes(best);
    }
    std::fill(tops + rows, tops + kQueries, kMinusInf<T>);
    for (int r = 0; r < kQueries; r += lanes) {
      const V before = load(maximum + at + r), top = max(before, load(tops + r));
      const V safe = select(top == kMinusInf<T>, V{}, top);  // -inf - -inf would be NaN
      store(maximum + at + r, top);
      store(shift + r, -safe);
      store(factor + r, select(before == kMinusInf<T>, V{}, exp_weight(before - safe)));
    }
    for (int r = 0; r < rows; ++r) {
      T* row = scores + r * kKeys;
      const V minus_top = splat<V>(shift[r]);
      V total{};
      int j = 0;
      for (; j + lanes <= seen[r]; j += lanes) {
        const V e = exp_weight(fma(load(row + j), splat<V>(scale), minus_top));
        total = total + e;
        store(row + j, e);
      }
      if (j < seen[r]) {
        const V e = exp_weight(fma(load(row + j), splat<V>(scale), minus_top));
        const V last = first_lanes<V>(e, seen[r] - j, V{});
        total = total + last;
        store(row + j, last);
        j += lanes;
      }
      for (; j < kKeys; j += lanes) store(row + j, V{});
      partial[r] = sum_lanes(total);
    }
    std::fill(partial + rows, partial + kQueries, T(0));
    for (int r = 0; r < kQueries; r += lanes) {
      store(sum + at + r, fma(load(sum + at + r), load(factor + r), load(partial + r)));
    }
  }
};

template <class T>
SUAN_INLINE void scale_row(T* row, int depth, T factor) {
  each_vec<T>(depth, [&](auto at) { at.put(row, at.get(row) * factor); });
}

template <class T>
void zero_rows(T* rows, std::int64_t n, std::int64_t stride, int depth) {
  for (std::int64_t i = 0; i < n; ++i) {
    each_vec<T>(depth, [&](auto at) { at.put(rows + i * stride, vec_of<T>{}); });
  }
}

// A block's rows side by side: strided rows of a packed projection lie in a page each, and walking
// them once per tile instead of once per block costs more than the copy.
template <class T>
void pack_rows(const T* from, std::int64_t stride, int n, int depth, T* to) {
  for (int i = 0; i < n; ++i) {
    each_vec<T>(depth, [&](auto at) { at.put(to + i * depth, at.get(from + i * stride)); });
  }
}

// A tile's whole rows, rounded to bf16 and kept as f32.
template <class T>
void round_tile(T* tile, int rows) {
  if constexpr (std::is_same_v<T, float>) {
    for (int i = 0; i < rows * kKeys; ++i) {
      const uint32_t u = std::bit_cast<uint32_t>(tile[i]), rounded = u + 0x7fff + ((u >> 16) & 1);
      const uint32_t kept = tile[i] != tile[i] ? u | 0x400000 : rounded;
      tile[i] = std::bit_cast<float>(kept & 0xffff0000);
    }
  }
}

#ifdef __AVX512F__
template <class T>
bool by_pairs(const AttentionProblem<T>& p) {
  return std::is_same_v<T, float> && p.narrow && fast_pairs();
}

// What the pairs of one task take in scratch (backward; forward is attention_pairs.cpp): of keys each way, of values, of queries and their gradients, of the tile.
struct PairBlocks {
  Pair *keys_by_depth, *values_by_depth, *keys;            // [depth / 2, kKeys] twice, [kKeys / 2, depth]
  Pair *queries, *douts;                                   // [kQueries, depth / 2]
  Pair *queries_joined, *douts_joined;                     // [kQueries / 2, depth]
  Pair *row_pairs;                                         // [kQueries, kKeys / 2]
  Pair *scores_joined, *dscores_joined;                    // [kQueries / 2, kKeys]
  int half;                                                // pairs of depth

  PairBlocks(float* at, int depth) : half((depth + 1) / 2) {
    Pair* next = reinterpret_cast<Pair*>(at);
    const auto take = [&](int64_t n) { return std::exchange(next, next + (n + 15) / 16 * 16); };
    keys_by_depth = take(half * kKeys), values_by_depth = take(half * kKeys);
    keys = take(depth * kKeys / 2);
    queries = take(kQueries * half), douts = take(kQueries * half);
    queries_joined = take(kQueries / 2 * depth), douts_joined = take(kQueries / 2 * depth);
    row_pairs = take(kQueries * kKeys / 2);
    scores_joined = take(kQueries / 2 * kKeys), dscores_joined = take(kQueries / 2 * kKeys);
  }
};

void pair_each(const float* from, int64_t stride, int rows, int depth, Pair* to, int64_t to_row) {
  for (int i = 0; i < rows; ++i) pair_neighbours(from + i * stride, depth, to + i * to_row);
}

// score_tile of pairs.
void score_pairs(const Scope<float>& scope, const Pair* q, int half, std::int64_t i0, int rows, const Pair* packed,
                 std::int64_t first, float* tile) {
  for (int r = 0; r < rows; r += kTileRows) {
    const int m = std::min(kTileRows, rows - r);
    const int n = scope.visible(i0 + r + m - 1, first), padded = (n + 15) / 16 * 16;
    pair_tile({q + r * half, half, 1, packed, kKeys, tile + r * kKeys, kKeys, half, false}, m, padded);
  }
}
#endif

template <class T>
void check(const AttentionProblem<T>& p) {
  if (p.head_dim < 1 || p.head_dim > attention_max_head_dim) {
    fail<ShapeError>("attention", "head_dim out of range: expected 1 to {}, got {}",
                     attention_max_head_dim, p.head_dim);
  }
  if (p.kv_heads < 1 || p.heads % p.kv_heads != 0) {
    fail<ShapeError>("attention",
                     "heads are no multiple of kv_heads: expected {} to divide, got {}", p.kv_heads,
                     p.heads);
  }
}

template <class T>
void forward_task(const AttentionProblem<T>& p, std::int64_t b, std::int64_t h, std::int64_t begin,
                  HeadsView<const T> qs, HeadsView<const T> ks, HeadsView<const T> vs,
                  HeadsView<T> outs, T* lse) {
  const int depth = static_cast<int>(p.head_dim);
  const std::int64_t kv_head = h / (p.heads / p.kv_heads);
  const T* q = rows_of(qs, b, h);
  const T* k = rows_of(ks, b, kv_head);
  const T* v = rows_of(vs, b, kv_head);
  T* out = rows_of(outs, b, h);
  lse += (b * p.heads + h) * p.q_len;
  const Scope<T> scope(p, b, h);
  const std::int64_t end = std::min(begin + kTaskRows, p.q_len);

  T* packed = reinterpret_cast<T*>(thread_scratch());
  T* values = packed + depth * kKeys;
  T* tile = values + depth * kKeys;
  OnlineSoftmax<T> softmax;
  softmax.maximum = tile + kQueries * kKeys;
  softmax.sum = softmax.maximum + kTaskRows + kQueries;
  std::fill_n(softmax.maximum, kTaskRows + kQueries, kMinusInf<T>);
  std::fill_n(softmax.sum, kTaskRows + kQueries, T(0));
  zero_rows(out + begin * outs.seq, end - begin, outs.seq, depth);

  for (std::int64_t first = 0; first < p.kv_len; first += kKeys) {
    const std::int64_t start = std::max(begin, scope.first_query(first));
    if (start >= end) break;
    const int n = static_cast<int>(std::min<std::int64_t>(kKeys, p.kv_len - first));
    pack_transposed(k + first * ks.seq, ks.seq, n, depth, packed, kKeys, (n + 15) / 16 * 16);
    pack_rows(v + first * vs.seq, vs.seq, n, depth, values);
    for (std::int64_t i0 = start; i0 < end; i0 += kQueries) {
      const int rows = static_cast<int>(std::min<std::int64_t>(kQueries, end - i0));
      score_tile(scope, q + i0 * qs.seq, qs.seq, i0, rows, packed, first, depth, tile);
      int seen[kQueries];
      for (int r = 0; r < rows; ++r) {
        seen[r] = scope.visible(i0 + r, first);
        if (scope.has_mask()) scope.apply_mask(tile + r * kKeys, seen[r], i0 + r, first);
      }
      softmax.tile(tile, seen, rows, scope.has_mask() ? T(1) : p.scale, i0 - begin);
      for (int r = 0; first > 0 && r < rows; ++r) {
        if (softmax.factor[r] != T(1))
          scale_row(out + (i0 + r) * outs.seq, depth, softmax.factor[r]);
      }
      if (p.narrow) round_tile(tile, rows);
      for (int r = 0; r < rows; r += kTileRows) {
        const int m = std::min(kTileRows, rows - r);
        T* to = out + (i0 + r) * outs.seq;
        tile_gemm<T>({tile + r * kKeys, kKeys, 1, values, depth, to, outs.seq, seen[r + m - 1], true}, m, depth);
      }
    }
  }
  for (std::int64_t i = begin; i < end; ++i) {
    const T total = softmax.sum[i - begin];
    if (total != T(0)) scale_row(out + i * outs.seq, depth, T(1) / total);
  }
  constexpr int lanes = lanes_of<T>;
  for (std::int64_t i = begin; i < end; i += lanes) {
    // A row that saw nothing: maximum and log(0) are both -inf, and so is their sum.
    const auto row_lse = load(softmax.maximum + (i - begin)) + log(load(softmax.sum + (i - begin)));
    store_partial(lse + i, row_lse, static_cast<int>(std::min<std::int64_t>(lanes, end - i)));
  }
}

// P and dS of one tile row, in place of the scores and of dout v^T.
template <class T>
SUAN_INLINE void gradient_row(T* score, T* dscore, int n, T scale, T out_scale, T lse, T delta) {
  using V = vec_of<T>;
  constexpr int lanes = lanes_of<T>;
  int j = 0;
  for (; j < n; j += lanes) {
    V p = exp_weight(fma(load(score + j), splat<V>(scale), splat<V>(-lse)));
    if (j + lanes > n) p = first_lanes<V>(p, n - j, V{});
    store(score + j, p);
    store(dscore + j, p * (load(dscore + j) - delta) * out_scale);
  }
  for (; j < kKeys; j += lanes) {
    store(score + j, V{});
    store(dscore + j, V{});
  }
}

template <class T>
void backward_head(const AttentionProblem<T>& p, std::int64_t b, std::int64_t h,
                   HeadsView<const T> qs, HeadsView<const T> ks, HeadsView<const T> vs,
                   HeadsView<const T> outs, const T* lse, HeadsView<const T> douts,
                   HeadsView<T> dqs, HeadsView<T> dks, HeadsView<T> dvs, T* delta) {
  const int depth = static_cast<int>(p.head_dim);
  const std::int64_t kv_head = h / (p.heads / p.kv_heads);
  const T* q = rows_of(qs, b, h);
  const T* k = rows_of(ks, b, kv_head);
  const T* v = rows_of(vs, b, kv_head);
  const T* out = rows_of(outs, b, h);
  const T* dout = rows_of(douts, b, h);
  T* dq = rows_of(dqs, b, h);
  T* dk = rows_of(dks, b, kv_head);
  T* dv = rows_of(dvs, b, kv_head);
  lse += (b * p.heads + h) * p.q_len;
  delta += (b * p.heads + h) * p.q_len;
  const Scope<T> scope(p, b, h);

  for (std::int64_t i = 0; i < p.q_len; ++i) {
    const T* a = out + i * outs.seq;
    const T* c = dout + i * douts.seq;
    delta[i] = sum_row<T>(depth, [&](auto at) { return at.get(a) * at.get(c); });
  }
  zero_rows(dq, p.q_len, dqs.seq, depth);

  T* packed_k = reinterpret_cast<T*>(thread_scratch());
  T* packed_v = packed_k + depth * kKeys;
  T* keys = packed_v + depth * kKeys;
  T* queries = keys + depth * kKeys;
  T* douts_block = queries + depth * kQueries;
  T* tile = douts_block + depth * kQueries;
  T* dtile = tile + kQueries * kKeys;
#ifdef __AVX512F__
  const bool pairs = by_pairs(p);
  PairBlocks blocks(reinterpret_cast<float*>(dtile + kQueries * kKeys), depth);
#endif
  for (std::int64_t first = 0; first < p.kv_len; first += kKeys) {
    const int n = static_cast<int>(std::min<std::int64_t>(kKeys, p.kv_len - first));
    const std::int64_t start = scope.first_query(first);
    if (start >= p.q_len) break;
    pack_transposed(k + first * ks.seq, ks.seq, n, depth, packed_k, kKeys, (n + 15) / 16 * 16);
    pack_transposed(v + first * vs.seq, vs.seq, n, depth, packed_v, kKeys, (n + 15) / 16 * 16);
    pack_rows(k + first * ks.seq, ks.seq, n, depth, keys);
#ifdef __AVX512F__
    if constexpr (std::is_same_v<T, float>) {
      if (pairs) {
        pair_rows(packed_k, kKeys, depth, kKeys, blocks.keys_by_depth, kKeys);
        pair_rows(packed_v, kKeys, depth, kKeys, blocks.values_by_depth, kKeys);
        pair_rows(keys, depth, n, depth, blocks.keys, depth);
      }
    }
#endif
    for (std::int64_t i0 = start; i0 < p.q_len; i0 += kQueries) {
      const int rows = static_cast<int>(std::min<std::int64_t>(kQueries, p.q_len - i0));
      pack_rows(q + i0 * qs.seq, qs.seq, rows, depth, queries);
      pack_rows(dout + i0 * douts.seq, douts.seq, rows, depth, douts_block);
      const auto scores = [&] {
#ifdef __AVX512F__
        if constexpr (std::is_same_v<T, float>) {
          if (pairs) {
            pair_each(queries, depth, rows, depth, blocks.queries, blocks.half);
            pair_each(douts_block, depth, rows, depth, blocks.douts, blocks.half);
            pair_rows(queries, depth, rows, depth, blocks.queries_joined, depth);
            pair_rows(douts_block, depth, rows, depth, blocks.douts_joined, depth);
            score_pairs(scope, blocks.queries, blocks.half, i0, rows, blocks.keys_by_depth, first, tile);
            return score_pairs(scope, blocks.douts, blocks.half, i0, rows, blocks.values_by_depth, first, dtile);
          }
        }
#endif
        score_tile(scope, queries, depth, i0, rows, packed_k, first, depth, tile);
        score_tile(scope, douts_block, depth, i0, rows, packed_v, first, depth, dtile);
      };
      scores();
      for (int r = 0; r < rows; ++r) {
        T* row = tile + r * kKeys;
        const int seen = scope.visible(i0 + r, first);
        T scale = p.scale;
        if (scope.has_mask()) scope.apply_mask(row, seen, i0 + r, first), scale = T(1);
        // A row that saw nothing has lse = -inf; its exponentials must be 0, not exp(+inf).
        const T norm = lse[i0 + r] == kMinusInf<T> ? -kMinusInf<T> : lse[i0 + r];
        gradient_row(row, dtile + r * kKeys, seen, scale, p.scale, norm, delta[i0 + r]);
      }
      if (p.narrow) {
        round_tile(tile, rows);
        round_tile(dtile, rows);
      }
#ifdef __AVX512F__
      if constexpr (std::is_same_v<T, float>) {
        if (pairs) {
          pair_each(dtile, kKeys, rows, kKeys, blocks.row_pairs, kKeys / 2);
          pair_rows(tile, kKeys, rows, kKeys, blocks.scores_joined, kKeys);
          pair_rows(dtile, kKeys, rows, kKeys, blocks.dscores_joined, kKeys);
          for (int r = 0; r < rows; r += kTileRows) {
            const int m = std::min(kTileRows, rows - r);
            pair_tile({blocks.row_pairs + r * kKeys / 2, kKeys / 2, 1, blocks.keys, depth, dq + (i0 + r) * dqs.seq,
                       dqs.seq, (scope.visible(i0 + r + m - 1, first) + 1) / 2, true},
                      m, depth);
          }
          for (int j = 0; j < n; j += kTileRows) {
            const int m = std::min(kTileRows, n - j);
            const auto skip = std::max<std::int64_t>(scope.first_query(first + j) - i0, 0);
            if (skip >= rows) break;
            const int from = static_cast<int>(skip) / 2, k_pairs = (rows + 1) / 2 - from;
            pair_tile({blocks.scores_joined + from * kKeys + j, 1, kKeys, blocks.douts_joined + from * depth, depth,
                       dv + (first + j) * dvs.seq, dvs.seq, k_pairs, true},
                      m, depth);
            pair_tile({blocks.dscores_joined + from * kKeys + j, 1, kKeys, blocks.queries_joined + from * depth, depth,
                       dk + (first + j) * dks.seq, dks.seq, k_pairs, true},
                      m, depth);
          }
          continue;
        }
      }
#endif
      for (int r = 0; r < rows; r += kTileRows) {
        const int m = std::min(kTileRows, rows - r);
        tile_gemm<T>({dtile + r * kKeys, kKeys, 1, keys, depth, dq + (i0 + r) * dqs.seq, dqs.seq,
                      scope.visible(i0 + r + m - 1, first), true},
                     m, depth);
      }
      for (int j = 0; j < n; j += kTileRows) {
        const int m = std::min(kTileRows, n - j);
        const int skip =
            static_cast<int>(std::max<std::int64_t>(scope.first_query(first + j) - i0, 0));
        if (skip >= rows) break;
        tile_gemm<T>({tile + skip * kKeys + j, 1, kKeys, douts_block + skip * depth, depth,
                      dv + (first + j) * dvs.seq, dvs.seq, rows - skip, true},
                     m, depth);
        tile_gemm<T>({dtile + skip * kKeys + j, 1, kKeys, queries + skip * depth, depth,
                      dk + (first + j) * dks.seq, dks.seq, rows - skip, true},
                     m, depth);
      }
    }
  }
}

}  // namespace

template <class T>
void attention_forward(const AttentionProblem<T>& problem, HeadsView<const T> q,
                       HeadsView<const T> k, HeadsView<const T> v, HeadsView<T> out, T* lse) {
  check(problem);
  const std::int64_t chunks = (problem.q_len + kTaskRows - 1) / kTaskRows;
  parallel_for(problem.batch * problem.heads * chunks, [&](std::int64_t task) {
    const std::int64_t chunk = task % chunks, head = task / chunks;
    forward_task(problem, head / problem.heads, head % problem.heads, chunk * kTaskRows, q, k, v,
                 out, lse);
  });
}

template <class T>
void attention_backward(const AttentionProblem<T>& problem, HeadsView<const T> q,
                        HeadsView<const T> k, HeadsView<const T> v, HeadsView<const T> out,
                        const T* lse, HeadsView<const T> dout, HeadsView<T> dq, HeadsView<T> dk,
                        HeadsView<T> dv, void* workspace) {
  check(problem);
  const std::int64_t group = problem.heads / problem.kv_heads;
  parallel_for(problem.batch * problem.kv_heads, [&](std::int64_t task) {
    const std::int64_t b = task / problem.kv_heads, kv_head = task % problem.kv_heads;
    const int depth = static_cast<int>(problem.head_dim);
    zero_rows(rows_of(dk, b, kv_head), problem.kv_len, dk.seq, depth);
    zero_rows(rows_of(dv, b, kv_head), problem.kv_len, dv.seq, depth);
    for (std::int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      backward_head(problem, b, h, q, k, v, out, lse, dout, dq, dk, dv, static_cast<T*>(workspace));
    }
  });
}

#define SUAN_ATTENTION(T)                                                                         \
  template void attention_forward<T>(const AttentionProblem<T>&, HeadsView<const T>,              \
                                     HeadsView<const T>, HeadsView<const T>, HeadsView<T>, T*);   \
  template void attention_backward<T>(const AttentionProblem<T>&, HeadsView<const T>,             \
                                      HeadsView<const T>, HeadsView<const T>, HeadsView<const T>, \
                                      const T*, HeadsView<const T>, HeadsView<T>, HeadsView<T>,   \
                                      HeadsView<T>, void*);
SUAN_ATTENTION(float)
SUAN_ATTENTION(double)
#undef SUAN_ATTENTION

}  // namespace suan::cpu::SUAN_ISA
