// The inner parts of the matrix product: packing into cache-sized panels and the register-blocked
// kernel that multiplies two panels. Private to gemm.cpp and conv.cpp.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

// Its own namespace: vec.h has functions of the same names on other types.
namespace suan::cpu::SUAN_ISA::gemm_tiles {

#ifdef __AVX512F__
inline constexpr int vector_bytes = 64;
inline constexpr int max_rows =
    14;  // 14 x 2 accumulators, 2 of B and 1 broadcast: 31 registers of 32
#else
inline constexpr int vector_bytes = 32;
inline constexpr int max_rows = 6;  // 6 x 2 + 2 + 1: 15 registers of 16
#endif

// Two values of a bf16 panel (gemm_pairs.h).
struct Pair {
  uint32_t bits;
};

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(vector_bytes)));
  typedef T unaligned __attribute__((vector_size(vector_bytes), aligned(alignof(T)), may_alias));
};
template <>
struct VectorOf<Pair> : VectorOf<uint32_t> {};
template <class T>
using Vector = typename VectorOf<T>::type;

// What products of panel elements add up in, and how many values of k an element holds.
template <class T>
struct SumOf {
  using type = T;
};
template <>
struct SumOf<Pair> {
  using type = float;
};
template <class T>
using Sum = typename SumOf<T>::type;
template <class T>
inline constexpr int64_t k_per = std::is_same_v<T, Pair> ? 2 : 1;

template <class T>
inline constexpr int lanes = vector_bytes / int{sizeof(T)};
template <class T>
inline constexpr int panel_cols = 2 * lanes<T>;
template <class T>
inline constexpr int64_t k_block = 1024 / int64_t{sizeof(T)};
// A's panel: rows one cache line longer than the block, so that they do not share sets.
template <class T>
inline constexpr int64_t row_stride = k_block<T> + 64 / int64_t{sizeof(T)};
// A's panel where k runs slowest: room for max_rows values.
template <class T>
inline constexpr int64_t k_stride = lanes<T> > max_rows ? lanes<T> : max_rows;
// From one such panel to the next: not a multiple of 4 KiB, or writing several at once would
// collide.
template <class T>
inline constexpr int64_t k_major_panel = k_block<T> * k_stride<T> + 320 / int64_t{sizeof(T)};

template <class T>
Vector<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(p);
}
template <class T>
void store(T* p, Vector<T> v) {
  *reinterpret_cast<typename VectorOf<T>::unaligned*>(p) = v;
}
template <class T>
Vector<T> broadcast(T x) {
  return x - Vector<T>{};
}
template <>
inline Vector<Pair> broadcast(Pair x) {
  return x.bits - Vector<Pair>{};
}

