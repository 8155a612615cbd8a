// int4_matmul: product with a weight of 4 bits, whose blocks of one column share a scale and a zero point.
#include "ops/quant/int8.h"

namespace suan {
namespace {

using namespace ops;

constexpr int64_t lanes = 16;   // columns that lie together

enum { x_in, w_in, scale_in, zero_in, bias_in };

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(x_in), &w = c.shape(w_in), &s = c.shape(scale_in);
  const int64_t n = c.attrs.integer(0), groups = (n + lanes - 1) / lanes;
  if (x.size() < 1 || n < 1 || w.size() != 4 || w[0] != groups || w[2] != lanes || w[3] != 4 || w[1] < 1)
    c.fail<ShapeError>("weight does not fit: expected x [..., k] and [{}, k / 8, 16, 4] for {} columns, got {} and {}", groups, n,
                       to_string(c[x_in]), to_string(c[w_in]));
  if (s.size() != 3 || s[0] != groups || s[2] != lanes || s[1] < 1 || w[1] % s[1] || w[1] / s[1] < 2 || c.shape(zero_in) != s)
    c.fail<ShapeError>("scale or zero does not fit: expected [{}, blocks, 16] with blocks of 16 or more values, got {} and {} for {}", groups,
                       to_string(c[scale_in]), to_string(c[zero_in]), to_string(c[w_in]));
  const int64_t k = w[1] * 8, block = k / s[1];
  if (x.back() > k || x.back() <= k - block)
    c.fail<ShapeError>("inner dimensions differ: expected from {} to {}, got {}", k - block + 1, k, x.back());
  if (c.has(bias_in) && c.shape(bias_in) != Shape{n}) c.fail<ShapeError>("bias does not fit: expected [{}], got {}", n, to_string(c[bias_in]));
  Shape out = x;
  out[out.size() - 1] = n;
  return {{DType::f32, out, c[x_in].device}};
}

Tensors compose(const ComposeContext& c) {
  const int64_t groups = c[w_in].dim(0), eights = c[w_in].dim(1), blocks = c[scale_in].dim(1), k = eights * 8;
  // Bytes hold two values each, the low four bits first: [groups, k / 8, 16, 4, 2].
  const Tensor bytes = cast(c[w_in], DType::f32), high = apply(SUAN_OP("floor"), {bytes * (1 / 16.0)});
  Tensor w = apply(SUAN_OP("cat"), {unsqueeze(bytes - high * 16.0, 4), unsqueeze(high, 4)}, {int64_t(4)});
  w = reshape(permute(w, {0, 2, 1, 3, 4}), {groups, lanes, blocks, k / blocks});
  auto by_block = [&](int i) { return unsqueeze(permute(c[i], {0, 2, 1}), 3); };
  w = reshape((w - by_block(zero_in)) * by_block(scale_in), {groups * lanes, k});
  w = slice(slice(w, 0, 0, c.attrs.integer(0)), 1, 0, c[x_in].dim(-1));
  return {apply(SUAN_OP("linear"), {c[x_in], w, c.has(bias_in) ? c[bias_in] : Tensor()})};
}

std::vector<Sample> samples() {
  const auto real = [](Shape s, double lo, double hi) {
    return SampleInput{.shape = s, .fill = Fill::uniform, .lo = lo, .hi = hi, .dtype = DType::f32, .grad = false};
  };
  const auto bytes = [](Shape s) { return SampleInput{.shape = s, .fill = Fill::integers, .lo = 0, .hi = 256, .dtype = DType::u8}; };
  const auto whole = [](Shape s) { return SampleInput{.shape = s, .fill = Fill::integers, .lo = 0, .hi = 16, .dtype = DType::f32, .grad = false}; };
  const SampleInput none{.shape = {1}, .absent = true};
  const int64_t n = 21, wide = 80;
  return {{{real({1, 70}, -1, 1), bytes({2, 12, 16, 4}), real({2, 3, 16}, 0.01, 0.02), whole({2, 3, 16}), none}, {n}, "one row"},
          {{real({2, 3, 32}, -1, 1), bytes({5, 4, 16, 4}), real({5, 2, 16}, 0.01, 0.02), whole({5, 2, 16}), real({80}, -1, 1)}, {wide}, "few rows"},
          {{real({13, 45}, -1, 1), bytes({5, 6, 16, 4}), real({5, 3, 16}, 0.01, 0.02), whole({5, 3, 16}), none}, {wide}, "many rows"},
          {.in = {real({1, 32}, -1, 1), bytes({2, 8, 16, 4}), real({2, 2, 16}, 1, 2), whole({2, 2, 16})}, .attrs = {n}, .error = "inner dimensions differ"}};
}

}  // namespace

OpDef op_def_int4_matmul() {
  return {.name = "int4_matmul",
          .doc = "x [..., k] f32 times a weight [k, columns] of 4 bits, whose values are (q - zero) * scale, plus bias [columns]. weight "
                 "[groups, k / 8, 16, 4] u8: for 16 columns and eight of k, four bytes a column, the low four bits first; scale and zero "
                 "[groups, blocks, 16] f32 for equal blocks of 16 or more values of k. k may end within the last block.",
          .inputs = {{"x", f32_type},
                     {"weight", dtype_bit(DType::u8), Arity::required, 2},
                     {"scale", f32_type},
                     {"zero", f32_type},
                     {"bias", f32_type, Arity::optional}},
          .attrs = {{"columns", AttrKind::integer}},
          .infer = infer,
          .compose = compose,
          .no_grad = "its weight is of integers",
          .cost = [](const InferContext& c) {
            return Cost{2.0 * double(numel(c.shape(x_in))) * double(c.attrs.integer(0))};
          },
          .samples = samples};
}

}  // namespace suan
