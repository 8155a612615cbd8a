// cumsum: running sums.
#include "ops/api.h"

namespace suan {

OpDef op_def_cumsum() {
  OpDef d{
      .name = "cumsum",
      .doc =
          "Running sums along dim. Integers and bool give int64; floats run in f64 and round at "
          "each element.",
      .inputs = {{"input", all_types}}};
  d.attrs = {{"dim", AttrKind::integer}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    c.axis(0, 0);  // refuses an axis out of range
    return {{is_floating(c.dtype(0))    ? c.dtype(0)
             : c.dtype(0) == DType::u64 ? DType::u64
                                        : DType::i64,
             c.shape(0), c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    if (!c.needs(0)) return;
    const Dims axis = c.shape(0).empty() ? Dims{} : Dims{c.attrs.integer(0)};
    auto flip = [&](const Tensor& t) { return apply(SUAN_OP("flip"), {t}, {axis}); };
    c.set(0, flip(apply(c.op, {flip(c.grad())}, c.attrs)));
  };
  d.samples = [] {
    using I = int64_t;
    return std::vector<Sample>{{{{{3, 5, 7}}}, {I(1)}},
                               {{{{3, 300}}}, {I(-1)}, "last axis"},
                               {{{{}}}, {I(0)}, "0-d"},
                               {{{{0, 4}}}, {I(1)}, "no elements"}};
  };
  return d;
}

}  // namespace suan
