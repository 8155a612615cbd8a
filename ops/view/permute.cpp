// permute: axes in another order.
#include "ops/api.h"

namespace suan {
namespace {

Dims resolve(const InferContext& c) {
  const int rank = c.shape(0).size();
  Dims axes;
  unsigned seen = 0;
  for (int64_t a : c.attrs.dims(0)) {
    const int i = normalize_axis(c.op.name, a, rank);
    if (seen >> i & 1)
      c.fail<ValueError>("axis twice: expected each axis once, got {}",
                         to_string(Attr(c.attrs.dims(0))));
    seen |= 1u << i;
    axes.push_back(i);
  }
  if (axes.size() != rank)
    c.fail<ShapeError>("wrong number of axes: expected {}, got {}", rank, axes.size());
  return axes;
}

}  // namespace

OpDef op_def_permute() {
  OpDef d{.name = "permute",
          .doc =
              "A view with the axes in the order given: axis i of the result is axis dims[i] of "
              "the input.",
          .inputs = {{"input"}}};
  d.attrs = {{"dims", AttrKind::dims}};
  d.view = [](const InferContext& c, const Layout& in) -> std::optional<Layout> {
    Layout out;
    out.offset = in.offset;
    for (int64_t a : resolve(c)) {
      out.shape.push_back(in.shape[int(a)]);
      out.strides.push_back(in.strides[int(a)]);
    }
    return out;
  };
  d.vjp = [](VjpContext& c) {
    if (!c.needs(0)) return;
    const Dims& axes = c.attrs.dims(0);
    Dims inverse = axes;
    for (int i = 0; i < axes.size(); ++i)
      inverse[int(axes[i] < 0 ? axes[i] + axes.size() : axes[i])] = i;
    c.set(0, ops::permute(c.grad(), inverse));
  };
  d.samples = [] {
    Sample bad{{{{3, 4}}}, {Dims{0, 0}}, "an axis twice"};
    bad.error = "axis twice";
    return std::vector<Sample>{{{{{3, 5, 7}}}, {Dims{2, 0, 1}}},
                               {{{{4, 6}}}, {Dims{-1, 0}}, "negative axes"},
                               {{{{}}}, {Dims{}}, "0-d"},
                               {{{{0, 4}}}, {Dims{1, 0}}, "no elements"},
                               bad};
  };
  d.onnx_name = "Transpose";
  d.onnx_since = 1;
  return d;
}

}  // namespace suan
