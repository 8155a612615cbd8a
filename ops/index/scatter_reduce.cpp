// scatter_reduce: products and extremes of elements brought together along one axis. Sums are scatter_add.
#include "ops/api.h"

namespace suan {
namespace {

SampleInput index_input(const Shape& shape, double size) {
  return {shape, Fill::index, 0, size, DType::i64, false, false};
}

// The gradient of an extreme is shared evenly by all that reach it.
void extreme_vjp(VjpContext& c) {
  const Attrs dim{c.attrs.integer(0)};
  const Tensor &x = c.in(0), &index = c.in(1), &src = c.in(2), out = c.out(0);
  const Tensor own = ops::cast(ops::eq(x, out), x.dtype());
  const Tensor hit = ops::cast(ops::eq(src, apply(SUAN_OP("gather"), {out, index}, dim)), x.dtype());
  const Tensor share = ops::div(c.grad(), apply(SUAN_OP("scatter_add"), {own, index, hit}, dim));
  if (c.needs(0)) c.set(0, ops::mul(share, own));
  if (c.needs(2)) c.set(2, ops::mul(apply(SUAN_OP("gather"), {share, index}, dim), hit));
}

// Of a product: that of all other factors. Zeros are left out of it and counted, so that one of them has a gradient.
void product_vjp(VjpContext& c) {
  const Attrs dim{c.attrs.integer(0)};
  const Tensor &x = c.in(0), &index = c.in(1), &src = c.in(2);
  const Tensor one = Tensor::scalar(1, x.dtype(), x.device()), zero = Tensor::scalar(0, x.dtype(), x.device());
  const Tensor x_zero = ops::eq(x, zero), src_zero = ops::eq(src, zero);
  const Tensor x_rest = ops::where(x_zero, one, x), src_rest = ops::where(src_zero, one, src);
  const Tensor rest = apply(SUAN_OP("scatter_reduce"), {x_rest, index, src_rest}, c.attrs);
  const Tensor zeros = apply(SUAN_OP("scatter_add"), {ops::cast(x_zero, x.dtype()), index, ops::cast(src_zero, x.dtype())}, dim);
  auto others = [&](const Tensor& factor, const Tensor& is_zero, const Tensor& product, const Tensor& count) {
    const Tensor left = ops::sub(count, ops::cast(is_zero, x.dtype()));  // zeros among the others
    return ops::where(ops::eq(left, zero), ops::div(product, factor), zero);
  };
  auto at = [&](const Tensor& t) { return apply(SUAN_OP("gather"), {t, index}, dim); };
  if (c.needs(0)) c.set(0, ops::mul(c.grad(), others(x_rest, x_zero, rest, zeros)));
  if (c.needs(2)) c.set(2, ops::mul(at(c.grad()), others(src_rest, src_zero, at(rest), at(zeros))));
}

}  // namespace

OpDef op_def_scatter_reduce() {
  OpDef d{.name = "scatter_reduce",
          .doc = "A copy of input with src[.., j, ..] brought into input[.., index[.., j, ..], ..] along dim, in order: "
                 "reduce is prod, amax or amin (NaN stays). src has the index's shape.",
          .inputs = {{"input", arithmetic_types},
                     {"index", dtype_bit(DType::i64), Arity::required, 0},
                     {"src", arithmetic_types}}};
  d.attrs = {{"dim", AttrKind::integer}, {"reduce", AttrKind::string}};
  d.infer = [](const InferContext& c) -> std::vector<TensorType> {
    const Shape &in = c.shape(0), &index = c.shape(1);
    const std::string& how = c.attrs.string(1);
    if (how != "prod" && how != "amax" && how != "amin")
      c.fail<ValueError>("unknown reduce: expected prod, amax or amin, got '{}'", how);
    if (in.size() != index.size())
      c.fail<ShapeError>("ranks differ: expected an index of rank {}, got {}", in.size(), index.size());
    const int axis = c.axis(0, 0);
    for (int i = 0; i < in.size(); ++i)
      if (i != axis && index[i] > in[i])
        c.fail<ShapeError>("index too large: expected at most {} on axis {}, got {}", in[i], i, index[i]);
    if (c.shape(2) != index)
      c.fail<ShapeError>("src and index differ: expected {}, got {}", to_string(index), to_string(c.shape(2)));
    return {c[0]};
  };
  d.vjp = [](VjpContext& c) { c.attrs.string(1) == "prod" ? product_vjp(c) : extreme_vjp(c); };
  d.samples = [] {
    using I = int64_t;
    std::vector<Sample> all;
    for (const char* how : {"prod", "amax", "amin"})
      all.push_back({{{{4, 6}}, index_input({2, 6}, 4), {{2, 6}}}, {I(0), std::string(how)}, how});
    all.push_back({{{{2, 3}}, index_input({2, 7}, 3), {{2, 7}}}, {I(-1), std::string("amax")}, "repeats"});
    return all;
  };
  return d;
}

}  // namespace suan
