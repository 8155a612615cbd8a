// max: largest element over axes.
#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_max() {
  OpDef d{.name = "max",
          .doc =
              "The largest element over the given axes (all when empty); NaN wins. Ties share the "
              "gradient evenly, as torch.amax.",
          .inputs = {{"input", all_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}}, {"keepdim", AttrKind::boolean, false}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    refuse_empty(c, c.axes(0, 0));
    return {{c.dtype(0), reduced_shape(c, 0, 1), c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    if (!c.needs(0)) return;
    const Tensor hit = ops::cast(ops::eq(c.in(0), keep_reduced(c, c.out(0), 0)), c.dtype(0));
    c.set(0, hit * (keep_reduced(c, c.grad(), 0) / ops::sum(hit, c.attrs.dims(0), true)));
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}, Fill::distinct}}, {Dims{1}}},
        {{{{3, 5, 7}, Fill::distinct}}, {}, "all"},
        {{{{3, 5, 7}, Fill::distinct}}, {Dims{-1, 0}, true}, "outer and inner, kept"},
        {{{{5, 70}, Fill::distinct}}, {Dims{0}}, "columns"},
        {{{{}, Fill::distinct}}, {}, "0-d"}};
  };
  return d;
}

}  // namespace suan
