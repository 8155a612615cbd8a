// Attention forward and backward in blocks of kKeys keys by kQueries queries (see attention.h).
// A task walks the keys outside and its queries inside, so a block of K^T (and V^T backward) is
// packed once and stays in L1; scores live in one tile of scratch. Causal tiles right of the
// diagonal are neither computed nor read.
#include "kernels/cpu/lib/attention.h"

#include "core/error.h"
#include "core/pool.h"
#include "kernels/cpu/lib/math.h"
#include "kernels/cpu/lib/tile_gemm.h"

namespace suan::cpu::SUAN_ISA {
namespace {

constexpr int kKeys = 64;        // columns of a score tile
constexpr int kQueries = 48;     // rows of a score tile: 8 groups of kTileRows
constexpr int kTaskRows = 288;   // queries of one forward task

template <class T>
constexpr T kMinusInf = -std::numeric_limits<T>::infinity();

template <class T>
SUAN_INLINE vec_of<T> lane_numbers() {
  constexpr int lanes = lanes_of<T>;
  alignas(64) static constexpr auto numbers = [] {
    struct {
      T v[lanes];
    } n{};
    for (int i = 0; i < lanes; ++i) n.v[i] = static_cast<T>(i);
    return n;
  }();
  return load(numbers.v);
}

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

