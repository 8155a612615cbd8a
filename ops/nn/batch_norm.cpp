// batch_norm: normalises each channel over the batch (Ioffe and Szegedy 2015), with running
// statistics.
#include "ops/nn/common.h"

namespace suan {
namespace {

// [channels] against [batch, channels, size...].
Tensor per_channel(const Tensor& v, int rank) {
  Shape s = Dims::filled(rank - 1, 1);
  s[0] = v.dim(0);
  return ops::reshape(v, s);
}

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& x = c[0];
  const bool training = c.attrs.boolean(0), tracked = c.has(3) && c.has(4);
  const double momentum = c.attrs.real(1), eps = c.attrs.real(2);
  if (x.rank() < 2)
    fail<ShapeError>("batch_norm", "wrong rank: expected x [batch, channels, size...], got {}",
                     to_string(x.type()));
  const Shape channels{x.dim(1)};
  for (int i = 1; i < 5; ++i)
    if (c.has(i) && c[i].shape() != channels)
      fail<ShapeError>("batch_norm", "{} does not fit: expected {}, got {}",
                       c.op.inputs[size_t(i)].name, to_string(channels), to_string(c[i].type()));
  const Tensor weight = c.has(1) ? c[1] : Tensor(), bias = c.has(2) ? c[2] : Tensor();
  if (training) {
    const Tensors y = apply_all(SUAN_OP("batch_norm_train"), {x, weight, bias}, {eps});
    if (tracked) {
      const int64_t count = x.dim(1) ? x.numel() / x.dim(1) : 0;
      const DType t = c[3].dtype();
      apply_all(SUAN_OP("batch_norm_update"),
                {c[3], c[4], cast(y[1].detach(), t), cast(y[2].detach(), t)}, {momentum, count});
    }
    return {y[0]};
  }
  if (!tracked)
    fail<ValueError>("batch_norm",
                     "no running statistics: expected running_mean and running_var, got none");
  const DType t = statistic_type(x.dtype());
  Tensor scale = rsqrt(cast(c[4], t) + eps);
  if (weight.defined()) scale = scale * cast(weight, t);
  Tensor shift = neg(cast(c[3], t) * scale);
  if (bias.defined()) shift = shift + cast(bias, t);
  return {
      cast(cast(x, t) * per_channel(scale, x.rank()) + per_channel(shift, x.rank()), x.dtype())};
}

std::vector<Sample> samples() {
  const SampleInput variance{.shape = {3}, .fill = Fill::positive, .grad = false};
  const SampleInput mean{.shape = {3}, .grad = false};
  const SampleInput none{.shape = {3}, .absent = true};
  return {{{{{4, 3, 5, 2}}, {{3}}, {{3}}, none, none}, {true, 0.1, 1e-5}},
          {{{{6, 3}}, {{3}}, {{3}}, none, none}, {true, 0.1, 1e-5}, "no sizes"},
          {{{{4, 3, 5}}, none, none, none, none}, {true, 0.1, 1e-5}, "no weight"},
          {{{{4, 3, 5, 2}}, {{3}}, {{3}}, mean, variance}, {false, 0.1, 1e-5}, "evaluation"},
          {.in = {{{4, 3, 5}}, {{4}}, none, none, none},
           .attrs = {true},
           .error = "weight does not fit"},
          {.in = {{{4, 3, 5}}, none, none, none, none},
           .attrs = {false},
           .error = "no running statistics"}};
}

}  // namespace

OpDef op_def_batch_norm() {
  return {
      .name = "batch_norm",
      .doc = "Normalises x [batch, channels, size...] per channel, times weight, plus bias. In "
             "training by the batch's own mean and variance, and running_mean and running_var, if "
             "given, move in place by momentum towards them (the variance unbiased), as torch; "
             "otherwise by the running statistics.",
      .inputs = {{"x", floating_types},
                 {"weight", floating_types, Arity::optional},
                 {"bias", floating_types, Arity::optional},
                 {"running_mean", floating_types, Arity::optional, 2},
                 {"running_var", floating_types, Arity::optional, 2}},
      .attrs = {{"training", AttrKind::boolean, false},
                {"momentum", AttrKind::real, 0.1},
                {"eps", AttrKind::real, 1e-5}},
      .compose = compose,
      .samples = samples};
}

}  // namespace suan
