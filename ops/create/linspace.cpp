// linspace: numbers between two ends.
#include "ops/api.h"

namespace suan {

OpDef op_def_linspace() {
  OpDef d{
      .name = "linspace", .doc = "steps numbers from start to end, both included.", .inputs = {}};
  d.attrs = {{"start", AttrKind::real},
             {"end", AttrKind::real},
             {"steps", AttrKind::integer},
             {"dtype", AttrKind::dtype, DType::f32}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const double start = c.attrs.real(0), end = c.attrs.real(1);
    const int64_t n = c.attrs.integer(2);
    if (n < 0) fail<ValueError>("linspace", "negative steps: expected 0 or more, got {}", n);
    const double step = n > 1 ? (end - start) / double(n - 1) : 0;
    const Tensor i = apply(SUAN_OP("arange"), {}, {0.0, double(n), 1.0, DType::f64});
    const Tensor from_start = i * step + start;
    const Tensor from_end = end - (double(n - 1) - i) * step;  // so that the last is end exactly
    return {ops::cast(ops::where(ops::lt(i, ops::number(double(n) / 2, i)), from_start, from_end),
                      c.attrs.dtype(3))};
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{}, {0.0, 1.0, I(7)}},
                               {{}, {-2.0, 3.0, I(1), DType::f64}, "one"},
                               {{}, {0.0, 1.0, I(0)}, "no elements"}};
  };
  return d;
}

}  // namespace suan
