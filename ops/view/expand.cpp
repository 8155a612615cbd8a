// expand: broadcasting as a view with zero strides.
#include "ops/api.h"

namespace suan {

OpDef op_def_expand() {
  OpDef d{.name = "expand",
          .doc =
              "A view in which axes of size 1 repeat without using memory; new axes may lead, -1 "
              "keeps a size.",
          .inputs = {{"input"}}};
  d.attrs = {{"size", AttrKind::dims}};
  d.view = [](const InferContext& c, const Layout& in) -> std::optional<Layout> {
    Shape s = c.attrs.dims(0);
    const int lead = s.size() - in.rank();
    if (lead < 0)
      c.fail<ShapeError>("too few dimensions: expected at least {}, got {}", in.rank(), s.size());
    Dims strides = Dims::filled(s.size(), 0);
    for (int i = 0; i < s.size(); ++i) {
      const int64_t have = i < lead ? 1 : in.shape[i - lead];
      if (s[i] == -1 && i >= lead) s[i] = have;
      if (s[i] < 0 || (s[i] != have && have != 1))
        c.fail<ShapeError>("cannot expand: expected {} or -1 at dim {}, got {} (from {})", have, i,
                           s[i], to_string(in.shape));
      if (i >= lead && s[i] == have) strides[i] = in.strides[i - lead];
    }
    numel(s);  // refuses sizes that overflow
    return Layout(s, strides, in.offset);
  };
  d.vjp = [](VjpContext& c) {
    if (c.needs(0)) c.set(0, ops::sum_to(c.grad(), c.shape(0)));
  };
  d.samples = [] {
    Sample bad{{{{3, 4}}}, {Dims{3, 5}}, "4 does not repeat"};
    bad.error = "cannot expand";
    return std::vector<Sample>{{{{{3, 1, 7}}}, {Dims{3, 5, 7}}},
                               {{{{7}}}, {Dims{2, 3, -1}}, "new axes"},
                               {{{{}}}, {Dims{2, 3}}, "0-d"},
                               {{{{1, 4}}}, {Dims{0, 4}}, "no elements"},
                               bad};
  };
  d.onnx_name = "Expand";
  d.onnx_since = 8;
  return d;
}

}  // namespace suan
