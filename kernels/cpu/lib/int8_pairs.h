// Rows of two 8-bit integers: of one shape, or b one row for each image, or one number in all.
#pragma once

#include <algorithm>

#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/int8_finish.h"

namespace suan::cpu::SUAN_ISA {

struct Int8Pairs {
  int64_t images, rows, n;       // of an image, and values in a row
  int64_t b_image, b_row, b_step;   // steps of b; b_step 0: one number
};

inline bool int8_pairs_supported(const KernelDesc& d) {
  const Shape &a = d.in[0]->layout.shape, &b = d.in[1]->layout.shape, &out = d.out[0]->layout.shape;
  if (a != out) return false;
  if (b == out || numel(b) == 1) return true;
  return b.size() == 4 && out.size() == 4 && b[0] == out[0] && b[3] == out[3] && b[1] * b[2] == 1;
}
inline Int8Pairs int8_pairs(const KernelDesc& d) {
  const Shape &b = d.in[1]->layout.shape, &out = d.out[0]->layout.shape;
  if (b == out) return {1, 1, numel(out), 0, 0, 1};
  if (numel(b) == 1) return {1, 1, numel(out), 0, 0, 0};
  return {out[0], out[1] * out[2], out[3], out[3], 0, 1};
}

// f(a, b), both less their zero points, in f32.
template <class A, class B, class T, class F>
void int8_pairs_run(const Int8Pairs& s, const KernelArgs& x, int32_t out_zero, F f) {
  constexpr int64_t piece = 1 << 14;
  const A *a = static_cast<const A*>(x.in[0]), *a_zero = static_cast<const A*>(x.in[2]);
  const B *b = static_cast<const B*>(x.in[1]), *b_zero = static_cast<const B*>(x.in[3]);
  const int32_t za = a_zero ? *a_zero : 0, zb = b_zero ? *b_zero : 0;
  T* out = static_cast<T*>(x.out[0]);
  const float lo = float(std::numeric_limits<T>::min() - out_zero), hi = float(std::numeric_limits<T>::max() - out_zero);
  const auto stored = [&](int32_t va, int32_t vb) {
    float v = f(float(va - za), float(vb - zb));
    v = v > lo ? v : lo;
    v = v < hi ? v : hi;
    return T(nearest(v) + out_zero);
  };
  const bool one_row = s.images * s.rows == 1;
  const int64_t rows = one_row ? 1 : std::max<int64_t>(1, piece / std::max<int64_t>(1, s.n)), pieces = one_row ? (s.n + piece - 1) / piece : 1;
  const int64_t total = s.images * s.rows;
  parallel_for((total + rows - 1) / rows * pieces, [&](int64_t t) {
    const int64_t first = t % pieces * piece, n = one_row ? std::min(piece, s.n - first) : s.n;
    for (int64_t r = t / pieces * rows; r < std::min(total, (t / pieces + 1) * rows); ++r) {
      const A* pa = a + r * s.n + first;
      T* to = out + r * s.n + first;
      if (s.b_step == 0) {
        const int32_t vb = *b;
        for (int64_t i = 0; i < n; ++i) to[i] = stored(pa[i], vb);
      } else {
        const B* pb = b + (s.images > 1 || s.rows > 1 ? r / s.rows * s.b_image : first);
        for (int64_t i = 0; i < n; ++i) to[i] = stored(pa[i], pb[i]);
      }
    }
  });
}

// Over the dtypes of a, b and the result.
template <class F>
void with_byte(DType t, F f) {
  if (t == DType::i8) f(int8_t{});
  else f(uint8_t{});
}

}  // namespace suan::cpu::SUAN_ISA
