// view: reshape that never copies.
#include "ops/api.h"

namespace suan {

OpDef op_def_view() {
  OpDef d{.name = "view",
          .doc =
              "The same storage under another shape; a ValueError where the strides would need a "
              "copy (use reshape).",
          .inputs = {{"input"}}};
  d.attrs = {{"size", AttrKind::dims}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    Tensor out = ops::reshape(c[0], c.attrs.dims(0));
    if (!(out.storage() == c[0].storage()) && out.numel() > 0)
      fail<ShapeError>(
          "view",
          "strides do not allow a view: expected a tensor dense in the new axes, got {} "
          "as {} (use reshape)",
          to_string(c[0].shape()), to_string(out.shape()));
    return {out};
  };
  d.samples = [] {
    using I [[maybe_unused]] = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{15, 7}}}, {{{{}}}, {Dims{1}}, "0-d"}};
  };
  return d;
}

}  // namespace suan
