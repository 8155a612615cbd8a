// The backward pass: nodes in falling sequence order (always a topological order), each vjp through apply().
#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/apply.h"
#include "core/backward_plan.h"
#include "core/hooks.h"
#include "core/interrupt.h"
#include "core/record.h"
#include "core/remedies.h"
#include "core/tape.h"

namespace suan {
namespace {

// Gives a vjp its saved values, checking that nobody overwrote them.
class TapeVjp : public VjpContext {
 public:
  TapeVjp(const Ref<TapeNode>& node, bool history) : VjpContext(*node->op, node->attrs), node_(node),
                                                     history_(history) {
    in_types = node->in_types;
    out_types = node->out_types;
    outs_.resize(node->saved_out.size());
  }
  const Tensor& in(int i) override { return checked(node_->saved_in[i], "input", i); }
  const Tensor& out(int j) override {
    const Tensor& value = checked(node_->saved_out[j], "output", j);
    if (!history_) return value;
    if (!outs_[j].defined()) {  // joined to the tape again only now: a saved output would be a cycle
      outs_[j] = value.detach();
      AutogradState& s = autograd_state(*outs_[j].impl());
      s.node = node_;
      s.port = j;
    }
    return outs_[j];
  }

 private:
  const Tensor& checked(const Saved& s, const char* kind, int i) {
    if (!s.value.defined())
      fail<InternalError>(op.name, "gradient rule reads what it did not ask for: expected {} {} unused", kind, i);
    if (s.value.storage()->version() != s.version)
      fail<StateError>(op.name,
                       "saved {} {} was overwritten before backward: expected version {}, got {} "
                       "(saved at {}, overwritten at {})",
                       kind, i, s.version, s.value.storage()->version(), to_string(node_->source),
                       to_string(s.value.storage()->last_write()));
    return s.value;
  }
  const Ref<TapeNode>& node_;
  bool history_;
  Tensors outs_;
};

// Through the definition: the composite is run again on the saved inputs and differentiated step by step.
Tensors vjp_by_definition(VjpContext& c, bool create_graph) {
  ContextScope scope;
  context().grad_enabled = true;
  Tensors ins, wanted;
  std::vector<int> index;
  for (int i = 0; i < c.n_in(); ++i) {
    if (!c.has(i)) { ins.emplace_back(); continue; }
    Tensor x = c.in(i);
    if (c.needs(i)) {
      if (create_graph) {
        x = apply(op("reshape"), {x}, {x.shape()});  // a node of its own, should one tensor be given twice
      } else {
        x = x.detach();
        x.set_requires_grad(true);
      }
      index.push_back(i);
      wanted.push_back(x);
    } else if (!create_graph) {
      x = x.detach();
    }
    ins.push_back(x);
  }
  Tensors outs = c.op.compose(ComposeContext{c.op, ins, c.attrs});
  Tensors roots, seeds;
  for (size_t j = 0; j < outs.size(); ++j)
    if (c.grads[j].defined() && outs[j].requires_grad()) {
      roots.push_back(outs[j]);
      seeds.push_back(c.grads[j]);
    }
  Tensors result(size_t(c.n_in()));
  Tensors g = grad(roots, wanted, seeds, {.retain_graph = create_graph, .create_graph = create_graph}, true);
  for (size_t k = 0; k < index.size(); ++k) result[size_t(index[k])] = g[k];
  return result;
}

Tensor plus(const Tensor& a, const Tensor& b) { return apply(op("add"), {a, b}); }

class Engine {
 public:
  explicit Engine(BackwardOptions o) : options_(o) {}

  void add_root(const Tensor& root, Tensor g) {
    if (!root.requires_grad())
      fail<StateError>("backward", "no gradient history: expected a tensor that requires a gradient, got {}",
                       to_string(root.type()));
    if (!g.defined()) {
      if (root.numel() != 1)
        fail<ShapeError>("backward", "gradient needed: expected a one-element tensor or an explicit gradient, "
                                     "got {}", to_string(root.type()));
      g = apply(op("full"), {Tensor::scalar(1, root.dtype(), root.device())}, {root.shape()});
    }
    if (g.shape() != root.shape() || g.dtype() != root.dtype())
      fail<ShapeError>("backward", "gradient does not fit: expected {}, got {}", to_string(root.type()),
                       to_string(g.type()));
    Edge e = gradient_edge(root);
    if (e.node) collect(e.node);
    pending_.push_back({e, std::move(g)});
  }

  void capture(const Tensor& t) {
    Edge e = gradient_edge(t);
    if (!e.defined())
      fail<StateError>("grad", "input takes no gradient: expected one that requires a gradient, got {}",
                       to_string(t.type()));
    if (e.leaf) leaf_capture_[e.leaf.get()].push_back(captured.size());
    else node_capture_[{e.node.get(), e.port}].push_back(captured.size());
    captured.emplace_back();
    capturing_ = true;
  }

  void run() {
    sort();
    if (!capturing_ && !options_.create_graph && replay()) return;
    walk();
  }

