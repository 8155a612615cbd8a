// The walk over the graph; ops/batch_rules.cpp has the rules.
#include "ops/batch.h"

#include <algorithm>

#include "core/backend.h"
#include "core/dispatch.h"
#include "core/hooks.h"
#include "core/interrupt.h"
#include "core/pass.h"
#include "core/record.h"
#include "ops/api.h"

namespace suan {
namespace {

Shape with_batch(int64_t size, const Shape& s) {
  Shape out{size};
  for (int64_t d : s) out.push_back(d);
  return out;
}

Tensor stand_in(const TensorType& t) {
  return Tensor::over(Storage::dry(t.device, t.bytes()), Layout(t.shape), t.dtype);
}

int64_t counters(const Node& n) { return (numel(n.attrs.dims(0)) + 3) / 4; }
bool draws(const Node& n) { return n.op == &SUAN_OP("random_bits"); }

class Walk {
 public:
  Walk(const Graph& g, const BatchOptions& o, BatchResult& r) : g_(g), o_(o), r_(r) {}

  void run(std::span<const Batched> inputs) {
    at_.resize(g_.values.size());
    for (size_t i = 0; i < inputs.size(); ++i) at_[size_t(g_.inputs[i])] = inputs[i];
    for (const auto& [v, t] : g_.constants) {
      if (Recorder* around = context().recorder; around && !t.storage()->is_literal()) around->note_numbers(t);
      at_[size_t(v)] = {constant_on(t, g_.values[size_t(v)].type.device), false};
    }
    std::vector<int> uses = g_.use_counts();
    for (size_t i = 0; i < g_.nodes.size(); ++i) {
      check_interrupt();
      const Node& n = g_.nodes[i];
      ResultSource from(n.source);
      const Tensors out = step(n, o_.tracked ? (*o_.tracked)[i] : ~uint64_t(0));
      for (ValueId v : n.in)
        if (v != no_value && --uses[size_t(v)] == 0) at_[size_t(v)] = {};
      for (size_t k = 0; k < n.out.size(); ++k)
        if (uses[size_t(n.out[k])] > 0) at_[size_t(n.out[k])] = {out[k], batched_};
    }
    for (ValueId v : g_.outputs) r_.outputs.push_back(at_[size_t(v)]);
  }

 private:
  // The node's outputs; batched_ says of which kind.
  Tensors step(const Node& n, uint64_t tracked) {
    BatchCall c{*n.op, n.attrs, o_.size, {}, {}, {}};
    batched_ = false;
    for (size_t k = 0; k < n.in.size(); ++k) {
      const ValueId v = n.in[k];
      Batched b = v == no_value ? Batched{} : at_[size_t(v)];
      if (b.value.defined() && !(tracked >> std::min<size_t>(k, 63) & 1) && b.value.requires_grad())
        b.value = b.value.detach();
      batched_ |= b.batched;
      c.in.push_back(b);
      c.in_types.push_back(v == no_value ? TensorType{} : g_.values[size_t(v)].type);
    }
    for (ValueId v : n.out) c.out_types.push_back(g_.values[size_t(v)].type);
    // What an op updates may be read by others, and by who called.
    for (size_t k = 0; k < n.out.size(); ++k)
      if (const int j = updated_input(*n.op, k, n.in.size(), n.out.size()); j >= 0 && c.has(j))
        c.in[size_t(j)].value = ops::copy(c.value(j));
    if (n.op->flags & op_random) return random(n, c);
    if (!batched_) {
      Tensors in;
      for (const Batched& b : c.in) in.push_back(b.value);
      return apply_all(*n.op, in, n.attrs);
    }
    if (collective_world(n) > 0)
      fail<StateError>("vmap", "a collective inside: expected none that depends on the batch, got '{}' at {}", n.op->name,
                       to_string(n.source));
    Tensors out = batch(c);
    for (size_t k = 0; k < out.size(); ++k)
      if (const Shape want = with_batch(c.size, c.out_types[k].shape); out[k].shape() != want)
        out[k] = ops::reshape(out[k], want);
    return out;
  }

  Tensors batch(const BatchCall& c) {
    if (BatchRule rule = find_batch_rule(c))
      if (Tensors out = rule(c); !out.empty()) return out;
    if (const GraphPtr* body = body_of(c)) return within(**body, c);
    if (c.op.compose && !(c.op.flags & op_region)) return definition(c);
    if (std::find(r_.one_by_one.begin(), r_.one_by_one.end(), c.op.name) == r_.one_by_one.end())
      r_.one_by_one.push_back(c.op.name);
    return one_by_one(c);
  }

  static const GraphPtr* body_of(const BatchCall& c) {
    return &c.op == &SUAN_OP("call") ? &c.attrs.graph(0) : nullptr;
  }

  Tensors within(const Graph& g, const BatchCall& c) {
    for (const Node& n : g.nodes)
      if (n.op->flags & op_random)
        fail<StateError>("vmap", "random numbers in a region: expected none, got '{}'", n.op->name);
    BatchOptions o = o_;
    o.tracked = nullptr;
    BatchResult inner;
    inner.one_by_one = std::move(r_.one_by_one);
    Walk(g, o, inner).run(c.in);
    r_.one_by_one = std::move(inner.one_by_one);
    Tensors out;
    for (const Batched& b : inner.outputs)
      out.push_back(b.batched ? b.value : ops::expand(b.value, with_batch(c.size, b.value.shape())));
    return out;
  }

