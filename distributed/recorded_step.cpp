#include "distributed/recorded_step.h"

#include <algorithm>

#include "core/pass.h"

namespace suan::distributed {

bool is_gradient(const Node& n) {
  static const OpDef& def = op("all_reduce");
  return n.op == &def && n.attrs.boolean(2);
}

namespace {
// One level of sums of marked gradients. False when there are none.
bool merge_some(Trace& t) {
  static const OpDef& add = op("add");
  const Graph& g = t.graph;
  const std::vector<int> uses = g.use_counts();
  auto marked = [&](ValueId v) {
    const int p = g.values[size_t(v)].producer;
    return p >= 0 && is_gradient(g.nodes[size_t(p)]) && uses[size_t(v)] == 1 ? p : -1;
  };
  std::set<int> merged;
  std::vector<int> sums;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& n = g.nodes[i];
    if (n.op != &add || n.in[0] == n.in[1] || marked(n.in[0]) < 0 || marked(n.in[1]) < 0) continue;
    if (!(g.values[size_t(n.in[0])].type == g.values[size_t(n.in[1])].type)) continue;
    merged.insert({marked(n.in[0]), marked(n.in[1])});
    sums.push_back(int(i));
  }
  if (sums.empty()) return false;
  Rebuild b(g);
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& n = g.nodes[i];
    if (merged.count(int(i))) continue;
    if (!std::count(sums.begin(), sums.end(), int(i))) { b.copy(n); continue; }
    const Node &x = g.nodes[size_t(marked(n.in[0]))], &y = g.nodes[size_t(marked(n.in[1]))];
    const TensorType& type = g.values[size_t(n.out[0])].type;
    int k = b.to.append_typed(add, {b[x.in[0]], b[y.in[0]]}, n.attrs, {&type, 1}, n.source);
    k = b.to.append_typed(*y.op, {b.to.nodes[size_t(k)].out[0]}, y.attrs, {&type, 1}, y.source);
    b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
  }
  for (auto& c : t.captured) c.input = b[c.input];
  for (auto& u : t.updates) u.value = b[u.value];
  t.graph = b.finish();
  return true;
}
}  // namespace

void merge_gradients(Trace& t) {
  while (merge_some(t)) {}
}

RecordedStep::RecordedStep(const Trace& t, const ParallelOptions& o)
    : t_(t), g_(t.graph), o_(o), local_(o.shards / o.world), stage_(o.world == 1 ? 0 : o.stage) {
  classify();
  if (stage_ > 0) find_sharded();
}

void RecordedStep::classify() {
  kind_.assign(g_.values.size(), Kind::fixed);
  for (const auto& c : t_.captured)
    if (c.argument) kind_[size_t(c.input)] = Kind::batch;
  for (const Node& n : g_.nodes) {
    bool batch = false, reduced = false;
    for (ValueId v : n.in) {
      batch |= kind(v) == Kind::batch;
      reduced |= kind(v) == Kind::reduced;
    }
    if (n.op->flags & op_random)
      refuse(&n, "random numbers in the step: expected none, since every shard would draw the same, got some");
    if (is_gradient(n)) {
      if (reduced) refuse(&n, "a second backward pass over reduced gradients: expected one, got two");
      gradients_[n.out[0]] = {&n, numel(type(n.out[0]).shape)};
      reduced = true;
    } else {
      if (collective_world(n) > 0) refuse(&n, "a collective in the step: expected only gradients to be reduced, got one");
      if (batch && reduced)
        refuse(&n, "a value of one shard meets reduced gradients: expected either, got both");
      if (batch && !n.op->updates.empty())
        refuse(&n, "state that follows the batch: expected gradients to be all that leaves a shard, got an update");
    }
    // Gradients times numbers and the like: what a part can do as well as the whole.
    bool like = n.op->flags & op_elementwise && reduced;
    for (ValueId v : n.in) like &= v != no_value && (like_.count(v) || type(v).shape.empty());
    if (is_gradient(n) || (like && type(n.out[0]).shape == type(n.in[0]).shape)) like_.insert(n.out[0]);
    kind_of_node_.push_back(reduced ? Kind::reduced : batch ? Kind::batch : Kind::fixed);
    for (ValueId v : n.out) kind_[size_t(v)] = kind_of_node_.back();
  }
  if (gradients_.empty())
    refuse(nullptr, "no gradient in the step: expected backward() to reach a parameter, got none");
  for (const auto& u : t_.updates)
    if (kind(u.value) == Kind::batch)
      refuse(nullptr, "state that follows the batch: expected gradients to be all that leaves a shard, got a change "
                      "of a tensor {} first used at {}", to_string(t_.captured[size_t(u.captured)].source.type()),
             to_string(t_.captured[size_t(u.captured)].line));
  for (int k = 0; k < t_.n_outputs; ++k) {
    ValueId v = g_.outputs[size_t(k)];
    if (kind(v) == Kind::batch && (!type(v).shape.empty() || !is_floating(type(v).dtype)))
      refuse(nullptr, "result {} differs between shards: expected a mean loss (a 0-d float), got {}", k,
             to_string(type(v)));
  }
}

int RecordedStep::captured_of(ValueId v) const {
  for (size_t c = 0; c < t_.captured.size(); ++c)
    if (t_.captured[c].input == v) return t_.captured[c].argument ? -1 : int(c);
  return -1;
}

// Optimizer steps that read gradients: their state, and at stage 3 their parameters, become parts.
void RecordedStep::find_sharded() {
  std::vector<int> uses = g_.use_counts();
  for (size_t i = 0; i < g_.nodes.size(); ++i) {
    const Node& n = g_.nodes[i];
    if (kind_of_node_[i] != Kind::reduced || n.op->updates.empty()) continue;
    for (size_t k = 0; k < n.op->updates.size(); ++k) {
      const int j = n.op->updates[k];
      const ValueId v = n.in[size_t(j)];
      if (v == no_value) continue;
      const int c = captured_of(v);
      if (c < 0 || type(v).shape != type(n.in[0]).shape)
        refuse(&n, "optimizer state of another form: expected a tensor like the parameter, kept from step to step, "
                   "got {}", to_string(type(v)));
      if (j == 0 && stage_ < 3) continue;
      if (j != 0 && uses[size_t(v)] != 1)
        refuse(&n, "optimizer state is read elsewhere: expected one reader at stage {}, got {}", stage_,
               uses[size_t(v)]);
      part_of_.insert(v);
      sharded_.push_back(c);
    }
  }
  if (part_of_.empty())
    refuse(nullptr, "nothing to shard: expected an optimizer step that keeps state for stage {}, got none", stage_);
}

}  // namespace suan::distributed
