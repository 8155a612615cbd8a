// sum: total over axes.
#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_sum() {
  OpDef d{.name = "sum",
          .doc =
              "Sum over the given axes (all when empty). Integers and bool sum in int64; "
              "low-precision floats in f32, rounded once; f32 by a fixed pairwise tree.",
          .inputs = {{"input", all_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}}, {"keepdim", AttrKind::boolean, false}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{is_floating(c.dtype(0))    ? c.dtype(0)
             : c.dtype(0) == DType::u64 ? DType::u64
                                        : DType::i64,
             reduced_shape(c, 0, 1), c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0)) c.set(0, ops::expand(keep_reduced(c, c.grad(), 0), c.shape(0)));
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{1}}},
                               {{{{3, 5, 7}}}, {}, "all"},
                               {{{{3, 5, 7}}}, {Dims{-1, 0}, true}, "outer and inner, kept"},
                               {{{{5, 70}}}, {Dims{0}}, "columns"},
                               {{{{}}}, {}, "0-d"},
                               {{{{0, 4}}}, {Dims{0}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
