// index_select: positions of one axis.
#include "ops/api.h"

namespace suan {
namespace {
SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}
}  // namespace

OpDef op_def_index_select() {
  OpDef d{.name = "index_select",
          .doc = "The positions given by a 1-d int64 tensor along dim, in that order.",
          .inputs = {{"input"}, {"index", dtype_bit(DType::i64), Arity::required, 0}}};
  d.attrs = {{"dim", AttrKind::integer}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    if (c[1].rank() > 1)
      fail<ShapeError>("index_select", "index is not a list: expected rank 1, got {}",
                       to_string(c[1].shape()));
    const int axis = normalize_axis("index_select", c.attrs.integer(0), c[0].rank());
    return {apply(SUAN_OP("index"), {c[0], ops::reshape(c[1], {c[1].numel()})}, {Dims{axis}})};
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}, index_input({4}, 5)}, {I(1)}},
                               {{{{6}}, index_input({9}, 6)}, {I(0)}, "repeats"}};
  };
  return d;
}

}  // namespace suan
