// int8_matmul: products of 8-bit integers, exact, with what turns their sums into floats or 8 bits again.
#include "ops/quant/int8.h"

namespace suan {
namespace {

using namespace ops;

enum { x_in, w_in, x_zero, w_zero, bias_in, scale_in, out_zero };

struct Sizes {
  int64_t k, n;
  bool packed;
};
Sizes sizes(const InferContext& c) {
  const Shape &x = c.shape(x_in), &w = c.shape(w_in);
  const int64_t columns = c.attrs.integer(1);
  if (x.size() < 2) c.fail<ShapeError>("wrong rank: expected x [..., m, k], got {}", to_string(c[x_in]));
  if (columns == 0) {
    if (w.size() < 2 || w[w.size() - 2] != x.back())
      c.fail<ShapeError>("weight does not fit: expected [..., {}, n], got {}", x.back(), to_string(c[w_in]));
    return {x.back(), w.back(), false};
  }
  const Shape want{(columns + int8_panel_columns - 1) / int8_panel_columns, (x.back() + 3) / 4 + 1, int8_panel_columns, 4};
  if (columns < 0 || w != want || c.dtype(w_in) != DType::i8)
    c.fail<ShapeError>("packed weight does not fit: expected i8 {} for {} columns, got {}", to_string(want), columns, to_string(c[w_in]));
  return {x.back(), columns, true};
}

std::vector<TensorType> infer(const InferContext& c) {
  const Sizes s = sizes(c);
  const auto one_or_each = [&](int i, bool each, DType t) {
    if (c.has(i) && (c.dtype(i) != t || (c.shape(i) != Shape{} && !(each && c.shape(i) == Shape{s.n}))))
      c.fail<ShapeError>("{} does not fit: expected {} {}, got {}", c.op.inputs[size_t(i)].name, brief(t),
                         each ? fmt::format("[] or [{}]", s.n) : "[]", to_string(c[i]));
  };
  one_or_each(x_zero, false, c.dtype(x_in));
  one_or_each(w_zero, true, c.dtype(w_in));
  if (c.has(bias_in) && c.shape(bias_in) != Shape{s.n})
    c.fail<ShapeError>("bias does not fit: expected [{}], got {}", s.n, to_string(c[bias_in]));
  if (c.has(bias_in) && c.dtype(bias_in) == DType::f32 && c.attrs.dtype(0) != DType::f32)
    c.fail<TypeError>("wrong bias: expected i32 with a result of {}, got f32", brief(c.attrs.dtype(0)));
  check_int8_result(c, c.attrs.dtype(0), scale_in, out_zero, s.n);
  Shape out = c.shape(x_in);
  if (!s.packed && c.shape(w_in).size() > 2) {
    Shape a = out, b = c.shape(w_in);
    a[a.size() - 1] = a[a.size() - 2] = b[b.size() - 1] = b[b.size() - 2] = 1;
    const int64_t m = out[out.size() - 2];
    out = broadcast(c.op.name, a, b);
    out[out.size() - 2] = m;
  }
  out[out.size() - 1] = s.n;
  return {{c.attrs.dtype(0), out, c[x_in].device}};
}

Tensors compose(const ComposeContext& c) {
  Tensor w = c[w_in];
  if (const int64_t n = c.attrs.integer(1); n > 0) {
    const int64_t quads = w.dim(1) - 1, panels = w.dim(0);
    w = reshape(permute(slice(w, 1, 0, quads), {1, 3, 0, 2}), {quads * 4, panels * int8_panel_columns});
    w = slice(slice(w, 0, 0, c[x_in].shape().back()), 1, 0, n);
  }
  const auto centred = [&](const Tensor& v, int zero) {
    const Tensor whole = cast(v, DType::i32);
    return c.has(zero) ? whole - cast(c[zero], DType::i32) : whole;
  };
  Tensor sums = matmul(centred(c[x_in], x_zero), centred(w, w_zero));
  const bool real_bias = c.has(bias_in) && c[bias_in].dtype() == DType::f32;
  if (c.has(bias_in) && !real_bias) sums = sums + c[bias_in];
  const Tensor y = int8_result(sums, c.attrs.dtype(0), c.has(scale_in) ? c[scale_in] : Tensor(), c.has(out_zero) ? c[out_zero] : Tensor());
  return {real_bias ? y + c[bias_in] : y};
}

Cost cost(const InferContext& c) {
  const double out = double(numel(c.op.infer(c)[0].shape));
  return {2.0 * out * double(c.shape(x_in).back()), 0};
}

std::vector<Sample> samples() {
  const auto whole = [](Shape s, DType t) {
    return SampleInput{.shape = s, .fill = Fill::integers, .lo = t == DType::u8 ? 0.0 : -128.0, .hi = t == DType::u8 ? 256.0 : 128.0, .dtype = t};
  };
  const SampleInput none{.shape = {1}, .absent = true};
  const SampleInput bias{.shape = {37}, .fill = Fill::integers, .lo = -1000, .hi = 1000, .dtype = DType::i32};
  const auto real = [](Shape s) { return SampleInput{.shape = s, .fill = Fill::uniform, .lo = 0.001, .hi = 0.01, .dtype = DType::f32}; };
  const DType u = DType::u8, i = DType::i8;
  const int64_t plain = 0;
  return {
      {{whole({19, 21}, u), whole({21, 37}, i), whole({}, u), whole({37}, i), none, none, none}, {DType::i32, plain}, "sums"},
      {{whole({2, 3, 5, 9}, i), whole({3, 9, 7}, u), whole({}, i), none, none, real({}), none}, {DType::f32, plain}, "batches"},
      {{whole({15, 64}, u), whole({64, 37}, u), whole({}, u), whole({}, u), bias, real({37}), whole({}, u)}, {u, plain}, "8 bits again"},
      {{whole({1, 70}, i), whole({70, 32}, i), none, none, none, real({}), none}, {i, plain}, "one row"},
      {{whole({4, 22}, u), whole({2, 7, 32, 4}, i), none, whole({40}, i), real({40}), real({40}), none}, {DType::f32, int64_t(40)}, "packed"},
      {{whole({3, 0}, u), whole({0, 4}, i), whole({}, u), none, none, none, none}, {DType::i32, plain}, "nothing to add"},
      {{whole({0, 3}, u), whole({3, 4}, i), none, none, none, none, none}, {DType::i32, plain}, "no rows"},
      {.in = {whole({2, 3}, u), whole({4, 5}, i)}, .attrs = {DType::i32, plain}, .error = "weight does not fit"},
      {.in = {whole({2, 3}, u), whole({3, 5}, i)}, .attrs = {DType::f32, plain}, .error = "wrong scale"},
      {.in = {whole({2, 3}, u), whole({3, 5}, i), none, none, real({5})}, .attrs = {DType::i32, plain}, .error = "wrong bias"}};
}

}  // namespace

OpDef op_def_int8_matmul() {
  return {.name = "int8_matmul",
          .doc = "Product of 8-bit integers: x [..., m, k] less x_zero [] times weight [..., k, n] less weight_zero [] or [n], plus "
                 "bias [n] if that is i32, in sums of 32 bits that wrap. dtype says what comes out: i32, the sums; f32, sums times "
                 "scale ([] or [n]), plus bias if that is f32; u8 or i8, that rounded to the nearest (ties to even), plus out_zero [], saturated. columns: n, if the "
                 "weight is packed, as inference makes it once: [panels, k / 4 + 1, 32, 4] i8, the last row the columns' sums.",
          .inputs = {{"x", bytes_types},
                     {"weight", bytes_types, Arity::required, 2},
                     {"x_zero", bytes_types, Arity::optional},
                     {"weight_zero", bytes_types, Arity::optional, 2},
                     {"bias", dtype_bit(DType::i32) | f32_type, Arity::optional, 3},
                     {"scale", f32_type, Arity::optional, 4},
                     {"out_zero", bytes_types, Arity::optional, 5}},
          .attrs = {{"dtype", AttrKind::dtype, DType::i32}, {"columns", AttrKind::integer, int64_t(0)}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its inputs are integers",
          .cost = cost,
          .samples = samples,
          .onnx_name = "MatMulInteger",
          .onnx_since = 10};
}

}  // namespace suan
