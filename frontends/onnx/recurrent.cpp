// LSTM, GRU and RNN, one step after another: each step is two products and element-wise ops, which the passes
// join. Sequence lengths hold the state and clear the output of steps past the end.
#include <functional>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

using Activation = std::function<Tensor(const Tensor&)>;
// With the operator's alpha and beta, where the model gives them, else the activation's own.
Activation activation(Call& c, const std::string& name, std::optional<double> given_alpha, std::optional<double> given_beta) {
  auto with = [&](double alpha, double beta, auto f) -> Activation {
    return [a = given_alpha.value_or(alpha), b = given_beta.value_or(beta), f](const Tensor& x) { return f(x, a, b); };
  };
  if (name == "Sigmoid") return [](const Tensor& x) { return sigmoid(x); };
  if (name == "Tanh") return [](const Tensor& x) { return tanh(x); };
  if (name == "Relu") return [](const Tensor& x) { return relu(x); };
  if (name == "Softsign") return [](const Tensor& x) { return x / (abs(x) + 1.0); };
  if (name == "Softplus") return [](const Tensor& x) { return apply(SUAN_OP("softplus"), {x}, {1.0, 20.0}); };
  if (name == "Affine") return with(1, 0, [](const Tensor& x, double a, double b) { return x * a + b; });
  if (name == "ScaledTanh") return with(1, 1, [](const Tensor& x, double a, double b) { return tanh(x * b) * a; });
  if (name == "LeakyRelu")
    return with(0.01, 0, [](const Tensor& x, double a, double) { return where(lt(x, number(0, x)), x * a, x); });
  if (name == "ThresholdedRelu")
    return with(1, 0, [](const Tensor& x, double a, double) { return where(ge(x, number(a, x)), x, number(0, x)); });
  if (name == "Elu")
    return with(1, 0, [](const Tensor& x, double a, double) { return where(lt(x, number(0, x)), apply(SUAN_OP("expm1"), {x}) * a, x); });
  if (name == "HardSigmoid")
    return with(0.2, 0.5, [](const Tensor& x, double a, double b) { return minimum(maximum(x * a + b, number(0, x)), number(1, x)); });
  c.fail<ValueError>("unknown activation: expected Sigmoid, Tanh, Relu, Affine, LeakyRelu, ThresholdedRelu, ScaledTanh, "
                     "HardSigmoid, Elu, Softsign or Softplus, got '{}'", name);
}

struct Direction {
  Tensor weight, recurrent;      // [gates * hidden, in], [gates * hidden, hidden]
  Tensor bias_in, bias_hidden;   // [gates * hidden] or undefined
  Tensor peephole;               // [3 * hidden] or undefined
  std::vector<Activation> act;
  int64_t hidden;
};
struct State {
  Tensor h, c;
};

Tensor part(const Tensor& x, int64_t k, int64_t hidden) { return slice(x, x.rank() - 1, k * hidden, (k + 1) * hidden); }
Tensor product(const Tensor& x, const Tensor& w, const Tensor& bias) { return apply(SUAN_OP("linear"), {x, w, bias}); }

// xw: x times the input weights, with their bias.
State lstm_step(const Direction& d, const Tensor& xw, const State& s, bool input_forget) {
  const Tensor all = xw + product(s.h, d.recurrent, d.bias_hidden);
  auto gate = [&](int64_t k) { return part(all, k, d.hidden); };
  auto seen = [&](const Tensor& g, int64_t k, const Tensor& c) { return d.peephole ? g + part(d.peephole, k, d.hidden) * c : g; };
  const Tensor i = d.act[0](seen(gate(0), 0, s.c));
  const Tensor f = input_forget ? 1.0 - i : d.act[0](seen(gate(2), 2, s.c));
  const Tensor c = f * s.c + i * d.act[1](gate(3));
  const Tensor o = d.act[0](seen(gate(1), 1, c));
  return {o * d.act[2](c), c};
}
State gru_step(const Direction& d, const Tensor& xw, const State& s, bool linear_before_reset) {
  const int64_t n = d.hidden;
  auto rows = [&](const Tensor& t, int64_t from, int64_t to) { return t ? slice(t, 0, from * n, to * n) : t; };
  const Tensor zr = product(s.h, rows(d.recurrent, 0, 2), rows(d.bias_hidden, 0, 2));
  const Tensor z = d.act[0](part(xw, 0, n) + part(zr, 0, n)), r = d.act[0](part(xw, 1, n) + part(zr, 1, n));
  const Tensor w = rows(d.recurrent, 2, 3), b = rows(d.bias_hidden, 2, 3);
  const Tensor h = d.act[1](part(xw, 2, n) + (linear_before_reset ? r * product(s.h, w, b) : product(r * s.h, w, b)));
  return {(1.0 - z) * h + z * s.h, {}};
}
State rnn_step(const Direction& d, const Tensor& xw, const State& s) {
  return {d.act[0](xw + product(s.h, d.recurrent, d.bias_hidden)), {}};
}

enum class Kind { lstm, gru, rnn };

Tensor direction_of(const Tensor& t, int64_t k) {
  if (!t) return t;
  Shape s = t.shape();
  s.erase(0);
  return reshape(slice(t, 0, k, k + 1), s);
}

