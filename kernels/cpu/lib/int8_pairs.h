// Rows of two 8-bit integers: of one shape, or b one row for each image, or one number in all.
#pragma once

#include <algorithm>

#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/int8_dot.h"
#include "kernels/cpu/lib/int8_finish.h"

namespace suan::cpu::SUAN_ISA {

struct Int8Pairs {
  int64_t images, rows, n;       // of an image, and values in a row
  int64_t b_image, b_step;       // steps of b; b_step 0: one number
};

inline bool int8_pairs_supported(const KernelDesc& d) {
  const Shape &a = d.in[0]->layout.shape, &b = d.in[1]->layout.shape, &out = d.out[0]->layout.shape;
  if (a != out) return false;
  if (b == out || numel(b) == 1) return true;
  return b.size() == 4 && out.size() == 4 && b[0] == out[0] && b[3] == out[3] && b[1] * b[2] == 1;
}
inline Int8Pairs int8_pairs(const KernelDesc& d) {
  const Shape &b = d.in[1]->layout.shape, &out = d.out[0]->layout.shape;
  if (b == out) return {1, 1, numel(out), 0, 1};
  if (numel(b) == 1) return {1, 1, numel(out), 0, 0};
  return {out[0], out[1] * out[2], out[3], out[3], 1};
}

// f(a, b), both less their zero points, in f32: of vectors, and of the numbers after the last one.
template <class A, class B, class T, class F>
void int8_pairs_run(const Int8Pairs& s, const KernelArgs& x, int32_t out_zero, F f) {
  using namespace int8;
  constexpr int64_t piece = 1 << 14;
  const A *a = static_cast<const A*>(x.in[0]), *a_zero = static_cast<const A*>(x.in[2]);
  const B *b = static_cast<const B*>(x.in[1]), *b_zero = static_cast<const B*>(x.in[3]);
  const int32_t za = a_zero ? *a_zero : 0, zb = b_zero ? *b_zero : 0;
  const float lo = float(std::numeric_limits<T>::min() - out_zero), hi = float(std::numeric_limits<T>::max() - out_zero);
  T* out = static_cast<T*>(x.out[0]);
  // Bytes may alias anything, so what a row needs is passed by value.
  const auto row = [za, zb, out_zero, lo, hi, f](const A* a, const B* b, bool one, T* to, int64_t n) {
    const Vec minus_a = spread(-za), minus_b = spread(-zb), zero = spread(out_zero);
    const Real low = spread_real(lo), high = spread_real(hi), single = to_real(spread(one ? int32_t(*b) - zb : 0));
    int64_t i = 0;
    for (; i + vec_lanes <= n; i += vec_lanes) {
      const Real va = to_real(plus(widened(a + i), minus_a)), vb = one ? single : to_real(plus(widened(b + i), minus_b));
      put_bytes(to + i, plus(whole(least(most(f(va, vb), low), high)), zero));
    }
    for (; i < n; ++i) {
      float v = f(float(a[i] - za), float(b[one ? 0 : i] - zb));
      v = v > lo ? v : lo;
      v = v < hi ? v : hi;
      to[i] = T(int32_t(__builtin_rintf(v)) + out_zero);
    }
  };
  const int64_t total = s.images * s.rows;
  if (total == 1) {
    parallel_for((s.n + piece - 1) / piece, [&](int64_t t) {
      const int64_t at = t * piece;
      row(a + at, s.b_step ? b + at : b, !s.b_step, out + at, std::min(piece, s.n - at));
    });
    return;
  }
  const int64_t rows = std::max<int64_t>(1, piece / std::max<int64_t>(1, s.n));
  parallel_for((total + rows - 1) / rows, [&](int64_t t) {
    for (int64_t r = t * rows; r < std::min(total, (t + 1) * rows); ++r) row(a + r * s.n, b + r / s.rows * s.b_image, false, out + r * s.n, s.n);
  });
}

template <class F>
void with_byte(DType t, F f) {
  if (t == DType::i8) f(int8_t{});
  else f(uint8_t{});
}

// Formula: of(args) makes f from the scales behind the four values, out_zero is the input that holds the result's
// zero point.
template <class Formula>
Kernel int8_pairs_kernel() {
  struct State {
    Int8Pairs pairs;
    DType a, b, to;
  };
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    const auto run = [](const void* state, const KernelArgs& x) {
      const State& s = *static_cast<const State*>(state);
      const int32_t zero = x.in[Formula::out_zero] ? read_byte(x.in[Formula::out_zero], s.to) : 0;
      with_byte(s.a, [&](auto a) {
        with_byte(s.b, [&](auto b) {
          with_byte(s.to, [&](auto t) { int8_pairs_run<decltype(a), decltype(b), decltype(t)>(s.pairs, x, zero, Formula::of(x)); });
        });
      });
    };
    return Prepared{run, std::make_shared<State>(State{int8_pairs(d), d.in[0]->dtype, d.in[1]->dtype, d.out[0]->dtype})};
  };
  k.supports = int8_pairs_supported;
  return k;
}

}  // namespace suan::cpu::SUAN_ISA
