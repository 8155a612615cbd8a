// LSTM, GRU and RNN. A plain LSTM or GRU is one op for all its steps; the others run one step after another: each is two
// products and element-wise ops, which the passes join. Sequence lengths hold the state and clear the output of steps
// past the end.
#include <cstring>
#include <functional>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

using namespace ops;

using Activation = std::function<Tensor(const Tensor&)>;

// Functions with parameters take the next of the node's lists, in the order of the functions, or their default.
class Activations {
 public:
  explicit Activations(Call& c)
      : c_(c), alpha_(c.reals("activation_alpha", std::vector<double>{})), beta_(c.reals("activation_beta", std::vector<double>{})) {}

  Activation next(std::string name) {
    for (char& ch : name) ch = char(std::tolower(static_cast<unsigned char>(ch)));
    if (name == "sigmoid") return [](const Tensor& x) { return sigmoid(x); };
    if (name == "tanh") return [](const Tensor& x) { return tanh(x); };
    if (name == "relu") return [](const Tensor& x) { return relu(x); };
    if (name == "softsign") return [](const Tensor& x) { return x / (abs(x) + 1.0); };
    if (name == "softplus") return [](const Tensor& x) { return apply(SUAN_OP("softplus"), {x}); };
    if (name == "leakyrelu") return [a = alpha(0.01)](const Tensor& x) { return where(lt(x, number(0, x)), x * a, x); };
    if (name == "thresholdedrelu") return [a = alpha(1)](const Tensor& x) { return where(gt(x, number(a, x)), x, number(0, x)); };
    if (name == "elu") return [a = alpha(1)](const Tensor& x) { return where(lt(x, number(0, x)), (exp(x) - 1.0) * a, x); };
    const bool affine = name == "affine", scaled = name == "scaledtanh", hard = name == "hardsigmoid";
    if (!affine && !scaled && !hard) c_.fail<TypeError>("unknown activation: expected one of ONNX's, got '{}'", name);
    const double a = alpha(hard ? 0.2 : 1), b = beta(hard ? 0.5 : affine ? 0 : 1);
    if (affine) return [a, b](const Tensor& x) { return x * a + b; };
    if (scaled) return [a, b](const Tensor& x) { return tanh(x * b) * a; };
    return [a, b](const Tensor& x) { return maximum(minimum(x * a + b, number(1, x)), number(0, x)); };
  }

 private:
  double alpha(double fallback) { return n_alpha_ < alpha_.size() ? alpha_[n_alpha_++] : fallback; }
  double beta(double fallback) { return n_beta_ < beta_.size() ? beta_[n_beta_++] : fallback; }
  Call& c_;
  std::vector<double> alpha_, beta_;
  size_t n_alpha_ = 0, n_beta_ = 0;
};

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

// A direction as the ops take it: gates in their order, the recurrent weight in panels where it is packed once.
struct LayerWeights {
  Tensor weight, recurrent;
  Tensor bias, bias_hidden;   // the second of a GRU only
};

// The gates of a constant weight in the op's order, made when they are read: a product packs them, and then nobody does.
Tensor reordered_later(const Tensor& t, Kind kind, int64_t hidden) {
  return Tensor::over(Storage::deferred(t.type().bytes(), [t, kind, hidden](std::byte* to) {
    const int64_t gate = hidden * t.dim(1) * item_size(t.dtype());
    const std::byte* from = t.raw();
    for (int64_t k : kind == Kind::lstm ? std::vector<int64_t>{0, 2, 3, 1} : std::vector<int64_t>{1, 0, 2}) {
      std::memcpy(to, from + k * gate, size_t(gate));
      to += gate;
    }
  }), Layout(t.shape()), t.dtype());
}

LayerWeights in_op_order(const Direction& d, Kind kind, bool panels) {
  auto reordered = [&](const Tensor& t) {
    auto rows = [&](int64_t from, int64_t to) { return slice(t, 0, from * d.hidden, to * d.hidden); };
    if (!t) return t;
    // input, output, forget, cell becomes input, forget, cell, output; update, reset, new becomes reset, update, new.
    return kind == Kind::lstm ? apply(SUAN_OP("cat"), {rows(0, 1), rows(2, 4), rows(1, 2)}, {int64_t(0)})
                              : apply(SUAN_OP("cat"), {rows(1, 2), rows(0, 1), rows(2, 3)}, {int64_t(0)});
  };
  constexpr int64_t least_deferred = 64 << 10;
  const bool later = panels && d.weight.is_contiguous() && d.weight.type().bytes() >= least_deferred;
  LayerWeights w{later ? reordered_later(d.weight, kind, d.hidden) : reordered(d.weight), reordered(d.recurrent), {}, {}};
  if (kind == Kind::gru) {
    w.bias = reordered(d.bias_in);
    w.bias_hidden = reordered(d.bias_hidden);
  } else if (d.bias_in) {
    w.bias = reordered(d.bias_in + d.bias_hidden);
  }
  if (panels && w.recurrent.dtype() == DType::f32)
    w.recurrent = apply(SUAN_OP("gate_panels"), {w.recurrent}, {int64_t(kind == Kind::lstm ? 4 : 3)});
  return w;
}

