// dequantize: integers of a given scale and zero point as floats.
#include "ops/quant/int8_windows.h"

namespace suan {
namespace {

using namespace ops;

constexpr DTypeSet quantized_types = bytes_types | dtype_bit(DType::i32);

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &s = c.shape(1);
  if (s.size() == 1) {
    const int axis = c.axis(0, 0);
    if (s[0] != x[axis]) c.fail<ShapeError>("scale does not fit: expected [] or [{}] along dimension {}, got {}", x[axis], axis, to_string(c[1]));
  } else if (!s.empty()) {
    c.fail<ShapeError>("scale does not fit: expected one or one dimension of them, got {}", to_string(c[1]));
  }
  if (c.has(2) && (c.dtype(2) != c.dtype(0) || c.shape(2) != s))
    c.fail<ShapeError>("zero does not fit: expected {} of scale's shape, got {}", brief(c.dtype(0)), to_string(c[2]));
  return {{DType::f32, x, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  const auto laid = [&](const Tensor& p) {
    if (p.rank() == 0) return cast(p, DType::f32);
    const int64_t axis = c.attrs.integer(0);
    Shape s = Dims::filled(c[0].rank() - int(axis < 0 ? axis + c[0].rank() : axis), 1);
    s[0] = p.dim(0);
    return cast(reshape(p, s), DType::f32);
  };
  Tensor v = cast(c[0], DType::f32);
  if (c.has(2)) v = v - laid(c[2]);
  return {v * laid(c[1])};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {}, .absent = true};
  const auto scale = [](Shape s) { return SampleInput{.shape = s, .fill = Fill::uniform, .lo = 0.01, .hi = 0.03, .dtype = DType::f32, .grad = false}; };
  const DType u = DType::u8, i = DType::i8;
  return {{{int8_sample({5, 7, 9}, u), scale({}), int8_sample({}, u)}, {int64_t(0)}},
          {{int8_sample({5, 7, 9}, i), scale({7}), int8_sample({7}, i)}, {int64_t(1)}, "each of an axis"},
          {{int8_sample({4, 70}, i), scale({70}), none}, {int64_t(-1)}, "no zero"},
          {{{.shape = {3, 5}, .fill = Fill::integers, .lo = -100000, .hi = 100000, .dtype = DType::i32}, scale({3}), none}, {int64_t(0)}, "i32"},
          {.in = {int8_sample({5, 7}, u), scale({5}), none}, .attrs = {int64_t(1)}, .error = "scale does not fit"}};
}

}  // namespace

OpDef op_def_dequantize() {
  return {.name = "dequantize",
          .doc = "(x - zero) * scale as f32, of x u8, i8 or i32: one scale [] f32, or one for each place along `axis`; zero of x's dtype and "
                 "scale's shape. Of constants it is no constant until the passes have seen it, so that 8-bit weights are multiplied as such.",
          .inputs = {{"x", quantized_types}, {"scale", f32_type, Arity::required, 2}, {"zero", quantized_types, Arity::optional}},
          .attrs = {{"axis", AttrKind::integer, int64_t(0)}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its input is integers",
          .samples = samples};
}

}  // namespace suan
