// What the convolutions of 8-bit integers share: windows over [batch, height, width, channels].
#pragma once

#include "ops/nn/windows.h"
#include "ops/quant/int8.h"

namespace suan::ops {

// [batch, height, width, channels] of the result. Attributes: kernel, strides, padding, dilation from `first` on.
inline Shape int8_window_shape(const InferContext& c, int first, int64_t channels) {
  const Shape& x = c.shape(0);
  if (x.size() != 4) c.fail<ShapeError>("wrong rank: expected x [batch, height, width, channels], got {}", to_string(c[0]));
  if (c.attrs.dims(first).size() != 2) c.fail<ValueError>("wrong kernel: expected 2 sizes, got {}", to_string(c.attrs.dims(first)));
  const Windows w = windows(c.op.name, c.attrs.dims(first), c.attrs.dims(first + 1), c.attrs.dims(first + 2), c.attrs.dims(first + 3));
  const Shape at = window_positions(c.op.name, w, {x[0], x[3], x[1], x[2]});
  return {x[0], at[0], at[1], channels};
}

// Types of x_zero, w_zero, bias, scale and out_zero, from input 2 on.
inline void check_int8_conv(const InferContext& c, DType to, int64_t channels) {
  if (c.has(2) && (c.dtype(2) != c.dtype(0) || c.shape(2) != Shape{}))
    c.fail<ShapeError>("x_zero does not fit: expected one {}, got {}", brief(c.dtype(0)), to_string(c[2]));
  if (c.has(3) && (c.dtype(3) != c.dtype(1) || (c.shape(3) != Shape{} && c.shape(3) != Shape{channels})))
    c.fail<ShapeError>("w_zero does not fit: expected {} [] or [{}], got {}", brief(c.dtype(1)), channels, to_string(c[3]));
  if (c.has(4) && c.shape(4) != Shape{channels})
    c.fail<ShapeError>("bias does not fit: expected [{}], got {}", channels, to_string(c[4]));
  check_int8_result(c, to, 5, 6, channels);
}

// i8 as it is, u8 less 128.
inline Tensor int8_signed(const Tensor& w) {
  if (w.dtype() == DType::i8) return w;
  return cast(cast(w, DType::i32) - Tensor::scalar_int(128, DType::i32), DType::i8);
}
// The sums of such a convolution and its result. weight: [out, inputs per group, height, width] i8.
inline Tensor int8_conv_result(const ComposeContext& c, const Tensor& weight, int64_t groups, int first) {
  Tensor x = cast(permute(c[0], {0, 3, 1, 2}), DType::f64);   // exact below 2^53
  if (c.has(2)) x = x - cast(c[2], DType::f64);
  Tensor w = cast(weight, DType::f64);
  if (c.has(3)) {
    const Tensor zero = cast(int8_signed(c[3]), DType::f64);
    w = w - (zero.rank() ? reshape(zero, {zero.dim(0), 1, 1, 1}) : zero);
  }
  const Tensor y = apply(SUAN_OP("conv"), {contiguous(x), contiguous(w), Tensor()},
                         {c.attrs.dims(first + 1), c.attrs.dims(first + 2), c.attrs.dims(first + 3), groups});
  Tensor sums = cast(cast(permute(y, {0, 2, 3, 1}), DType::i64), DType::i32);
  if (c.has(4)) sums = sums + c[4];
  return contiguous(int8_result(sums, c.attrs.dtype(0), c.has(5) ? c[5] : Tensor(), c.has(6) ? c[6] : Tensor()));
}

// A weight [out, in / groups, height, width] as the kernel reads it. By panels of 32 outputs: [groups × panels, k / 4 + 1, 32, 4],
// for each group int8_pack's panels of [k, out / groups], k being the window's rows (with several groups or dilated columns its
// elements), channels last, each row rounded up to four. Depthwise: [blocks of 64, width, rows / 4, 64 × 4], a block's channels
// in the order that unpacking bytes gives: 0-3, 16-19, 32-35, 48-51, 4-7, ..., each with four rows of the window.
struct Int8Packing {
  int64_t height, width, groups, per, out;   // per group
  bool depthwise;
  int64_t runs, run, quads, panels;

  Int8Packing(const Dims& kernel, const Dims& dilation, int64_t in, int64_t channels, int64_t groups)
      : height(kernel[0]), width(kernel[1]), groups(groups), per(in / groups), out(channels / groups),
        depthwise(groups > 1 && per == 1 && out == 1) {
    const bool rows = groups == 1 && (dilation.empty() || dilation[1] == 1);
    runs = rows ? height : height * width;
    run = rows ? width * per : per;
    quads = (run + 3) / 4;
    panels = (out + int8_panel_columns - 1) / int8_panel_columns;
  }
  bool taps_are_one() const { return height * width == 1; }
  int64_t blocks() const { return (groups + 63) / 64; }
  int64_t row_fours() const { return (height + 3) / 4; }
  Shape shape() const {
    if (depthwise) return {blocks(), width, row_fours(), 256};
    return {groups * panels, runs * quads + 1, int8_panel_columns, 4};
  }

  Tensor packed(const Tensor& given) const {
    const Tensor w = int8_signed(given);
    if (depthwise) {
      Tensor x = apply(SUAN_OP("pad_constant"), {reshape(w, {groups, height, width}), Tensor()},
                       {std::vector<int64_t>{0, 0, 0, row_fours() * 4 - height, 0, blocks() * 64 - groups}});
      x = reshape(x, {blocks(), 4, 4, 4, row_fours(), 4, width});   // block, lane of 16, four of it, one, fours of rows, row, column
      return reshape(copy(permute(x, {0, 6, 4, 2, 1, 3, 5})), shape());
    }
    Tensor x = reshape(permute(reshape(w, {groups, out, per, height, width}), {0, 3, 4, 2, 1}), {groups, runs, run, out});
    x = apply(SUAN_OP("pad_constant"), {x, Tensor()}, {std::vector<int64_t>{0, 0, 0, quads * 4 - run}});
    Tensors all;
    for (int64_t g = 0; g < groups; ++g)
      all.push_back(apply(SUAN_OP("int8_pack"), {copy(reshape(slice(x, 0, g, g + 1), {runs * quads * 4, out}))}));
    return all.size() == 1 ? all[0] : apply(SUAN_OP("cat"), all, {int64_t(0)});
  }
  Tensor unpacked(const Tensor& packed) const {   // [channels, in / groups, height, width]
    if (depthwise) {
      Tensor x = permute(reshape(packed, {blocks(), width, row_fours(), 4, 4, 4, 4}), {0, 4, 3, 5, 2, 6, 1});
      x = reshape(x, {blocks() * 64, row_fours() * 4, width});
      return reshape(slice(slice(x, 0, 0, groups), 1, 0, height), {groups, 1, height, width});
    }
    Tensor x = reshape(slice(packed, 1, 0, runs * quads), {groups, panels, runs * quads, int8_panel_columns, 4});
    x = reshape(permute(x, {0, 1, 3, 2, 4}), {groups, panels * int8_panel_columns, runs, quads * 4});
    x = reshape(slice(slice(x, 1, 0, out), 3, 0, run), {groups * out, height, width, per});
    return permute(x, {0, 3, 1, 2});
  }
};

inline SampleInput int8_sample(Shape s, DType t) {
  const bool u = t == DType::u8;
  return {.shape = s, .fill = Fill::integers, .lo = u ? 0.0 : -128.0, .hi = u ? 256.0 : 128.0, .dtype = t};
}

}  // namespace suan::ops