  Tensors captured;

 private:
  struct Slot {
    Tensors grads;
    bool needed = true;
  };
  // A leaf with hooks: they see the sum of all that flows to it, once, when its last user has run.
  struct Awaited {
    size_t last = 0;
    Tensor sum;
  };

  void sort() {
    std::sort(order_.begin(), order_.end(), [](auto& a, auto& b) { return a->sequence > b->sequence; });
  }

  bool replay() {
    return replay_backward({order_, pending_, options_.retain_graph}, [this] {
      Engine dry({.retain_graph = true});
      dry.order_ = order_;
      dry.pending_ = pending_;
      dry.walk();
      return std::move(dry.reached_);
    });
  }

  void walk() {
    slots_.resize(order_.size());
    reached_.resize(order_.size());
    for (size_t i = 0; i < order_.size(); ++i) {
      index_[order_[i].get()] = i;
      slots_[i].grads.resize(order_[i]->out_types.size());
    }
    mark_needed();
    for (size_t i = 0; i < order_.size(); ++i)
      for (const Edge& e : order_[i]->edges)
        if (e.leaf && has_hooks(*e.leaf)) awaited_[e.leaf.get()].last = i;
    for (auto& [edge, g] : pending_) flow(edge, std::move(g));
    pending_.clear();
    for (size_t i = 0; i < order_.size(); ++i) {
      try {
        step(i);
      } catch (const OutOfMemory& e) {
        rethrow_with_remedies(e, order_);
      }
      if (!awaited_.empty()) deliver(i);
      if (!options_.retain_graph) order_[i] = nullptr;
    }
  }

  static bool has_hooks(const TensorImpl& leaf) {
    return leaf.autograd && (!leaf.autograd->hooks.empty() || !leaf.autograd->after_accumulate.empty());
  }

  // Hands the leaves that node i was the last to reach their whole gradients.
  void deliver(size_t i) {
    for (const Edge& e : order_[i]->edges) {
      if (!e.leaf) continue;
      auto it = awaited_.find(e.leaf.get());
      if (it != awaited_.end() && it->second.last == i && it->second.sum.defined())
        accumulate_leaf(e.leaf, std::exchange(it->second.sum, Tensor()));
    }
  }

  void collect(const Ref<TapeNode>& root) {
    std::vector<Ref<TapeNode>> stack{root};
    while (!stack.empty()) {
      Ref<TapeNode> n = std::move(stack.back());
      stack.pop_back();
      if (!index_.emplace(n.get(), 0).second) continue;
      for (const Edge& e : n->edges)
        if (e.node) stack.push_back(e.node);
      order_.push_back(std::move(n));
    }
  }

  bool edge_needed(const Edge& e) const {
    if (e.leaf) return !capturing_ || leaf_capture_.count(e.leaf.get());
    if (!e.node) return false;
    return slots_[index_.at(e.node.get())].needed ||
           (capturing_ && node_capture_.count({e.node.get(), e.port}));
  }

  void mark_needed() {
    if (!capturing_) return;
    for (size_t i = order_.size(); i-- > 0;) {
      slots_[i].needed = false;
      for (const Edge& e : order_[i]->edges)
        if (edge_needed(e)) { slots_[i].needed = true; break; }
    }
  }

  void step(size_t i) {
    Ref<TapeNode> n = order_[i];
    Slot slot = std::move(slots_[i]);
    bool any = false;
    for (size_t p = 0; p < slot.grads.size(); ++p) {
      Tensor& g = slot.grads[p];
      if (!g.defined()) continue;
      any = true;
      for (auto& [port, hook] : n->hooks)
        if (port == int(p))
          if (Tensor h = hook.second(g); h.defined()) g = h;
      for (auto& [port, t] : n->retained)
        if (port == int(p)) Tensor(t).set_grad(g);
      if (auto it = node_capture_.find({n.get(), int(p)}); it != node_capture_.end())
        for (size_t k : it->second) captured[k] = g;
    }
    if (!any || !slot.needed) return;
    reached_[i] = 1;
    if (n->freed)
      fail<StateError>(n->op ? n->op->name : "custom function",
                       "backward a second time: expected retain_graph=True in the first call, got freed buffers "
                       "(made at {})", to_string(n->source));
    Tensors result = run_vjp(n, slot.grads);
    slot.grads.clear();
    if (!options_.retain_graph) {
      n->freed = true;
      n->retained.clear();  // they hold the tensors that hold this node
      n->saved_in.clear();
      n->saved_out.clear();
      n->custom = nullptr;
      if (n->release) std::exchange(n->release, nullptr)();
    }
    for (size_t k = 0; k < n->edges.size(); ++k) {
      const Edge& e = n->edges[k];
      if (!result[k].defined() || !e.defined()) continue;
      if (result[k].shape() != n->in_types[k]->shape || result[k].dtype() != n->in_types[k]->dtype)
        fail<InternalError>(n->op ? n->op->name : "custom function",
                            "gradient of input {} does not fit: expected {}, got {}", k,
                            to_string(*n->in_types[k]), to_string(result[k].type()));
      flow(e, std::move(result[k]));
    }
  }

