// gather: elements picked along one axis.
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_gather() {
  OpDef d{.name = "gather",
          .doc =
              "out[.., j, ..] = input[.., index[.., j, ..], ..] along dim; the result has the "
              "index's shape. As torch.gather.",
          .inputs = {{"input"}, {"index", dtype_bit(DType::i64), Arity::required, 0}}};
  d.attrs = {{"dim", AttrKind::integer}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const Shape &in = c.shape(0), &index = c.shape(1);
    if (in.size() != index.size())
      c.fail<ShapeError>("ranks differ: expected an index of rank {}, got {}", in.size(),
                         index.size());
    const int axis = c.axis(0, 0);
    for (int i = 0; i < in.size(); ++i)
      if (i != axis && index[i] > in[i])
        c.fail<ShapeError>("index too large: expected at most {} on axis {}, got {}", in[i], i,
                           index[i]);
    return {{c.dtype(0), index, c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0))
      c.set(0, apply(SUAN_OP("scatter_add"), {ops::zeros(*c.in_types[0]), c.in(1), c.grad()},
                     c.attrs));
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}, index_input({3, 2, 7}, 5)}, {I(1)}},
                               {{{{4, 6}}, index_input({2, 9}, 6)}, {I(-1)}, "repeats"},
                               {{{{}}, index_input({}, 1)}, {I(0)}, "0-d"},
                               {{{{3, 4}}, index_input({0, 4}, 3)}, {I(0)}, "no elements"}};
  };
  return d;
}

}  // namespace suan
