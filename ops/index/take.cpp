// take: elements by flat position.
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_take() {
  OpDef d{.name = "take",
          .doc =
              "Elements of the flattened input at the given int64 positions (negative ones count "
              "from the end), in the index's shape.",
          .inputs = {{"input"}, {"index", dtype_bit(DType::i64), Arity::required, 0}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    return {apply(SUAN_OP("index"), {ops::reshape(c[0], {c[0].numel()}), c[1]}, {Dims{0}})};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5}}, index_input({2, 4}, 15)}},
                               {{{{6}}, index_input({}, 6)}, {}, "0-d"}};
  };
  return d;
}

}  // namespace suan
