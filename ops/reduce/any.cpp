// any: whether some element is true.
#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_any() {
  OpDef d{.name = "any",
          .doc = "True where any element over the given axes (all when empty) is non-zero.",
          .inputs = {{"input", all_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}}, {"keepdim", AttrKind::boolean, false}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{DType::boolean, reduced_shape(c, 0, 1), c[0].device}};
  };
  d.no_grad = "the result is a truth value";
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}, Fill::integers, 0, 2}}, {Dims{1}}},
        {{{{3, 5, 7}, Fill::integers, 0, 2}}, {}, "all"},
        {{{{3, 5, 7}, Fill::integers, 0, 2}}, {Dims{-1, 0}, true}, "outer and inner, kept"},
        {{{{5, 70}, Fill::integers, 0, 2}}, {Dims{0}}, "columns"},
        {{{{}, Fill::integers, 0, 2}}, {}, "0-d"},
        {{{{0, 4}, Fill::integers, 0, 2}}, {Dims{0}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
