// full: one value everywhere.
#include "ops/api.h"

namespace suan {

OpDef op_def_full() {
  OpDef d{.name = "full",
          .doc = "A tensor of the given shape with the 0-d value everywhere, in the value's dtype.",
          .inputs = {{"value"}}};
  d.attrs = {{"size", AttrKind::dims}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    if (!c.shape(0).empty())
      c.fail<ShapeError>("value is not 0-d: expected one number, got {}", to_string(c.shape(0)));
    for (int64_t n : c.attrs.dims(0))
      if (n < 0)
        c.fail<ShapeError>("negative size: expected 0 or more, got {}", to_string(c.attrs.dims(0)));
    numel(c.attrs.dims(0));  // refuses sizes that overflow
    return {{c.dtype(0), c.attrs.dims(0), c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0)) c.set(0, ops::sum(c.grad()));
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{}}}, {Dims{3, 5, 7}}},
                               {{{{}}}, {Dims{}}, "0-d"},
                               {{{{}}}, {Dims{0, 4}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
