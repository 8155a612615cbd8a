// slice: every step-th element of one axis.
#include <vector>

#include "ops/api.h"

namespace suan {

OpDef op_def_slice() {
  OpDef d{.name = "slice",
          .doc =
              "A view of start, start + step, ... up to but without stop along one axis. Bounds "
              "lie inside "
              "the axis; with a negative step start is the first element taken and stop may be -1.",
          .inputs = {{"input"}}};
  d.attrs = {{"dim", AttrKind::integer},
             {"start", AttrKind::integer},
             {"stop", AttrKind::integer},
             {"step", AttrKind::integer, int64_t(1)}};
  d.view = [](const InferContext& c, const Layout& in) -> std::optional<Layout> {
    if (in.rank() == 0)
      c.fail<ShapeError>("no axis to slice: expected at least one, got a 0-d tensor");
    const int axis = c.axis(0, 0);
    const int64_t start = c.attrs.integer(1), stop = c.attrs.integer(2), step = c.attrs.integer(3);
    const int64_t size = in.shape[axis];
    if (step == 0) c.fail<ValueError>("step is zero: expected a non-zero step, got 0");
    const bool inside = step > 0 ? start >= 0 && start <= size && stop >= 0 && stop <= size
                                 : start >= -1 && start < size && stop >= -1 && stop < size;
    if (!inside)
      c.fail<IndexError>(
          "bounds out of range: expected them inside axis {} of size {}, got {}:{}:{}", axis, size,
          start, stop, step);
    int64_t n = 0;
    if (step > 0 && stop > start) n = (stop - start - 1) / step + 1;
    if (step < 0 && start > stop) n = (start - stop - 1) / -step + 1;
    Layout out = in;
    out.shape[axis] = n;
    if (n) out.offset += start * in.strides[axis];
    if (n > 1) out.strides[axis] = in.strides[axis] * step;
    return out;
  };
  d.vjp = [](VjpContext& c) {
    if (!c.needs(0)) return;
    const Shape& in = c.shape(0);
    const Shape& out = c.out_types[0].shape;
    const int axis = normalize_axis("slice", c.attrs.integer(0), in.size());
    const int64_t start = c.attrs.integer(1), step = c.attrs.integer(3);
    if (out[axis] == 0) return c.set(0, ops::zeros(*c.in_types[0]));
    if (step == 1 || out[axis] == 1) {
      std::vector<int64_t> pads(size_t(2 * (in.size() - axis)), 0);
      pads[pads.size() - 2] = start;
      pads[pads.size() - 1] = in[axis] - start - out[axis];
      return c.set(0, apply(SUAN_OP("pad_constant"), {c.grad()}, {pads}));
    }
    Dims strides = contiguous_strides(in);
    const int64_t offset = start * strides[axis];
    strides[axis] *= step;
    c.set(0, apply(SUAN_OP("as_strided_scatter"), {ops::zeros(*c.in_types[0]), c.grad()},
                   {out, strides, offset}));
  };
  d.samples = [] {
    using I = int64_t;
    Sample bad{{{{3, 4}}}, {I(1), I(0), I(5), I(1)}, "past the end"};
    bad.error = "bounds out of range";
    return std::vector<Sample>{{{{{3, 5, 7}}}, {I(1), I(1), I(4), I(1)}},
                               {{{{3, 5, 7}}}, {I(2), I(0), I(7), I(3)}, "a step"},
                               {{{{6, 4}}}, {I(0), I(5), I(-1), I(-2)}, "backwards"},
                               {{{{6, 4}}}, {I(-2), I(2), I(2), I(1)}, "nothing taken"},
                               {{{{0, 4}}}, {I(1), I(1), I(3), I(1)}, "no elements"},
                               bad};
  };
  return d;
}

}  // namespace suan
