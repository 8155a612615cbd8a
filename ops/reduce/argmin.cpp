// argmin: position of the smallest element.
#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_argmin() {
  OpDef d{.name = "argmin",
          .doc =
              "Position of the first smallest element along dim, or in the flattened tensor when "
              "dim is left out; NaN wins.",
          .inputs = {{"input", all_types}}};
  d.attrs = {{"dim", AttrKind::integer, {}, true}, {"keepdim", AttrKind::boolean, false}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    Dims axes;
    if (c.attrs.has(0)) axes.push_back(c.axis(0, 0));
    refuse_empty(c, axes);
    return {{DType::i64, reduced_shape(c, axes, c.attrs.boolean(1)), c[0].device}};
  };
  d.no_grad = "the result is a position";
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}, Fill::distinct}}, {I(1)}},
                               {{{{3, 5, 7}, Fill::distinct}}, {}, "flattened"},
                               {{{{3, 300}, Fill::integers, 0, 3}}, {I(-1), true}, "ties"},
                               {{{{}}}, {}, "0-d"}};
  };
  return d;
}

}  // namespace suan
