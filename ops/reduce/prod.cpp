// prod: product over axes.
#include "ops/reduce/reduced.h"
#include "ops/api.h"

namespace suan {

OpDef op_def_prod() {
  OpDef d{.name = "prod",
          .doc =
              "Product over the given axes (all when empty); dtypes as sum. The gradient is exact "
              "where one factor is zero.",
          .inputs = {{"input", all_types}}};
  d.attrs = {{"dim", AttrKind::dims, Dims{}}, {"keepdim", AttrKind::boolean, false}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    return {{is_floating(c.dtype(0))    ? c.dtype(0)
             : c.dtype(0) == DType::u64 ? DType::u64
                                        : DType::i64,
             reduced_shape(c, 0, 1), c[0].device}};
  };
  d.vjp = [](VjpContext& c) {
    using namespace ops;
    if (!c.needs(0)) return;
    const Tensor& x = c.in(0);
    const Tensor g = keep_reduced(c, c.grad(), 0), zero = ops::number(0, x),
                 one = ops::number(1, x);
    // The product of the other factors: out / x, or where x is zero the product of the rest.
    const Tensor is_zero = ops::eq(x, zero);
    const Tensor zeros = ops::sum(ops::cast(is_zero, c.dtype(0)), c.attrs.dims(0), true);
    const Tensor rest =
        apply(SUAN_OP("prod"), {ops::where(is_zero, one, x)}, {c.attrs.dims(0), true});
    const Tensor others = rest / ops::where(is_zero, one, x);
    const Tensor with_zero = ops::where(ops::logical_and(is_zero, ops::eq(zeros, one)), rest, zero);
    c.set(0, g * ops::where(ops::eq(zeros, zero), others, with_zero));
  };
  d.samples = [] {
    return std::vector<Sample>{
        {{{{3, 5, 7}, Fill::positive}}, {Dims{1}}},
        {{{{3, 5, 7}, Fill::positive}}, {}, "all"},
        {{{{3, 5, 7}, Fill::positive}}, {Dims{-1, 0}, true}, "outer and inner, kept"},
        {{{{5, 70}, Fill::positive}}, {Dims{0}}, "columns"},
        {{{{}, Fill::positive}}, {}, "0-d"},
        {{{{0, 4}, Fill::positive}}, {Dims{0}}, "no elements"}};
  };
  return d;
}

}  // namespace suan
