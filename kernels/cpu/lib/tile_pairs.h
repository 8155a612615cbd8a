// tile_gemm.h's products for operands that hold numbers of bf16, by vdpbf16ps: half the steps, and the very chain of fma
// over k (gemm_pairs.h says why). An odd k ends with a pair of one number and zero. To be run only where fast_pairs().
#pragma once

#include "kernels/cpu/lib/gemm_pairs.h"

#ifdef __AVX512F__

namespace suan::cpu::SUAN_ISA {

using gemm_tiles::Pair;

struct PairOperands {
  const Pair* a;
  int64_t a_row, a_step;
  const Pair* b;
  int64_t b_row;
  float* c;
  int64_t c_row;
  int k;             // pairs
  bool accumulate;   // C += A B, else C = A B
  const float* factor = nullptr;   // of each row, which it is multiplied by before anything is added; null: 1
};

template <int Rows, int Vecs>
inline void pair_kernel(const PairOperands& o, uint16_t last) {
  using V = gemm_tiles::Vector<float>;
  constexpr int lanes = 16;
  const auto mask = [&](int v) { return __mmask16(v == Vecs - 1 ? last : 0xffff); };
  V acc[Rows][Vecs];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v)
      acc[r][v] = o.accumulate ? V(_mm512_maskz_loadu_ps(mask(v), o.c + r * o.c_row + v * lanes)) : V{};
  }
  if (o.accumulate && o.factor) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Vecs; ++v) acc[r][v] = acc[r][v] * o.factor[r];
    }
  }
  const Pair *a = o.a, *b = o.b;
  for (int k = 0; k < o.k; ++k, a += o.a_step, b += o.b_row) {
    gemm_tiles::Vector<Pair> row[Vecs];
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v)
      row[v] = gemm_tiles::Vector<Pair>(_mm512_maskz_loadu_epi32(mask(v), b + v * lanes));
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const auto left = gemm_tiles::broadcast(a[r * o.a_row]);
#pragma GCC unroll 8
      for (int v = 0; v < Vecs; ++v) acc[r][v] = gemm_tiles::multiply_add<Pair>(left, row[v], acc[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v)
      _mm512_mask_storeu_ps(o.c + r * o.c_row + v * lanes, mask(v), __m512(acc[r][v]));
  }
}

template <int Rows>
inline void pair_vecs(const PairOperands& o, int vecs, uint16_t last) {
  switch (vecs) {
    case 1: return pair_kernel<Rows, 1>(o, last);
    case 2: return pair_kernel<Rows, 2>(o, last);
    case 3: return pair_kernel<Rows, 3>(o, last);
    default: return pair_kernel<Rows, 4>(o, last);
  }
}

// At most six rows of C, n columns; reads and writes nothing beyond them.
inline void pair_tile(PairOperands o, int rows, int n) {
  constexpr int lanes = 16;
  while (n > 0) {
    const int vecs = std::min((n + lanes - 1) / lanes, 4), width = std::min(n, vecs * lanes);
    const auto last = uint16_t(0xffff >> (vecs * lanes - width));
    switch (rows) {
      case 1: pair_vecs<1>(o, vecs, last); break;
      case 2: pair_vecs<2>(o, vecs, last); break;
      case 3: pair_vecs<3>(o, vecs, last); break;
      case 4: pair_vecs<4>(o, vecs, last); break;
      case 5: pair_vecs<5>(o, vecs, last); break;
      default: pair_vecs<6>(o, vecs, last);
    }
    o.b += width;
    o.c += width;
    n -= width;
  }
}

inline Pair pair_of(float first, float second) {
  return {(std::bit_cast<uint32_t>(first) & 0xffff0000) | std::bit_cast<uint32_t>(second) >> 16};
}

// Neighbours in a row of n, `to` (n + 1) / 2 long.
inline void pair_neighbours(const float* row, int n, Pair* to) {
  for (int u = 0; u < n / 2; ++u) {
    uint64_t both;
    std::memcpy(&both, row + 2 * u, 8);
    to[u] = {uint32_t(both & 0xffff0000) | uint32_t(both >> 48)};
  }
  if (n % 2) to[n / 2] = pair_of(row[n - 1], 0);
}

// Rows two by two: [rows, n], from_row apart, into [(rows + 1) / 2, n], to_row apart.
inline void pair_rows(const float* from, int64_t from_row, int rows, int n, Pair* to, int64_t to_row) {
  for (int i = 0; i < rows; i += 2, from += 2 * from_row, to += to_row) {
    if (i + 1 < rows) {
      for (int j = 0; j < n; ++j) to[j] = pair_of(from[j], from[from_row + j]);
    } else {
      for (int j = 0; j < n; ++j) to[j] = pair_of(from[j], 0);
    }
  }
}

}  // namespace suan::cpu::SUAN_ISA

#endif
