// diagonal: a view along two axes at once.
#include <algorithm>

#include "ops/api.h"

namespace suan {

OpDef op_def_diagonal() {
  OpDef d{.name = "diagonal",
          .doc =
              "A view of the elements where the positions along dim1 and dim2 differ by offset; "
              "that axis "
              "comes last. As torch.diagonal.",
          .inputs = {{"input"}}};
  d.attrs = {{"offset", AttrKind::integer, int64_t(0)},
             {"dim1", AttrKind::integer, int64_t(0)},
             {"dim2", AttrKind::integer, int64_t(1)}};
  d.view = [](const InferContext& c, const Layout& in) -> std::optional<Layout> {
    if (in.rank() < 2)
      c.fail<ShapeError>("too few dimensions: expected at least 2, got {}", in.rank());
    const int a = c.axis(1, 0), b = c.axis(2, 0);
    if (a == b) c.fail<ValueError>("axes are equal: expected two axes, got {} twice", a);
    const int64_t offset = c.attrs.integer(0);
    const int64_t n = offset >= 0 ? std::min(in.shape[a], in.shape[b] - offset)
                                  : std::min(in.shape[a] + offset, in.shape[b]);
    Layout out = in;
    if (n > 0) out.offset += offset >= 0 ? offset * in.strides[b] : -offset * in.strides[a];
    out.shape.erase(std::max(a, b));
    out.shape.erase(std::min(a, b));
    out.strides.erase(std::max(a, b));
    out.strides.erase(std::min(a, b));
    out.shape.push_back(std::max<int64_t>(n, 0));
    out.strides.push_back(in.strides[a] + in.strides[b]);
    return out;
  };
  d.vjp = [](VjpContext& c) {
    if (!c.needs(0)) return;
    const Shape& in = c.shape(0);
    const Layout root(in);
    const TensorType* type = &*c.in_types[0];
    const InferContext ic{c.op, {&type, 1}, c.attrs};
    const Layout region = *c.op.view(ic, root);
    c.set(0, apply(SUAN_OP("as_strided_scatter"), {ops::zeros(*c.in_types[0]), c.grad()},
                   {region.shape, region.strides, region.offset}));
  };
  d.samples = [] {
    using I = int64_t;
    Sample bad{{{{3}}}, {I(0), I(0), I(1)}, "one axis only"};
    bad.error = "too few dimensions";
    return std::vector<Sample>{{{{{4, 6}}}, {}},
                               {{{{3, 5, 7}}}, {I(1), I(0), I(2)}, "above, outer axes"},
                               {{{{5, 4}}}, {I(-2), I(-2), I(-1)}, "below"},
                               {{{{3, 3}}}, {I(5), I(0), I(1)}, "outside"},
                               {{{{0, 4}}}, {}, "no elements"},
                               bad};
  };
  return d;
}

}  // namespace suan
