// split: one axis cut into pieces.
#include <algorithm>

#include "ops/api.h"

namespace suan {

OpDef op_def_split() {
  OpDef d{.name = "split",
          .doc =
              "Views of consecutive pieces of dim: of split_size elements each (the last may be "
              "shorter), or of the given sizes.",
          .inputs = {{"input"}}};
  d.attrs = {{"split_size", AttrKind::integer, {}, true},
             {"sizes", AttrKind::ints, {}, true},
             {"dim", AttrKind::integer, int64_t(0)}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int axis = normalize_axis("split", c.attrs.integer(2), c[0].rank());
    if (c[0].rank() == 0)
      fail<ShapeError>("split", "no axis: expected at least one, got a 0-d tensor");
    if (c.attrs.has(0) == c.attrs.has(1))
      fail<ValueError>("split", "pieces unclear: expected split_size or sizes, got {}",
                       c.attrs.has(0) ? "both" : "neither");
    const int64_t size = c[0].dim(axis);
    std::vector<int64_t> sizes;
    if (c.attrs.has(1)) {
      sizes = c.attrs.ints(1);
    } else {
      const int64_t piece = c.attrs.integer(0);
      if (piece <= 0)
        fail<ValueError>("split", "invalid split_size: expected 1 or more, got {}", piece);
      for (int64_t at = 0; at < size || sizes.empty(); at += piece)
        sizes.push_back(std::min(piece, size - at));
    }
    int64_t total = 0;
    for (int64_t n : sizes) {
      if (n < 0) fail<ValueError>("split", "negative size: expected 0 or more, got {}", n);
      total += n;
    }
    if (total != size)
      fail<ShapeError>("split", "sizes do not add up: expected {} on axis {}, got {}", size, axis,
                       total);
    Tensors out;
    int64_t at = 0;
    for (int64_t n : sizes) {
      out.push_back(ops::slice(c[0], axis, at, at + n));
      at += n;
    }
    return out;
  };
  // One copy for all pieces; each slice's own rule would pad every one to the whole.
  d.vjp = [](VjpContext& c) {
    if (!c.needs(0)) return;
    const int axis = normalize_axis("split", c.attrs.integer(2), c.shape(0).size());
    Tensors parts;
    for (int j = 0; j < int(c.out_types.size()); ++j) parts.push_back(c.grad_or_zeros(j));
    c.set(0, apply(SUAN_OP("cat"), parts, {int64_t(axis)}));
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{
        {{{{3, 5, 7}}}, {I(2), Attr{}, I(2)}},
        {{{{6, 4}}}, {Attr{}, std::vector<int64_t>{1, 3, 2}, I(0)}, "sizes"}};
  };
  return d;
}

}  // namespace suan
