// The extreme element along an axis with its first position, NaN before everything: argmax, argmin and
// the reductions that return values with indices.
#pragma once

#include <algorithm>

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {

struct SelectState {
  int64_t outer, n, inner;
  DType dtype;
};

inline SelectState select_geometry(const KernelDesc& d, bool has_axis, int64_t given) {
  const Shape& shape = d.in[0]->layout.shape;
  if (!has_axis || shape.empty()) return {1, d.in[0]->layout.numel(), 1, d.in[0]->dtype};
  const int axis = int(given < 0 ? given + shape.size() : given);
  return {product(shape, 0, axis), shape[axis], product(shape, axis + 1, shape.size()), d.in[0]->dtype};
}

// Whether a beats b strictly, so that the first of equals stays.
template <bool largest, class T>
SUAN_INLINE bool beats(T a, T b) {
  if (a != a) return b == b;
  return largest ? a > b : a < b;
}

inline constexpr int64_t select_tile = 256;

// The extreme of a full tile; NaN if there is one.
template <bool largest, class T>
SUAN_INLINE T extreme(const T* x) {
  using V = vec_of<T>;
  constexpr int L = lanes_of<T>;
  auto further = [](V a, V b) { return largest ? max<V>(a, b) : min<V>(a, b); };
  V acc[4];
  for (int k = 0; k < 4; ++k) acc[k] = load(x + k * L);
  for (int64_t i = 4 * L; i < select_tile; i += 4 * L)
    for (int k = 0; k < 4; ++k) acc[k] = further(acc[k], load(x + i + k * L));
  const V v = further(further(acc[0], acc[1]), further(acc[2], acc[3]));
  T best = v[0];
  for (int k = 1; k < L; ++k) best = largest ? max<T>(best, v[k]) : min<T>(best, v[k]);
  return best;
}

// values may be null.
template <bool largest, class T>
void run_select(const SelectState& s, const void* in, void* values, int64_t* indices) {
  constexpr int64_t tile = select_tile;
  const int64_t strips = (s.inner + tile - 1) / tile, total = s.outer * s.n * s.inner;
  run_ranges(s.outer * strips, inline_elements / (s.n * std::min(tile, s.inner) + 1), total,
             [&](int64_t begin, int64_t end) {
    T x[tile], best[tile];
    int64_t where[tile];
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = t % strips * tile, at = t / strips * s.n * s.inner + first;
      const int64_t m = std::min(tile, s.inner - first);
      if (s.inner == 1) {
        load_tile(s.dtype, in, at, 1, best);
        where[0] = 0;
        for (int64_t i = 0; i < s.n; i += tile) {
          const int64_t k = std::min(tile, s.n - i);
          load_tile(s.dtype, in, at + i, k, x);
          if (k == tile) {  // a tile without a better element is passed without branches
            T top = extreme<largest>(x);
            if (top == top && !beats<largest>(top, best[0])) continue;
          }
          for (int64_t j = 0; j < k; ++j)
            if (beats<largest>(x[j], best[0])) best[0] = x[j], where[0] = i + j;
        }
      } else {
        load_tile(s.dtype, in, at, m, best);
        std::fill_n(where, m, int64_t{0});
        for (int64_t i = 1; i < s.n; ++i) {
          load_tile(s.dtype, in, at + i * s.inner, m, x);
          for (int64_t j = 0; j < m; ++j) {
            const bool better = beats<largest>(x[j], best[j]);
            best[j] = better ? x[j] : best[j];
            where[j] = better ? i : where[j];
          }
        }
      }
      const int64_t to = t / strips * s.inner + first;
      std::copy_n(where, m, indices + to);
      if (values) store_tile(s.dtype, values, to, m, best);
    }
  });
}

template <bool largest, bool with_values>
Prepared prepare_select(const KernelDesc& d) {
  const int64_t axis = d.attrs.has(0) ? d.attrs.integer(0) : 0;
  auto state = std::make_shared<SelectState>(select_geometry(d, d.attrs.has(0), axis));
  return with_compute(state->dtype, [&](auto t) {
    using T = decltype(t);
    return Prepared{[](const void* s, const KernelArgs& a) {
                      run_select<largest, T>(*static_cast<const SelectState*>(s), a.in[0],
                                             with_values ? a.out[0] : nullptr,
                                             static_cast<int64_t*>(a.out[with_values ? 1 : 0]));
                    },
                    state};
  });
}

}  // namespace suan::cpu::SUAN_ISA
