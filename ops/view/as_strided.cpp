// as_strided: any layout over the storage. Its gradient has a place only on the root tensor, which
// apply passes instead of a view.
#include "ops/api.h"
#include "ops/view/strided_region.h"

namespace suan {

OpDef op_def_as_strided() {
  OpDef d{.name = "as_strided",
          .doc =
              "A view with the given shape, strides and offset, in elements of the whole storage. "
              "Overlapping elements share their gradient's sum.",
          .inputs = {{"input"}}};
  d.attrs = {{"size", AttrKind::dims},
             {"stride", AttrKind::dims},
             {"storage_offset", AttrKind::integer, int64_t(0)}};
  d.view = [](const InferContext& c, const Layout& in) -> std::optional<Layout> {
    return check_region(c, 0, in.extent().second);
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0))
      c.set(0, apply(SUAN_OP("as_strided_scatter_add"), {ops::zeros(*c.in_types[0]), c.grad()},
                     c.attrs));
  };
  d.samples = [] {
    using I = int64_t;
    Sample bad{{{{3, 4}}}, {Dims{4, 4}, Dims{4, 1}, I(0)}, "past the end"};
    bad.error = "outside the storage";
    return std::vector<Sample>{bad};
  };
  return d;
}

}  // namespace suan
