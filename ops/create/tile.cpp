// tile: copies side by side, from the last axis.
#include "ops/api.h"

namespace suan {

OpDef op_def_tile() {
  OpDef d{.name = "tile",
          .doc = "As repeat, with leading ones added to the shorter of sizes and shape.",
          .inputs = {{"input"}}};
  d.attrs = {{"dims", AttrKind::dims}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    Dims times = c.attrs.dims(0);
    while (times.size() < c[0].rank()) times.insert(0, 1);
    return {apply(SUAN_OP("repeat"), {c[0]}, {times})};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5}}}, {Dims{2}}}, {{{{4}}}, {Dims{2, 2}}, "new axis"}};
  };
  return d;
}

}  // namespace suan
