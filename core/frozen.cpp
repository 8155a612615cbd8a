#include "core/frozen.h"

#include <algorithm>
#include <set>

#include "core/apply.h"
#include "core/exports.h"
#include "core/interrupt.h"

namespace suan {

bool Version::now() const { return storage->version() == writes && last_export(*storage) == exported; }

void FrozenWeights::optimize(Graph& g, std::span<const Version> from, bool exact) {
  std::lock_guard lock(mutex_);
  for (const Version& v : from) {
    const std::pair version(v.writes, v.exported);
    auto [it, fresh] = versions_.try_emplace(v.storage->id(), version);
    if (fresh || it->second == version) continue;
    made_.forget(v.storage->id());
    it->second = version;
  }
  suan::optimize(g, {.constants = &made_, .exact = exact});
}

void FrozenWeights::drop_unused() {
  std::lock_guard lock(mutex_);
  made_.drop_unused();
}

bool Frozen::holds() const {
  for (const Version& v : watched_)
    if (v.storage->version() != v.writes) return false;
  const uint64_t begun = exports_begun();
  if (begun == exports_) return true;
  for (const Version& v : watched_)
    if (!v.now() || is_exported(*v.storage)) return false;
  exports_ = begun;
  return true;
}

Tensors Frozen::operator()(std::span<const Tensor> all) const {
  Tensors inputs;
  for (int i : inputs_) inputs.push_back(all[size_t(i)]);
  if (pool_) return (*pool_)(inputs);
  NoGrad off;
  Tensors values = interpret(graph_, inputs), out;
  InterruptShield commit;
  for (size_t k = 0; k < values.size(); ++k)
    if (commits_[k] < 0) out.push_back(values[k]);
    else apply_into(op("copy"), {values[k]}, {}, inputs[size_t(commits_[k])]);
  return out;
}

bool Freezer::fits(const Trace& t, const CompileOptions& options) {
  if (!options.freeze || options.memory_limit || !t.without_gradients || t.differentiable) return false;
  const auto elsewhere = [](const Value& v) { return !v.type.device.is_cpu(); };
  return std::any_of(t.captured.begin(), t.captured.end(), [](const auto& c) { return !c.argument; }) &&
         std::none_of(t.graph.values.begin(), t.graph.values.end(), elsewhere) &&
         // Ranks of a group run one program; which tensors changed when may differ between them.
         std::none_of(t.graph.nodes.begin(), t.graph.nodes.end(), [](const Node& n) { return n.op->flags & op_effect; });
}

Freezer::Freezer(const Trace& trace, const CompileOptions& options)
    : trace_(trace), options_(options), weights_(options.weights ? options.weights : std::make_shared<FrozenWeights>()) {
  std::vector<bool> changes(trace.captured.size());
  for (const auto& u : trace.updates) changes[size_t(u.captured)] = true;
  for (size_t i = 0; i < trace.captured.size(); ++i)
    if (!trace.captured[i].argument && !changes[i]) {
      const Ref<Storage>& s = trace.captured[i].root.storage();
      watch_exports(*s);
      candidates_.push_back({int(i), {s, trace.versions[i], last_export(*s)}, 0, 1, false});
    }
}

Freezer::~Freezer() {
  for (const Candidate& c : candidates_) unwatch_exports(*c.version.storage);
}

std::shared_ptr<Frozen> Freezer::choose() {
  constexpr int few = 16, most_needed = 1 << 10;
  std::lock_guard lock(mutex_);
  const bool held = frozen_ && frozen_->holds();
  if (held) {
    ++served_;
    if (n_open_ == 0) return frozen_;
  } else {
    frozen_ = nullptr;
  }
  int64_t all_bytes = 0, ready_bytes = 0;
  bool grown = false;
  for (Candidate& c : candidates_) {
    const Storage& s = *c.version.storage;
    all_bytes += s.bytes();
    if (held && c.frozen) {
      ready_bytes += s.bytes();
      continue;
    }
    if (!c.version.now() || is_exported(s)) {
      if (c.frozen && served_ < few) c.needed = std::min(2 * c.needed, most_needed);
      c.version = {c.version.storage, s.version(), last_export(s)};
      c.calm = 0;
    } else {
      ++c.calm;
    }
    c.frozen = false;
    if (c.calm >= c.needed) ready_bytes += s.bytes();
    grown |= c.calm >= std::max(c.needed, few);
  }
  // A few constants that never change are not worth a program while the weights do; nor is one more worth another.
  if (held ? !grown : ready_bytes == 0 || 2 * ready_bytes < all_bytes) return frozen_;
  frozen_ = nullptr;
  n_open_ = 0;
  for (Candidate& c : candidates_) {
    c.frozen = c.frozen || c.calm >= c.needed;
    n_open_ += !c.frozen;
  }
  served_ = 0;
  return frozen_ = make();
}

// Versions first, then content: a write meanwhile makes another version than the one that is watched.
std::shared_ptr<Frozen> Freezer::make() {
  auto f = std::make_shared<Frozen>();
  ContextScope scope;
  context() = Context{.grad_enabled = false};
  f->exports_ = exports_begun();
  Graph g = trace_.graph;
  std::vector<bool> constant(trace_.captured.size());
  std::vector<Version> from;
  for (const Candidate& c : candidates_) {
    if (!c.frozen) continue;
    constant[size_t(c.captured)] = true;
    from.push_back(c.version);
  }
  std::vector<int> now(trace_.captured.size(), -1);
  g.inputs.clear();
  for (size_t i = 0; i < trace_.captured.size(); ++i) {
    const Recorder::Captured& c = trace_.captured[i];
    if (constant[i]) {
      g.constants[c.input] = c.root;
      continue;
    }
    now[i] = int(f->inputs_.size());
    f->inputs_.push_back(int(i));
    g.inputs.push_back(c.input);
  }
  f->commits_.assign(g.outputs.size(), -1);
  for (size_t u = 0; u < trace_.updates.size(); ++u)
    f->commits_[size_t(trace_.n_outputs) + u] = now[size_t(trace_.updates[u].captured)];
  weights_->optimize(g, from, options_.exact);
  f->watched_ = std::move(from);
  f->graph_ = g;
  if (!options_.interpret)
    f->pool_ = std::make_unique<RunPool>(std::make_shared<Plan>(std::move(g), PlanOptions{.commits = f->commits_}));
  if (f->pool_) f->graph_ = Graph();
  weights_->drop_unused();
  ++programs_;
  return f;
}

std::shared_ptr<Frozen> Freezer::current() const {
  std::lock_guard lock(mutex_);
  return frozen_;
}

Freezer::Stats Freezer::stats() const {
  std::lock_guard lock(mutex_);
  Stats s{.programs = programs_};
  for (const Candidate& c : candidates_) {
    s.frozen += frozen_ && c.frozen;
    s.exported += is_exported(*c.version.storage);
  }
  if (frozen_ && frozen_->plan()) {
    std::set<uint64_t> own, counted;
    for (const Recorder::Captured& c : trace_.captured) own.insert(c.root.storage()->id());
    for (const auto& [v, t] : frozen_->plan()->graph().constants)
      if (!own.count(t.storage()->id()) && counted.insert(t.storage()->id()).second) s.packed_bytes += t.storage()->bytes();
  }
  return s;
}

}  // namespace suan