// The weights of all directions, made of constants, and these.
struct ConstantWeights {
  std::vector<Tensor> from;
  std::vector<LayerWeights> made;
  // A node may meet other constants where they depend on shapes or on numbers that a plan is made for.
  bool are_from(const std::vector<Tensor>& now) const {
    for (size_t i = 0; i < from.size(); ++i) {
      const Tensor &a = from[i], &b = now[i];
      if (a.defined() != b.defined() || (a.defined() && !(a.type() == b.type()))) return false;
      if (!a.defined() || a.storage() == b.storage()) continue;
      if (!a.is_contiguous() || !b.is_contiguous() || std::memcmp(a.raw(), b.raw(), size_t(a.type().bytes())) != 0) return false;
    }
    return true;
  }
};

// Steps [steps, batch] of each sequence of x [steps, batch, n], by number.
Tensor steps_of(const Tensor& x, const Tensor& numbers) {
  const int64_t steps = x.dim(0), batch = x.dim(1), n = x.dim(2);
  const Tensor column = apply(SUAN_OP("arange"), {}, {0.0, double(batch), 1.0, DType::i64});
  return apply(SUAN_OP("embedding"), {reshape(x, {steps * batch, n}), numbers * number(double(batch), numbers) + column});
}

// Lengths only say which steps of a sequence are its own: outputs past its end are 0, the last state is that of its last
// step, and backwards its own steps are turned round alone.
class Lengths {
 public:
  Lengths(const Tensor& length, int64_t steps) {
    const Tensor flat = reshape(length, {length.numel()});
    length_ = minimum(maximum(flat, number(0, flat)), number(double(steps), flat));
    step_ = reshape(apply(SUAN_OP("arange"), {}, {0.0, double(steps), 1.0, DType::i64}), {steps, 1});
    live_ = lt(step_, length_);
  }
  Tensor turned(const Tensor& x) const { return steps_of(x, where(live_, length_ - step_ - number(1, step_), step_)); }
  Tensor cleared(const Tensor& y) const { return where(unsqueeze(live_, 2), y, number(0, y)); }
  Tensor last(const Tensor& states, const Tensor& first) const {   // those of an empty sequence stay the first ones
    const Tensor end = unsqueeze(maximum(length_ - number(1, length_), number(0, length_)), 0);
    return where(unsqueeze(gt(length_, number(0, length_)), 1), squeeze(steps_of(states, end), 0), first);
  }

 private:
  Tensor length_, step_, live_;
};

