// randint: uniform integers.
#include "ops/random/generator.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_randint() {
  OpDef d{
      .name = "randint",
      .doc =
          "Uniform integers in [low, high) of the given shape; the range is at most 2^32; moves "
          "the state on.",
      .inputs = {{"state", dtype_bit(DType::u64), Arity::required, 0}}};
  d.attrs = {{"low", AttrKind::integer},
             {"high", AttrKind::integer},
             {"size", AttrKind::dims},
             {"dtype", AttrKind::dtype, DType::i64}};
  d.flags = op_random;
  d.no_grad = "a random draw";
  d.compose = [](const ComposeContext& c) -> Tensors {
    using namespace ops;
    const int64_t low = c.attrs.integer(0), high = c.attrs.integer(1);
    if (high <= low || high - low > (int64_t(1) << 32))
      fail<ValueError>("randint",
                       "empty or too wide: expected low < high <= low + 2^32, got {} and {}", low,
                       high);
    const Tensor bits = cast(draw_bits(c[0], c.attrs.dims(2)), DType::u64);
    auto number = [&](int64_t v, DType t) { return Tensor::scalar_int(v, t, c[0].device()); };
    // The high word of bits * range: every value, with a bias below range / 2^32.
    const Tensor scaled = apply(SUAN_OP("right_shift"),
                                {bits * number(high - low, DType::u64), number(32, DType::u64)});
    return {cast(cast(scaled, DType::i64) + number(low, DType::i64), c.attrs.dtype(3))};
  };
  d.samples = [] { return std::vector<Sample>{}; };
  return d;
}

}  // namespace suan
