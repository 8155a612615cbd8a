// index: advanced indexing.
#include "ops/index/indexed.h"
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_index() {
  OpDef d{
      .name = "index",
      .doc =
          "Elements at the positions given by int64 tensors, broadcast together, for the axes "
          "in dims; negative positions count from the end. Adjacent axes are replaced in place, "
          "others by leading axes (NumPy's rule).",
      .inputs = {{"input"}, {"indices", dtype_bit(DType::i64), Arity::variadic, 0}}};
  d.attrs = {{"dims", AttrKind::dims}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{c.dtype(0), indexed_shape(c, 1), c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (!c.needs(0)) return;
    Tensors in{ops::zeros(*c.in_types[0]), c.grad()};
    for (int i = 1; i < c.n_in(); ++i) in.push_back(c.in(i));
    c.set(0, apply(SUAN_OP("index_put"), in, {c.attrs.dims(0), true}));
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}, index_input({4}, 5)}, {Dims{1}}},
        {{{{3, 5, 7}}, index_input({2, 1}, 3), index_input({4}, 5)},
         {Dims{0, 1}},
         "two axes, broadcast"},
        {{{{3, 5, 7}}, index_input({4}, 3), index_input({4}, 7)}, {Dims{0, 2}}, "axes apart"},
        {{{{6}}, index_input({}, 6)}, {Dims{0}}, "0-d index"},
        {{{{6, 2}}, index_input({0}, 6)}, {Dims{0}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