template <class T>
inline Vector<Sum<T>> multiply_add(Vector<T> a, Vector<T> b, Vector<Sum<T>> c) {
  return a * b + c;
}
#ifdef __AVX512F__
// By name: x86-64-v4 does not include it. Run only where the processor has it.
template <>
inline Vector<float> multiply_add<Pair>(Vector<Pair> a, Vector<Pair> b, Vector<float> c) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
  return c;
}
template <>
inline Vector<float> multiply_add<float>(Vector<float> a, Vector<float> b, Vector<float> c) {
  return (Vector<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
template <>
inline Vector<double> multiply_add<double>(Vector<double> a, Vector<double> b, Vector<double> c) {
  return (Vector<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#else
template <>
inline Vector<float> multiply_add<float>(Vector<float> a, Vector<float> b, Vector<float> c) {
  return (Vector<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
template <>
inline Vector<double> multiply_add<double>(Vector<double> a, Vector<double> b, Vector<double> c) {
  return (Vector<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#endif

// sum += a b, by name: where registers are scarce the compiler lets sums wander between them, and some through memory.
inline __attribute__((always_inline)) void add_product(Vector<float>& sum, Vector<float> a, Vector<float> b) {
  asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

// Memory that a later panel needs, asked for while this one is multiplied: a line every four k,
// `step` bytes on, and `jump` after each ahead_lines.
struct Ahead {
  const char* at;
  int64_t step, jump;
};
inline constexpr int64_t ahead_lines = 16;
// Asks for a line that is there already.
inline Ahead nothing_ahead(const void* panel) { return {static_cast<const char*>(panel), 0, 0}; }

// C[R, cols] (+)= A[R, kc] · B[kc, NV vectors]. A is a packed panel, rows row_stride apart and lda
// 1, or KMajor: the R values of one k side by side, lda from one k to the next. cols below the
// vectors' width writes only those columns.
template <class T, int R, int NV, bool KMajor>
void multiply_panel(int64_t kc, const T* a, int64_t lda, const T* b, int64_t ldb, Sum<T>* c,
                    int64_t ldc, int64_t cols, bool add, Ahead ahead) {
  constexpr int width = lanes<T>;
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < NV; ++j) __builtin_prefetch(c + i * ldc + j * width, 1);
  }
  Vector<Sum<T>> acc[R][NV] = {};
  const auto step = [&](const T* a, const T* b) __attribute__((always_inline)) {
    Vector<T> bv[NV];
    for (int j = 0; j < NV; ++j) {
      bv[j] = load(b + j * width);
      // Out of L2; one row of A reads B as fast as memory gives it.
      __builtin_prefetch(b + (R == 1 ? 64 : 16) * ldb + j * width);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vector<T> av = broadcast(a[KMajor ? i : i * row_stride<T>]);
      for (int j = 0; j < NV; ++j) {
        if constexpr (std::is_same_v<T, float> && vector_bytes == 32) add_product(acc[i][j], av, bv[j]);
        else acc[i][j] = multiply_add<T>(av, bv[j], acc[i][j]);
      }
    }
  };
  const int64_t a_step = KMajor ? lda : 1;
  int64_t k = 0;
  for (int64_t line = 1; k + 4 <= kc; ++line, k += 4) {
    __builtin_prefetch(ahead.at, 0, 2);
    ahead.at += line % ahead_lines ? ahead.step : ahead.jump;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i, a += a_step, b += ldb) step(a, b);
  }
  for (; k < kc; ++k, a += a_step, b += ldb) step(a, b);
  // Unrolled, or the accumulators would take a round trip through memory to be indexed.
  if (cols == NV * width) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      for (int j = 0; j < NV; ++j) {
        Sum<T>* to = c + i * ldc + j * width;
        store(to, add ? load(to) + acc[i][j] : acc[i][j]);
      }
    }
    return;
  }
  Sum<T> rows[R][NV * width];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < NV; ++j) store(rows[i] + j * width, acc[i][j]);
  }
#pragma GCC unroll 1
  for (int i = 0; i < R; ++i, c += ldc) {
    for (int64_t j = 0; j < cols; ++j) c[j] = add ? c[j] + rows[i][j] : rows[i][j];
  }
}

template <class T>
using PanelKernel = void (*)(int64_t, const T*, int64_t, const T*, int64_t, Sum<T>*, int64_t,
                             int64_t, bool, Ahead);

template <class T, bool KMajor, int... I>
constexpr auto make_panel_kernels(std::integer_sequence<int, I...>) {
  return std::array<std::array<PanelKernel<T>, 2>, sizeof...(I)>{
      {{multiply_panel<T, I + 1, 1, KMajor>, multiply_panel<T, I + 1, 2, KMajor>}...}};
}
// Indexed by [rows - 1][vectors - 1].
template <class T, bool KMajor>
inline constexpr auto panel_kernels =
    make_panel_kernels<T, KMajor>(std::make_integer_sequence<int, max_rows>{});

// Storage types that arithmetic does not run in.
struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

template <class T, class S>
inline T widen(S x) {
  return static_cast<T>(x);
}
template <>
inline float widen<float, Bf16>(Bf16 x) {
  return std::bit_cast<float>(uint32_t{x.bits} << 16);
}
template <>
inline float widen<float, F16>(F16 x) {
  return _cvtsh_ss(x.bits);
}
template <class S, class T>
inline S narrow(T x) {
  return static_cast<S>(x);
}
template <>
inline Bf16 narrow<Bf16, float>(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  return {static_cast<uint16_t>(x != x ? (u >> 16) | 0x40 : rounded)};
}
template <>
inline F16 narrow<F16, float>(float x) {
  return {static_cast<uint16_t>(_cvtss_sh(x, 0))};
}

// dst[j][i] = src[i][j] for an 8x8 block of floats. Loading half rows as pairs leaves 16 shuffles.
// `finish` is applied to what is stored; src may be any 32-bit lanes, ld in bytes.
inline void transpose_8x8(const char* src, int64_t ld, float* dst, int64_t ld_dst, auto&& finish) {
  const auto quarter = [&](int row, int col) {
    return _mm_loadu_ps(reinterpret_cast<const float*>(src + row * ld + 4 * col));
  };
  const auto halves = [&](int row, int col) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(quarter(row, col)), quarter(row + 4, col), 1);
  };
  for (int col = 0; col < 8; col += 4) {
    const __m256 r0 = halves(0, col), r1 = halves(1, col), r2 = halves(2, col), r3 = halves(3, col);
    const __m256 a = _mm256_unpacklo_ps(r0, r1), b = _mm256_unpackhi_ps(r0, r1);
    const __m256 c = _mm256_unpacklo_ps(r2, r3), d = _mm256_unpackhi_ps(r2, r3);
    float* to = dst + col * ld_dst;
    _mm256_storeu_ps(to, finish(_mm256_shuffle_ps(a, c, 0x44)));
    _mm256_storeu_ps(to + ld_dst, finish(_mm256_shuffle_ps(a, c, 0xee)));
    _mm256_storeu_ps(to + 2 * ld_dst, finish(_mm256_shuffle_ps(b, d, 0x44)));
    _mm256_storeu_ps(to + 3 * ld_dst, finish(_mm256_shuffle_ps(b, d, 0xee)));
  }
}

