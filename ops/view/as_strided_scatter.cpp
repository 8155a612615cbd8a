// as_strided_scatter: what a write through a view means as a function.
#include "ops/api.h"
#include "ops/view/strided_region.h"

namespace suan {

OpDef op_def_as_strided_scatter() {
  OpDef d{
      .name = "as_strided_scatter",
      .doc =
          "A copy of the input, taken as contiguous, with the region (shape, strides, offset in "
          "elements) replaced by src.",
      .inputs = {{"input"}, {"src"}}};
  d.attrs = {{"size", AttrKind::dims},
             {"stride", AttrKind::dims},
             {"storage_offset", AttrKind::integer, int64_t(0)}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const Layout region = check_region(c, 0, numel(c.shape(0)));
    if (region.shape != c.shape(1))
      c.fail<ShapeError>("src does not fit: expected {}, got {}", to_string(region.shape),
                         to_string(c.shape(1)));
    return {c[0]};
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0)) c.set(0, apply(c.op, {c.grad(), ops::zeros(*c.in_types[1])}, c.attrs));
    if (c.needs(1)) c.set(1, apply(SUAN_OP("as_strided_copy"), {c.grad()}, c.attrs));
  };
  d.samples = [] {
    using I = int64_t;
    Sample bad{{{{3, 4}}, {{2}}}, {Dims{3}, Dims{4}, I(0)}, "src of another shape"};
    bad.error = "src does not fit";
    return std::vector<Sample>{
        {{{{24}}, {{3, 4}}}, {Dims{3, 4}, Dims{8, 2}, I(1)}},
        {{{{3, 5, 7}}, {{5, 3}}}, {Dims{5, 3}, Dims{7, 35}, I(4)}, "columns"},
        {{{{6}}, {{}}}, {Dims{}, Dims{}, I(3)}, "one element"},
        {{{{6}}, {{0}}}, {Dims{0}, Dims{1}, I(0)}, "no elements"},
        bad};
  };
  return d;
}

}  // namespace suan
