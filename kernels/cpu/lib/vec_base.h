// What both forms of the 64-byte vector share: the macros and GCC's vector type by lane and count.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <utility>

#ifndef SUAN_ISA
#error "vec.h is for files under kernels/cpu, which are compiled with SUAN_ISA=avx2 and =avx512"
#endif

#define SUAN_INLINE inline __attribute__((always_inline))

// Vectors cross no ABI boundary (everything is inlined), and GCC 12 warns about its own intrinsics.
#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace suan::cpu::SUAN_ISA {

template <class T, int N>
struct VecOf {
  typedef T type __attribute__((vector_size(sizeof(T) * N)));
};
template <class T, int N>
using native_vector = typename VecOf<T, N>::type;

}  // namespace suan::cpu::SUAN_ISA
