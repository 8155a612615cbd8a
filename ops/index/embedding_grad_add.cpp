// embedding_grad_add: rows summed into a table that holds something already.
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_embedding_grad_add() {
  OpDef d{
      .name = "embedding_grad_add",
      .doc = "table + embedding_grad(g, index, rows of table), written over table. What a plan makes "
             "of the gradient of a table that is also used elsewhere (tied weights).",
      .inputs = {{"table", arithmetic_types},
                 {"g", arithmetic_types},
                 {"index", dtype_bit(DType::i64), Arity::required, 0}}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const Shape &table = c.shape(0), &g = c.shape(1);
    if (table.size() != 2)
      c.fail<ShapeError>("not a table: expected rank 2, got {}", to_string(c[0]));
    Shape want = c.shape(2);
    want.push_back(table[1]);
    if (!(want == g))
      c.fail<ShapeError>("gradient does not fit the index: expected {}, got {}", to_string(want),
                         to_string(g));
    return {c[0]};
  };
  d.no_grad = "it writes over its input; plans make it after differentiation";
  d.updates = {0};
  d.samples = [] {
    return std::vector<Sample>{
        {{{{7, 5}}, {{3, 4, 5}}, index_input({3, 4}, 7)}},
        {{{{2, 3}}, {{40, 3}}, index_input({40}, 2)}, {}, "many to a row"},
        {.in = {{{7, 5}}, {{3, 4}}, index_input({3}, 7)}, .error = "does not fit the index"}};
  };
  return d;
}

}  // namespace suan
