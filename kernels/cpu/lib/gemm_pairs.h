// Panels of bf16 for vdpbf16ps, which multiplies pairs: one 32-bit lane holds two neighbours along k.
// It adds the high half's product first, then the low one's, each as an fma. So the earlier of two
// goes into the high half, and a sum is the very chain over k that panels widened to f32 give; only
// subnormal numbers differ, which the instruction takes and leaves as zeros. An odd last k is
// paired with zero. Private to gemm.cpp.
#pragma once

#include "kernels/cpu/lib/gemm_tile.h"

#ifdef __AVX512F__

namespace suan::cpu::SUAN_ISA::gemm_tiles {

inline Pair pair(Bf16 first, Bf16 second) {
  return {uint32_t{first.bits} << 16 | second.bits};
}
// Two neighbours in memory.
inline Pair pair_at(const Bf16* p) {
  uint32_t both;
  std::memcpy(&both, p, 4);
  return {std::rotl(both, 16)};
}

// Two rows of B or of a transposed A, ld apart, into one of pairs; the last row may be alone.
inline void join_rows(const Bf16* src, int64_t ld, bool alone, int64_t n, Pair* to) {
  if (alone) {
    for (int64_t i = 0; i < n; ++i) to[i] = pair(src[i], {0});
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = pair(src[i], src[ld + i]);
  }
}

template <bool Trans>
void pack_b_panel(const Bf16* src, int64_t ld, int64_t kc, int64_t cols, int64_t width, Pair* dst) {
  const int64_t units = (kc + 1) / 2, pairs = kc / 2;
  if constexpr (!Trans) {
    for (int64_t u = 0; u < units; ++u, src += 2 * ld, dst += width) {
      join_rows(src, ld, u == pairs, cols, dst);
      std::fill(dst + cols, dst + width, Pair{});
    }
  } else {
    int64_t j = 0;
    for (; j + 8 <= cols; j += 8) {
      int64_t u = 0;
      for (; u + 8 <= pairs; u += 8) {
        transpose_8x8(reinterpret_cast<const char*>(src + j * ld + 2 * u), 2 * ld,
                      reinterpret_cast<float*>(dst + u * width + j), width, [](__m256 x) {
                        return _mm256_castsi256_ps(_mm256_rol_epi32(_mm256_castps_si256(x), 16));
                      });
      }
      for (; u < pairs; ++u) {
        for (int64_t i = j; i < j + 8; ++i) dst[u * width + i] = pair_at(src + i * ld + 2 * u);
      }
    }
    for (; j < cols; ++j) {
      for (int64_t u = 0; u < pairs; ++u) dst[u * width + j] = pair_at(src + j * ld + 2 * u);
    }
    if (units > pairs) {
      for (int64_t i = 0; i < cols; ++i) dst[pairs * width + i] = pair(src[i * ld + kc - 1], {0});
    }
    for (int64_t u = 0; u < units; ++u) std::fill(dst + u * width + cols, dst + (u + 1) * width, Pair{});
  }
}

inline void pack_b_rows(const Bf16* src, int64_t ld, int64_t kc, int64_t n, Pair* dst) {
  constexpr int64_t width = panel_cols<Pair>;
  const int64_t units = (kc + 1) / 2;
  for (int64_t u = 0; u < units; ++u, src += 2 * ld, dst += width) {
    for (int64_t p = 0; p < n; ++p) {
      const Bf16* from = src + p * width;
      __builtin_prefetch(from + 8 * ld);
      __builtin_prefetch(from + 9 * ld);
      join_rows(from, ld, u == kc / 2, width, dst + p * units * width);
    }
  }
}

inline void pack_a_rows(const Bf16* src, int64_t ld, int64_t rows, int64_t kc, Pair* dst) {
  for (int64_t i = 0; i < rows; ++i, src += ld, dst += row_stride<Pair>) {
    for (int64_t u = 0; u < kc / 2; ++u) dst[u] = pair_at(src + 2 * u);
    if (kc % 2) dst[kc / 2] = pair(src[kc - 1], {0});
  }
}

inline void pack_a_k_major(const Bf16* src, int64_t ld, int64_t rows, int64_t height, int64_t kc,
                           Pair* dst) {
  const int64_t units = (kc + 1) / 2;
  // Panels that whole vectors may be read for: all in one pass over k, whose rows lie far apart.
  const int64_t whole = rows < k_stride<Pair> ? 0 : (rows - k_stride<Pair>) / height + 1;
  for (int64_t u = 0; u < units; ++u) {
    const Bf16* from = src + 2 * u * ld;
    Pair* to = dst + u * k_stride<Pair>;
    if (u == kc / 2) {
      for (int64_t p = 0; p < whole; ++p)
        join_rows(from + p * height, ld, true, k_stride<Pair>, to + p * k_major_panel<Pair>);
      break;
    }
    for (int64_t i = 0; i < whole * height; i += 32) {
      __builtin_prefetch(from + 8 * ld + i);
      __builtin_prefetch(from + 9 * ld + i);
    }
    for (int64_t p = 0; p < whole; ++p, from += height, to += k_major_panel<Pair>)
      join_rows(from, ld, false, k_stride<Pair>, to);
  }
  for (int64_t row = whole * height; row < rows; row += height) {
    Pair* to = dst + row / height * k_major_panel<Pair>;
    for (int64_t u = 0; u < units; ++u)
      join_rows(src + 2 * u * ld + row, ld, u == kc / 2, std::min(height, rows - row), to + u * k_stride<Pair>);
  }
}

}  // namespace suan::cpu::SUAN_ISA::gemm_tiles

#endif
