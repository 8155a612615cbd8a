// Moving elements between layouts, and between storage and compute types: what copies, reductions and
// indexing kernels share. A move knows only the element's size, never its meaning.
#pragma once

#include <cstdint>
#include <memory>

#include "core/op.h"
#include "core/pool.h"
#include "kernels/cpu/lib/vec.h"

namespace suan::cpu::SUAN_ISA {

// Below this many elements a kernel runs on the calling thread: waking the pool would cost more.
inline constexpr int64_t inline_elements = 32768;

// Runs fn(i) for i < n, on the pool when the work is worth it. The cut itself is the caller's.
template <class F>
inline void run_tasks(int64_t n, int64_t elements, F&& fn) {
  if (n <= 1 || elements < inline_elements) {
    for (int64_t i = 0; i < n; ++i) fn(i);
  } else {
    parallel_for(n, fn);
  }
}

// Cuts [0, n) in equal ranges of about `grain` and runs fn(begin, end).
template <class F>
inline void run_ranges(int64_t n, int64_t grain, int64_t elements, F&& fn) {
  grain = grain < 1 ? 1 : grain;
  if (n <= grain || elements < inline_elements) {
    if (n > 0) fn(int64_t{0}, n);
    return;
  }
  parallel_for((n + grain - 1) / grain, [&](int64_t t) {
    fn(t * grain, t * grain + grain < n ? t * grain + grain : n);
  });
}

// A copy between two layouts of one shape, made ready once. Strides are in elements.
struct Move {
  int rank = 0;             // after merging; the last two axes are the ones worked on tile by tile
  int64_t size[max_rank];
  int64_t out[max_rank];
  int64_t in[max_rank];
  int64_t total = 0;
  int item = 4;             // bytes
};
Move plan_move(const Shape& shape, const Dims& out_strides, const Dims& in_strides, int item);
void run_move(const Move& m, void* out, const void* in);
inline Move plan_contiguous_move(const Shape& shape, const Dims& in_strides, int item) {
  return plan_move(shape, contiguous_strides(shape), in_strides, item);
}
// n copies of one element, in parallel when large.
void fill_elements(void* out, const void* value, int64_t n, int item);

// A complex number of 16 bytes, to be moved.
struct Word16 {
  uint64_t low, high;
};

// Calls fn with a value of the unsigned type that has `item` bytes.
template <class F>
inline decltype(auto) with_word(int item, F&& fn) {
  switch (item) {
    case 1: return fn(uint8_t{});
    case 2: return fn(uint16_t{});
    case 4: return fn(uint32_t{});
    case 16: return fn(Word16{});
    default: return fn(uint64_t{});
  }
}

// Calls fn with a value of the type that arithmetic on t runs in: float, double, int64_t or uint64_t.
template <class F>
inline decltype(auto) with_compute(DType t, F&& fn) {
  switch (compute_type(t)) {
    case DType::f32: return fn(float{});
    case DType::f64: return fn(double{});
    case DType::u64: return fn(uint64_t{});
    default: return fn(int64_t{});
  }
}

template <class T>
inline constexpr DType dtype_of = DType::i64;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<uint64_t> = DType::u64;
template <>
inline constexpr DType dtype_of<uint8_t> = DType::boolean;

// n elements of storage type t, from `at` elements after p, as T (float, double, int64_t, uint64_t, or
// uint8_t for truth); and back, rounding to nearest even and wrapping integers.
template <class T>
void load_tile(DType t, const void* p, int64_t at, int64_t n, T* out);
template <class T>
void store_tile(DType t, void* p, int64_t at, int64_t n, const T* in);

inline const std::byte* element(const void* p, int64_t i, int64_t item) {
  return static_cast<const std::byte*>(p) + i * item;
}
inline std::byte* element(void* p, int64_t i, int64_t item) {
  return static_cast<std::byte*>(p) + i * item;
}

// Steps through the row-major indices of a shape, keeping one offset per operand.
template <int N>
struct Odometer {
  int rank = 0;
  int64_t size[max_rank];
  int64_t stride[N][max_rank];
  int64_t index[max_rank];
  int64_t offset[N];

  void seek(int64_t flat) {
    for (int k = 0; k < N; ++k) offset[k] = 0;
    for (int d = rank - 1; d >= 0; --d) {
      index[d] = flat % size[d];
      flat /= size[d];
      for (int k = 0; k < N; ++k) offset[k] += index[d] * stride[k][d];
    }
  }
  void next() {
    for (int d = rank - 1; d >= 0; --d) {
      for (int k = 0; k < N; ++k) offset[k] += stride[k][d];
      if (++index[d] < size[d]) return;
      for (int k = 0; k < N; ++k) offset[k] -= size[d] * stride[k][d];
      index[d] = 0;
    }
  }
};

// The value of a shape's product over [from, to).
inline int64_t product(const Shape& s, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; ++i) n *= s[i];
  return n;
}

}  // namespace suan::cpu::SUAN_ISA
