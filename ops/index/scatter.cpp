// scatter: elements placed along one axis.
#include "ops/api.h"

namespace suan {

OpDef op_def_scatter() {
  OpDef d{.name = "scatter",
          .doc =
              "A copy of input with input[.., index[.., j, ..], ..] = src[.., j, ..] along dim; of "
              "repeated positions the last stays. src has the index's shape.",
          .inputs = {{"input"},
                     {"index", dtype_bit(DType::i64), Arity::required, 0},
                     {"src"}}};
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

    if (c.shape(2) != index)
      c.fail<ShapeError>("src and index differ: expected {}, got {}", to_string(index),
                         to_string(c.shape(2)));
    return {c[0]};
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0)) c.set(0, apply(c.op, {c.grad(), c.in(1), ops::zeros(*c.in_types[2])}, c.attrs));
    if (c.needs(2)) c.set(2, apply(SUAN_OP("gather"), {c.grad(), c.in(1)}, c.attrs));
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{
        {{{{5, 3}}, {{1, 3}, Fill::index, 0, 5, DType::i64, false, false}, {{1, 3}}}, {I(0)}}};
  };
  return d;
}

}  // namespace suan
