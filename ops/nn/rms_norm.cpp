// rms_norm: scales the last n_dims dimensions to root mean square 1 (Zhang and Sennrich 2019).
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const int64_t n = c.attrs.integer(0), rank = c.shape(0).size();
  if (n < 1 || n > rank) c.fail<ValueError>("wrong n_dims: expected 1 to {}, got {}", rank, n);
  const Shape inner = ops::trailing(c.shape(0), int(n));
  if (c.has(1) && c.shape(1) != inner)
    c.fail<ShapeError>("weight does not fit: expected {}, got {}", to_string(inner),
                       to_string(c[1]));
  return {c[0],
          {ops::statistic_type(c.dtype(0)), ops::leading(c.shape(0), int(rank - n)), c[0].device}};
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const int n = int(c.attrs.integer(0));
  const Tensor x = cast(c[0], statistic_type(c[0].dtype()));
  const Tensor rstd = rsqrt(mean_over(x * x, last_axes(x.rank(), n), true) + c.attrs.real(1));
  Tensor y = x * rstd;
  if (c.has(1)) y = y * cast(c[1], y.dtype());
  return {cast(y, c[0].dtype()), reshape(rstd, leading(c[0].shape(), x.rank() - n))};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const int64_t n = c.attrs.integer(0);
  Tensor dx;
  if (c.grad(0).defined()) {
    const Tensors g = apply_all(op("rms_norm_grad"),
                                {c.grad(0), c.in(0), c.has(1) ? c.in(1) : Tensor(), c.out(1)},
                                {n, c.attrs.real(1), c.needs(1)});
    dx = g[0];
    if (c.needs(1)) c.set(1, g[1]);
  }
  if (c.needs(0) && c.grad(1).defined()) {  // rstd' = -rstd³ x / count
    Shape wide = c.out_types[1].shape;
    for (int64_t i = 0; i < n; ++i) wide.push_back(1);
    const double count = double(numel(trailing(c.shape(0), int(n))));
    const Tensor rstd = reshape(c.out(1), wide);
    const Tensor t =
        cast(cast(c.in(0), rstd.dtype()) * (rstd * rstd * rstd * reshape(c.grad(1), wide) / -count),
             c.dtype(0));
    dx = dx.defined() ? dx + t : t;
  }
  if (c.needs(0)) c.set(0, dx);
}

std::vector<Sample> samples() {
  return {{{{{4, 33}}, {{33}}}, {int64_t(1), 1e-6}},
          {{{{3, 5, 7}}, {{5, 7}}}, {int64_t(2), 1e-6}, "two dimensions"},
          {{{{3, 5, 7}}, {.shape = {7}, .absent = true}}, {int64_t(1), 1e-6}, "no weight"},
          {{{{0, 7}}, {{7}}}, {int64_t(1), 1e-6}, "no rows"},
          {.in = {{{3, 4}}, {{5}}}, .attrs = {int64_t(1)}, .error = "weight does not fit"}};
}

}  // namespace

OpDef op_def_rms_norm() {
  return {.name = "rms_norm",
          .doc = "x / sqrt(mean(x²) + eps) over the last n_dims dimensions, times weight. Also "
                 "gives rstd, the factor, which the gradient uses.",
          .inputs = {{"x", floating_types}, {"weight", floating_types, Arity::optional}},
          .attrs = {{"n_dims", AttrKind::integer, int64_t(1)}, {"eps", AttrKind::real, 1e-6}},
          .outputs = {"out", "rstd"},
          .infer = infer,
          .compose = compose,
          .vjp = vjp,
          .samples = samples};
}

}  // namespace suan