  // The op as the ops it is defined by, recorded for one example.
  Tensors definition(const BatchCall& c) {
    Graph g;
    Tensors made;  // tensors that the definition makes of numbers
    {
      const std::unique_ptr<Recorder> recorder = Recorder::within();
      ContextScope scope;
      context() = Context{.dry = true, .recorder = recorder.get()};
      Tensors in;
      for (size_t i = 0; i < c.in.size(); ++i) {
        in.push_back(c.has(int(i)) ? stand_in(c.in_types[i]) : Tensor());
        if (in.back().defined()) recorder->add_argument(in.back());
      }
      g = recorder->finish(c.op.compose(ComposeContext{c.op, in, c.attrs}));
      for (const Recorder::Captured& a : recorder->captured())
        if (!a.argument) made.push_back(a.root);
    }
    BatchCall present{c.op, c.attrs, c.size, {}, {}, {}};
    for (const Batched& b : c.in)
      if (b.value.defined()) present.in.push_back(b);
    for (const Tensor& t : made) present.in.push_back({t, false});
    return within(g, present);
  }

  Tensors one_by_one(const BatchCall& c) {
    std::vector<Tensors> rows(c.out_types.size());
    for (int64_t b = 0; b < c.size; ++b) {
      Tensors in;
      for (size_t i = 0; i < c.in.size(); ++i)
        in.push_back(!c.batched(int(i)) ? c.in[i].value
                                        : ops::contiguous(ops::reshape(ops::slice(c.in[i].value, 0, b, b + 1),
                                                                       c.in_types[i].shape)));
      for (size_t k = 0; k < c.out_types.size(); ++k)
        if (const int j = updated_input(c.op, k, in.size(), c.out_types.size()); j >= 0 && in[size_t(j)].defined())
          in[size_t(j)] = ops::copy(in[size_t(j)]);
      const Tensors out = apply_all(c.op, in, c.attrs);
      for (size_t k = 0; k < out.size(); ++k) rows[k].push_back(ops::reshape(out[k], with_batch(1, out[k].shape())));
    }
    Tensors out;
    for (size_t k = 0; k < rows.size(); ++k) {
      TensorType none = c.out_types[k];
      none.shape = with_batch(0, none.shape);
      out.push_back(rows[k].empty() ? ops::zeros(none) : apply(SUAN_OP("cat"), rows[k], {int64_t(0)}));
    }
    return out;
  }

  Tensors random(const Node& n, const BatchCall& c) {
    if (o_.random == BatchRandom::refuse)
      fail<StateError>("vmap", "random numbers inside: expected randomness=\"different\" or \"same\" to say whether examples "
                               "share them, got \"error\" (at {})", to_string(n.source));
    if (!draws(n) || batched_)
      fail<StateError>("vmap", "random op without a rule: expected draws from one generator, got '{}' at {}", n.op->name,
                       to_string(n.source));
    if (o_.random == BatchRandom::same) return apply_all(*n.op, {c.value(0)}, n.attrs);
    // Draw d of an example needs counters_d; B examples need B times as many at most, so it begins (B - 1) times
    // what came before later, and no counter is used twice.
    const Tensor state = advanced(c.value(0), (o_.size - 1) * drawn_);
    drawn_ += counters(n);
    batched_ = true;
    return {apply(*n.op, {state}, {with_batch(o_.size, n.attrs.dims(0))})};
  }

  const Graph& g_;
  const BatchOptions& o_;
  BatchResult& r_;
  std::vector<Batched> at_;
  bool batched_ = false;
  int64_t drawn_ = 0;
};

}  // namespace

Tensor BatchCall::whole(int i) const {
  if (!has(i) || batched(i)) return has(i) ? value(i) : Tensor();
  return ops::expand(value(i), with_batch(size, value(i).shape()));
}

Tensor BatchCall::lifted(int i, int to) const {
  const Tensor t = whole(i);
  if (!t.defined() || t.rank() > to) return t;
  Shape s{size};
  for (int k = rank(i); k < to; ++k) s.push_back(1);
  for (int64_t d : in_types[size_t(i)].shape) s.push_back(d);
  return ops::reshape(t, s);
}

Tensor advanced(const Tensor& state, int64_t more) {
  if (more == 0) return state;
  const Tensor unit = apply(SUAN_OP("arange"), {}, {0.0, 2.0, 1.0, DType::u64});
  return ops::add(state, ops::mul(unit, Tensor::scalar_int(more, DType::u64, state.device())));
}

BatchDraws batch_draws(const Graph& g, const BatchOptions& o) {
  BatchDraws found{0, std::vector<bool>(g.inputs.size(), false)};
  if (o.random != BatchRandom::different || o.size < 1) return found;
  for (const Node& n : g.nodes) {
    if (!draws(n)) continue;
    found.more += (o.size - 1) * counters(n);
    ValueId v = n.in[0];
    while (g.values[size_t(v)].producer >= 0) v = g.nodes[size_t(g.values[size_t(v)].producer)].in[0];
    for (size_t i = 0; i < g.inputs.size(); ++i)
      if (g.inputs[i] == v) found.states[i] = true;
  }
  return found;
}

BatchResult run_batched(const Graph& g, std::span<const Batched> inputs, const BatchOptions& options) {
  BatchResult r;
  Walk(g, options, r).run(inputs);
  return r;
}

}  // namespace suan
