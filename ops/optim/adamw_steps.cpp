// adamw_steps: one AdamW update of many parameters, in place; on a GPU one launch for all of them.
#include "ops/api.h"

namespace suan {
namespace {

constexpr int numbers = 3, round = 4;   // lr, step, grad_scale; then param, grad, exp_avg, exp_avg_sq, again and again

std::vector<TensorType> infer(const InferContext& c) {
  static constexpr const char* names[] = {"param", "grad", "exp_avg", "exp_avg_sq"};
  for (int i = 0; i < numbers; ++i)
    if (c.has(i) && !c.shape(i).empty())
      c.fail<ShapeError>("{} is no number: expected a 0-d tensor, got {}", c.op.inputs[size_t(i)].name,
                         to_string(c[i]));
  const int n = c.n_in() - numbers;
  if (n <= 0 || n % round)
    c.fail<ValueError>("wrong number of tensors: expected param, grad, exp_avg, exp_avg_sq of each parameter, got {}",
                       std::max(n, 0));
  std::vector<TensorType> out;
  for (int i = numbers; i < c.n_in(); i += round) {
    for (int k = 1; k < round; ++k)
      if (c.shape(i + k) != c.shape(i))
        c.fail<ShapeError>("{} of parameter {} does not fit: expected {}, got {}", names[k], (i - numbers) / round,
                           to_string(c[i]), to_string(c[i + k]));
    for (int k : {0, 2, 3}) out.push_back(c[i + k]);
  }
  return out;
}

Tensors compose(const ComposeContext& c) {
  Tensors out;
  for (size_t i = numbers; i < c.in.size(); i += round)
    for (Tensor& t : apply_all(SUAN_OP("adamw_step"), {c[int(i)], c[int(i) + 1], c[int(i) + 2], c[int(i) + 3], c[0],
                                                       c[1], c.has(2) ? c[2] : Tensor()},
                               c.attrs))
      out.push_back(std::move(t));
  return out;
}

std::vector<Sample> samples() {
  auto number = [](double v) {
    return SampleInput{.shape = {}, .fill = Fill::uniform, .lo = v, .hi = v, .dtype = DType::f32};
  };
  const SampleInput none{.shape = {}, .absent = true};
  auto squares = [](Shape s) { return SampleInput{.shape = std::move(s), .fill = Fill::positive}; };
  return {{{number(0.01), number(3), none, {{3, 5}}, {{3, 5}}, {{3, 5}}, squares({3, 5})}, {0.9, 0.999, 1e-8, 0.1}},
          {{number(0.01), number(3), number(0.5), {{3, 5, 7}}, {{3, 5, 7}}, {{3, 5, 7}}, squares({3, 5, 7}), {{0}},
            {{0}}, {{0}}, squares({0}), {{70}}, {{70}}, {{70}}, squares({70}), {{}}, {{}}, {{}}, squares({})},
           {0.9, 0.99, 1e-8, 0.0},
           "several sizes, scaled gradients"},
          {.in = {number(0.01), number(3), none, {{3}}, {{3}}, {{3}}}, .error = "wrong number of tensors"},
          {.in = {number(0.01), number(3), none, {{3}}, {{4}}, {{3}}, {{3}}}, .error = "does not fit"}};
}

}  // namespace

OpDef op_def_adamw_steps() {
  const DTypeSet number = dtype_bit(DType::f32) | dtype_bit(DType::f64);
  OpDef d{
      .name = "adamw_steps",
      .doc = "AdamW of many parameters with one step count and learning rate: tensors are param, grad, exp_avg and "
             "exp_avg_sq of one parameter after another, of one dtype. All but the gradients are updated in place "
             "and returned. The numbers are as in adamw_step.",
      .inputs = {{"lr", number, Arity::required, 0},
                 {"step", number | dtype_bit(DType::i64), Arity::required, 0},
                 {"grad_scale", number, Arity::optional, 0},
                 {"tensors", floating_types, Arity::variadic}},
      .attrs = {{"beta1", AttrKind::real, 0.9},
                {"beta2", AttrKind::real, 0.999},
                {"eps", AttrKind::real, 1e-8},
                {"weight_decay", AttrKind::real, 0.01}},
      .outputs = {"tensors"}};
  d.infer = infer;
  d.compose = compose;
  d.no_grad = "an optimizer step writes its inputs";
  d.updates = {3, 5, 6};
  d.samples = samples;
  return d;
}

}  // namespace suan
