// Fourier transforms of many rows, sixteen (f64: eight) of them side by side in the lanes of vectors, so that every
// step is vector code whatever the factors. Stockham's order, factors 2 to 31; a length with a greater prime factor
// becomes a convolution of a power of two (Bluestein 1970). One real row of even length is half as many complex ones.
#pragma once

#include "core/op.h"

namespace suan::cpu::SUAN_ISA {

enum class Transform : uint8_t { c2c, c2c_inverse, r2c, c2r };

// f32 or f64; rows of n numbers (of c2r: of the result).
Prepared prepare_fft(Transform kind, DType t, int64_t rows, int64_t n);

}  // namespace suan::cpu::SUAN_ISA
