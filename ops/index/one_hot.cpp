// one_hot: class numbers as rows of zeros and a one.
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_one_hot() {
  OpDef d{.name = "one_hot",
          .doc =
              "int64 rows of length num_classes with a one at each index; all zero where the index "
              "is outside.",
          .inputs = {{"index", dtype_bit(DType::i64)}}};
  d.attrs = {{"num_classes", AttrKind::integer}};
  d.no_grad = "the result is a label";
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int64_t n = c.attrs.integer(0);
    if (n < 1) fail<ValueError>("one_hot", "invalid num_classes: expected 1 or more, got {}", n);
    const Tensor classes = apply(SUAN_OP("arange"), {}, {0.0, double(n), 1.0, DType::i64});
    return {ops::cast(ops::eq(ops::unsqueeze(c[0], -1), classes), DType::i64)};
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{index_input({3, 5}, 4)}, {I(4)}},
                               {{index_input({}, 4)}, {I(6)}, "0-d"}};
  };
  return d;
}

}  // namespace suan
