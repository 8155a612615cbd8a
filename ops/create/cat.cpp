// cat: tensors joined along an axis.
#include "ops/api.h"

namespace suan {
namespace {
Sample bad_cat() {
  Sample s{{{{3, 4}}, {{3, 5}}}, {int64_t(0)}, "sizes that differ"};
  s.error = "sizes differ";
  return s;
}
}  // namespace

OpDef op_def_cat() {
  OpDef d{.name = "cat",
          .doc = "The tensors one after another along dim; all other sizes are equal.",
          .inputs = {{"tensors", moved_types, Arity::variadic}}};
  d.attrs = {{"dim", AttrKind::integer, int64_t(0)}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    if (c.n_in() == 0) c.fail<ValueError>("no tensors: expected at least one, got none");
    if (c.shape(0).empty())
      c.fail<ShapeError>("no axis to join: expected tensors with one, got a 0-d tensor");
    const int axis = c.axis(0, 0);
    Shape out = c.shape(0);
    for (int i = 1; i < c.n_in(); ++i) {
      Shape s = c.shape(i);
      const bool same_rank = s.size() == out.size();
      const int64_t n = same_rank ? s[axis] : 0;
      if (same_rank) s[axis] = out[axis];
      if (!(s == out))
        c.fail<ShapeError>("sizes differ outside dim {}: expected {}, got {} (tensor {})", axis,
                           to_string(c.shape(0)), to_string(c.shape(i)), i);
      out[axis] += n;
    }
    return {{c.dtype(0), out, c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    const int axis = normalize_axis("cat", c.attrs.integer(0), c.shape(0).size());
    int64_t at = 0;
    for (int i = 0; i < c.n_in(); ++i) {
      const int64_t n = c.shape(i)[axis];
      if (c.needs(i)) c.set(i, ops::slice(c.grad(), axis, at, at + n));
      at += n;
    }
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}, {{3, 2, 7}}}, {I(1)}},
                               {{{{4}}, {{1}}, {{2}}}, {I(-1)}, "three"},
                               {{{{2, 3}}, {{2, 0}}}, {I(1)}, "one empty"},
                               bad_cat()};
  };
  return d;
}

}  // namespace suan