  // row[0, n) = scale * row + mask, in place.
  void apply_mask(T* row, int n, std::int64_t i, std::int64_t first) const {
    const AttentionMask<T>& m = problem->mask;
    const std::int64_t at = i * m.query + first * m.key;
    if (additive != nullptr) {
      for (int j = 0; j < n; ++j) row[j] = problem->scale * row[j] + additive[at + j * m.key];
    } else {
      for (int j = 0; j < n; ++j) {
        row[j] = keep[at + j * m.key] ? problem->scale * row[j] : kMinusInf<T>;
      }
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

// Scores of `rows` queries from i0 against the packed keys: tile[r][0, visible) per group of rows.
template <class T>
void score_tile(const Scope<T>& scope, const T* q, std::int64_t q_row, std::int64_t i0, int rows,
                const T* packed, std::int64_t first, int depth, T* tile) {
  for (int r = 0; r < rows; r += kTileRows) {
    const int m = std::min(kTileRows, rows - r);
    const int n = scope.visible(i0 + r + m - 1, first);
    constexpr int lanes = lanes_of<T>;
    const int padded = (n + lanes - 1) / lanes * lanes;
    tile_gemm<T>({q + (i0 + r) * q_row, q_row, 1, packed, kKeys, tile + r * kKeys, kKeys, depth,
                  false}, m, padded);
  }
}

// Calls f<n>() for n = vecs, with n between 1 and Vecs a constant inside.
template <class T, int Vecs, class F>
SUAN_INLINE void with_vecs(int vecs, F f) {
  if constexpr (Vecs > 1) {
    if (vecs < Vecs) return with_vecs<T, Vecs - 1>(vecs, f);
  }
  f.template operator()<Vecs>();
}

// Online softmax of one row of scores: exponentials into the row, zeros after the n visible keys.
// Returns the factor by which what was accumulated before shrinks.
template <class T>
SUAN_INLINE T softmax_row(T* row, int n, T scale, T& maximum, T& sum) {
  using V = vec_of<T>;
  constexpr int lanes = lanes_of<T>, max_vecs = kKeys / lanes;
  T factor = T(1);
  const int vecs = (n + lanes - 1) / lanes;
  with_vecs<T, max_vecs>(vecs, [&]<int Vecs>() SUAN_LAMBDA_INLINE {
    V s[Vecs];
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v) s[v] = load(row + v * lanes) * scale;
    const V last_lane = splat<V>(static_cast<T>(n - (Vecs - 1) * lanes));
    s[Vecs - 1] = select(lane_numbers<T>() < last_lane, s[Vecs - 1], splat<V>(kMinusInf<T>));
    V best = s[0];
#pragma GCC unroll 8
    for (int v = 1; v < Vecs; ++v) best = max_or_second(best, s[v]);
    const T top = max_of(max_lanes(best), maximum);
    const T safe = top == kMinusInf<T> ? T(0) : top;
    if (maximum == kMinusInf<T>) {
      factor = T(0);
    } else if (top != maximum) {
      factor = exp_weight(maximum - safe);
    }
    V total{};
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v) {
      const V e = exp_weight(s[v] - safe);
      total = v == 0 ? e : total + e;
      store(row + v * lanes, e);
    }
    maximum = top;
    sum = sum * factor + sum_lanes(total);
  });
  for (int v = vecs; v < max_vecs; ++v) store(row + v * lanes, V{});
  return factor;
}

template <class T>
SUAN_INLINE void scale_row(T* row, int depth, T factor) {
  constexpr int lanes = lanes_of<T>;
  int d = 0;
  for (; d + lanes <= depth; d += lanes) store(row + d, load(row + d) * factor);
  if (d < depth) store_partial(row + d, load_partial(row + d, depth - d) * factor, depth - d);
}

template <class T>
SUAN_INLINE T dot(const T* a, const T* b, int depth) {
  constexpr int lanes = lanes_of<T>;
  vec_of<T> sum{};
  int d = 0;
  for (; d + lanes <= depth; d += lanes) sum = fma(load(a + d), load(b + d), sum);
  if (d < depth) sum = fma(load_partial(a + d, depth - d), load_partial(b + d, depth - d), sum);
  return sum_lanes(sum);
}

template <class T>
void zero_rows(T* rows, std::int64_t n, std::int64_t stride, int depth) {
  for (std::int64_t i = 0; i < n; ++i) std::fill_n(rows + i * stride, depth, T(0));
}

template <class T>
void check(const AttentionProblem<T>& p) {
  if (p.head_dim < 1 || p.head_dim > attention_max_head_dim) {
    fail<ShapeError>("attention", "head_dim out of range: expected 1 to {}, got {}",
                     attention_max_head_dim, p.head_dim);
  }
  if (p.kv_heads < 1 || p.heads % p.kv_heads != 0) {
    fail<ShapeError>("attention", "heads are no multiple of kv_heads: expected {} to divide, got {}",
                     p.kv_heads, p.heads);
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
  T* tile = packed + depth * kKeys;
  T* maximum = tile + kQueries * kKeys;
  T* sum = maximum + kTaskRows;
  std::fill_n(maximum, kTaskRows, kMinusInf<T>);
  std::fill_n(sum, kTaskRows, T(0));
  zero_rows(out + begin * outs.seq, end - begin, outs.seq, depth);

  for (std::int64_t first = 0; first < p.kv_len; first += kKeys) {
    const std::int64_t start = std::max(begin, scope.first_query(first));
    if (start >= end) break;
    const int n = static_cast<int>(std::min<std::int64_t>(kKeys, p.kv_len - first));
    pack_transposed(k + first * ks.seq, ks.seq, n, depth, packed, kKeys, (n + 15) / 16 * 16);
    for (std::int64_t i0 = start; i0 < end; i0 += kQueries) {
      const int rows = static_cast<int>(std::min<std::int64_t>(kQueries, end - i0));
      score_tile(scope, q, qs.seq, i0, rows, packed, first, depth, tile);
      for (int r = 0; r < rows; ++r) {
        const int seen = scope.visible(i0 + r, first);
        const std::int64_t at = i0 + r - begin;
        T* row = tile + r * kKeys;
        T scale = p.scale;
        if (scope.has_mask()) scope.apply_mask(row, seen, i0 + r, first), scale = T(1);
        const T factor = softmax_row(row, seen, scale, maximum[at], sum[at]);
        if (factor != T(1) && first > 0) scale_row(out + (i0 + r) * outs.seq, depth, factor);
      }
      for (int r = 0; r < rows; r += kTileRows) {
        const int m = std::min(kTileRows, rows - r);
        tile_gemm<T>({tile + r * kKeys, kKeys, 1, v + first * vs.seq, vs.seq,
                      out + (i0 + r) * outs.seq, outs.seq, scope.visible(i0 + r + m - 1, first),
                      true}, m, depth);
      }
    }
  }
  for (std::int64_t i = begin; i < end; ++i) {
    const T total = sum[i - begin];
    if (total != T(0)) scale_row(out + i * outs.seq, depth, T(1) / total);
  }
  constexpr int lanes = lanes_of<T>;
  for (std::int64_t i = begin; i < end; i += lanes) {
    // A row that saw nothing: maximum and log(0) are both -inf, and so is their sum.
    const auto row_lse = load(maximum + (i - begin)) + log(load(sum + (i - begin)));
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
    if (j + lanes > n) p = select(lane_numbers<T>() < static_cast<T>(n - j), p, V{});
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
    delta[i] = dot(out + i * outs.seq, dout + i * douts.seq, depth);
  }
  zero_rows(dq, p.q_len, dqs.seq, depth);

  T* packed_k = reinterpret_cast<T*>(thread_scratch());
  T* packed_v = packed_k + depth * kKeys;
  T* tile = packed_v + depth * kKeys;
  T* dtile = tile + kQueries * kKeys;
  for (std::int64_t first = 0; first < p.kv_len; first += kKeys) {
    const int n = static_cast<int>(std::min<std::int64_t>(kKeys, p.kv_len - first));
    const std::int64_t start = scope.first_query(first);
    if (start >= p.q_len) break;
    pack_transposed(k + first * ks.seq, ks.seq, n, depth, packed_k, kKeys, (n + 15) / 16 * 16);
    pack_transposed(v + first * vs.seq, vs.seq, n, depth, packed_v, kKeys, (n + 15) / 16 * 16);
    for (std::int64_t i0 = start; i0 < p.q_len; i0 += kQueries) {
      const int rows = static_cast<int>(std::min<std::int64_t>(kQueries, p.q_len - i0));
      score_tile(scope, q, qs.seq, i0, rows, packed_k, first, depth, tile);
      score_tile(scope, dout, douts.seq, i0, rows, packed_v, first, depth, dtile);
      for (int r = 0; r < rows; ++r) {
        T* row = tile + r * kKeys;
        const int seen = scope.visible(i0 + r, first);
        T scale = p.scale;
        if (scope.has_mask()) scope.apply_mask(row, seen, i0 + r, first), scale = T(1);
        // A row that saw nothing has lse = -inf; its exponentials must be 0, not exp(+inf).
        const T norm = lse[i0 + r] == kMinusInf<T> ? -kMinusInf<T> : lse[i0 + r];
        gradient_row(row, dtile + r * kKeys, seen, scale, p.scale, norm, delta[i0 + r]);
      }
      for (int r = 0; r < rows; r += kTileRows) {
        const int m = std::min(kTileRows, rows - r);
        tile_gemm<T>({dtile + r * kKeys, kKeys, 1, k + first * ks.seq, ks.seq,
                      dq + (i0 + r) * dqs.seq, dqs.seq, scope.visible(i0 + r + m - 1, first),
                      true}, m, depth);
      }
      for (int j = 0; j < n; j += kTileRows) {
        const int m = std::min(kTileRows, n - j);
        const int skip = static_cast<int>(
            std::max<std::int64_t>(scope.first_query(first + j) - i0, 0));
        if (skip >= rows) break;
        const T* dout_rows = dout + (i0 + skip) * douts.seq;
        const T* q_rows = q + (i0 + skip) * qs.seq;
        tile_gemm<T>({tile + skip * kKeys + j, 1, kKeys, dout_rows, douts.seq,
                      dv + (first + j) * dvs.seq, dvs.seq, rows - skip, true}, m, depth);
        tile_gemm<T>({dtile + skip * kKeys + j, 1, kKeys, q_rows, qs.seq,
                      dk + (first + j) * dks.seq, dks.seq, rows - skip, true}, m, depth);
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
      backward_head(problem, b, h, q, k, v, out, lse, dout, dq, dk, dv,
                    static_cast<T*>(workspace));
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
