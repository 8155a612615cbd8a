// Reductions of a contiguous tensor over any set of axes. The order of combination is a fixed tree:
// 1024-element (or 64-row) blocks, then pairwise, decided by the shape alone, so every thread count gives
// the same bits and a long sum loses only a few units in the last place.
#pragma once

#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {

struct SumOf {
  template <class T>
  static constexpr T identity() { return T(0); }
  template <class V>
  static SUAN_INLINE V combine(V a, V b) {
    if constexpr (std::is_same_v<V, int64_t>) return int64_t(uint64_t(a) + uint64_t(b));  // wraps
    else return a + b;
  }
};
struct ProductOf {
  template <class T>
  static constexpr T identity() { return T(1); }
  template <class V>
  static SUAN_INLINE V combine(V a, V b) {
    if constexpr (std::is_same_v<V, int64_t>) return int64_t(uint64_t(a) * uint64_t(b));
    else return a * b;
  }
};
struct MaxOf {
  template <class T>
  static constexpr T identity() {
    if constexpr (std::numeric_limits<T>::has_infinity) return -std::numeric_limits<T>::infinity();
    return std::numeric_limits<T>::lowest();
  }
  template <class V>
  static SUAN_INLINE V combine(V a, V b) { return max<V>(a, b); }
};
struct MinOf {
  template <class T>
  static constexpr T identity() {
    if constexpr (std::numeric_limits<T>::has_infinity) return std::numeric_limits<T>::infinity();
    return std::numeric_limits<T>::max();
  }
  template <class V>
  static SUAN_INLINE V combine(V a, V b) { return min<V>(a, b); }
};

// What is known from the shape: kept and reduced axes as offsets, and how the work is cut.
struct ReducePlan {
  DType dtype = DType::f32;      // of the input
  int64_t n_out = 0;             // results
  int64_t inner = 1;             // length of the last axis group
  bool inner_reduced = true;     // whether that group is summed over
  int64_t rows = 1;              // columns form: length of the reduced group just before the last
  Odometer<1> kept, reduced;     // the groups before: one result row (or strip row) per step
  int64_t n_kept = 1, n_reduced = 1;
  int64_t chunks = 1;            // pieces of a row (or of `rows`), powers of two of blocks each
  bool split = false;            // partial results per piece, when there are too few results to share out
  int64_t elements = 0;
  int64_t partials() const { return split ? n_out * n_reduced * chunks : 0; }
};
ReducePlan plan_reduce(DType dtype, const Shape& shape, const Dims& axes);

// What to do with the combined value: nothing, divide by the count, or a second pass over squared
// distances from the mean, divided by the count less the correction.
enum class Finish : uint8_t { none, mean, variance };

// The kernel of a reduction whose first attribute is the list of axes. T is the type combined in.
template <class Op, class T>
Prepared prepare_reduce_in(const KernelDesc& d, Finish finish = Finish::none, int64_t correction = 0);

// The same in the input's compute type.
template <class Op>
inline Prepared prepare_reduce(const KernelDesc& d, Finish finish = Finish::none,
                               int64_t correction = 0) {
  return with_compute(d.in[0]->dtype, [&](auto t) {
    return prepare_reduce_in<Op, decltype(t)>(d, finish, correction);
  });
}

}  // namespace suan::cpu::SUAN_ISA
