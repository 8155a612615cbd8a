// sgd_step: one update of one parameter by gradient descent with momentum, in place and in one
// pass.
#include "core/op.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
  for (int i = 1; i < 3; ++i)
    if (c.has(i) && c.shape(i) != c.shape(0))
      c.fail<ShapeError>("{} does not fit: expected {}, got {}", c.op.inputs[size_t(i)].name,
                         to_string(c[0]), to_string(c[i]));
  if (!c.shape(3).empty())
    c.fail<ShapeError>("lr is no number: expected a 0-d tensor, got {}", to_string(c[3]));
  if (c.attrs.real(0) != 0 && !c.has(2))
    c.fail<ValueError>("no momentum_buffer: expected one for momentum {}, got none",
                       c.attrs.real(0));
  return {c[0], c.has(2) ? c[2] : TensorType{c.dtype(0), {0}, c[0].device}};
}

std::vector<Sample> samples() {
  const SampleInput lr{
      .shape = {}, .fill = Fill::uniform, .lo = 0.1, .hi = 0.1, .dtype = DType::f32};
  const SampleInput none{.shape = {3, 5, 7}, .absent = true};
  return {{{{{3, 5, 7}}, {{3, 5, 7}}, none, lr}, {0.0, 0.0, 0.01, false}},
          {{{{3, 5, 7}}, {{3, 5, 7}}, {{3, 5, 7}}, lr}, {0.9, 0.1, 0.01, false}, "momentum"},
          {{{{3, 5, 7}}, {{3, 5, 7}}, {{3, 5, 7}}, lr}, {0.9, 0.0, 0.0, true}, "Nesterov"},
          {.in = {{{3, 5, 7}}, {{3, 5, 7}}, none, lr},
           .attrs = {0.9, 0.0, 0.0, false},
           .error = "no momentum_buffer"}};
}

}  // namespace

OpDef op_def_sgd_step() {
  OpDef d{.name = "sgd_step",
          .doc = "Stochastic gradient descent as torch.optim.SGD: param and momentum_buffer are "
                 "updated in place; buffer = momentum buffer + (1 - dampening) grad.",
          .inputs = {{"param", floating_types},
                     {"grad", floating_types},
                     {"momentum_buffer", floating_types, Arity::optional},
                     {"lr", dtype_bit(DType::f32) | dtype_bit(DType::f64), Arity::required, 0}},
          .attrs = {{"momentum", AttrKind::real, 0.0},
                    {"dampening", AttrKind::real, 0.0},
                    {"weight_decay", AttrKind::real, 0.0},
                    {"nesterov", AttrKind::boolean, false}},
          .outputs = {"param", "momentum_buffer"}};
  d.infer = infer;
  d.no_grad = "an optimizer step writes its inputs";
  d.updates = {0, 2};
  d.samples = samples;
  return d;
}

}  // namespace suan
