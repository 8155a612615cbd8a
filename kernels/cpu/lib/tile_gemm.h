// Small matrix products on blocks in cache: up to kTileRows rows of C += A B, where A is read by
// broadcast at any strides and B and C have rows of contiguous vectors. Every element of C is one
// chain of fma over k in order, whatever the tiling, so both instruction sets give equal bits.
#pragma once

#include <algorithm>

#include "kernels/cpu/lib/vec.h"

namespace suan::cpu::SUAN_ISA {

#ifdef __AVX512F__
inline constexpr int kTileRows = 6, kTileVecs = 4;  // 24 of 32 registers accumulate
#else
inline constexpr int kTileRows = 6, kTileVecs = 1;  // a vector is two registers: 12 of 16
#endif

template <class T>
struct TileOperands {
  const T* a;
  std::int64_t a_row, a_col;
  const T* b;
  std::int64_t b_row;
  T* c;
  std::int64_t c_row;
  int k;
  bool accumulate;  // C += A B, else C = A B
};

template <class T, int Rows, int Vecs, bool Partial>
SUAN_INLINE void tile_kernel(const TileOperands<T>& o, int tail) {
  using V = vec_of<T>;
  constexpr int lanes = lanes_of<T>;
  V acc[Rows][Vecs];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v) {
      const T* from = o.c + r * o.c_row + v * lanes;
      const bool cut = Partial && v == Vecs - 1;
      acc[r][v] = !o.accumulate ? V{} : cut ? load_partial(from, tail) : load(from);
    }
  }
  const T* a = o.a;
  const T* b = o.b;
  for (int k = 0; k < o.k; ++k, a += o.a_col, b += o.b_row) {
    V row[Vecs];
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v) {
      const bool cut = Partial && v == Vecs - 1;
      row[v] = cut ? load_partial(b + v * lanes, tail) : load(b + v * lanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const V left = splat<V>(a[r * o.a_row]);
#pragma GCC unroll 8
      for (int v = 0; v < Vecs; ++v) acc[r][v] = fma(left, row[v], acc[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v) {
      T* to = o.c + r * o.c_row + v * lanes;
      if (Partial && v == Vecs - 1) {
        store_partial(to, acc[r][v], tail);
      } else {
        store(to, acc[r][v]);
      }
    }
  }
}

template <class T, int Rows, bool Partial>
inline void tile_vecs(const TileOperands<T>& o, int vecs, int tail) {
  if (vecs == 1) return tile_kernel<T, Rows, 1, Partial>(o, tail);
  if constexpr (kTileVecs >= 4) {
    if (vecs == 2) return tile_kernel<T, Rows, 2, Partial>(o, tail);
    if (vecs == 3) return tile_kernel<T, Rows, 3, Partial>(o, tail);
    return tile_kernel<T, Rows, 4, Partial>(o, tail);
  }
}

// `rows` (at most kTileRows) rows of C, n columns; reads and writes nothing beyond them.
template <class T, bool Partial>
void tile_rows(const TileOperands<T>& o, int rows, int vecs, int tail) {
  switch (rows) {
    case 1:
      return tile_vecs<T, 1, Partial>(o, vecs, tail);
    case 2:
      return tile_vecs<T, 2, Partial>(o, vecs, tail);
    case 3:
      return tile_vecs<T, 3, Partial>(o, vecs, tail);
    case 4:
      return tile_vecs<T, 4, Partial>(o, vecs, tail);
    case 5:
      return tile_vecs<T, 5, Partial>(o, vecs, tail);
    default:
      return tile_vecs<T, 6, Partial>(o, vecs, tail);
  }
}

template <class T>
inline void tile_gemm(TileOperands<T> o, int rows, int n) {
  constexpr int lanes = lanes_of<T>;
  while (n > 0) {
    const int vecs = std::min((n + lanes - 1) / lanes, kTileVecs);
    const int width = std::min(n, vecs * lanes), tail = width - (vecs - 1) * lanes;
    if (tail == lanes) {
      tile_rows<T, false>(o, rows, vecs, tail);
    } else {
      tile_rows<T, true>(o, rows, vecs, tail);
    }
    o.b += width;
    o.c += width;
    n -= width;
  }
}

// to[d * to_row + j] = from[j * from_row + d] for j < n and d < depth; to is padded with zeros up
// to `padded` columns (a multiple of 16).
template <class T>
inline void pack_transposed(const T* from, std::int64_t from_row, int n, int depth, T* to,
                            int to_row, int padded) {
  int j = 0;
  if constexpr (std::is_same_v<T, float>) {
    const auto quad = [&](int row, int d) { return _mm_loadu_ps(from + row * from_row + d); };
    for (; j + 16 <= n; j += 16) {
      int d = 0;
      for (; d + 4 <= depth; d += 4) {
        float* out = to + d * to_row + j;
#ifdef __AVX512F__
        __m512 r[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          r[i] = _mm512_castps128_ps512(quad(j + i, d));
          r[i] = _mm512_insertf32x4(r[i], quad(j + i + 4, d), 1);
          r[i] = _mm512_insertf32x4(r[i], quad(j + i + 8, d), 2);
          r[i] = _mm512_insertf32x4(r[i], quad(j + i + 12, d), 3);
        }
        const __m512d a = (__m512d)_mm512_unpacklo_ps(r[0], r[1]);
        const __m512d b = (__m512d)_mm512_unpacklo_ps(r[2], r[3]);
        const __m512d e = (__m512d)_mm512_unpackhi_ps(r[0], r[1]);
        const __m512d f = (__m512d)_mm512_unpackhi_ps(r[2], r[3]);
        _mm512_storeu_ps(out, (__m512)_mm512_unpacklo_pd(a, b));
        _mm512_storeu_ps(out + to_row, (__m512)_mm512_unpackhi_pd(a, b));
        _mm512_storeu_ps(out + 2 * to_row, (__m512)_mm512_unpacklo_pd(e, f));
        _mm512_storeu_ps(out + 3 * to_row, (__m512)_mm512_unpackhi_pd(e, f));
#else
        for (int half = 0; half < 16; half += 8) {
          __m256 r[4];
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) {
            r[i] = _mm256_set_m128(quad(j + half + i + 4, d), quad(j + half + i, d));
          }
          const __m256d a = (__m256d)_mm256_unpacklo_ps(r[0], r[1]);
          const __m256d b = (__m256d)_mm256_unpacklo_ps(r[2], r[3]);
          const __m256d e = (__m256d)_mm256_unpackhi_ps(r[0], r[1]);
          const __m256d f = (__m256d)_mm256_unpackhi_ps(r[2], r[3]);
          _mm256_storeu_ps(out + half, (__m256)_mm256_unpacklo_pd(a, b));
          _mm256_storeu_ps(out + half + to_row, (__m256)_mm256_unpackhi_pd(a, b));
          _mm256_storeu_ps(out + half + 2 * to_row, (__m256)_mm256_unpacklo_pd(e, f));
          _mm256_storeu_ps(out + half + 3 * to_row, (__m256)_mm256_unpackhi_pd(e, f));
        }
#endif
      }
      for (; d < depth; ++d) {
        for (int i = 0; i < 16; ++i) to[d * to_row + j + i] = from[(j + i) * from_row + d];
      }
    }
  }
  for (int d = 0; d < depth; ++d) {
    for (int i = j; i < n; ++i) to[d * to_row + i] = from[i * from_row + d];
    for (int i = n; i < padded; ++i) to[d * to_row + i] = T(0);
  }
}

}  // namespace suan::cpu::SUAN_ISA
