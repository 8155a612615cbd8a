// batch_norm_grad: the gradients of batch_norm_train from its mean and variance.
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  if (c.shape(0) != c.shape(1))
    c.fail<ShapeError>("shapes differ: expected {}, got {}", to_string(c[1]), to_string(c[0]));
  auto parameter = [&](int attr) {
    return TensorType{c.dtype(1), {c.attrs.boolean(attr) ? c.shape(1)[1] : 0}, c[1].device};
  };
  return {c[1], parameter(1), parameter(2)};
}

// Takes the statistics from x again, so that differentiating this sees how they depend on it.
Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const DType t = statistic_type(c[1].dtype());
  const int rank = c[1].rank();
  Dims axes{0};
  for (int i = 2; i < rank; ++i) axes.push_back(i);
  Shape wide = Dims::filled(rank - 1, 1);
  wide[0] = c[1].dim(1);
  const Tensor x = cast(c[1], t), g = cast(c[0], t);
  const Tensor d = x - mean_over(x, axes, true);
  const Tensor rstd = rsqrt(mean_over(d * d, axes, true) + c.attrs.real(0));
  const Tensor y = d * rstd;
  Tensor dx = (g - mean_over(g, axes, true) - y * mean_over(g * y, axes, true)) * rstd;
  if (c.has(2)) dx = dx * reshape(cast(c[2], t), wide);
  auto parameter = [&](int attr, const Tensor& v) {
    if (!c.attrs.boolean(attr)) return zeros({c[1].dtype(), {0}, c[1].device()});
    return cast(sum(v, axes), c[1].dtype());
  };
  return {cast(dx, c[1].dtype()), parameter(1, g * y), parameter(2, g)};
}

}  // namespace

OpDef op_def_batch_norm_grad() {
  return {
      .name = "batch_norm_grad",
      .doc = "Gradients of batch_norm_train for x, weight and bias (an empty tensor for one not "
             "asked for). mean and var must be what batch_norm_train gave for x.",
      .inputs = {{"grad", floating_types},
                 {"x", floating_types},
                 {"weight", floating_types, Arity::optional},
                 {"mean", floating_types, Arity::required, 2},
                 {"var", floating_types, Arity::required, 2}},
      .attrs = {{"eps", AttrKind::real, 1e-5},
                {"weight_grad", AttrKind::boolean, true},
                {"bias_grad", AttrKind::boolean, true}},
      .outputs = {"dx", "dweight", "dbias"},
      .infer = infer,
      .compose = compose};
}

}  // namespace suan
