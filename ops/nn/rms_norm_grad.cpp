// rms_norm_grad: the gradients of rms_norm from its saved rstd.
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape inner = ops::trailing(c.shape(1), int(c.attrs.integer(0)));
  if (c.shape(0) != c.shape(1))
    c.fail<ShapeError>("shapes differ: expected {}, got {}", to_string(c[1]), to_string(c[0]));
  return {c[1], {c.dtype(1), c.attrs.boolean(2) ? inner : Shape{0}, c[1].device}};
}

// Takes rstd from x again, so that differentiating this sees how it depends on x.
Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const int n = int(c.attrs.integer(0)), rank = c[1].rank();
  const DType t = statistic_type(c[1].dtype());
  const Dims axes = last_axes(rank, n);
  const Tensor x = cast(c[1], t), g = cast(c[0], t);
  const Tensor rstd = rsqrt(mean_over(x * x, axes, true) + c.attrs.real(1));
  const Tensor y = x * rstd;
  const Tensor gw = c.has(2) ? g * cast(c[2], t) : g;
  const Tensor dx = (gw - y * mean_over(gw * y, axes, true)) * rstd;
  Dims outer;
  for (int i = 0; i < rank - n; ++i) outer.push_back(i);
  Tensor dw = c.attrs.boolean(2) ? cast(sum_over(g * y, outer, false), c[1].dtype())
                                 : zeros({c[1].dtype(), {0}, c[1].device()});
  return {cast(dx, c[1].dtype()), dw};
}

}  // namespace

OpDef op_def_rms_norm_grad() {
  return {
      .name = "rms_norm_grad",
      .doc = "Gradients of rms_norm for x and weight (an empty tensor if not asked for). rstd "
             "must be what rms_norm gave for x.",
      .inputs = {{"grad", floating_types},
                 {"x", floating_types},
                 {"weight", floating_types, Arity::optional},
                 {"rstd", floating_types, Arity::required, 2}},
      .attrs = {{"n_dims", AttrKind::integer, int64_t(1)},
                {"eps", AttrKind::real, 1e-6},
                {"weight_grad", AttrKind::boolean, true}},
      .outputs = {"dx", "dweight"},
      .infer = infer,
      .compose = compose};
}

}  // namespace suan
