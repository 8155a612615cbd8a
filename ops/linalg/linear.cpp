// linear: x · weightᵀ + bias, the layer that most of a model's arithmetic is in.
#include "ops/api.h"

namespace suan {
namespace {

int64_t rows_of(const Shape& s) {
  int64_t n = 1;
  for (int i = 0; i + 1 < s.size(); ++i) n *= s[i];
  return n;
}

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &x = c.shape(0), &w = c.shape(1);
  if (x.empty()) c.fail<ShapeError>("wrong rank: expected x [..., in], got {}", to_string(c[0]));
  if (w.size() != 2)
    c.fail<ShapeError>("wrong rank: expected weight [out, in], got {}", to_string(c[1]));
  if (x.back() != w[1])
    c.fail<ShapeError>("inner dimensions differ: expected {}, got {} (x {}, weight {})", w[1],
                       x.back(), to_string(c[0]), to_string(c[1]));
  if (c.has(2) && c.shape(2) != Shape{w[0]})
    c.fail<ShapeError>("bias does not fit: expected [{}], got {}", w[0], to_string(c[2]));
  Shape out = x;
  out.back() = w[0];
  return {{c.dtype(0), out, c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  Tensor y = matmul(c[0], transpose(c[1], 0, 1));
  return {c.has(2) ? y + c[2] : y};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const int64_t rows = rows_of(c.shape(0)), in = c.shape(1)[1], out = c.shape(1)[0];
  const Tensor& g = c.grad();
  const Tensor g2 = reshape(g, {rows, out});
  if (c.needs(0)) c.set(0, reshape(matmul(g2, c.in(1)), c.shape(0)));
  if (c.needs(1)) c.set(1, matmul(transpose(g2, 0, 1), reshape(c.in(0), {rows, in})));
  if (c.needs(2)) c.set(2, sum(g2, {0}));
}

Cost cost(const InferContext& c) {
  return {2.0 * double(rows_of(c.shape(0))) * double(numel(c.shape(1))), 0};
}

std::vector<Sample> samples() {
  return {{{{{3, 5}}, {{7, 5}}, {{7}}}},
          {{{{2, 3, 5}}, {{4, 5}}, {.shape = {4}, .absent = true}}, {}, "no bias"},
          {{{{33, 40}}, {{70, 40}}, {{70}}}},
          {{{{5}}, {{4, 5}}, {{4}}}, {}, "one row"},
          {{{{0, 5}}, {{4, 5}}, {{4}}}, {}, "no rows"},
          {{{{3, 0}}, {{4, 0}}, {{4}}}, {}, "nothing but bias"},
          {.in = {{{2, 3}}, {{4, 5}}, {.shape = {4}, .absent = true}},
           .error = "inner dimensions differ: expected 5, got 3"},
          {.in = {{{2, 5}}, {{4, 5}}, {{3}}}, .error = "bias does not fit"}};
}

}  // namespace

OpDef op_def_linear() {
  return {
      .name = "linear",
      .doc = "x [..., in] times weight [out, in] transposed, plus bias [out] if given: [..., out].",
      .inputs = {{"x", arithmetic_types},
                 {"weight", arithmetic_types},
                 {"bias", arithmetic_types, Arity::optional}},
      .infer = infer,
      .compose = compose,
      .vjp = vjp,
      .cost = cost,
      .samples = samples};
}

}  // namespace suan
