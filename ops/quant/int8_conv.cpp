// int8_conv: 2-D convolution of 8-bit integers, channels last, exact, with what makes its sums 8 bits again.
#include "ops/quant/int8_windows.h"

namespace suan {
namespace {

using namespace ops;

// attributes: dtype, channels (0: the weight is plain), kernel, strides, padding, dilation, groups
std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  const bool plain = c.attrs.integer(1) == 0;
  if (plain && w.size() != 4) c.fail<ShapeError>("wrong rank: expected weight [out, in / groups, height, width], got {}", to_string(c[1]));
  const int64_t channels = plain ? w[0] : c.attrs.integer(1), groups = c.attrs.integer(6);
  const Shape out = int8_window_shape(c, 2, channels);
  if (groups < 1 || channels < 0 || x[3] % groups || channels % groups)
    c.fail<ValueError>("wrong groups: expected a divisor of {} inputs and {} outputs, got {}", x[3], channels, groups);
  const Int8Packing p(c.attrs.dims(2), c.attrs.dims(5), x[3], channels, groups);
  const Shape want = plain ? Shape{channels, x[3] / groups, c.attrs.dims(2)[0], c.attrs.dims(2)[1]} : p.shape();
  if (w != want || (!plain && c.dtype(1) != DType::i8)) c.fail<ShapeError>("weight does not fit: expected {}, got {}", to_string(want), to_string(c[1]));
  check_int8_conv(c, c.attrs.dtype(0), channels);
  return {{c.attrs.dtype(0), out, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  const int64_t channels = c.attrs.integer(1), groups = c.attrs.integer(6);
  Tensor w = int8_signed(c[1]);
  if (channels > 0) w = Int8Packing(c.attrs.dims(2), c.attrs.dims(5), c[0].dim(3), channels, groups).unpacked(w);
  return {int8_conv_result(c, w, groups, 2)};
}

Cost cost(const InferContext& c) {
  return {2.0 * double(numel(c.op.infer(c)[0].shape)) * double(c.shape(0)[3] / c.attrs.integer(6) * c.attrs.dims(2)[0] * c.attrs.dims(2)[1]), 0};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {1}, .absent = true};
  const DType u = DType::u8, i = DType::i8;
  const auto x = int8_sample;
  const auto bias = [](int64_t n) { return SampleInput{.shape = {n}, .fill = Fill::integers, .lo = -1000, .hi = 1000, .dtype = DType::i32}; };
  const auto scale = [](Shape s, double most = 0.002) { return SampleInput{.shape = s, .fill = Fill::uniform, .lo = 0.0005, .hi = most, .dtype = DType::f32}; };
  const int64_t plain = 0, one = 1, two = 2;
  const Dims same{1, 1, 1, 1}, three{3, 3};
  return {{{x({2, 5, 7, 8}, u), x({40, 8, 3, 3}, i), x({}, u), none, bias(40), scale({40}), x({}, u)}, {u, plain, three, Dims{}, same, Dims{}, one}},
          {{x({2, 9, 5, 8}, u), x({32, 8, 1, 1}, i), x({}, u), x({32}, i), bias(32), scale({}), x({}, i)},
           {i, plain, Dims{1, 1}, Dims{}, Dims{}, Dims{}, one}, "1×1, zero points of weights"},
          {{x({1, 11, 10, 3}, i), x({5, 3, 3, 3}, u), x({}, i), x({}, u), none, scale({5}), none},
           {DType::f32, plain, three, Dims{2, 2}, same, Dims{}, one}, "signed, 3 channels, stride 2, one zero point of weights"},
          {{x({1, 9, 8, 10}, u), x({6, 5, 3, 2}, i), x({}, u), x({6}, i), none, none, none},
           {DType::i32, plain, Dims{3, 2}, Dims{3, 1}, Dims{1, 0, 2, 1}, Dims{2, 1}, two}, "sums: groups, dilation, uneven padding"},
          {{x({1, 5, 6, 4}, u), x({3, 4, 2, 2}, i), none, none, none, scale({}), none},
           {u, plain, Dims{2, 2}, Dims{}, Dims{}, Dims{1, 2}, one}, "no zero points, dilation"},
          {{x({2, 6, 7, 72}, u), x({72, 1, 3, 3}, i), x({}, u), none, bias(72), scale({72}), x({}, u)},
           {u, plain, three, Dims{}, same, Dims{}, int64_t(72)}, "depthwise"},
          {{x({1, 9, 11, 20}, i), x({20, 1, 5, 3}, u), x({}, i), x({20}, u), bias(20), scale({}), x({}, i)},
           {i, plain, Dims{5, 3}, Dims{2, 2}, Dims{2, 0, 1, 3}, Dims{1, 2}, int64_t(20)}, "depthwise, signed, unsigned weight of 5×3"},
          {{x({1, 4, 5, 6}, u), x({12, 1, 3, 3}, u), none, none, none, none, none},
           {DType::i32, plain, three, Dims{}, Dims{}, Dims{}, int64_t(6)}, "unsigned weight, two outputs of each channel"},
          {{x({1, 3, 4, 8}, u), x({2, 3, 32, 4}, i), none, none, none, none, none},
           {DType::i32, int64_t(37), Dims{1, 1}, Dims{}, Dims{}, Dims{}, one}, "packed"},
          {{x({0, 4, 4, 4}, u), x({3, 4, 1, 1}, i), none, none, none, none, none},
           {DType::i32, plain, Dims{1, 1}, Dims{}, Dims{}, Dims{}, one}, "no images"},
          {.in = {x({1, 4, 4, 4}, u), x({1, 3, 32, 4}, i)}, .attrs = {DType::i32, int64_t(3), Dims{1, 1}, Dims{}, Dims{}, Dims{}, one},
           .error = "weight does not fit"},
          {.in = {x({1, 4, 4, 5}, u), x({4, 5, 1, 1}, i)}, .attrs = {DType::i32, plain, Dims{1, 1}, Dims{}, Dims{}, Dims{}, two},
           .error = "wrong groups"}};
}

}  // namespace

OpDef op_def_int8_conv() {
  return {.name = "int8_conv",
          .doc = "2-D convolution of 8-bit integers: x [batch, height, width, in] less x_zero [], by weight [out, in / groups, height, "
                 "width] (u8: less 128, as its zero points) less w_zero [] or [out], plus bias [out] i32, in exact sums of 32 bits; outside the image x is x_zero. dtype says what comes out, "
                 "as of int8_matmul: i32, f32 (times scale [] or [out]), u8 or i8 (that rounded, plus out_zero [], saturated); the "
                 "result is [batch, height, width, out]. channels: out, if the weight is packed, as inference makes it once "
                 "(ops/quant/int8_windows.h says how).",
          .inputs = {{"x", bytes_types},
                     {"weight", bytes_types, Arity::required, 2},
                     {"x_zero", bytes_types, Arity::optional},
                     {"w_zero", bytes_types, Arity::optional, 2},
                     {"bias", dtype_bit(DType::i32), Arity::optional, 3},
                     {"scale", f32_type, Arity::optional, 4},
                     {"out_zero", bytes_types, Arity::optional, 5}},
          .attrs = {{"dtype", AttrKind::dtype, DType::i32},
                    {"channels", AttrKind::integer, int64_t(0)},
                    {"kernel", AttrKind::dims},
                    {"strides", AttrKind::dims, Dims{}},
                    {"padding", AttrKind::dims, Dims{}},
                    {"dilation", AttrKind::dims, Dims{}},
                    {"groups", AttrKind::integer, int64_t(1)}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its inputs are integers",
          .cost = cost,
          .samples = samples,
          .onnx_name = "QLinearConv",
          .onnx_since = 10};
}

}  // namespace suan
