// Descriptions of backward passes, and the plans that this thread keeps for them.
#include "core/backward_plan.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/apply.h"
#include "core/compile.h"
#include "core/hash.h"
#include "core/hooks.h"
#include "core/pass.h"

namespace suan {
namespace {

constexpr size_t max_plans = 64;
constexpr size_t n_sightings = 1024;
constexpr int plan_after = 3;

using Words = std::vector<uint64_t>;

// Numbers pointers by first sight: open addressing, no allocation per entry.
class Numbering {
 public:
  explicit Numbering(size_t expected) : slots_(std::bit_ceil(2 * expected + 16)) {}
  // The pointer's number, and whether it is new.
  std::pair<uint64_t, bool> operator()(const void* p) {
    size_t at = mix(0, uint64_t(p)) & (slots_.size() - 1);
    while (slots_[at].first && slots_[at].first != p) at = (at + 1) & (slots_.size() - 1);
    if (slots_[at].first) return {slots_[at].second, false};
    if (2 * ++n_ > slots_.size()) return grow(p);
    slots_[at] = {p, n_ - 1};
    return {n_ - 1, true};
  }

 private:
  std::pair<uint64_t, bool> grow(const void* p) {
    std::vector<std::pair<const void*, uint64_t>> old(slots_.size() * 2);
    old.swap(slots_);
    for (auto& slot : old) {
      if (!slot.first) continue;
      size_t at = mix(0, uint64_t(slot.first)) & (slots_.size() - 1);
      while (slots_[at].first) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = slot;
    }
    --n_;
    return (*this)(p);
  }
  std::vector<std::pair<const void*, uint64_t>> slots_;
  size_t n_ = 0;
};

struct Description {
  Words words;
  std::vector<const Tensor*> inputs;   // one per storage, as it was seen first
  std::vector<Ref<TensorImpl>> leaves;
};

class Describer {
 public:
  explicit Describer(const BackwardPass& pass)
      : pass_(pass), nodes_(pass.nodes.size()), storages_(2 * pass.nodes.size()), leaves_(pass.nodes.size()) {}

  // False for what is always interpreted.
  bool run() {
    d_.words.reserve(48 * pass_.nodes.size() + 32);
    for (const Ref<TapeNode>& n : pass_.nodes) nodes_(n.get());
    word(pass_.seeds.size() | uint64_t(pass_.nodes.size()) << 32);
    for (const auto& [e, g] : pass_.seeds)
      if (!edge(e) || !value(g)) return false;
    for (const Ref<TapeNode>& n : pass_.nodes)
      if (!node(*n)) return false;
    // Gradients come last: one that is also a seed or a saved value would be overwritten while it is read.
    size_t n_read = d_.inputs.size();
    for (const Ref<TensorImpl>& leaf : d_.leaves) {
      const AutogradState* s = leaf->autograd;
      if (s && (!s->hooks.empty() || !s->after_accumulate.empty())) return false;
      type(Tensor(leaf).type());
      word(s && s->grad.defined());
      if (!s || !s->grad.defined()) continue;
      const Tensor& g = s->grad;
      size_t before = d_.inputs.size();
      if (!value(g) || d_.inputs.size() == before || g.storage()->is_literal() || !g.is_contiguous() ||
          g.offset() != 0 || g.type().bytes() != g.storage()->bytes())
        return false;
    }
    word(n_read);
    return true;
  }
  Description& result() { return d_; }

 private:
  void word(uint64_t w) { d_.words.push_back(w); }
  void dims(const Dims& d) {
    for (int64_t x : d) word(uint64_t(x));
  }
  void type(const TensorType& t) {
    word(uint64_t(t.dtype) | uint64_t(t.shape.size()) << 8 | uint64_t(t.device.type) << 16 |
         uint64_t(t.device.index) << 24);
    dims(t.shape);
  }

  bool edge(const Edge& e) {
    if (e.leaf) {
      auto [number, fresh] = leaves_(e.leaf.get());
      if (fresh) d_.leaves.push_back(e.leaf);
      word(1 | number << 2);
    } else if (e.node) {
      auto [number, fresh] = nodes_(e.node.get());
      if (fresh) return false;
      word(2 | uint64_t(e.port) << 2 | number << 16);
    } else {
      word(0);
    }
    return true;
  }

