// What the ops of 8-bit integers share: dtypes, and results as sums, floats or integers of 8 bits.
#pragma once

#include "ops/api.h"

namespace suan::ops {

inline constexpr DTypeSet bytes_types = dtype_bit(DType::u8) | dtype_bit(DType::i8);
inline constexpr DTypeSet f32_type = dtype_bit(DType::f32);
inline constexpr int64_t int8_panel_columns = 32;

inline double least(DType t) { return t == DType::i8 ? -128 : t == DType::u8 ? 0 : t == DType::i16 ? -32768 : 0; }
inline double most(DType t) { return t == DType::i8 ? 127 : t == DType::u8 ? 255 : t == DType::i16 ? 32767 : 65535; }
// Whole f32 values, saturated.
inline Tensor saturated(const Tensor& x, DType t) {
  return cast(minimum(maximum(x, number(least(t), x)), number(most(t), x)), t);
}

// Sums [..., of whole numbers] as the asked dtype: themselves, times `scale`, or that rounded and moved by `zero`.
inline Tensor int8_result(const Tensor& sums, DType to, const Tensor& scale, const Tensor& zero) {
  if (to == DType::i32) return sums;
  const Tensor y = cast(sums, DType::f32) * scale;
  if (to == DType::f32) return y;
  const Tensor whole = apply(SUAN_OP("round"), {y});
  return saturated(zero ? whole + cast(zero, DType::f32) : whole, to);
}

// Checks the inputs that say how sums become results: scale [] or [n] f32, and the zero point, numbered so.
inline void check_int8_result(const InferContext& c, DType to, int scale, int zero, int64_t n) {
  if (to != DType::i32 && to != DType::f32 && !contains(bytes_types, to))
    c.fail<TypeError>("wrong result dtype: expected i32, f32, u8 or i8, got {}", brief(to));
  if (c.has(scale) != (to != DType::i32))
    c.fail<ValueError>("wrong scale: expected {}, got {}", to == DType::i32 ? "none for sums" : "one for " + std::string(brief(to)),
                       c.has(scale) ? to_string(c[scale]) : "none");
  if (c.has(scale) && c.shape(scale) != Shape{} && c.shape(scale) != Shape{n})
    c.fail<ShapeError>("scale does not fit: expected [] or [{}], got {}", n, to_string(c[scale]));
  if (c.has(zero) && (!contains(bytes_types, to) || c.dtype(zero) != to || c.shape(zero) != Shape{}))
    c.fail<TypeError>("wrong out_zero: expected one {} with a result of that dtype, got {}", brief(to), to_string(c[zero]));
}

}  // namespace suan::ops
