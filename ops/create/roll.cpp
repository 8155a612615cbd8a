// roll: axes rotated.
#include "ops/api.h"

namespace suan {

OpDef op_def_roll() {
  OpDef d{
      .name = "roll",
      .doc =
          "Elements shifted by shifts[i] along dims[i], those pushed out coming in at the other "
          "end; with no dims the flattened tensor is rotated.",
      .inputs = {{"input"}}};
  d.attrs = {{"shifts", AttrKind::dims}, {"dims", AttrKind::dims, Dims{}}};
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const Dims &shifts = c.attrs.dims(0), &dims = c.attrs.dims(1);
    Tensor x = c[0];
    auto rotate = [](const Tensor& t, int axis, int64_t by) {
      const int64_t n = t.dim(axis);
      if (n == 0 || (by = (by % n + n) % n) == 0) return t;
      return apply(SUAN_OP("cat"), {ops::slice(t, axis, n - by, n), ops::slice(t, axis, 0, n - by)},
                   {int64_t(axis)});
    };
    if (dims.empty()) {
      if (shifts.size() != 1)
        fail<ValueError>("roll", "shifts without dims: expected one shift, got {}", shifts.size());
      return {ops::reshape(rotate(ops::reshape(x, {x.numel()}), 0, shifts[0]), x.shape())};
    }
    if (dims.size() != shifts.size())
      fail<ValueError>("roll", "shifts and dims differ in number: expected {}, got {}", dims.size(),
                       shifts.size());
    for (int i = 0; i < dims.size(); ++i)
      if (x.rank()) x = rotate(x, normalize_axis("roll", dims[i], x.rank()), shifts[i]);
    return {x};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{2, -1}, Dims{1, 2}}},
                               {{{{3, 5}}}, {Dims{4}}, "flattened"},
                               {{{{0, 4}}}, {Dims{1}, Dims{0}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