  Tensors run_vjp(const Ref<TapeNode>& n, Tensors& grads) {
    check_interrupt();
    ContextScope scope;
    ResultSource from(n->source);
    context().grad_enabled = options_.create_graph;
    if (!n->op) {
      Tensors r = n->custom(grads);
      r.resize(n->edges.size());
      return r;
    }
    TapeVjp c(n, options_.create_graph);
    c.grads = std::move(grads);
    c.result.resize(n->edges.size());
    for (const Edge& e : n->edges) c.wanted.push_back(edge_needed(e));
    if (!n->op->vjp) return vjp_by_definition(c, options_.create_graph);
    n->op->vjp(c);
    return std::move(c.result);
  }

  // Adds a gradient at an edge. A sole owner's buffer is added to in place: no reader can notice.
  void flow(const Edge& e, Tensor g) {
    if (e.leaf) {
      auto it = awaited_.find(e.leaf.get());
      if (it != awaited_.end()) add_to(it->second.sum, std::move(g));
      else accumulate_leaf(e.leaf, std::move(g));
      return;
    }
    if (!e.node) return;
    Tensor& at = slots_[index_.at(e.node.get())].grads[size_t(e.port)];
    add_to(at, std::move(g));
  }

  void add_to(Tensor& at, Tensor g) {
    if (!at.defined()) {
      at = std::move(g);
      return;
    }
    if (!options_.create_graph && sole_owner(at)) {
      NoGrad off;
      apply_into(op("add"), {at, g}, {}, at);
    } else {
      ContextScope scope;
      context().grad_enabled = options_.create_graph;
      at = plus(at, g);
    }
  }

  static bool sole_owner(const Tensor& t) {
    return t.impl()->use_count() == 1 && t.storage()->use_count() == 1 && t.is_contiguous() &&
           !t.storage()->is_literal();
  }

  void accumulate_leaf(const Ref<TensorImpl>& leaf, Tensor g) {
    Tensor t(leaf);
    if (leaf->autograd)
      for (auto& [id, hook] : leaf->autograd->hooks)
        if (Tensor h = hook(g); h.defined()) g = h;
    if (auto it = leaf_capture_.find(leaf.get()); it != leaf_capture_.end()) {
      for (size_t k : it->second) {
        ContextScope scope;
        context().grad_enabled = options_.create_graph;
        captured[k] = captured[k].defined() ? plus(captured[k], g) : g;
      }
      return;
    }
    if (capturing_) return;
    AutogradState& s = autograd_state(*leaf);
    ContextScope scope;
    context().grad_enabled = options_.create_graph;
    if (Recorder* r = context().recorder; r && context().dry) r->note_grad_change(t);
    if (!s.grad.defined()) {
      bool keep = options_.create_graph || sole_owner(g);
      s.grad = keep ? std::move(g) : apply(op("copy"), {g});
    } else if (options_.create_graph) {
      s.grad = plus(s.grad, g);
    } else {
      apply_into(op("add"), {s.grad, g}, {}, s.grad);
    }
    for (auto& [id, hook] : s.after_accumulate) hook(t);
  }

  BackwardOptions options_;
  std::vector<Ref<TapeNode>> order_;
  std::unordered_map<const TapeNode*, size_t> index_;
  std::vector<Slot> slots_;
  std::unordered_map<const TensorImpl*, Awaited> awaited_;
  std::vector<char> reached_;   // by node: a gradient flowed there
  std::vector<std::pair<Edge, Tensor>> pending_;
  std::unordered_map<const TensorImpl*, std::vector<size_t>> leaf_capture_;
  std::map<std::pair<const TapeNode*, int>, std::vector<size_t>> node_capture_;
  bool capturing_ = false;
};

}  // namespace

void backward(std::span<const Tensor> roots, std::span<const Tensor> grads, BackwardOptions options) {
  ContextScope scope;
  if (options.create_graph) options.retain_graph = true;
  Engine e(options);
  for (size_t i = 0; i < roots.size(); ++i) e.add_root(roots[i], i < grads.size() ? grads[i] : Tensor());
  e.run();
}

Tensors grad(std::span<const Tensor> roots, std::span<const Tensor> inputs, std::span<const Tensor> grads,
             BackwardOptions options, bool allow_unused) {
  if (options.create_graph) options.retain_graph = true;
  Engine e(options);
  for (const Tensor& t : inputs) e.capture(t);
  for (size_t i = 0; i < roots.size(); ++i) e.add_root(roots[i], i < grads.size() ? grads[i] : Tensor());
  e.run();
  for (size_t i = 0; i < inputs.size(); ++i)
    if (!e.captured[i].defined() && !allow_unused)
      fail<StateError>("grad", "input not used: expected input {} to reach the outputs, got no path "
                               "(allow_unused=True returns None)", i);
  return std::move(e.captured);
}

}  // namespace suan
