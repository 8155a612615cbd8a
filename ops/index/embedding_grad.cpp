// embedding_grad: rows summed into a table.
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_embedding_grad() {
  OpDef d{
      .name = "embedding_grad",
      .doc =
          "A table of `rows` rows in which row r is the sum of the rows of g whose index is r, "
          "in order; zero where none is. The gradient of embedding.",
      .inputs = {{"g", arithmetic_types}, {"index", dtype_bit(DType::i64), Arity::required, 0}}};
  d.attrs = {{"rows", AttrKind::integer}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const Shape &g = c.shape(0), &index = c.shape(1);
    Shape want = index;
    want.push_back(g.empty() ? 0 : g.back());
    if (!(want == g))
      c.fail<ShapeError>("gradient does not fit the index: expected {}, got {}", to_string(want),
                         to_string(g));
    if (c.attrs.integer(0) < 0)
      c.fail<ShapeError>("negative rows: expected 0 or more, got {}", c.attrs.integer(0));
    return {{c.dtype(0), Shape{c.attrs.integer(0), g.back()}, c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0)) c.set(0, apply(SUAN_OP("embedding"), {c.grad(), c.in(1)}));
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 4, 5}}, index_input({3, 4}, 7)}, {I(7)}},
                               {{{{40, 3}}, index_input({40}, 2)}, {I(2)}, "many to a row"}};
  };
  return d;
}

}  // namespace suan
