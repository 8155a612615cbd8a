// tril: lower triangle.
#include "ops/api.h"

namespace suan {

OpDef op_def_tril() {
  OpDef d{
      .name = "tril",
      .doc = "The elements on and below the given diagonal of the last two axes; zero elsewhere.",
      .inputs = {{"input", stored_types}}};
  d.attrs = {{"diagonal", AttrKind::integer, int64_t(0)}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    if (c[0].rank() < 2)
      fail<ShapeError>("tril", "too few dimensions: expected at least 2, got {}", c[0].rank());
    auto range = [](double from, int64_t k) {
      return apply(SUAN_OP("arange"), {}, {from, from + double(k), 1.0, DType::i64});
    };
    const Tensor rows = range(double(c.attrs.integer(0)), c[0].dim(-2)),
                 cols = range(0, c[0].dim(-1));
    return {ops::where(ops::le(cols, ops::unsqueeze(rows, 1)), c[0], ops::number(0, c[0]))};
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}},
                               {{{{4, 4}}}, {I(1)}, "above"},
                               {{{{4, 6}}}, {I(-2)}, "below"},
                               {{{{0, 4}}}, {}, "no elements"}};
  };
  return d;
}

}  // namespace suan
