// chunk: one axis cut into equal pieces.
#include <algorithm>

#include "ops/api.h"

namespace suan {

OpDef op_def_chunk() {
  OpDef d{.name = "chunk",
          .doc =
              "At most chunks views of equal length along dim; the last may be shorter, as "
              "torch.chunk.",
          .inputs = {{"input"}}};
  d.attrs = {{"chunks", AttrKind::integer}, {"dim", AttrKind::integer, int64_t(0)}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int axis = normalize_axis("chunk", c.attrs.integer(1), c[0].rank());
    if (c[0].rank() == 0)
      fail<ShapeError>("chunk", "no axis: expected at least one, got a 0-d tensor");
    const int64_t n = c.attrs.integer(0);
    if (n <= 0)
      fail<ValueError>("chunk", "invalid number of chunks: expected 1 or more, got {}", n);
    const int64_t piece = std::max<int64_t>(1, (c[0].dim(axis) + n - 1) / n);
    return apply_all(SUAN_OP("split"), {c[0]}, {piece, Attr{}, int64_t(axis)});
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {I(3), I(2)}},
                               {{{{6, 4}}}, {I(4), I(0)}, "fewer pieces than asked"}};
  };
  return d;
}

}  // namespace suan
