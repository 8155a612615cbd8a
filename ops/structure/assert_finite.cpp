// assert_finite: stops the program where a NaN or an infinity appears.
#include "core/op.h"

namespace suan {

OpDef op_def_assert_finite() {
  OpDef d{.name = "assert_finite",
          .doc =
              "Raises ValueError when x holds a NaN or an infinity, naming `label`; else gives "
              "true, 0-d.",
          .inputs = {{"x", floating_types}},
          .attrs = {{"label", AttrKind::string, std::string("a tensor")}}};
  d.flags = op_effect;
  d.no_grad = "it only looks";
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{DType::boolean, {}, c[0].device}};
  };
  d.samples = [] {
    return std::vector<Sample>{{{{{3, 5, 7}}}, {std::string("activations")}},
                               {{{{0}}}, {}, "empty"}};
  };
  return d;
}

}  // namespace suan
