// Products of 8-bit integers: see int8_gemm.h.
#include "kernels/cpu/lib/int8_gemm.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/cpu/lib/int8_dot.h"

namespace suan::cpu::SUAN_ISA {
namespace {

using namespace int8;

#ifdef __AVX512F__
constexpr int max_rows = int8_max_rows;   // 14 x 2 sums, 2 of B, 1 of A: 31 registers of 32
#else
constexpr int max_rows = 6;               // 6 x 2, 2 and 1: 15 of 16
#endif
constexpr int per_panel = int(int8_panel) / vec_lanes;   // vectors of a panel
constexpr int quad_bytes = 4 * int(int8_panel);

int32_t quad(const uint8_t* p) {
  int32_t x;
  std::memcpy(&x, p, 4);
  return x;
}

// R rows by NV vectors of columns. Chains: sums of every so many quads apart, for few rows, whose sums would
// otherwise wait for one another.
template <class Product, int R, int NV, int Chains>
void multiply_rows(const uint8_t* a, int64_t lda, int64_t quads, const char* b, int32_t* sums) {
  Vec acc[Chains][R][NV];
#pragma GCC unroll 16
  for (int c = 0; c < Chains; ++c)
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[c][i][j] = Vec{};
  const auto step = [&](int c) __attribute__((always_inline)) {
    Vec bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) bv[j] = fetch(b + j * int(sizeof(Vec)));
    __builtin_prefetch(b + 32 * quad_bytes);
    __builtin_prefetch(b + 32 * quad_bytes + 64);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vec av = spread(quad(a + i * lda));
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[c][i][j] = Product::run(acc[c][i][j], av, bv[j]);
    }
    a += 4;
    b += quad_bytes;
  };
  int64_t q = 0;
  for (; q + Chains <= quads; q += Chains) {
#pragma GCC unroll 4
    for (int c = 0; c < Chains; ++c) step(c);
  }
  for (; q < quads; ++q) step(0);
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      Vec v = acc[0][i][j];
#pragma GCC unroll 4
      for (int c = 1; c < Chains; ++c) v = plus(v, acc[c][i][j]);
      put(sums + i * int8_panel + j * vec_lanes, v);
    }
}

using Rows = void (*)(const uint8_t*, int64_t, int64_t, const char*, int32_t*);
template <class Product, int... I>
constexpr auto make_rows(std::integer_sequence<int, I...>) {
  return std::array<Rows, sizeof...(I)>{multiply_rows<Product, I + 1, 2, (I < 1 ? 4 : I < 3 ? 2 : 1)>...};
}
template <class Product>
constexpr auto rows_table = make_rows<Product>(std::make_integer_sequence<int, max_rows>{});

}  // namespace

void int8_pack_panel(const uint8_t* b, int64_t step_k, int64_t step_n, int64_t k, int64_t cols, uint8_t flip, void* panel) {
  uint8_t* to = static_cast<uint8_t*>(panel);
  const int64_t quads = int8_quads(k);
  int32_t* column = reinterpret_cast<int32_t*>(to + quads * quad_bytes);
  int64_t q = 0;
  // Whole rows of 32 columns side by side: four of them interleave.
  if (step_n == 1 && cols == int8_panel) {
    const __m256i flips = _mm256_set1_epi8(char(flip)), ones = _mm256_set1_epi8(1), pairs = _mm256_set1_epi16(1);
    __m256i sums[4] = {};
    for (; 4 * q + 4 <= k; ++q, to += quad_bytes) {
      const uint8_t* from = b + 4 * q * step_k;
      __m256i r[4];
      for (int i = 0; i < 4; ++i)
        r[i] = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i * step_k)), flips);
      const __m256i lo01 = _mm256_unpacklo_epi8(r[0], r[1]), hi01 = _mm256_unpackhi_epi8(r[0], r[1]);
      const __m256i lo23 = _mm256_unpacklo_epi8(r[2], r[3]), hi23 = _mm256_unpackhi_epi8(r[2], r[3]);
      // Columns 0-3 and 16-19, 4-7 and 20-23, ...
      const __m256i w0 = _mm256_unpacklo_epi16(lo01, lo23), w1 = _mm256_unpackhi_epi16(lo01, lo23);
      const __m256i w2 = _mm256_unpacklo_epi16(hi01, hi23), w3 = _mm256_unpackhi_epi16(hi01, hi23);
      const __m256i out[4] = {_mm256_permute2x128_si256(w0, w1, 0x20), _mm256_permute2x128_si256(w2, w3, 0x20),
                              _mm256_permute2x128_si256(w0, w1, 0x31), _mm256_permute2x128_si256(w2, w3, 0x31)};
      for (int i = 0; i < 4; ++i) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32 * i), out[i]);
        // One times a signed byte, twice: at most 256, nothing saturates.
        sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(ones, out[i]), pairs));
      }
    }
    for (int i = 0; i < 4; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(column + 8 * i), sums[i]);
  } else {
    std::fill_n(column, int8_panel, 0);
  }
  for (; q < quads; ++q, to += quad_bytes) {
    const int64_t rows = std::min<int64_t>(4, k - 4 * q);
    std::memset(to, 0, size_t(quad_bytes));
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) {
        const uint8_t v = b[(4 * q + i) * step_k + j * step_n] ^ flip;
        to[4 * j + i] = v;
        column[j] += int8_t(v);
      }
  }
}

void int8_multiply(const uint8_t* a, int64_t lda, int64_t m, int64_t k, const void* panels, int64_t n, Int8Ending ending) {
  const Rows* kernels = has_dot() ? rows_table<Dot>.data() : rows_table<Wide>.data();   // by rows - 1
  const int64_t quads = int8_quads(k);
  // Blocks of rows of nearly one height.
  const int64_t blocks = (m + max_rows - 1) / max_rows;
  alignas(64) int32_t sums[max_rows * int8_panel];
  for (int64_t p = 0; p < int8_panels(n); ++p) {
    const char* panel = static_cast<const char*>(panels) + p * int8_panel_bytes(k);
    const int32_t* column = reinterpret_cast<const int32_t*>(panel + quads * quad_bytes);
    const int64_t col0 = p * int8_panel, cols = std::min(int8_panel, n - col0);
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t row0 = i * m / blocks, rows = (i + 1) * m / blocks - row0;
      for (int v = 0; v < per_panel; v += 2)
        kernels[rows - 1](a + row0 * lda, lda, quads, panel + v * int64_t(sizeof(Vec)), sums + v * vec_lanes);
      ending(sums, column, row0, rows, col0, cols);
    }
  }
}

}  // namespace suan::cpu::SUAN_ISA
