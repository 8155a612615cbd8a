// randn: normal numbers.
#include "ops/random/generator.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_randn() {
  OpDef d{
      .name = "randn",
      .doc = "Normally distributed numbers (mean 0, variance 1) by Box-Muller; moves the state on.",
      .inputs = {{"state", dtype_bit(DType::u64), Arity::required, 0}}};
  d.attrs = {{"size", AttrKind::dims}, {"dtype", AttrKind::dtype, DType::f32}};
  d.flags = op_random;
  d.no_grad = "a random draw";
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const Shape& shape = c.attrs.dims(0);
    const DType dtype = c.attrs.dtype(1), work = dtype == DType::f64 ? DType::f64 : DType::f32;
    check_floating("randn", dtype);
    const int64_t n = numel(shape), half = (n + 1) / 2;
    const Tensor radius = sqrt(log(1.0 - draw_uniform(c[0], {half}, work)) * -2.0);
    const Tensor angle = draw_uniform(c[0], {half}, work) * 6.283185307179586;
    const Tensor both =
        apply(SUAN_OP("cat"), {radius * cos(angle), radius * sin(angle)}, {int64_t(0)});
    return {cast(reshape(slice(both, 0, 0, n), shape), dtype)};
  };
  d.samples = [] { return std::vector<Sample>{}; };
  return d;
}

}  // namespace suan
