// batch_norm_train: normalises each channel by its own mean and variance.
#include "ops/nn/common.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  const Shape& x = c.shape(0);
  if (x.size() < 2)
    c.fail<ShapeError>("wrong rank: expected x [batch, channels, size...], got {}",
                       to_string(c[0]));
  for (int i = 1; i <= 2; ++i)
    if (c.has(i) && c.shape(i) != Shape{x[1]})
      c.fail<ShapeError>("{} does not fit: expected [{}], got {}", c.op.inputs[size_t(i)].name,
                         x[1], to_string(c[i]));
  const TensorType stat{ops::statistic_type(c.dtype(0)), {x[1]}, c[0].device};
  return {c[0], stat, stat};
}

void vjp(VjpContext& c) {
  using namespace ops;
  const int rank = c.shape(0).size();
  Tensor dx;
  if (c.grad(0).defined()) {
    const Tensors g =
        apply_all(op("batch_norm_grad"),
                  {c.grad(0), c.in(0), c.has(1) ? c.in(1) : Tensor(), c.out(1), c.out(2)},
                  {c.attrs.real(0), c.needs(1), c.needs(2)});
    dx = g[0];
    if (c.needs(1)) c.set(1, g[1]);
    if (c.needs(2)) c.set(2, g[2]);
  }
  if (c.needs(0) && (c.grad(1).defined() || c.grad(2).defined())) {
    // mean' = 1 / count; var' = 2 (x - mean) / count.
    Shape wide = Dims::filled(rank - 1, 1);
    wide[0] = c.shape(0)[1];
    const double count = double(numel(c.shape(0))) / double(std::max<int64_t>(1, wide[0]));
    const Tensor mean = reshape(c.out(1), wide);
    const Tensor t =
        (reshape(c.grad_or_zeros(1), wide) +
         (cast(c.in(0), mean.dtype()) - mean) * 2.0 * reshape(c.grad_or_zeros(2), wide)) /
        count;
    const Tensor through = cast(t, c.dtype(0));
    dx = dx.defined() ? dx + through : through;
  }
  if (c.needs(0)) c.set(0, dx);
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {3}, .absent = true};
  return {{{{{4, 3, 5, 2}}, {{3}}, {{3}}}, {1e-5}},
          {{{{6, 3}}, {{3}}, {{3}}}, {1e-5}, "no sizes"},
          {{{{4, 3, 5}}, none, none}, {1e-5}, "no weight"},
          {.in = {{{4}}, none, none}, .error = "wrong rank"}};
}

}  // namespace

OpDef op_def_batch_norm_train() {
  return {
      .name = "batch_norm_train",
      .doc = "(x - mean) / sqrt(var + eps) per channel of x [batch, channels, size...], times "
             "weight, plus bias. Also gives each channel's mean and (biased) variance.",
      .inputs = {{"x", floating_types},
                 {"weight", floating_types, Arity::optional},
                 {"bias", floating_types, Arity::optional}},
      .attrs = {{"eps", AttrKind::real, 1e-5}},
      .outputs = {"out", "mean", "var"},
      .infer = infer,
      .vjp = vjp,
      .samples = samples};
}

}  // namespace suan