template <Kind kind>
Values build_recurrent(Call& c) {
  constexpr int gates = kind == Kind::lstm ? 4 : kind == Kind::gru ? 3 : 1, n_act = kind == Kind::lstm ? 3 : kind == Kind::gru ? 2 : 1;
  const bool batch_first = c.integer("layout", 0);
  auto turned = [&](const Tensor& t) { return t && batch_first ? transpose(t, 0, 1) : t; };
  const Tensor x = turned(c[0]);   // [steps, batch, in]
  const Tensor &weight = c[1], &recurrent = c[2];
  if (x.rank() != 3 || weight.rank() != 3 || recurrent.rank() != 3)
    c.fail<ShapeError>("expected 3 dimensions for x, w and r, got {}, {} and {}", x.rank(), weight.rank(), recurrent.rank());
  const double clip = c.real("clip", 0.0);   // of what gates are computed from; 0 is none
  const int64_t steps = x.dim(0), batch = x.dim(1), hidden = recurrent.dim(2), directions = weight.dim(0);
  const std::string direction = c.string("direction", "forward");
  std::vector<std::string> names = c.texts("activations", std::vector<std::string>{});
  if (names.empty())
    for (int64_t k = 0; k < directions; ++k)
      for (const char* a : {"Sigmoid", "Tanh", "Tanh"})
        if (!(kind == Kind::rnn && a[0] == 'S') && int64_t(names.size()) < n_act * (k + 1)) names.push_back(a);
  if (int64_t(names.size()) != n_act * directions || steps < 1)
    c.fail<ValueError>("wrong number of activations or steps: expected {} and 1 or more, got {} and {}", n_act * directions, names.size(), steps);
  std::vector<double> alphas = c.reals("activation_alpha", std::vector<double>{}), betas = c.reals("activation_beta", std::vector<double>{});
  size_t next_alpha = 0, next_beta = 0;
  auto taken = [](const std::vector<double>& list, size_t& next) -> std::optional<double> {
    return next < list.size() ? std::optional<double>(list[next++]) : std::nullopt;
  };
  const Tensor zero = full(Shape{batch, hidden}, 0, x.dtype());
  const Tensor h0 = turned(c.optional(5)), c0 = kind == Kind::lstm ? turned(c.optional(6)) : Tensor();
  Tensor length = c.has(4) ? reshape(cast(c[4], DType::i64), {batch, 1}) : Tensor();
  Tensors all_y, last_h, last_c;
  for (int64_t k = 0; k < directions; ++k) {
    Direction d{direction_of(weight, k), direction_of(recurrent, k), {}, {}, {}, {}, hidden};
    if (c.has(3)) {
      const Tensor b = direction_of(c[3], k);
      d.bias_in = slice(b, 0, 0, gates * hidden);
      d.bias_hidden = slice(b, 0, gates * hidden, 2 * gates * hidden);
    }
    if (kind == Kind::lstm && c.has(7)) d.peephole = direction_of(c[7], k);
    for (int a = 0; a < n_act; ++a) {
      const std::string& name = names[size_t(k * n_act + a)];
      const bool has_beta = name == "Affine" || name == "ScaledTanh" || name == "HardSigmoid";
      const bool has_alpha = has_beta || name == "LeakyRelu" || name == "ThresholdedRelu" || name == "Elu";
      const auto alpha = has_alpha ? taken(alphas, next_alpha) : std::nullopt, beta = has_beta ? taken(betas, next_beta) : std::nullopt;
      d.act.push_back(activation(c, name, alpha, beta));
      if (clip > 0 && a < 2)
        d.act.back() = [f = d.act.back(), clip](const Tensor& x) { return f(minimum(maximum(x, number(-clip, x)), number(clip, x))); };
    }
    const bool back = direction == "reverse" || k == 1;
    const Tensor xw = product(x, d.weight, d.bias_in);   // all steps in one product
    State s{h0 ? direction_of(h0, k) : zero, kind == Kind::lstm ? (c0 ? direction_of(c0, k) : zero) : Tensor()};
    Tensors ys(static_cast<size_t>(steps));
    for (int64_t i = 0; i < steps; ++i) {
      const int64_t t = back ? steps - 1 - i : i;
      const Tensor now = direction_of(xw, t);
      State next = kind == Kind::lstm  ? lstm_step(d, now, s, c.integer("input_forget", 0))
                   : kind == Kind::gru ? gru_step(d, now, s, c.integer("linear_before_reset", 0))
                                       : rnn_step(d, now, s);
      Tensor y = next.h;
      if (length) {
        const Tensor live = lt(number(double(t), length), length);
        y = where(live, next.h, number(0, next.h));
        next.h = where(live, next.h, s.h);
        if (kind == Kind::lstm) next.c = where(live, next.c, s.c);
      }
      ys[size_t(t)] = unsqueeze(y, 0);
      s = next;
    }
    all_y.push_back(unsqueeze(apply(SUAN_OP("cat"), ys, {int64_t(0)}), 1));   // [steps, 1, batch, hidden]
    last_h.push_back(unsqueeze(s.h, 0));
    if (kind == Kind::lstm) last_c.push_back(unsqueeze(s.c, 0));
  }
  auto joined = [](const Tensors& t, int64_t axis) { return t.size() == 1 ? t[0] : apply(SUAN_OP("cat"), t, {axis}); };
  Tensor y = joined(all_y, 1);
  if (batch_first) y = permute(y, {2, 0, 1, 3});
  Values out{y, turned(joined(last_h, 0))};
  if (kind == Kind::lstm) out.emplace_back(turned(joined(last_c, 0)));
  return out;
}

}  // namespace

std::vector<Mapping> recurrent_ops() {
  return {
      {"GRU", 1, build_recurrent<Kind::gru>},
      {"LSTM", 1, build_recurrent<Kind::lstm>},
      {"RNN", 1, build_recurrent<Kind::rnn>},
  };
}

}  // namespace suan::onnx
