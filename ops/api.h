// C++ calls for the ops that gradient rules, composites and frontends use most. Each is one apply().
// Arithmetic operators broadcast but do not promote: both sides need one dtype. Plain numbers become
// 0-d constants of the tensor's dtype.
#pragma once

#include "core/apply.h"

namespace suan {

// Looks an op up once per call site.
#define SUAN_OP(op_name) ([]() -> const ::suan::OpDef& { \
  static const ::suan::OpDef& def = ::suan::op(op_name); return def; }())

namespace ops {

inline Tensor number(double v, const Tensor& like) { return Tensor::scalar(v, like.dtype(), like.device()); }

#define SUAN_UNARY(f) inline Tensor f(const Tensor& x) { return apply(SUAN_OP(#f), {x}); }
SUAN_UNARY(neg) SUAN_UNARY(abs) SUAN_UNARY(sign) SUAN_UNARY(sqrt) SUAN_UNARY(rsqrt)
SUAN_UNARY(reciprocal) SUAN_UNARY(square) SUAN_UNARY(exp) SUAN_UNARY(log) SUAN_UNARY(sin)
SUAN_UNARY(cos) SUAN_UNARY(tanh) SUAN_UNARY(sinh) SUAN_UNARY(cosh) SUAN_UNARY(erf)
SUAN_UNARY(sigmoid) SUAN_UNARY(relu) SUAN_UNARY(floor) SUAN_UNARY(trunc) SUAN_UNARY(logical_not)
SUAN_UNARY(isnan) SUAN_UNARY(clone)
#undef SUAN_UNARY
#define SUAN_BINARY(f) \
  inline Tensor f(const Tensor& a, const Tensor& b) { return apply(SUAN_OP(#f), {a, b}); }
SUAN_BINARY(add) SUAN_BINARY(sub) SUAN_BINARY(mul) SUAN_BINARY(div) SUAN_BINARY(pow)
SUAN_BINARY(maximum) SUAN_BINARY(minimum) SUAN_BINARY(eq) SUAN_BINARY(ne) SUAN_BINARY(lt)
SUAN_BINARY(le) SUAN_BINARY(gt) SUAN_BINARY(ge) SUAN_BINARY(logical_and) SUAN_BINARY(logical_or)
SUAN_BINARY(matmul) SUAN_BINARY(floor_divide)
#undef SUAN_BINARY
inline Tensor where(const Tensor& c, const Tensor& a, const Tensor& b) {
  return apply(SUAN_OP("where"), {c, a, b});
}
// Dtype change; the tensor itself when it already has that dtype.
inline Tensor cast(const Tensor& x, DType to) {
  return x.dtype() == to ? x : apply(SUAN_OP("cast"), {x}, {to});
}

// Views. reshape copies first when strides do not allow a view.
inline Tensor reshape(const Tensor& x, const Shape& shape) { return apply(SUAN_OP("reshape"), {x}, {shape}); }
inline Tensor permute(const Tensor& x, const Dims& axes) { return apply(SUAN_OP("permute"), {x}, {axes}); }
inline Tensor expand(const Tensor& x, const Shape& shape) { return apply(SUAN_OP("expand"), {x}, {shape}); }
// x[start:stop:step] along one axis; bounds already inside [0, size], step may be negative
// (then start is the first element taken and stop is exclusive, -1 allowed).
inline Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t stop, int64_t step = 1) {
  return apply(SUAN_OP("slice"), {x}, {axis, start, stop, step});
}
inline Tensor as_strided(const Tensor& x, const Shape& shape, const Dims& strides, int64_t offset) {
  return apply(SUAN_OP("as_strided"), {x}, {shape, strides, offset});
}
Tensor transpose(const Tensor& x, int64_t a, int64_t b);  // ops/api.cpp
Tensor unsqueeze(const Tensor& x, int64_t axis);
Tensor squeeze(const Tensor& x, int64_t axis);

inline Tensor copy(const Tensor& x) { return apply(SUAN_OP("copy"), {x}); }
inline Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : copy(x); }
Tensor full(const Shape& shape, double value, DType dtype, Device device = {});
inline Tensor zeros(const TensorType& t) { return full(t.shape, 0, t.dtype, t.device); }
inline Tensor zeros_like(const Tensor& x) { return zeros(x.type()); }
inline Tensor ones_like(const Tensor& x) { return full(x.shape(), 1, x.dtype(), x.device()); }

// Reductions: empty dims = all axes.
inline Tensor sum(const Tensor& x, const Dims& dims = {}, bool keepdim = false) {
  return apply(SUAN_OP("sum"), {x}, {dims, keepdim});
}
// Adds up what broadcasting spread: g with a broadcast shape -> the given shape.
Tensor sum_to(const Tensor& g, const Shape& shape);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& a) { return neg(a); }
inline Tensor operator+(const Tensor& a, double b) { return add(a, number(b, a)); }
inline Tensor operator-(const Tensor& a, double b) { return sub(a, number(b, a)); }
inline Tensor operator*(const Tensor& a, double b) { return mul(a, number(b, a)); }
inline Tensor operator/(const Tensor& a, double b) { return div(a, number(b, a)); }
inline Tensor operator+(double a, const Tensor& b) { return add(number(a, b), b); }
inline Tensor operator-(double a, const Tensor& b) { return sub(number(a, b), b); }
inline Tensor operator*(double a, const Tensor& b) { return mul(number(a, b), b); }
inline Tensor operator/(double a, const Tensor& b) { return div(number(a, b), b); }

}  // namespace ops
}  // namespace suan