  bool value(const Tensor& t) {
    const Storage* s = t.storage().get();
    if (s->is_dry()) return false;
    auto [number, fresh] = storages_(s);
    word(number);
    type(t.type());
    dims(t.strides());
    word(uint64_t(t.offset()));
    if (!fresh) return dtypes_[size_t(number)] == t.dtype();
    dtypes_.push_back(t.dtype());
    word(uint64_t(s->bytes()) << 1 | uint64_t(s->is_literal() && t.rank() == 0));
    if (s->is_literal() && t.rank() == 0) {  // a Python number: a constant of the plan
      uint64_t bits[2] = {};
      std::memcpy(bits, s->literal(), sizeof bits);
      word(bits[0]);
      word(bits[1]);
    } else {
      d_.inputs.push_back(&t);
    }
    return true;
  }

  bool saved(const std::vector<Saved>& list) {
    for (const Saved& s : list) {
      word(s.value.defined());
      if (!s.value.defined()) continue;
      if (s.value.storage()->version() != s.version || !value(s.value)) return false;
    }
    return true;
  }

  bool node(const TapeNode& n) {
    if (!n.op || n.op->flags & op_region || n.freed || !n.hooks.empty() || !n.retained.empty()) return false;
    word(uint64_t(n.op->id) | uint64_t(n.edges.size()) << 16 | uint64_t(n.out_types.size()) << 40);
    word(n.attrs.hash());
    for (const Edge& e : n.edges)
      if (!edge(e)) return false;
    for (const auto& t : n.in_types) {
      word(t.has_value());
      if (t) type(*t);
    }
    for (const TensorType& t : n.out_types) type(t);
    return saved(n.saved_in) && saved(n.saved_out);
  }

  const BackwardPass& pass_;
  Numbering nodes_, storages_, leaves_;
  std::vector<DType> dtypes_;   // by storage
  Description d_;
};

using Key = std::pair<uint64_t, uint64_t>;

Key key_of(const Words& words) {
  uint64_t a = 0x243f6a8885a308d3ull, b = 0x13198a2e03707344ull;
  for (uint64_t w : words) {
    a = (a ^ w) * 0x9ddfea08eb382d69ull;
    a ^= a >> 32;
    b = (b + w) * 0xff51afd7ed558ccdull;
    b ^= b >> 29;
  }
  return {a, b};
}

struct Planned {
  Key key;
  Words words;
  std::vector<Attrs> attrs;            // by node: the words hold their hashes
  std::shared_ptr<const Plan> plan;    // null: found to be impossible, stays interpreted
  std::vector<char> reached;           // by node: a gradient flows there
  std::vector<int> leaf_of_output;
  std::vector<int> grown;              // leaves whose gradient is added to
  uint64_t used = 0;                   // clock of the last use

  bool fits(const Key& k, const Words& w, std::span<const Ref<TapeNode>> nodes) const {
    if (key != k || words != w) return false;
    for (size_t i = 0; i < nodes.size(); ++i)
      if (!(attrs[i] == nodes[i]->attrs)) return false;
    return true;
  }
};

struct Sighting {
  Key key;
  int count = 0;
  uint64_t used = 0;        // clock of the last one
  int enough = plan_after;  // grows each time the plan was made: one that is dropped again costs more than it gives
};

struct Plans {
  std::vector<std::unique_ptr<Planned>> kept;
  std::array<Sighting, n_sightings> seen;
  uint64_t clock = 0;
  BackwardPlanCounters counters;

