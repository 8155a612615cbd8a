// Quantisation: affine 8- and 16-bit integers in and out of floats, and products of integers.
#include <algorithm>
#include <cmath>
#include <optional>

#include "frontends/onnx/int8.h"

namespace suan::onnx {

using namespace ops;

namespace {
Tensor one(const Tensor& t) { return t && t.numel() == 1 && t.rank() ? reshape(t, {}) : t; }
}  // namespace

bool int8_multiplies(const Tensor& x, const Tensor& x_zero, const Tensor& w, const Tensor& w_zero) {
  return is_byte(x.dtype()) && is_byte(w.dtype()) && (!x_zero || x_zero.numel() == 1) &&
         (!w_zero || w_zero.numel() == 1 || (w_zero.rank() == 1 && w.rank() > 1 && w_zero.dim(0) == w.dim(-1)));
}
Tensor int8_product(const Tensor& x, const Tensor& w, const Tensor& x_zero, const Tensor& w_zero, const Tensor& bias,
                    const Tensor& scale, const Tensor& out_zero, DType to) {
  const Tensor a = x.rank() == 1 ? unsqueeze(x, 0) : x, b = w.rank() == 1 ? unsqueeze(w, 1) : w;
  Tensor y = apply(SUAN_OP("int8_matmul"), {a, b, one(x_zero), one(w_zero), bias, one(scale), one(out_zero)}, {to, int64_t(0)});
  if (w.rank() == 1) y = squeeze(y, -1);
  if (x.rank() == 1) y = squeeze(y, w.rank() == 1 ? -1 : -2);
  return y;
}

namespace {

// A scale or zero point (one number, one per element of `axis`, or one per block of it) laid over x.
Tensor spread(Call& c, const Tensor& p, const Tensor& x, int axis, int64_t block) {
  if (p.numel() == 1 && p.rank() <= 1) return p.rank() ? reshape(p, {}) : p;
  if (block == 0) {
    if (p.rank() != 1 || p.dim(0) != x.dim(axis)) c.fail<ShapeError>("scale does not fit: expected {} values, got {}", x.dim(axis), to_string(p.type()));
    Shape s = Dims::filled(x.rank() - axis, 1);
    s[0] = p.dim(0);
    return reshape(p, s);
  }
  if (p.rank() != x.rank()) c.fail<ShapeError>("scale does not fit: expected {} dimensions, got {}", x.rank(), to_string(p.type()));
  if (block < 1) c.fail<ValueError>("block_size out of range: expected 0 or more, got {}", block);
  block = std::min(block, std::max<int64_t>(x.dim(axis), 1));
  if (const int64_t n = (x.dim(axis) + block - 1) / block; p.dim(axis) != n)
    c.fail<ShapeError>("scale does not fit: expected {} blocks of {}, got {}", n, block, to_string(p.type()));
  Shape wide = p.shape(), flat = p.shape();
  wide.insert(axis + 1, block);
  flat[axis] *= block;
  const Tensor repeated = reshape(expand(unsqueeze(p, axis + 1), wide), flat);
  return slice(repeated, axis, 0, x.dim(axis));
}


Tensor to_range(const Tensor& x, DType t) {   // saturates; x is whole already
  const int bits = info(t).bits;
  const double lo = is_signed_int(t) ? -std::ldexp(1.0, bits - 1) : 0;
  const double hi = std::ldexp(1.0, is_signed_int(t) ? bits - 1 : bits) - 1;
  return cast(minimum(maximum(x, number(lo, x)), number(hi, x)), t);
}
Tensor rounded(const Tensor& x) { return apply(SUAN_OP("round"), {x}); }

Tensor quantize(const Tensor& x, const Tensor& scale, const Tensor& zero, DType t, DType precision, bool saturate) {
  if (x.dtype() == DType::f32 && scale.dtype() == DType::f32 && scale.rank() == 0 && precision == DType::f32 &&
      (t == DType::u8 || t == DType::i8))
    return apply(SUAN_OP("quantize"), {x, scale, zero}, {t});
  const Tensor q = cast(cast(x, precision) / cast(scale, precision), DType::f32);
  if (is_floating(t)) return cast_narrow(zero ? q + cast(zero, DType::f32) : q, t, saturate);
  return to_range(zero ? rounded(q) + cast(zero, DType::f32) : rounded(q), t);
}

Values build_quantize(Call& c) {
  const Tensor& x = c[0];
  const int axis = x.rank() > 1 ? c.axis_attr(1, x.rank()) : 0;
  const int64_t block = c.integer("block_size", 0);
  DType t = c.has(2) ? c[2].dtype() : DType::u8;
  if (c.integer("output_dtype", 0)) t = dtype_of_onnx(int(c.integer("output_dtype")));
  const DType precision = c.integer("precision", 0) ? dtype_of_onnx(int(c.integer("precision"))) : DType::f32;
  return {quantize(x, spread(c, c[1], x, axis, block), c.has(2) ? spread(c, c[2], x, axis, block) : Tensor(), t, precision,
                   c.integer("saturate", 1))};
}

Values build_dequantize(Call& c) {
  const Tensor &x = c[0], &scale = c[1];
  const int axis = x.rank() > 1 ? c.axis_attr(1, x.rank()) : 0;
  const int64_t block = c.integer("block_size", 0);
  const DType t = c.integer("output_dtype", 0) ? dtype_of_onnx(int(c.integer("output_dtype"))) : scale.dtype();
  const bool one = scale.numel() == 1 && scale.rank() <= 1;
  if ((is_byte(x.dtype()) || x.dtype() == DType::i32) && t == DType::f32 && scale.dtype() == t && block == 0 &&
      (one || (scale.rank() == 1 && x.rank() > 0)) && (!c.has(2) || c[2].numel() == scale.numel())) {
    if (!one && scale.dim(0) != x.dim(axis))
      c.fail<ShapeError>("scale does not fit: expected {} values, got {}", x.dim(axis), to_string(scale.type()));
    const auto laid = [&](const Tensor& p) { return reshape(p, one ? Shape{} : Shape{p.numel()}); };
    return {apply(SUAN_OP("dequantize"), {x, laid(scale), c.has(2) ? laid(c[2]) : Tensor()}, {int64_t(axis)})};
  }
  Tensor v = cast(x, DType::f32);
  if (c.has(2)) v = v - cast(spread(c, c[2], x, axis, block), DType::f32);
  return {cast(v * cast(spread(c, scale, x, axis, block), DType::f32), t)};
}

Values build_dynamic_quantize(Call& c) {
  const Tensors out = apply_all(SUAN_OP("dynamic_quantize"), {c[0]});
  return {out[0], out[1], out[2]};
}

Tensor centred(Call& c, const Tensor& x, int i, bool rows) {
  Tensor v = cast(x, DType::i32);
  if (!c.has(i)) return v;
  Tensor z = cast(c[i], DType::i32);
  if (z.rank() == 1 && z.dim(0) == 1) z = reshape(z, {});
  if (z.rank() == 1 && rows) z = unsqueeze(z, 1);
  return v - z;
}
Values build_matmul_integer(Call& c) {
  if (int8_multiplies(c[0], c.optional(2), c[1], c.optional(3)))
    return {int8_product(c[0], c[1], c.optional(2), c.optional(3), {}, {}, {}, DType::i32)};
  return {matmul(centred(c, c[0], 2, true), centred(c, c[1], 3, false))};
}

Values build_qlinear_matmul(Call& c) {
  // a, scale, zero, b, scale, zero, scale, zero
  const bool one_scale = c[1].numel() == 1 && c[6].numel() == 1 && c[7].numel() == 1;
  if (one_scale && is_byte(c[7].dtype()) && int8_multiplies(c[0], c[2], c[3], c[5]) &&
      (c[4].numel() == 1 || (c[4].rank() == 1 && c[4].dim(0) == c[3].shape().back()))) {
    auto real = [&](int i) { return cast(one(c[i]), DType::f32); };
    return {int8_product(c[0], c[3], c[2], c[5], {}, real(1) * real(4) / real(6), c[7], c[7].dtype())};
  }
  auto real = [&](int i, bool rows) {
    const Tensor& x = c[i];
    auto laid = [&](const Tensor& p) {
      if (p.numel() == 1) return reshape(p, {});
      return p.rank() == 1 && rows ? unsqueeze(p, 1) : p;
    };
    return std::pair{cast(x, DType::f64) - cast(laid(c[i + 2]), DType::f64), cast(laid(c[i + 1]), DType::f64)};
  };
  auto [a, sa] = real(0, true);
  auto [b, sb] = real(3, false);
  const Tensor out = matmul(a, b) * sa * sb / cast(as_scalar(c, c[6]), DType::f64);
  return {to_range(rounded(out) + cast(as_scalar(c, c[7]), DType::f64), c[7].dtype())};
}

struct ConvAttrs {
  Dims strides, padding, dilation;
  int64_t groups;
};
ConvAttrs conv_attrs(Call& c, int rank) {
  if (rank < 3) c.fail<ShapeError>("wrong rank: expected [batch, channels, size...], got {} dimensions", rank);
  const size_t n = size_t(rank) - 2;
  if (c.string("auto_pad", "NOTSET") != "NOTSET") c.fail<TypeError>("unsupported auto_pad: expected explicit pads, got {}", c.string("auto_pad"));
  return {to_dims(c, c.ints("strides", std::vector<int64_t>(n, 1))), to_dims(c, c.ints("pads", std::vector<int64_t>(2 * n, 0))),
          to_dims(c, c.ints("dilations", std::vector<int64_t>(n, 1))), c.integer("group", 1)};
}
Tensor whole_conv(Call& c, const Tensor& x, const Tensor& w) {
  const ConvAttrs a = conv_attrs(c, x.rank());
  return apply(SUAN_OP("conv"), {x, w, Tensor()}, {a.strides, a.padding, a.dilation, a.groups});
}
Tensor per_out(const Tensor& p, int rank) {
  if (p.numel() == 1) return reshape(p, {});
  Shape s = Dims::filled(rank, 1);
  s[0] = p.numel();
  return reshape(p, s);
}

// Images of 8 bits by weights of 8 bits. Nothing: in wide arithmetic.
std::optional<Tensor> byte_conv(Call& c, const Tensor& x, const Tensor& w, const Tensor& x_zero, const Tensor& w_zero, const Tensor& bias,
                                const Tensor& scale, const Tensor& out_zero, DType to) {
  const auto one_number = [](const Tensor& t) { return !t || t.numel() == 1; };
  if (x.rank() != 4 || w.rank() != 4 || !is_byte(x.dtype()) || !is_byte(w.dtype()) || !one_number(x_zero) || !one_number(out_zero)) return std::nullopt;
  if (scale && scale.numel() != 1 && scale.shape() != Shape{w.dim(0)}) return std::nullopt;
  if (w_zero && w_zero.numel() != 1 && w_zero.shape() != Shape{w.dim(0)}) return std::nullopt;
  const bool u = w.dtype() == DType::u8;
  Tensor zero = w_zero ? one(w_zero) : u ? Tensor::scalar_int(0, DType::u8) : Tensor();
  if (zero && !zero.is_dry()) {   // none, where weights lie around zero
    const std::vector<int64_t> z = read_ints(zero);
    if (std::all_of(z.begin(), z.end(), [&](int64_t v) { return v == (u ? 128 : 0); })) zero = Tensor();
  }
  const ConvAttrs a = conv_attrs(c, x.rank());
  const Tensor y = apply(SUAN_OP("int8_conv"), {permute(x, {0, 2, 3, 1}), w, one(x_zero), zero, bias, one(scale), one(out_zero)},
                         {to, int64_t(0), Dims{w.dim(2), w.dim(3)}, a.strides, a.padding, a.dilation, a.groups});
  return permute(y, {0, 3, 1, 2});
}

Values build_conv_integer(Call& c) {
  if (const auto y = byte_conv(c, c[0], c[1], c.optional(2), c.optional(3), {}, {}, {}, DType::i32)) return {*y};
  auto centred64 = [&](int i, int z) {
    Tensor v = cast(c[i], DType::f64);
    return c.has(z) ? v - cast(per_out(c[z], v.rank()), DType::f64) : v;
  };
  return {cast(whole_conv(c, centred64(0, 2), centred64(1, 3)), DType::i32)};
}
Values build_qlinear_conv(Call& c) {
  // x, scale, zero, w, scale, zero, scale, zero, bias
  if (c[1].numel() == 1 && c[6].numel() == 1 && is_byte(c[7].dtype())) {
    const Tensor scale = cast(one(c[1]), DType::f32) * cast(one(c[4]), DType::f32) / cast(one(c[6]), DType::f32);
    if (const auto y = byte_conv(c, c[0], c[3], c[2], c[5], c.optional(8), scale, c[7], c[7].dtype())) return {*y};
  }
  const int rank = c[0].rank();
  const Tensor x = cast(c[0], DType::f64) - cast(as_scalar(c, c[2]), DType::f64);
  const Tensor w = cast(c[3], DType::f64) - cast(per_out(c[5], rank), DType::f64);
  Tensor out = whole_conv(c, x, w);
  auto channels = [&](const Tensor& p) {
    if (p.numel() == 1) return reshape(p, {});
    Shape s = Dims::filled(rank - 1, 1);
    s[0] = p.numel();
    return reshape(p, s);
  };
  if (c.has(8)) out = out + cast(channels(c[8]), DType::f64);
  out = out * cast(as_scalar(c, c[1]), DType::f64) * cast(channels(c[4]), DType::f64) / cast(as_scalar(c, c[6]), DType::f64);
  return {to_range(rounded(out) + cast(as_scalar(c, c[7]), DType::f64), c[7].dtype())};
}

}  // namespace

std::vector<Mapping> quant_ops() {
  return {
      {"ConvInteger", 10, build_conv_integer},
      {"DequantizeLinear", 10, build_dequantize},
      {"DynamicQuantizeLinear", 11, build_dynamic_quantize},
      {"MatMulInteger", 10, build_matmul_integer},
      {"QLinearConv", 10, build_qlinear_conv},
      {"QLinearMatMul", 10, build_qlinear_matmul},
      {"QuantizeLinear", 10, build_quantize},
  };
}

}  // namespace suan::onnx
