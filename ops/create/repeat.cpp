// repeat: copies side by side.
#include "ops/api.h"

namespace suan {

OpDef op_def_repeat() {
  OpDef d{.name = "repeat",
          .doc =
              "The tensor repeated sizes[i] times along axis i; new axes may lead. As "
              "torch.Tensor.repeat.",
          .inputs = {{"input"}}};
  d.attrs = {{"repeats", AttrKind::dims}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const Dims& times = c.attrs.dims(0);
    const int rank = times.size(), lead = rank - c[0].rank();
    if (lead < 0)
      fail<ShapeError>("repeat", "too few repeats: expected at least {}, got {}", c[0].rank(),
                       rank);
    Tensor x = c[0];
    Shape out = x.shape();
    for (int i = 0; i < lead; ++i) out.insert(0, 1);
    x = ops::reshape(x, out);
    for (int i = 0; i < rank; ++i) {
      if (times[i] < 0)
        fail<ValueError>("repeat", "negative repeats: expected 0 or more, got {}", times[i]);
      if (times[i] == 1) continue;
      // One axis at a time keeps the rank within its limit.
      const int64_t n = out[i];
      Shape wide{1, 1, 1, 1}, flat = out;
      flat[i] = n * times[i];
      wide[0] = wide[3] = 1;
      for (int k = 0; k < i; ++k) wide[0] *= out[k];
      for (int k = i + 1; k < rank; ++k) wide[3] *= out[k];
      wide[2] = n;
      Shape spread = wide;
      spread[1] = times[i];
      x = ops::reshape(ops::expand(ops::reshape(x, wide), spread), flat);
      out = flat;
    }
    return {x.same(c[0]) || x.storage() == c[0].storage() ? ops::copy(x) : x};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5}}}, {Dims{2, 3}}},
                               {{{{4}}}, {Dims{2, 1, 2}}, "new axes"},
                               {{{{}}}, {Dims{3}}, "0-d"},
                               {{{{3}}}, {Dims{0}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
