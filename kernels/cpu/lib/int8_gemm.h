// Products of 8-bit integers, exact in wrapping 32-bit sums: C[m, n] = A[m, k] · B[k, n], A unsigned, B signed.
// The other signs are these with 128 added to both sides of a zero point. vpdpbusd does four products a lane where
// the processor has it; otherwise products are made in 16 bits, where nothing saturates, so that every processor
// gives the same integers. Integers add in any order: what is cut how never shows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/pool.h"

namespace suan::cpu {

inline constexpr int64_t int8_panel = 32;      // columns of B that lie together
inline constexpr int int8_max_rows = 14;       // of A, multiplied at once
inline constexpr int64_t int8_quads(int64_t k) { return (k + 3) / 4; }
// A panel: for each four of k, the four bytes of every column side by side; then the columns' sums as 32 bits.
inline constexpr int64_t int8_panel_bytes(int64_t k) { return (int8_quads(k) + 1) * 4 * int8_panel; }
inline constexpr int64_t int8_panels(int64_t n) { return (n + int8_panel - 1) / int8_panel; }
inline constexpr int64_t int8_packed_bytes(int64_t k, int64_t n) { return int8_panels(n) * int8_panel_bytes(k); }
// A's rows are read in fours, to a multiple of which they have to be readable: what lies there is not used.
inline constexpr int64_t int8_row_bytes(int64_t k) { return int8_quads(k) * 4; }

// Sums of some rows by one panel, [rows][32], and the panel's column sums.
using Int8Ending = FunctionRef<void(const int32_t* sums, const int32_t* column_sums, int64_t row0, int64_t rows,
                                    int64_t col0, int64_t cols)>;

#define SUAN_DECLARE_INT8(ISA)                                                                            \
  namespace ISA {                                                                                         \
  /* One panel from B at `b` (k × cols, element (i, j) at b[i * step_k + j * step_n], each with `flip`    \
     exclusive-ored: 0x80 for unsigned ones), zeros beyond cols. */                                       \
  void int8_pack_panel(const uint8_t* b, int64_t step_k, int64_t step_n, int64_t k, int64_t cols, uint8_t flip, \
                       void* panel);                                                                      \
  /* Rows [0, m) of A, `lda` bytes apart, by n_panels panels. On the calling thread. */                   \
  void int8_multiply(const uint8_t* a, int64_t lda, int64_t m, int64_t k, const void* panels, int64_t n,  \
                     Int8Ending ending);                                                                  \
  }
SUAN_DECLARE_INT8(avx2)
SUAN_DECLARE_INT8(avx512)
#undef SUAN_DECLARE_INT8

}  // namespace suan::cpu