inline void transpose_8x8(const float* src, int64_t ld, float* dst, int64_t ld_dst) {
  transpose_8x8(reinterpret_cast<const char*>(src), 4 * ld, dst, ld_dst, [](__m256 x) { return x; });
}

// One panel of B, [kc][width] with zeros beyond cols, from src with element (k, j) at
// src[k * ld + j], or src[j * ld + k] when Trans.
template <bool Trans, class T, class S>
void pack_b_panel(const S* src, int64_t ld, int64_t kc, int64_t cols, int64_t width, T* dst) {
  if constexpr (!Trans) {
    for (int64_t k = 0; k < kc; ++k, src += ld, dst += width) {
      for (int64_t j = 0; j < cols; ++j) dst[j] = widen<T>(src[j]);
      for (int64_t j = cols; j < width; ++j) dst[j] = T{};
    }
  } else {
    int64_t j = 0;
    if constexpr (std::is_same_v<S, float>) {
      for (; j + 8 <= cols; j += 8) {
        int64_t k = 0;
        for (; k + 8 <= kc; k += 8) transpose_8x8(src + j * ld + k, ld, dst + k * width + j, width);
        for (; k < kc; ++k) {
          for (int64_t i = j; i < j + 8; ++i) dst[k * width + i] = src[i * ld + k];
        }
      }
    }
    for (; j < cols; ++j) {
      for (int64_t k = 0; k < kc; ++k) dst[k * width + j] = widen<T>(src[j * ld + k]);
    }
    for (; j < width; ++j) {
      for (int64_t k = 0; k < kc; ++k) dst[k * width + j] = T{};
    }
  }
}

// `n` full panels of B, one after the other, in one pass over its rows.
template <class T, class S>
void pack_b_rows(const S* src, int64_t ld, int64_t kc, int64_t n, T* dst) {
  constexpr int64_t width = panel_cols<T>;
  for (int64_t k = 0; k < kc; ++k, src += ld, dst += width) {
    const S* from = src;
    T* to = dst;
    for (int64_t p = 0; p < n; ++p, from += width, to += kc * width) {
      __builtin_prefetch(from + 8 * ld);
      for (int64_t j = 0; j < width; ++j) to[j] = widen<T>(from[j]);
    }
  }
}

// One panel of A: `rows` of kc values, row_stride apart.
template <class T, class S>
void pack_a_rows(const S* src, int64_t ld, int64_t rows, int64_t kc, T* dst) {
  for (int64_t i = 0; i < rows; ++i, src += ld, dst += row_stride<T>) {
    for (int64_t k = 0; k < kc; ++k) dst[k] = widen<T>(src[k]);
  }
}

// Panels of a transposed A, `height` of its `rows` values of one k side by side, k_stride apart; a
// panel begins k_major_panel after the one before. Eight panels are filled in one pass over k: their
// values lie side by side in memory, and the rows of a transposed A are far apart.
template <class T, class S>
void pack_a_k_major(const S* src, int64_t ld, int64_t rows, int64_t height, int64_t kc, T* dst) {
  constexpr int group = 8;
  int64_t row = 0;
  // Whole vectors: what lies beyond a panel's height is never read.
  const auto whole = [&](auto panels) {
    for (int64_t k = 0; k < kc; ++k) {
      const S* from = src + k * ld + row;
      T* to = dst + k * k_stride<T>;
      for (int p = 0; p < panels(); ++p) {
        for (int64_t i = 0; i < k_stride<T>; ++i) to[i] = widen<T>(from[i]);
        from += height;
        to += k_major_panel<T>;
      }
    }
    row += panels() * height;
    dst += panels() * k_major_panel<T>;
  };
  while (row + (group - 1) * height + k_stride<T> <= rows) whole(std::integral_constant<int, group>());
  while (row + k_stride<T> <= rows) whole(std::integral_constant<int, 1>());
  for (; row < rows; row += height, dst += k_major_panel<T>) {
    for (int64_t k = 0; k < kc; ++k) {
      for (int64_t i = 0; i < std::min(height, rows - row); ++i) {
        dst[k * k_stride<T> + i] = widen<T>(src[k * ld + row + i]);
      }
    }
  }
}

}  // namespace suan::cpu::SUAN_ISA::gemm_tiles
