// adamw_step: one AdamW update of one parameter, in place and in one pass.
#include "core/op.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  for (int i = 1; i < 4; ++i)
    if (c.shape(i) != c.shape(0))
      c.fail<ShapeError>("{} does not fit: expected {}, got {}", c.op.inputs[size_t(i)].name,
                         to_string(c[0]), to_string(c[i]));
  for (int i = 4; i < 7; ++i)
    if (c.has(i) && !c.shape(i).empty())
      c.fail<ShapeError>("{} is no number: expected a 0-d tensor, got {}",
                         c.op.inputs[size_t(i)].name, to_string(c[i]));
  return {c[0], c[2], c[3]};
}

std::vector<Sample> samples() {
  auto number = [](double v, DType t) {
    return SampleInput{.shape = {}, .fill = Fill::uniform, .lo = v, .hi = v, .dtype = t};
  };
  const SampleInput none{.shape = {}, .absent = true};
  const SampleInput square{.shape = {3, 5, 7}, .fill = Fill::positive};
  return {
      {{{{3, 5, 7}},
        {{3, 5, 7}},
        {{3, 5, 7}},
        square,
        number(0.01, DType::f32),
        number(3, DType::f32),
        none},
       {0.9, 0.999, 1e-8, 0.1}},
      {{{{3, 5, 7}},
        {{3, 5, 7}},
        {{3, 5, 7}},
        square,
        number(0.01, DType::f32),
        number(3, DType::f32),
        number(0.5, DType::f32)},
       {0.9, 0.99, 1e-8, 0.0},
       "scaled gradient"},
      {.in = {{{3}}, {{4}}, {{3}}, {{3}}, number(0.01, DType::f32), number(3, DType::f32), none},
       .error = "grad does not fit"}};
}

}  // namespace

OpDef op_def_adamw_step() {
  const DTypeSet number = dtype_bit(DType::f32) | dtype_bit(DType::f64);
  OpDef d{
      .name = "adamw_step",
      .doc = "AdamW (Loshchilov and Hutter 2019): param, exp_avg and exp_avg_sq are updated in "
             "place. step counts from 1. grad_scale multiplies the gradient first (clipping, loss "
             "scaling).",
      .inputs = {{"param", floating_types},
                 {"grad", floating_types},
                 {"exp_avg", floating_types},
                 {"exp_avg_sq", floating_types},
                 {"lr", number, Arity::required, 0},
                 {"step", number | dtype_bit(DType::i64), Arity::required, 0},
                 {"grad_scale", number, Arity::optional, 0}},
      .attrs = {{"beta1", AttrKind::real, 0.9},
                {"beta2", AttrKind::real, 0.999},
                {"eps", AttrKind::real, 1e-8},
                {"weight_decay", AttrKind::real, 0.01}},
      .outputs = {"param", "exp_avg", "exp_avg_sq"}};
  d.infer = infer;
  d.no_grad = "an optimizer step writes its inputs";
  d.updates = {0, 2, 3};
  d.samples = samples;
  return d;
}

}  // namespace suan
