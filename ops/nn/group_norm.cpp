// group_norm: normalises groups of channels per sample (Wu and He 2018).
#include "ops/nn/common.h"

namespace suan {
namespace {

Tensors compose(const ComposeContext& c) {
  using namespace ops;
  const Tensor& x = c[0];
  const int64_t groups = c.attrs.integer(0);
  if (x.rank() < 2)
    fail<ShapeError>("group_norm", "wrong rank: expected x [batch, channels, size...], got {}",
                     to_string(x.type()));
  const int64_t channels = x.dim(1);
  if (groups < 1 || channels % groups)
    fail<ValueError>("group_norm", "wrong num_groups: expected a divisor of {} channels, got {}",
                     channels, groups);
  Shape wide = Dims::filled(x.rank() - 1, 1);
  wide[0] = channels;
  const int64_t inner = product(x.shape(), 2, x.rank()) * (channels / groups);
  Tensor y =
      apply_all(SUAN_OP("layer_norm"), {reshape(x, {x.dim(0), groups, inner}), Tensor(), Tensor()},
                {int64_t(1), c.attrs.real(1)})[0];
  y = reshape(y, x.shape());
  for (int i = 1; i <= 2; ++i) {
    if (!c.has(i)) continue;
    if (c[i].shape() != Shape{channels})
      fail<ShapeError>("group_norm", "{} does not fit: expected [{}], got {}",
                       c.op.inputs[size_t(i)].name, channels, to_string(c[i].type()));
    y = i == 1 ? y * reshape(c[i], wide) : y + reshape(c[i], wide);
  }
  return {y};
}

std::vector<Sample> samples() {
  const SampleInput none{.shape = {4}, .absent = true};
  return {{{{{2, 4, 5, 3}}, {{4}}, {{4}}}, {int64_t(2), 1e-5}},
          {{{{3, 4, 7}}, none, none}, {int64_t(4), 1e-5}, "no weight"},
          {{{{0, 4, 7}}, {{4}}, {{4}}}, {int64_t(2), 1e-5}, "no samples"},
          {.in = {{{2, 4, 5}}, none, none}, .attrs = {int64_t(3)}, .error = "wrong num_groups"}};
}

}  // namespace

OpDef op_def_group_norm() {
  return {
      .name = "group_norm",
      .doc = "Normalises each group of channels of each sample of x [batch, channels, size...], "
             "times weight and plus bias per channel.",
      .inputs = {{"x", floating_types},
                 {"weight", floating_types, Arity::optional},
                 {"bias", floating_types, Arity::optional}},
      .attrs = {{"num_groups", AttrKind::integer}, {"eps", AttrKind::real, 1e-5}},
      .compose = compose,
      .samples = samples};
}

}  // namespace suan
