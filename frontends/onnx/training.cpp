// ai.onnx.preview.training: optimizer steps, and gradients of a part of the graph through the engine's tape.
#include "core/tape.h"
#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

// Inputs are R, T, then n tensors of each kind; outputs n of each kind that is kept. `step` maps one of each kind to
// what is kept of it.
template <class F>
Values for_each_tensor(Call& c, int kinds, F&& step) {
  const int n = (c.n_in() - 2) / kinds;
  if (n < 1 || c.n_in() != 2 + n * kinds) c.fail<TypeError>("wrong number of inputs: expected 2 and a multiple of {}, got {}", kinds, c.n_in());
  const Tensor rate = cast(as_scalar(c, c[0]), DType::f64), t = cast(as_scalar(c, c[1]), DType::f64);
  std::vector<Values> kept;
  for (int i = 0; i < n; ++i) {
    Tensors one;
    for (int k = 0; k < kinds; ++k) one.push_back(c[2 + k * n + i]);
    kept.push_back(step(rate, t, one));
  }
  Values out;
  for (size_t k = 0; k < kept[0].size(); ++k)
    for (Values& v : kept) out.push_back(v[k]);
  return out;
}

Values build_adagrad(Call& c) {
  const double decay = c.real("decay_factor", 0.0), epsilon = c.real("epsilon", 1e-6), norm = c.real("norm_coefficient", 0.0);
  return for_each_tensor(c, 3, [&](const Tensor& rate, const Tensor& t, const Tensors& v) -> Values {
    const Tensor &x = v[0], g = x * norm + v[1], h = v[2] + g * g;
    return {x - cast(rate / (t * decay + 1.0), x.dtype()) * g / (sqrt(h) + epsilon), h};
  });
}

Values build_adam(Call& c) {
  const double alpha = c.real("alpha", 0.9), beta = c.real("beta", 0.999), epsilon = c.real("epsilon", 1e-6),
               norm = c.real("norm_coefficient", 0.0), after = c.real("norm_coefficient_post", 0.0);
  return for_each_tensor(c, 4, [&](const Tensor& rate, const Tensor& t, const Tensors& in) -> Values {
    const Tensor &x = in[0], g = x * norm + in[1];
    const Tensor v = in[2] * alpha + g * (1 - alpha), h = in[3] * beta + g * g * (1 - beta);
    const Tensor corrected = rate * sqrt(1.0 - pow(number(beta, t), t)) / (1.0 - pow(number(alpha, t), t));
    const Tensor r = cast(where(gt(t, number(0, t)), corrected, rate), x.dtype());
    return {(x - r * (v / (sqrt(h) + epsilon))) * (1 - after), v, h};
  });
}

Values build_momentum(Call& c) {
  const double alpha = c.real("alpha"), beta = c.real("beta"), norm = c.real("norm_coefficient");
  const std::string mode = c.string("mode");
  if (mode != "standard" && mode != "nesterov") c.fail<ValueError>("unknown mode: expected standard or nesterov, got '{}'", mode);
  return for_each_tensor(c, 3, [&](const Tensor& rate, const Tensor& t, const Tensors& in) -> Values {
    const Tensor &x = in[0], g = x * norm + in[1];
    const Tensor b = cast(where(gt(t, number(0, t)), number(beta, t), number(1, t)), x.dtype());
    const Tensor v = in[2] * alpha + b * g, r = cast(rate, x.dtype());
    return {x - r * (mode == "standard" ? v : g + v * alpha), v};
  });
}

// The reader cut "body" out of the graph around: y as a function of xs and zs.
Values build_gradient(Call& c) {
  for (const Value& v : c.in)
    if (!is_concrete(v)) throw NeedsData{c.node.name};
  const size_t n = c.texts("xs").size();
  ContextScope scope;
  const bool again = context().grad_enabled;   // inside another gradient
  context().grad_enabled = true;
  context().inference = false;
  Tensors x;
  std::vector<Value> in;
  for (int i = 0; i < c.n_in(); ++i) {
    Tensor t = c[i];
    if (size_t(i) < n && !t.requires_grad()) {
      t = copy(t).detach();
      t.set_requires_grad(true);
    }
    if (size_t(i) < n) x.push_back(t);
    in.emplace_back(t);
  }
  const Tensor y = Eval(false).run(c.graph("body"), std::move(in), &c.env).at(0).tensor();
  const Tensor ones = full(y.shape(), 1, y.dtype());
  const Tensors g = grad({&y, 1}, x, {&ones, 1}, {.create_graph = again}, true);
  Values out;
  for (size_t i = 0; i < n; ++i) out.emplace_back(g[i] ? (again ? g[i] : g[i].detach()) : zeros(x[i].type()));
  return out;
}

}  // namespace

std::vector<Mapping> training_ops() {
  return {
      {"ai.onnx.preview.training.Adagrad", 1, build_adagrad},
      {"ai.onnx.preview.training.Adam", 1, build_adam},
      {"ai.onnx.preview.training.Gradient", 1, build_gradient},
      {"ai.onnx.preview.training.Momentum", 1, build_momentum},
  };
}

}  // namespace suan::onnx
