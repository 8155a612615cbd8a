// layer_norm: normalises the last n_dims dimensions to mean 0 and variance 1 (Ba et al. 2016).
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const int64_t n = c.attrs.integer(0), rank = c.shape(0).size();
  if (n < 1 || n > rank)
    c.fail<ValueError>("wrong n_dims: expected 1 to {}, got {}", rank, n);
  const Shape inner = ops::trailing(c.shape(0), int(n));
  for (int i = 1; i <= 2; ++i)
    if (c.has(i) && c.shape(i) != inner)
      c.fail<ShapeError>("{} does not fit: expected {}, got {}", c.op.inputs[size_t(i)].name,
                         to_string(inner), to_string(c[i]));
  const TensorType stat{ops::statistic_type(c.dtype(0)), ops::leading(c.shape(0), int(rank - n)),
                        c[0].device};
  return {c[0], stat, stat};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const int n = int(c.attrs.integer(0));
  const Dims axes = last_axes(c[0].rank(), n);
  const Shape outer = leading(c[0].shape(), c[0].rank() - n);
  const Tensor x = cast(c[0], statistic_type(c[0].dtype()));
  const Tensor mean = mean_over(x, axes, true);
  const Tensor d = x - mean;
  const Tensor rstd = rsqrt(mean_over(d * d, axes, true) + c.attrs.real(1));
  Tensor y = d * rstd;
  if (c.has(1)) y = y * cast(c[1], y.dtype());
  if (c.has(2)) y = y + cast(c[2], y.dtype());
  return {cast(y, c[0].dtype()), reshape(mean, outer), reshape(rstd, outer)};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const int64_t n = c.attrs.integer(0);
  Tensor dx;
  if (c.grad(0).defined()) {
    const Tensors g = apply_all(
        op("layer_norm_grad"),
        {c.grad(0), c.in(0), c.has(1) ? c.in(1) : Tensor(), c.out(1), c.out(2)},
        {n, c.attrs.real(1), c.needs(1), c.needs(2)});
    dx = g[0];
    if (c.needs(1)) c.set(1, g[1]);
    if (c.needs(2)) c.set(2, g[2]);
  }
  if (c.needs(0) && (c.grad(1).defined() || c.grad(2).defined())) {
    // mean' = 1 / count; rstd' = -rstd³ (x - mean) / count.
    Shape wide = c.out_types[1].shape;
    for (int64_t i = 0; i < n; ++i) wide.push_back(1);
    const double count = double(numel(trailing(c.shape(0), int(n))));
    const Tensor rstd = reshape(c.out(2), wide);
    Tensor t = reshape(c.grad_or_zeros(1), wide) -
               (cast(c.in(0), rstd.dtype()) - reshape(c.out(1), wide)) * rstd * rstd * rstd *
                   reshape(c.grad_or_zeros(2), wide);
    t = cast(expand(t / count, c.shape(0)), c.dtype(0));
    dx = dx.defined() ? dx + t : t;
  }
  if (c.needs(0)) c.set(0, dx);
}

std::vector<Sample> samples() {
  return {{{{{4, 33}}, {{33}}, {{33}}}, {int64_t(1), 1e-5}},
          {{{{3, 5, 7}}, {{5, 7}}, {{5, 7}}}, {int64_t(2), 1e-5}, "two dimensions"},
          {{{{3, 5, 7}}, {.shape = {7}, .absent = true}, {.shape = {7}, .absent = true}},
           {int64_t(1), 1e-5},
           "no weight"},
          {{{{2, 16}}, {{16}}, {.shape = {16}, .absent = true}}, {int64_t(1), 1e-5}, "no bias"},
          {{{{0, 7}}, {{7}}, {{7}}}, {int64_t(1), 1e-5}, "no rows"},
          {.in = {{{3, 4}}, {{5}}, {{5}}}, .attrs = {int64_t(1)}, .error = "weight does not fit"},
          {.in = {{{3, 4}}}, .attrs = {int64_t(3)}, .error = "wrong n_dims"}};
}

}  // namespace

OpDef op_def_layer_norm() {
  return {
      .name = "layer_norm",
      .doc = "(x - mean) / sqrt(variance + eps) over the last n_dims dimensions, times weight, "
             "plus bias. Also gives mean and rstd = 1 / sqrt(variance + eps), which the gradient "
             "uses.",
      .inputs = {{"x", floating_types},
                 {"weight", floating_types, Arity::optional},
                 {"bias", floating_types, Arity::optional}},
      .attrs = {{"n_dims", AttrKind::integer, int64_t(1)}, {"eps", AttrKind::real, 1e-5}},
      .outputs = {"out", "mean", "rstd"},
      .infer = infer,
      .compose = compose,
      .vjp = vjp,
      .samples = samples,
      .onnx_name = "LayerNormalization",
      .onnx_since = 17};
}

}  // namespace suan
