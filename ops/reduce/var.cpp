// var: variance over axes.
#include <algorithm>

#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_var() {
  OpDef d{.name = "var",
          .doc =
              "Squared distance from the mean, summed over the given axes (all when empty) and "
              "divided by the count less correction; two passes, f32 accumulation for low "
              "precision.",
          .inputs = {{"input", floating_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}},
             {"correction", AttrKind::integer, int64_t(1)},
             {"keepdim", AttrKind::boolean, false}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{c.dtype(0), reduced_shape(c, 0, 2), c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    if (!c.needs(0)) return;
    const Tensor& x = c.in(0);
    const Dims& dims = c.attrs.dims(0);
    const double n =
        double(numel(c.shape(0))) / double(std::max<int64_t>(1, numel(c.out_types[0].shape)));
    const double scale = 2.0 / std::max(0.0, n - double(c.attrs.integer(1)));
    const Tensor mean = apply(SUAN_OP("mean"), {x}, {dims, true});
    c.set(0, (x - mean) * (keep_reduced(c, c.grad(), 0) * scale));
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{1}}},
                               {{{{3, 5, 7}}}, {}, "all"},
                               {{{{3, 5, 7}}}, {Dims{0, 2}, I(0), true}, "outer and inner, kept"},
                               {{{{9, 70}}}, {Dims{0}}, "columns"}};
  };
  return d;
}

}  // namespace suan
