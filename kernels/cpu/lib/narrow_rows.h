// What most often follows a product of bf16 in float32, or a norm before one, on their tiles: the program's own loops cost more than its
// arithmetic there, a tile's rows being two vectors long. The very bits of the program.
#pragma once

#include "kernels/cpu/lib/math.h"

namespace suan::cpu::SUAN_ISA {

// Of bf16: gelu, rounded to bf16; a float32 operand added, not rounded. Of float32: rounded to bf16.
enum class NarrowRows { none, gelu, add, round };

namespace detail {
// f(row, column, lanes) for every vector of rows × cols.
template <class F>
SUAN_INLINE void each_row_vector(int64_t rows, int64_t cols, F f) {
  for (int64_t r = 0; r < rows; ++r) {
    int64_t j = 0;
    for (; j + 16 <= cols; j += 16) f(r, j, 16);
    if (j < cols) f(r, j, int(cols - j));
  }
}
SUAN_INLINE f32x16 bf16_row(const uint16_t* p, int n) { return bf16_to_f32(n == 16 ? load_u16(p) : load_u16_partial(p, n)); }
}  // namespace detail

// All rows are `row` elements apart.
inline void narrow_gelu(const uint16_t* x, uint16_t* y, int64_t row, int64_t rows, int64_t cols) {
  detail::each_row_vector(rows, cols, [&](int64_t r, int64_t j, int n) __attribute__((always_inline)) {
    const f32x16 v = detail::bf16_row(x + r * row + j, n);
    const u16x16 to = f32_to_bf16(0.5f * v * (1.0f + erf(v * 0.70710678118654752f)));
    if (n == 16) store_u16(y + r * row + j, to);
    else store_u16_partial(y + r * row + j, to, n);
  });
}
inline void narrow_round(const float* x, uint16_t* y, int64_t row, int64_t rows, int64_t cols) {
  detail::each_row_vector(rows, cols, [&](int64_t r, int64_t j, int n) __attribute__((always_inline)) {
    const float* from = x + r * row + j;
    if (n == 16) store_u16(y + r * row + j, f32_to_bf16(load(from)));
    else store_u16_partial(y + r * row + j, f32_to_bf16(load_partial(from, n)), n);
  });
}
inline void narrow_add(const uint16_t* x, const float* other, float* y, int64_t row, int64_t rows, int64_t cols) {
  detail::each_row_vector(rows, cols, [&](int64_t r, int64_t j, int n) __attribute__((always_inline)) {
    const f32x16 v = detail::bf16_row(x + r * row + j, n);
    const float* more = other + r * row + j;
    if (n == 16) store(y + r * row + j, v + load(more));
    else store_partial(y + r * row + j, v + load_partial(more, n), n);
  });
}

}  // namespace suan::cpu::SUAN_ISA
