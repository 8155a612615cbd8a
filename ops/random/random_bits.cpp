// random_bits: uniform 32-bit words.
#include "ops/api.h"

namespace suan {

OpDef op_def_random_bits() {
  OpDef d{.name = "random_bits",
          .doc =
              "Philox4x32-10 keyed on state {seed, offset}: element i is lane i mod 4 of counter "
              "offset + i / 4. The state is read only.",
          .inputs = {{"state", dtype_bit(DType::u64), Arity::required, 0}}};
  d.attrs = {{"size", AttrKind::dims}};
  d.flags = op_random;
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    if (!(c.shape(0) == Shape{2}))
      c.fail<ShapeError>("state of another shape: expected 2 (seed, offset), got {}",
                         to_string(c.shape(0)));
    for (int64_t n : c.attrs.dims(0))
      if (n < 0)
        c.fail<ShapeError>("negative size: expected 0 or more, got {}", to_string(c.attrs.dims(0)));
    numel(c.attrs.dims(0));
    return {{DType::u32, c.attrs.dims(0), c[0].device}};
  };
  d.no_grad = "random bits";
  d.samples = [] {
    return std::vector<Sample>{
        {{{{2}, Fill::index, 0, 100, DType::u64, false, false}}, {Dims{3, 5}}}};
  };
  return d;
}

}  // namespace suan
