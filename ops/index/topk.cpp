// topk: the k largest or smallest of an axis.
#include "ops/api.h"

namespace suan {

OpDef op_def_topk() {
  OpDef d{.name = "topk",
          .doc =
              "The k largest (or smallest) elements along dim in order, and their positions; equal "
              "values keep their order, NaN counts as largest.",
          .inputs = {{"input", arithmetic_types}}};
  d.attrs = {{"k", AttrKind::integer},
             {"dim", AttrKind::integer, int64_t(-1)},
             {"largest", AttrKind::boolean, true},
             {"sorted", AttrKind::boolean, true}};
  d.outputs = {"values", "indices"};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const int axis = c.axis(1, 0);
    Shape s = c.shape(0);
    const int64_t size = s.empty() ? 1 : s[axis], k = c.attrs.integer(0);
    if (k < 0 || k > size) c.fail<ValueError>("k out of range: expected 0 to {}, got {}", size, k);
    if (s.empty() && k != 1)
      c.fail<ValueError>("k out of range: expected 1 for a 0-d tensor, got {}", k);
    if (!s.empty()) s[axis] = k;
    return {{c.dtype(0), s, c[0].device}, {DType::i64, s, c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0))
      c.set(0, apply(SUAN_OP("scatter_add"),
                     {ops::zeros(*c.in_types[0]), c.out(1), c.grad_or_zeros(0)},
                     {c.attrs.integer(1)}));
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{
        {{{{3, 9}, Fill::distinct}}, {I(4)}},
        {{{{3, 5, 7}, Fill::distinct}}, {I(2), I(1), false}, "smallest, a middle axis"},
        {{{{6}, Fill::distinct}}, {I(6)}, "all"},
        {{{{}}}, {I(1)}, "0-d"}};
  };
  return d;
}

}  // namespace suan
