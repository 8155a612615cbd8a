// as_strided_copy: the elements of a strided region, as a tensor of their own: as_strided's adjoint
// reader.
#include "ops/api.h"
#include "ops/view/strided_region.h"

namespace suan {

OpDef op_def_as_strided_copy() {
  OpDef d{.name = "as_strided_copy",
          .doc =
              "A copy of the region (shape, strides, offset in elements) of the input taken as "
              "contiguous.",
          .inputs = {{"input"}}};
  d.attrs = {{"size", AttrKind::dims},
             {"stride", AttrKind::dims},
             {"storage_offset", AttrKind::integer, int64_t(0)}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{c.dtype(0), check_region(c, 0, numel(c.shape(0))).shape, c[0].device}};
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
    return std::vector<Sample>{{{{{24}}}, {Dims{3, 4}, Dims{2, 5}, I(1)}},
                               {{{{3, 5, 7}}}, {Dims{5, 3}, Dims{0, 2}, I(4)}, "repeated"},
                               {{{{6}}}, {Dims{4, 3}, Dims{1, 1}, I(0)}, "overlapping windows"},
                               {{{{6}}}, {Dims{}, Dims{}, I(3)}, "one element"},
                               bad};
  };
  return d;
}

}  // namespace suan
