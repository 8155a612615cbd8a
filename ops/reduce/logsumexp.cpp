// logsumexp: log of a sum of exponentials.
#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_logsumexp() {
  OpDef d{.name = "logsumexp",
          .doc = "log(sum(exp(x))) over the given axes, safe from overflow.",
          .inputs = {{"input", floating_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}}, {"keepdim", AttrKind::boolean, false}};
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    if (c.needs(0))
      c.set(0, keep_reduced(c, c.grad(), 0) * ops::exp(c.in(0) - keep_reduced(c, c.out(0), 0)));
  };
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const Dims& dims = c.attrs.dims(0);
    const Tensor& x = c[0];
    Tensor top = apply(SUAN_OP("max"), {x}, {dims, true});
    top = ops::where(apply(SUAN_OP("isfinite"), {top}), top, ops::number(0, top));
    const Tensor out = ops::log(ops::sum(ops::exp(x - top), dims, true)) + top;
    if (c.attrs.boolean(1)) return {out};
    return {ops::reshape(out, ops::sum(x, dims).shape())};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{1}}},
                               {{{{3, 5, 7}}}, {Dims{0, 2}, true}, "kept"},
                               {{{{4, 6}}}, {}, "all"}};
  };
  return d;
}

}  // namespace suan
