// norm: p-norm over axes.
#include <cmath>

#include "ops/api.h"

namespace suan {

OpDef op_def_norm() {
  OpDef d{.name = "norm",
          .doc =
              "(sum |x|^p)^(1/p) over the given axes (all when empty); p may be 0 (count of "
              "non-zeros) or an infinity. The gradient of the 2-norm at zero is 0.",
          .inputs = {{"input", floating_types}}};
  d.attrs = {{"p", AttrKind::real, 2.0},
             {"dim", AttrKind::dims, Dims{}},
             {"keepdim", AttrKind::boolean, false}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const double p = c.attrs.real(0);
    const Dims& dims = c.attrs.dims(1);
    const bool keep = c.attrs.boolean(2);
    const Tensor& x = c[0];
    if (p == 2) {
      const Tensor s = ops::sum(x * x, dims, keep);
      // sqrt has an infinite slope at zero: step round it there.
      const Tensor zero = ops::number(0, s), at_zero = ops::eq(s, zero);
      return {ops::where(at_zero, zero, ops::sqrt(ops::where(at_zero, ops::number(1, s), s)))};
    }
    const Tensor a = ops::abs(x);
    if (p == 1) return {ops::sum(a, dims, keep)};
    if (p == 0) return {ops::sum(ops::cast(ops::ne(x, ops::number(0, x)), x.dtype()), dims, keep)};
    if (std::isinf(p)) return {apply(p > 0 ? SUAN_OP("max") : SUAN_OP("min"), {a}, {dims, keep})};
    return {ops::pow(ops::sum(ops::pow(a, ops::number(p, a)), dims, keep), ops::number(1 / p, a))};
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}}, {2.0, Dims{1}}},
        {{{{3, 5, 7}}}, {}, "all"},
        {{{{4, 6}}}, {1.0, Dims{0}, true}, "1-norm"},
        {{{{4, 6}}}, {3.0, Dims{1}}, "3-norm"},
        {{{{4, 6}, Fill::distinct}}, {double(INFINITY), Dims{1}}, "largest"}};
  };
  return d;
}

}  // namespace suan
