// What the kernels over rows share: f32 or f64 by the first input's dtype, narrow floats widened
// around.
#pragma once

#include <cstring>

#include "core/pool.h"
#include "kernels/cpu/lib/strided.h"
#include "kernels/cpu/lib/widened.h"

namespace suan::cpu::SUAN_ISA {

// F64::prepare where input `from` is f64, else F32::prepare, through widened(). Two types, not one
// template: GCC gives an instance over an unnamed namespace's template external linkage, and files
// would collide.
template <class F32, class F64, int from = 0>
Kernel float_kernel() {
  Kernel k;
  k.prepare = [](const KernelDesc& d) {
    return widened(d, [](const KernelDesc& w) {
      return w.in[from]->dtype == DType::f64 ? F64::prepare(w) : F32::prepare(w);
    });
  };
  return k;
}

template <class T>
const T* input(const KernelArgs& a, int i) { return static_cast<const T*>(a.in[i]); }
// An optional input at the end of the list may be missing from it altogether: n_in were given.
template <class T>
const T* optional_input(const KernelArgs& a, int i, int n_in) {
  return i < n_in ? input<T>(a, i) : nullptr;
}
template <class T>
T* output(const KernelArgs& a, int j) { return static_cast<T*>(a.out[j]); }

inline TileFn epilogue_of(const KernelArgs& a) { return a.epilogue ? *a.epilogue : TileFn{}; }

// For an op that updates its input: the output begins as the input, which it usually is already.
template <class T>
T* updated(const KernelArgs& a, int i, int j, int64_t n) {
  if (a.out[j] != a.in[i]) std::memcpy(a.out[j], a.in[i], size_t(n) * sizeof(T));
  return output<T>(a, j);
}

// A 0-d f32, f64 or i64.
inline double number_at(DType t, const void* p) {
  if (t == DType::f32) return double(*static_cast<const float*>(p));
  if (t == DType::f64) return *static_cast<const double*>(p);
  return double(*static_cast<const int64_t*>(p));
}

}  // namespace suan::cpu::SUAN_ISA
