// max_dim: largest element along an axis, with its position.
#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_max_dim() {
  OpDef d{
      .name = "max_dim",
      .doc =
          "The largest element along dim and its first position; NaN wins. The gradient goes to "
          "that position.",
      .inputs = {{"input", all_types}}};
  d.attrs = {{"dim", AttrKind::integer}, {"keepdim", AttrKind::boolean, false}};
  d.outputs = {"values", "indices"};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const Dims axes{c.axis(0, 0)};
    refuse_empty(c, axes);
    const Shape s = reduced_shape(c, axes, c.attrs.boolean(1));
    return {{c.dtype(0), s, c[0].device}, {DType::i64, s, c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (!c.needs(0)) return;
    const Shape& s = c.shape(0);
    if (s.empty()) return c.set(0, c.grad_or_zeros(0));
    const int axis = normalize_axis(c.op.name, c.attrs.integer(0), s.size());
    Shape kept = s;
    kept[axis] = 1;
    c.set(0, apply(SUAN_OP("scatter_add"),
                   {ops::zeros(*c.in_types[0]), ops::reshape(c.out(1), kept),
                    ops::reshape(c.grad_or_zeros(0), kept)},
                   {int64_t(axis)}));
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}, Fill::distinct}}, {I(1)}},
                               {{{{3, 300}, Fill::distinct}}, {I(-1), true}, "kept"},
                               {{{{}}}, {I(0)}, "0-d"}};
  };
  return d;
}

}  // namespace suan
