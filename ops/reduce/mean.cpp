// mean: average over axes.
#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_mean() {
  OpDef d{.name = "mean",
          .doc = "Mean over the given axes (all when empty), accumulated as sum and rounded once.",
          .inputs = {{"input", floating_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}}, {"keepdim", AttrKind::boolean, false}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{c.dtype(0), reduced_shape(c, 0, 1), c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    if (!c.needs(0)) return;
    const double n =
        double(numel(c.shape(0))) / double(std::max<int64_t>(1, numel(c.out_types[0].shape)));
    c.set(0, ops::expand(keep_reduced(c, c.grad() / n, 0), c.shape(0)));
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{1}}},
                               {{{{3, 5, 7}}}, {}, "all"},
                               {{{{3, 5, 7}}}, {Dims{-1, 0}, true}, "outer and inner, kept"},
                               {{{{5, 70}}}, {Dims{0}}, "columns"},
                               {{{{}}}, {}, "0-d"}};
  };
  return d;
}

}  // namespace suan
