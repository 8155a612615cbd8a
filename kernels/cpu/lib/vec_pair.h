// A 64-byte vector as two 32-byte ones, with the operators of GCC's vectors: how AVX2 holds the
// canonical width. (GCC keeps a native 64-byte vector in memory when it has no register that wide.)
#pragma once

#include <cstring>
#include <type_traits>

#include "kernels/cpu/lib/vec_base.h"

namespace suan::cpu::SUAN_ISA {

template <class Half>
struct Pair {
  using Lane = std::remove_cvref_t<decltype(std::declval<Half&>()[0])>;
  using HalfMask = decltype(std::declval<Half>() < std::declval<Half>());
  static constexpr int n_half = static_cast<int>(sizeof(Half) / sizeof(Lane));

  Half lo;
  Half hi;

  SUAN_INLINE Lane operator[](int i) const { return i < n_half ? lo[i] : hi[i - n_half]; }

#define SUAN_PAIR_ARITHMETIC(op)                                                                  \
  friend SUAN_INLINE Pair operator op(Pair a, Pair b) { return {a.lo op b.lo, a.hi op b.hi}; }    \
  friend SUAN_INLINE Pair operator op(Pair a, Lane b) { return {a.lo op b, a.hi op b}; }          \
  friend SUAN_INLINE Pair operator op(Lane a, Pair b) { return {a op b.lo, a op b.hi}; }          \
  SUAN_INLINE Pair& operator op##=(Pair b) { return *this = *this op b; }                         \
  SUAN_INLINE Pair& operator op##=(Lane b) { return *this = *this op b; }
  SUAN_PAIR_ARITHMETIC(+)
  SUAN_PAIR_ARITHMETIC(-)
  SUAN_PAIR_ARITHMETIC(*)
  SUAN_PAIR_ARITHMETIC(/)
  SUAN_PAIR_ARITHMETIC(%)
  SUAN_PAIR_ARITHMETIC(&)
  SUAN_PAIR_ARITHMETIC(|)
  SUAN_PAIR_ARITHMETIC(^)
  SUAN_PAIR_ARITHMETIC(<<)
  SUAN_PAIR_ARITHMETIC(>>)
#undef SUAN_PAIR_ARITHMETIC

#define SUAN_PAIR_COMPARISON(op)                                                                  \
  friend SUAN_INLINE Pair<HalfMask> operator op(Pair a, Pair b) {                                 \
    return {a.lo op b.lo, a.hi op b.hi};                                                          \
  }                                                                                               \
  friend SUAN_INLINE Pair<HalfMask> operator op(Pair a, Lane b) { return {a.lo op b, a.hi op b}; } \
  friend SUAN_INLINE Pair<HalfMask> operator op(Lane a, Pair b) { return {a op b.lo, a op b.hi}; }
  SUAN_PAIR_COMPARISON(<)
  SUAN_PAIR_COMPARISON(<=)
  SUAN_PAIR_COMPARISON(>)
  SUAN_PAIR_COMPARISON(>=)
  SUAN_PAIR_COMPARISON(==)
  SUAN_PAIR_COMPARISON(!=)
#undef SUAN_PAIR_COMPARISON

  SUAN_INLINE Pair operator-() const { return {-lo, -hi}; }
  SUAN_INLINE Pair operator~() const { return {~lo, ~hi}; }
};

}  // namespace suan::cpu::SUAN_ISA