  Planned* find(const Key& key, const Words& words, std::span<const Ref<TapeNode>> nodes) {
    for (auto& p : kept)
      if (p->fits(key, words, nodes)) {
        p->used = ++clock;
        return p.get();
      }
    return nullptr;
  }
  bool earns_plan(const Key& key) {
    // One of four places: passes that take turns must not push each other out.
    Sighting* set = &seen[key.first & (n_sightings - 4)];
    Sighting* at = std::find_if(set, set + 4, [&](const Sighting& s) { return s.key == key; });
    if (at == set + 4) {
      at = std::min_element(set, set + 4, [](const Sighting& a, const Sighting& b) { return a.used < b.used; });
      *at = {key};
    }
    Sighting& s = *at;
    s.used = ++clock;
    if (++s.count < s.enough) return false;
    s.count = 0;
    s.enough *= 4;
    return true;
  }
  Planned* keep(std::unique_ptr<Planned> p) {
    if (kept.size() >= max_plans)
      kept.erase(std::min_element(kept.begin(), kept.end(), [](auto& a, auto& b) { return a->used < b->used; }));
    p->used = ++clock;
    kept.push_back(std::move(p));
    counters.kept = kept.size();
    return kept.back().get();
  }
};

Plans& plans() {
  static thread_local auto p = std::make_unique<Plans>();
  return *p;
}

// What only the interpreter can do stays with it.
bool plannable(const Graph& g, const Recorder& rec, size_t n_inputs) {
  if (rec.captured().size() != n_inputs) return false;
  for (const Node& n : g.nodes)
    if (n.op->flags & (op_random | op_effect | op_region) || !n.op->updates.empty()) return false;
  return true;
}

void make_plan(const Description& d, Planned& p, const std::function<std::vector<char>()>& walk) {
  Recorder rec;
  for (const Tensor* t : d.inputs) rec.add_argument(*t);
  std::vector<bool> had_grad;
  for (const auto& leaf : d.leaves) had_grad.push_back(Tensor(leaf).grad().defined());
  Tensors outputs;
  Graph graph;
  {
    ContextScope scope;
    context() = Context{.grad_enabled = false, .dry = true, .recorder = &rec};
    struct Restore {
      Recorder& rec;
      ~Restore() { rec.restore_grads(); }
    } restore{rec};
    try {
      p.reached = walk();
    } catch (const StateError&) {  // a definition that reads values: only a real pass can run it
      return;
    }
    for (size_t i = 0; i < d.leaves.size(); ++i) {
      Tensor g = Tensor(d.leaves[i]).grad();
      if (had_grad[i] || !g.defined()) continue;
      p.leaf_of_output.push_back(int(i));
      outputs.push_back(g);
    }
    graph = rec.finish(outputs);
  }
  if (!plannable(graph, rec, d.inputs.size())) return;
  PlanOptions options;
  options.commit_early = options.own_outputs = true;
  options.commits.assign(outputs.size(), -1);
  for (const auto& u : rec.updates()) {
    const Storage* changed = d.inputs[size_t(u.captured)]->storage().get();
    auto leaf = std::find_if(d.leaves.begin(), d.leaves.end(), [&](const auto& l) {
      return l->autograd && l->autograd->grad.defined() && l->autograd->grad.storage().get() == changed;
    });
    if (leaf == d.leaves.end()) return;
    p.grown.push_back(int(leaf - d.leaves.begin()));
    options.commits.push_back(u.captured);
  }
  optimize(graph);
  p.plan = std::make_shared<Plan>(std::move(graph), options);
}

void replay(const BackwardPass& pass, const Description& d, const Planned& p) {
  std::vector<Ref<Storage>> inputs;
  inputs.reserve(d.inputs.size());
  for (const Tensor* t : d.inputs) inputs.push_back(t->storage());
  if (!pass.retain_graph)
    for (size_t i = 0; i < pass.nodes.size(); ++i)
      if (p.reached[i]) {
        TapeNode& n = *pass.nodes[i];
        n.freed = true;
        n.saved_in.clear();
        n.saved_out.clear();
      }
  for (int leaf : p.grown) d.leaves[size_t(leaf)]->autograd->grad.storage()->bump_version(capture_source());
  Tensors made = run_once(*p.plan, std::move(inputs));
  for (size_t k = 0; k < made.size(); ++k)
    autograd_state(*d.leaves[size_t(p.leaf_of_output[k])]).grad = std::move(made[k]);
}

}  // namespace

BackwardPlanCounters& backward_plan_counters() { return plans().counters; }

bool replay_backward(const BackwardPass& pass, const std::function<std::vector<char>()>& walk) {
  const Context& c = context();
  Plans& all = plans();
  if (c.dry || c.recorder || c.inference || result_hook() || interpret_requested()) return false;
  Describer describer(pass);
  if (!describer.run()) return false;
  Description& d = describer.result();
  Key key = key_of(d.words);
  Planned* p = all.find(key, d.words, pass.nodes);
  if (!p) {
    if (!all.earns_plan(key)) return false;
    auto made = std::make_unique<Planned>();
    make_plan(d, *made, walk);
    made->key = key;
    made->words = d.words;
    for (const auto& n : pass.nodes) made->attrs.push_back(n->attrs);
    all.counters.plans += made->plan != nullptr;
    p = all.keep(std::move(made));
  }
  if (!p->plan) return false;
  ++all.counters.replays;
  replay(pass, d, *p);
  return true;
}

}  // namespace suan
