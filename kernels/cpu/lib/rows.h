// Loops over a row of contiguous elements by vectors, the tail included, for norms, softmax, losses
// and optimizers; and the fixed cut of many rows into tasks. Order of sums depends on n alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/lib/math.h"

namespace suan::cpu::SUAN_ISA {

// What a row loop's body reads and writes through: position i, all lanes or the first `count`.
template <class T, bool Full>
struct Lanes {
  std::int64_t i;
  int count;

  SUAN_INLINE vec_of<T> get(const T* row) const {
    if constexpr (Full) return load(row + i);
    return load_partial(row + i, count);
  }
  SUAN_INLINE void put(T* row, vec_of<T> v) const {
    if constexpr (Full) {
      store(row + i, v);
    } else {
      store_partial(row + i, v, count);
    }
  }
};

template <class T, class F>
SUAN_INLINE void each_vec(std::int64_t n, F f) {
  constexpr int lanes = lanes_of<T>;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(Lanes<T, true>{i, lanes});
  if (i < n) f(Lanes<T, false>{i, static_cast<int>(n - i)});
}

// The first `count` lanes of v, `other` in the rest.
template <class V>
SUAN_INLINE V first_lanes(V v, int count, V other) {
  using T = lane_of<V>;
  alignas(64) static constexpr T steps[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return select(load(steps) < static_cast<T>(count), v, other);
}

// combine over f(lanes) of a row with four independent chains, joined in a fixed order.
template <class T, class F, class Combine>
SUAN_INLINE vec_of<T> fold_row(std::int64_t n, vec_of<T> start, F f, Combine combine) {
  using V = vec_of<T>;
  constexpr int lanes = lanes_of<T>;
  V a = start, b = start, c = start, d = start;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    a = combine(a, f(Lanes<T, true>{i, lanes}));
    b = combine(b, f(Lanes<T, true>{i + lanes, lanes}));
    c = combine(c, f(Lanes<T, true>{i + 2 * lanes, lanes}));
    d = combine(d, f(Lanes<T, true>{i + 3 * lanes, lanes}));
  }
  for (; i + lanes <= n; i += lanes) a = combine(a, f(Lanes<T, true>{i, lanes}));
  if (i < n) {
    const int count = static_cast<int>(n - i);
    b = combine(b, first_lanes(f(Lanes<T, false>{i, count}), count, start));
  }
  return combine(combine(a, b), combine(c, d));
}

template <class T, class F>
SUAN_INLINE T sum_row(std::int64_t n, F f) {
  return sum_lanes(fold_row<T>(n, vec_of<T>{}, f, [](auto x, auto y) { return x + y; }));
}
// NaN in the row gives NaN; an empty row gives -inf.
template <class T, class F>
SUAN_INLINE T max_row(std::int64_t n, F f) {
  const auto lowest = splat<vec_of<T>>(-std::numeric_limits<T>::infinity());
  return max_lanes(fold_row<T>(n, lowest, f, [](auto x, auto y) { return max(y, x); }));
}

// Rows per task: about 16 Ki elements each, and at most `max_tasks` tasks. Shapes alone decide.
inline std::int64_t rows_per_task(std::int64_t rows, std::int64_t n, std::int64_t max_tasks) {
  const std::int64_t by_size = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(n, 1));
  return std::max(by_size, (rows + max_tasks - 1) / max_tasks);
}

}  // namespace suan::cpu::SUAN_ISA
