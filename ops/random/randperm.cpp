// randperm: a random order.
#include "ops/random/generator.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_randperm() {
  OpDef d{.name = "randperm",
          .doc = "The numbers 0 to n - 1 in a random order; moves the state on.",
          .inputs = {{"state", dtype_bit(DType::u64), Arity::required, 0}}};
  d.attrs = {{"n", AttrKind::integer}, {"dtype", AttrKind::dtype, DType::i64}};
  d.flags = op_random;
  d.no_grad = "a random draw";
  d.compose = [](const ComposeContext& c) -> Tensors {
    const int64_t n = c.attrs.integer(0);
    if (n < 0) fail<ValueError>("randperm", "negative n: expected 0 or more, got {}", n);
    // Two words per key: equal keys, which would favour the lower number, are out of reach.
    const Tensor high = ops::cast(draw_bits(c[0], {n}), DType::u64),
                 low = ops::cast(draw_bits(c[0], {n}), DType::u64);
    const Tensor shift = Tensor::scalar_int(32, DType::u64, c[0].device());
    const Tensor keys =
        apply(SUAN_OP("bitwise_or"), {apply(SUAN_OP("left_shift"), {high, shift}), low});
    return {ops::cast(apply(SUAN_OP("argsort"), {keys}), c.attrs.dtype(1))};
  };
  d.samples = [] { return std::vector<Sample>{}; };
  return d;
}

}  // namespace suan