std::pair<Tensor, State> whole_layer(Kind kind, const LayerWeights& w, const Tensor& x, const State& s, bool reverse, bool reset_after,
                                     const Lengths* lengths) {
  const bool turn = lengths && reverse, back = reverse && !turn;
  const Tensor gates = product(turn ? lengths->turned(x) : x, w.weight, w.bias);
  const Tensors out = kind == Kind::lstm ? apply_all(SUAN_OP("lstm_layer"), {gates, s.h, s.c, w.recurrent}, {back})
                                         : apply_all(SUAN_OP("gru_layer"), {gates, s.h, w.recurrent, w.bias_hidden}, {back, reset_after});
  const int64_t end = back ? 0 : x.dim(0) - 1;
  auto last = [&](const Tensor& t, const Tensor& first) {
    return lengths ? lengths->last(t, first) : squeeze(slice(t, 0, end, end + 1), 0);
  };
  const State final{last(out[0], s.h), kind == Kind::lstm ? last(out[1], s.c) : Tensor()};
  if (!lengths) return {out[0], final};
  return {lengths->cleared(turn ? lengths->turned(out[0]) : out[0]), final};
}

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
  const double clip = c.real("clip", 0.0);
  const int64_t steps = x.dim(0), batch = x.dim(1), hidden = recurrent.dim(2), directions = weight.dim(0);
  const std::string direction = c.string("direction", "forward");
  std::vector<std::string> names = c.texts("activations", std::vector<std::string>{});
  if (names.empty())
    for (int64_t k = 0; k < directions; ++k)
      for (const char* a : {"Sigmoid", "Tanh", "Tanh"})
        if (!(kind == Kind::rnn && a[0] == 'S') && int64_t(names.size()) < n_act * (k + 1)) names.push_back(a);
  if (int64_t(names.size()) != n_act * directions || steps < 1)
    c.fail<ValueError>("wrong number of activations or steps: expected {} and 1 or more, got {} and {}", n_act * directions, names.size(), steps);
  const Tensor zero = full(Shape{batch, hidden}, 0, x.dtype());
  const Tensor h0 = turned(c.optional(5)), c0 = kind == Kind::lstm ? turned(c.optional(6)) : Tensor();
  Tensor length = c.has(4) ? reshape(cast(c[4], DType::i64), {batch, 1}) : Tensor();
  const bool usual = [&] {   // exporters like to write out the defaults
    for (size_t i = 0; i < names.size(); ++i)
      if (names[i] != (i % size_t(n_act) ? "Tanh" : "Sigmoid")) return false;
    return true;
  }();
  const bool whole = (kind == Kind::lstm && usual && clip <= 0 && !c.has(7) && !c.integer("input_forget", 0)) ||
                     (kind == Kind::gru && usual && clip <= 0);
  if (length && is_concrete(c.in[4])) {   // exporters like to give lengths that are all of it
    const std::vector<int64_t> known = read_ints(length);
    if (std::all_of(known.begin(), known.end(), [&](int64_t n) { return n == steps; })) length = {};
  }
  if ((!whole || length) && c.eval.open_sizes()) throw NotOpen{};   // a node for each step, or as many numbers
  const std::optional<Lengths> lengths = whole && length ? std::optional<Lengths>(std::in_place, length, steps) : std::nullopt;
  Activations functions(c);
  Tensors all_y, last_h, last_c;
  auto direction_at = [&](int64_t k) {
    Direction d{direction_of(weight, k), direction_of(recurrent, k), {}, {}, {}, {}, hidden};
    if (c.has(3)) {
      const Tensor b = direction_of(c[3], k);
      d.bias_in = slice(b, 0, 0, gates * hidden);
      d.bias_hidden = slice(b, 0, gates * hidden, 2 * gates * hidden);
    }
    if (kind == Kind::lstm && c.has(7)) d.peephole = direction_of(c[7], k);
    return d;
  };
  auto all_weights = [&](bool panels) {
    std::vector<LayerWeights> all;
    for (int64_t k = 0; k < directions; ++k) all.push_back(in_op_order(direction_at(k), kind, panels));
    return all;
  };
  // Constants are put in order and packed once, for all plans.
  std::vector<LayerWeights> weights;
  if (whole && c.eval.tracing() && is_concrete(c.in[1]) && is_concrete(c.in[2]) && (!c.has(3) || is_concrete(c.in[3]))) {
    const std::vector<Tensor> from{weight, recurrent, c.optional(3)};
    auto packed = [&] { return Eval::eagerly([&] { return all_weights(true); }); };
    const auto kept = c.prepared<ConstantWeights>([&] { return ConstantWeights{from, packed()}; });
    weights = kept->are_from(from) ? kept->made : packed();
  } else if (whole) {
    weights = all_weights(false);
  }
  for (int64_t k = 0; k < directions; ++k) {
    const bool back = direction == "reverse" || k == 1;
    if (whole) {
      const State first{h0 ? direction_of(h0, k) : zero, c0 ? direction_of(c0, k) : zero};
      const auto [y, last] = whole_layer(kind, weights[size_t(k)], x, first, back, c.integer("linear_before_reset", 0),
                                         lengths ? &*lengths : nullptr);
      all_y.push_back(unsqueeze(y, 1));
      last_h.push_back(unsqueeze(last.h, 0));
      if (kind == Kind::lstm) last_c.push_back(unsqueeze(last.c, 0));
      continue;
    }
    Direction d = direction_at(k);
    for (int a = 0; a < n_act; ++a) {
      const Activation f = functions.next(names[size_t(k * n_act + a)]);
      // What a gate's function sees stays within the bounds; the state passes its own unbounded.
      const bool of_gate = kind != Kind::lstm || a < 2;
      d.act.push_back(clip > 0 && of_gate ? [f, clip](const Tensor& v) {
        return f(apply(SUAN_OP("clamp"), {v, number(-clip, v), number(clip, v)}));
      } : f);
    }
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
