// eye: the identity matrix.
#include "ops/api.h"

namespace suan {

OpDef op_def_eye() {
  OpDef d{.name = "eye",
          .doc = "n rows, m columns (n when left out): one on the diagonal, zero elsewhere.",
          .inputs = {}};
  d.attrs = {{"n", AttrKind::integer},
             {"m", AttrKind::integer, {}, true},
             {"dtype", AttrKind::dtype, DType::f32}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int64_t n = c.attrs.integer(0), m = c.attrs.has(1) ? c.attrs.integer(1) : n;
    if (n < 0 || m < 0)
      fail<ShapeError>("eye", "negative size: expected 0 or more, got {} and {}", n, m);
    auto range = [](int64_t k) {
      return apply(SUAN_OP("arange"), {}, {0.0, double(k), 1.0, DType::i64});
    };
    return {ops::cast(ops::eq(ops::unsqueeze(range(n), 1), range(m)), c.attrs.dtype(2))};
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{
        {{}, {I(4)}}, {{}, {I(3), I(5), DType::f64}, "wide"}, {{}, {I(0)}, "no elements"}};
  };
  return d;
}

}  // namespace suan
