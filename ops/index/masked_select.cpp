// masked_select: elements where a mask is true.
#include "ops/api.h"

namespace suan {

OpDef op_def_masked_select() {
  OpDef d{.name = "masked_select",
          .doc =
              "The elements of input where mask (broadcast with it) is true, as a 1-d tensor in "
              "row-major order; its length depends on the data.",
          .inputs = {{"input"}, {"mask", bool_type, Arity::required, 0}}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    broadcast(c.op.name, c.shape(0), c.shape(1));  // refuses shapes that do not fit
    return {{c.dtype(0), Shape{-1}, c[0].device}};
  };
  d.compose = [](const ComposeContext& c) -> Tensors {
    const Shape s = broadcast("masked_select", c[0].shape(), c[1].shape());
    const int64_t n = numel(s);
    const Tensor mask = ops::reshape(ops::expand(c[1], s), {n});
    const Tensor at = ops::reshape(apply(SUAN_OP("nonzero"), {mask}), {-1});
    return {apply(SUAN_OP("index"), {ops::reshape(ops::expand(c[0], s), {n}), at}, {Dims{0}})};
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}}, {{3, 5, 7}, Fill::boolean, 0, 2, DType::boolean, false, false}}},
        {{{{4, 6}}, {{6}, Fill::boolean, 0, 2, DType::boolean, false, false}},
         {},
         "mask broadcast"}};
  };
  return d;
}

}  // namespace suan
