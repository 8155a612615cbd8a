// unflatten: one axis split into several.
#include "ops/api.h"

namespace suan {

OpDef op_def_unflatten() {
  OpDef d{.name = "unflatten",
          .doc = "Axis dim split into the given sizes; one of them may be -1.",
          .inputs = {{"input"}}};
  d.attrs = {{"dim", AttrKind::integer}, {"sizes", AttrKind::dims}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int axis = normalize_axis("unflatten", c.attrs.integer(0), c[0].rank());
    if (c[0].rank() == 0)
      fail<ShapeError>("unflatten", "no axis to split: expected one, got a 0-d tensor");
    Dims sizes = c.attrs.dims(1);
    int64_t known = 1, hole = -1;
    for (int i = 0; i < sizes.size(); ++i)
      (sizes[i] == -1 && hole < 0) ? hole = i : known *= sizes[i];
    if (hole >= 0 && known > 0) sizes[int(hole)] = c[0].dim(axis) / known;
    int64_t product = 1;
    for (int64_t n : sizes) product *= n;
    if (product != c[0].dim(axis) || sizes.empty())
      fail<ShapeError>("unflatten", "sizes do not fit: expected a product of {}, got {}",
                       c[0].dim(axis), to_string(c.attrs.dims(1)));
    Shape s;
    for (int i = 0; i < c[0].rank(); ++i) {
      if (i != axis) s.push_back(c[0].dim(i));
      else
        for (int64_t n : sizes) s.push_back(n);
    }
    return {ops::reshape(c[0], s)};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 12}}}, {I(1), Dims{3, -1}}},
                               {{{{6, 5}}}, {I(0), Dims{2, 3}}, "first axis"}};
  };
  return d;
}

}  // namespace suan
