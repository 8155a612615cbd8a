// index_put: advanced indexing, writing.
#include "ops/index/indexed.h"
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_index_put() {
  OpDef d{
      .name = "index_put",
      .doc =
          "A copy of input with values, broadcast to the shape that index would give, written "
          "at the indexed positions, or added there with accumulate; in order, so of repeated "
          "positions the last stays.",
      .inputs = {{"input"}, {"values"}, {"indices", dtype_bit(DType::i64), Arity::variadic, 0}}};
  d.attrs = {{"dims", AttrKind::dims}, {"accumulate", AttrKind::boolean, false}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const Shape s = indexed_shape(c, 2);
    if (c.shape(1).size() > s.size() || !(broadcast(c.op.name, s, c.shape(1)) == s))
      c.fail<ShapeError>("values do not fit: expected them to broadcast to {}, got {}",
                         to_string(s), to_string(c.shape(1)));
    if (c.attrs.boolean(1) && !contains(arithmetic_types, c.dtype(0)))
      c.fail<TypeError>("cannot accumulate: expected a type that is computed in, got {}", name(c.dtype(0)));
    return {c[0]};
  };
  d.vjp = [](VjpContext& c) {
    Tensors indices;
    for (int i = 2; i < c.n_in(); ++i) indices.push_back(c.in(i));
    if (c.needs(0)) {
      if (c.attrs.boolean(1)) {
        c.set(0, c.grad());
      } else {
        Tensors in{c.grad(), ops::number(0, c.grad())};
        in.insert(in.end(), indices.begin(), indices.end());
        c.set(0, apply(c.op, in, c.attrs));
      }
    }
    if (c.needs(1)) {
      Tensors in{c.grad()};
      in.insert(in.end(), indices.begin(), indices.end());
      c.set(1, ops::sum_to(apply(SUAN_OP("index"), in, {c.attrs.dims(0)}), c.shape(1)));
    }
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}, {{3, 1, 7}}, index_input({1}, 5)}, {Dims{1}}},
        {{{{3, 5, 7}}, {{2, 4, 7}}, index_input({2, 1}, 3), index_input({4}, 5)},
         {Dims{0, 1}, true},
         "added, with repeats"},
        {{{{3, 5, 7}}, {{5}}, index_input({4}, 3), index_input({4}, 7)},
         {Dims{0, 2}, true},
         "axes apart, values broadcast"}};
  };
  return d;
}

}  // namespace suan
