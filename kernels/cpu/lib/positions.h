// Reading and checking index tensors: what gather, scatter, index, embedding and their gradients share.
#pragma once

#include "core/error.h"
#include "kernels/cpu/lib/strided.h"

namespace suan::cpu::SUAN_ISA {

// Fails on the first of n positions outside [lowest, size), before any output is written.
inline void check_positions(const char* op, const int64_t* p, int64_t n, int64_t lowest, int64_t size,
                            int axis) {
  int64_t bad = 0;
  for (int64_t i = 0; i < n; ++i) bad |= int64_t(p[i] < lowest) | int64_t(p[i] >= size);
  if (!bad) return;
  for (int64_t i = 0; i < n; ++i)
    if (p[i] < lowest || p[i] >= size)
      fail<IndexError>(op, "index out of range: expected {} to {} on axis {} of size {}, got {}", lowest,
                       size - 1, axis, size, p[i]);
}

// out += in for n elements of storage type t, in the compute type, rounding once.
template <class T>
inline void add_elements(DType t, void* out, int64_t to, const void* in, int64_t from, int64_t n) {
  if (t == dtype_of<T>) {
    T* o = static_cast<T*>(out) + to;
    const T* x = static_cast<const T*>(in) + from;
    for (int64_t i = 0; i < n; ++i) o[i] += x[i];
    return;
  }
  constexpr int64_t tile = 256;
  T a[tile], b[tile];
  for (int64_t i = 0; i < n; i += tile) {
    const int64_t m = n - i < tile ? n - i : tile;
    load_tile(t, out, to + i, m, a);
    load_tile(t, in, from + i, m, b);
    for (int64_t j = 0; j < m; ++j) a[j] += b[j];
    store_tile(t, out, to + i, m, a);
  }
}

}  // namespace suan::cpu::SUAN_ISA
