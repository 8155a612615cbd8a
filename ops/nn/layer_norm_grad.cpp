// layer_norm_grad: the gradients of layer_norm from its saved mean and rstd.
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape inner = ops::trailing(c.shape(1), int(c.attrs.integer(0)));
  if (c.shape(0) != c.shape(1))
    c.fail<ShapeError>("shapes differ: expected {}, got {}", to_string(c[1]), to_string(c[0]));
  auto parameter = [&](int attr) {
    return TensorType{c.dtype(1), c.attrs.boolean(attr) ? inner : Shape{0}, c[1].device};
  };
  return {c[1], parameter(2), parameter(3)};
}

// Takes mean and rstd from x again, so that differentiating this sees how they depend on it.
Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const int n = int(c.attrs.integer(0)), rank = c[1].rank();
  const DType t = statistic_type(c[1].dtype());
  const Dims axes = last_axes(rank, n);
  const Tensor x = cast(c[1], t), g = cast(c[0], t);
  const Tensor d = x - mean_over(x, axes, true);
  const Tensor rstd = rsqrt(mean_over(d * d, axes, true) + c.attrs.real(1));
  const Tensor y = d * rstd;
  const Tensor gw = c.has(2) ? g * cast(c[2], t) : g;
  const Tensor dx = (gw - mean_over(gw, axes, true) - y * mean_over(gw * y, axes, true)) * rstd;
  Dims outer;
  for (int i = 0; i < rank - n; ++i) outer.push_back(i);
  auto parameter = [&](int attr, const Tensor& v) {
    if (!c.attrs.boolean(attr)) return zeros({c[1].dtype(), {0}, c[1].device()});
    return cast(sum_over(v, outer, false), c[1].dtype());
  };
  return {cast(dx, c[1].dtype()), parameter(2, g * y), parameter(3, g)};
}

}  // namespace

OpDef op_def_layer_norm_grad() {
  return {
      .name = "layer_norm_grad",
      .doc = "Gradients of layer_norm for x, weight and bias (an empty tensor for one not asked "
             "for). mean and rstd must be what layer_norm gave for x.",
      .inputs = {{"grad", floating_types},
                 {"x", floating_types},
                 {"weight", floating_types, Arity::optional},
                 {"mean", floating_types, Arity::required, 2},
                 {"rstd", floating_types, Arity::required, 2}},
      .attrs = {{"n_dims", AttrKind::integer, int64_t(1)},
                {"eps", AttrKind::real, 1e-5},
                {"weight_grad", AttrKind::boolean, true},
                {"bias_grad", AttrKind::boolean, true}},
      .outputs = {"dx", "dweight", "dbias"},
      .infer = infer,
      .compose = compose};
}

}  // namespace suan
