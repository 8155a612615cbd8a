// movedim: axes moved to other places.
#include "ops/api.h"

namespace suan {

OpDef op_def_movedim() {
  OpDef d{.name = "movedim",
          .doc =
              "A view with the axes source moved to the places destination; the others keep their "
              "order.",
          .inputs = {{"input"}}};
  d.attrs = {{"source", AttrKind::dims}, {"destination", AttrKind::dims}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    const Dims &from = c.attrs.dims(0), &to = c.attrs.dims(1);
    if (from.size() != to.size())
      fail<ValueError>("movedim", "axes differ in number: expected {} destinations, got {}",
                       from.size(), to.size());
    Dims axes = Dims::filled(c[0].rank(), -1);
    unsigned used = 0;
    for (int i = 0; i < from.size(); ++i) {
      const int a = normalize_axis("movedim", from[i], c[0].rank());
      const int b = normalize_axis("movedim", to[i], c[0].rank());
      if ((used >> a & 1) || axes[b] != -1)
        fail<ValueError>("movedim", "axis twice: expected distinct axes, got {} to {}", a, b);
      axes[b] = a;
      used |= 1u << a;
    }
    int next = 0;
    for (int64_t& a : axes) {
      if (a != -1) continue;
      while (used >> next & 1) ++next;
      a = next++;
    }
    return {ops::permute(c[0], axes)};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{0}, Dims{-1}}},
                               {{{{3, 5, 7, 2}}}, {Dims{0, 1}, Dims{2, 0}}, "two axes"}};
  };
  return d;
}

}  // namespace suan
