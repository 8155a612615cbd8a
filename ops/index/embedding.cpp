// embedding: rows of a table.
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_embedding() {
  OpDef d{
      .name = "embedding",
      .doc =
          "weight[index]: one row of weight [rows, width] per index; the result has the index's "
          "shape and width.",
      .inputs = {{"weight"}, {"index", dtype_bit(DType::i64), Arity::required, 0}}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    if (c.shape(0).size() != 2)
      c.fail<ShapeError>("weight is not a table: expected rank 2, got {}", to_string(c.shape(0)));
    Shape s = c.shape(1);
    s.push_back(c.shape(0)[1]);
    return {{c.dtype(0), s, c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0))
      c.set(0, apply(SUAN_OP("embedding_grad"), {c.grad(), c.in(1)}, {c.shape(0)[0]}));
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{7, 5}}, index_input({3, 4}, 7)}},
                               {{{{9, 16}}, index_input({}, 9)}, {}, "0-d index"},
                               {{{{4, 3}}, index_input({0}, 4)}, {}, "no elements"}};
  };
  return d;
}

}  // namespace suan
