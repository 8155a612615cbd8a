// matmul: matrix product with torch's rules for vectors and batches.
#include "ops/api.h"

namespace suan {
namespace {

struct Sides {
  Shape batch, a, b;       // batch broadcast; operands as at least 2-D shapes
  int64_t m, n, k, kb;
};

// A vector on the left is a row, on the right a column; its dimension leaves the result.
Sides sides(std::string_view op, const Shape& left, const Shape& right) {
  Sides s{{}, left, right, 0, 0, 0, 0};
  if (s.a.size() == 1) s.a.insert(0, 1);
  if (s.b.size() == 1) s.b.insert(1, 1);
  s.m = s.a[s.a.size() - 2];
  s.k = s.a.back();
  s.kb = s.b[s.b.size() - 2];
  s.n = s.b.back();
  Shape ba = s.a, bb = s.b;
  ba.erase(ba.size() - 1), ba.erase(ba.size() - 1);
  bb.erase(bb.size() - 1), bb.erase(bb.size() - 1);
  s.batch = broadcast(op, ba, bb);
  return s;
}

std::vector<TensorType> infer(const InferContext& c) {
  const Shape &a = c.shape(0), &b = c.shape(1);
  if (a.empty() || b.empty())
    c.fail<ShapeError>("wrong rank: expected vectors or matrices, got left {}, right {}",
                       to_string(c[0]), to_string(c[1]));
  Sides s = sides(c.op.name, a, b);
  if (s.k != s.kb)
    c.fail<ShapeError>("inner dimensions differ: expected {}, got {} (left {}, right {})", s.k,
                       s.kb, to_string(c[0]), to_string(c[1]));
  Shape out = s.batch;
  if (a.size() > 1) out.push_back(s.m);
  if (b.size() > 1) out.push_back(s.n);
  return {{c.dtype(0), out, c[0].device}};
}

Shape with_matrix(Shape batch, int64_t m, int64_t n) {
  batch.push_back(m);
  batch.push_back(n);
  return batch;
}

void vjp(VjpContext& c) {
  using namespace ops;
  const Sides s = sides(c.op.name, c.shape(0), c.shape(1));
  const Tensor g = reshape(c.grad(), with_matrix(s.batch, s.m, s.n));
  // A left side with rows in many batches times one matrix is one tall product.
  const bool flat = s.b.size() == 2 && s.a.size() > 2;
  int64_t rows = s.m;
  for (int64_t d : s.batch) rows *= d;
  if (c.needs(0)) {
    const Tensor b = transpose(reshape(c.in(1), s.b), -1, -2);
    c.set(0, reshape(sum_to(matmul(g, b), s.a), c.shape(0)));
  }
  if (c.needs(1)) {
    Tensor a = reshape(c.in(0), s.a);
    Tensor db = flat ? matmul(transpose(reshape(a, {rows, s.k}), 0, 1), reshape(g, {rows, s.n}))
                     : sum_to(matmul(transpose(a, -1, -2), g), s.b);
    c.set(1, reshape(db, c.shape(1)));
  }
}

Cost cost(const InferContext& c) {
  const Sides s = sides(c.op.name, c.shape(0), c.shape(1));
  double batch = 1;
  for (int64_t d : s.batch) batch *= double(d);
  return {2.0 * batch * double(s.m) * double(s.n) * double(s.k), 0};
}

std::vector<Sample> samples() {
  return {{{{{3, 5}}, {{5, 7}}}},
          {{{{33, 20}}, {{20, 65}}}},
          {{{{5}}, {{5}}}, {}, "two vectors"},
          {{{{4, 5}}, {{5}}}, {}, "matrix and vector"},
          {{{{5}}, {{2, 5, 3}}}, {}, "vector and batch"},
          {{{{2, 3, 4, 5}}, {{5, 6}}}, {}, "batch and matrix"},
          {{{{4, 5}}, {{3, 5, 2}}}, {}, "matrix and batch"},
          {{{{2, 1, 4, 5}}, {{3, 5, 2}}}, {}, "broadcast batches"},
          {{{{3, 0}}, {{0, 4}}}, {}, "empty inner dimension"},
          {{{{0, 3}}, {{3, 4}}}, {}, "no rows"},
          {.in = {{{2, 3}}, {{4, 5}}}, .error = "inner dimensions differ: expected 3, got 4"},
          {.in = {{{}}, {{4, 5}}}, .error = "wrong rank"}};
}

}  // namespace

OpDef op_def_matmul() {
  return {.name = "matmul",
          .doc = "Matrix product. [..., m, k] by [..., k, n] gives [..., m, n], batches "
                 "broadcast; a 1-D operand is a row (left) or a column (right) whose dimension is "
                 "dropped. f16 and bf16 accumulate in f32, integers wrap.",
          .inputs = {{"a", arithmetic_types}, {"b", arithmetic_types}},
          .infer = infer,
          .vjp = vjp,
          .cost = cost,
          .samples = samples,
          .onnx_name = "MatMul",
          .onnx_since = 9};
}

}  // namespace suan
