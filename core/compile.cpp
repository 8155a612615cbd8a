// Recordings that agree become executables.
#include "core/compile.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/allocator.h"
#include "core/apply.h"
#include "core/communicator.h"
#include "core/frozen.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/pass.h"
#include "core/recompute.h"
#include "core/tape.h"

namespace suan {

bool interpret_requested() {
  const char* v = std::getenv("SUAN_INTERPRET");
  return v && std::strcmp(v, "1") == 0;
}

namespace {

Tensor stand_in(const TensorType& t) {
  return Tensor::over(Storage::dry(t.device, t.bytes()), Layout(t.shape), t.dtype);
}

// Nodes [from, to) of a graph as a graph of their own, with the given inputs and outputs.
Graph slice_graph(const Graph& g, int from, int to, std::span<const ValueId> inputs,
                  std::span<const ValueId> outputs) {
  Graph out;
  std::vector<ValueId> map(g.values.size(), no_value);
  for (ValueId v : inputs) map[size_t(v)] = out.add_input(g.values[size_t(v)].type);
  for (const auto& [v, t] : g.constants)
    map[size_t(v)] = out.add_constant(t, g.values[size_t(v)].type.device);
  for (int i = from; i < to; ++i) {
    const Node& n = g.nodes[size_t(i)];
    std::vector<ValueId> in;
    for (ValueId v : n.in) in.push_back(v == no_value ? no_value : map[size_t(v)]);
    std::vector<TensorType> types;
    for (ValueId v : n.out) types.push_back(g.values[size_t(v)].type);
    int k = out.append_typed(*n.op, in, n.attrs, types, n.source);
    for (size_t j = 0; j < n.out.size(); ++j) map[size_t(n.out[j])] = out.nodes[size_t(k)].out[j];
  }
  for (ValueId v : outputs) out.outputs.push_back(map[size_t(v)]);
  return out;
}

bool same_structure(const Graph& a, const Graph& b) {
  if (a.inputs != b.inputs || a.outputs != b.outputs || a.nodes.size() != b.nodes.size() ||
      a.values.size() != b.values.size())
    return false;
  for (size_t i = 0; i < a.nodes.size(); ++i)
    if (a.nodes[i].op != b.nodes[i].op || a.nodes[i].in != b.nodes[i].in ||
        !(a.nodes[i].attrs == b.nodes[i].attrs))
      return false;
  return true;
}

}  // namespace

// ---- Tracer ------------------------------------------------------------------------------------------

void Tracer::start(std::span<const Tensor> arguments) {
  if (context().recorder)
    fail<StateError>("compile", "compiled function called while recording another: expected one recording at a "
                                "time, got a nested call (compile the outer function only)");
  auto recorder = std::make_unique<Recorder>();
  for (const Tensor& t : arguments) recorder->add_argument(t);
  recorder_ = std::move(recorder);
  arguments_.assign(arguments.begin(), arguments.end());
  scope_ = std::make_unique<ContextScope>();
  context().recorder = recorder_.get();
  context().dry = last_.has_value();
  if (last_) trim_memory();  // what the first call kept for reuse makes room for the arena
  else frugal_.emplace();
}

void Tracer::abandon() {
  if (!recorder_) return;
  const std::unique_ptr<Recorder> recorder = std::move(recorder_);
  stop();
  recorder->restore_grads();
}

void Tracer::stop() {
  frugal_.reset();
  scope_.reset();
  recorder_.reset();
  arguments_.clear();
}

Tensors Tracer::finish(std::span<const Tensor> outputs) {
  ++recordings_;
  Trace now;
  bool grad_enabled = context().grad_enabled && !context().inference;
  const Tensors leaves = recorder_->leaves_with_dry_grad();
  std::vector<ValueId> grads;
  for (const Tensor& leaf : leaves) grads.push_back(recorder_->value_of(leaf.grad()));
  now.graph = recorder_->finish(outputs);
  now.captured = recorder_->captured();
  now.updates = recorder_->updates();
  now.literals = recorder_->literals();
  now.n_outputs = int(outputs.size());
  for (const auto& c : now.captured) {
    now.wants_grad.push_back(c.source.requires_grad());
    now.versions.push_back(c.root.storage()->version());
  }
  now.without_gradients = !grad_enabled || std::none_of(now.wants_grad.begin(), now.wants_grad.end(), [](bool w) { return w; });
  // A loss whose backward ran inside has no history left to differentiate.
  auto spent = [](const Tensor& t) {
    const AutogradState* s = t.impl()->autograd;
    return s && s->node && s->node->freed;
  };
  for (const Tensor& t : outputs) now.differentiable |= grad_enabled && t.requires_grad() && !spent(t);
  const Tensors arguments = std::move(arguments_);
  stop();
  for (const Tensor& leaf : leaves) leaf.set_grad(Tensor());
  if (!last_) {
    last_ = std::move(now);
    return {outputs.begin(), outputs.end()};
  }
  bool agree = last_->graph == now.graph && last_->captured.size() == now.captured.size() &&
               last_->differentiable == now.differentiable && last_->wants_grad == now.wants_grad;
  if (agree)
    for (size_t i = 0; i < now.captured.size(); ++i)
      agree &= now.captured[i].argument == last_->captured[i].argument &&
               (now.captured[i].argument ||
                now.captured[i].root.storage() == last_->captured[i].root.storage());
  if (!agree) {
    explain_difference(now);
    last_ = now;
    // Not to be replayed: what the function left in .grad is a result like what it returned.
    auto& outs = now.graph.outputs;
    outs.insert(outs.begin() + now.n_outputs, grads.begin(), grads.end());
    now.n_outputs += int(grads.size());
    Tensors results = (*Executable::make(std::move(now), {.interpret = true}))(arguments);
    for (size_t i = 0; i < leaves.size(); ++i) leaves[i].set_grad(results[outputs.size() + i].detach());
    results.resize(outputs.size());
    return results;
  }
  now.versions = std::move(last_->versions);
  now.without_gradients &= last_->without_gradients;
  executable_ = Executable::make(std::move(now), options_);
  last_.reset();
  return (*executable_)(arguments);  // replays make no .grad of their own
}

// A difference that repeats is an error that names what differs.
void Tracer::explain_difference(const Trace& now) {
  if (!last_) return;
  constexpr int patience = 4;
  const Graph &a = last_->graph, &b = now.graph;
  if (!same_structure(a, b)) {
    if (++shape_changes_ < patience) return;
    size_t i = 0;
    while (i < a.nodes.size() && i < b.nodes.size() && a.nodes[i].op == b.nodes[i].op &&
           a.nodes[i].in == b.nodes[i].in && a.nodes[i].attrs == b.nodes[i].attrs)
      ++i;
    fail<StateError>("compile",
                     "function does something else at every call: expected equal recordings, got '{}' at {} "
                     "where the call before had '{}'",
                     i < b.nodes.size() ? b.nodes[i].op->name : "the end",
                     i < b.nodes.size() ? to_string(b.nodes[i].source) : "the end",
                     i < a.nodes.size() ? a.nodes[i].op->name : "the end");
  }
  for (const auto& lit : now.literals) {
    auto old = a.constants.find(lit.constant), cur = b.constants.find(lit.constant);
    if (old == a.constants.end() || cur == b.constants.end()) continue;
    const Tensor &x = old->second, &y = cur->second;
    if (x.type() == y.type() && std::memcmp(x.raw(), y.raw(), size_t(x.type().bytes())) == 0) continue;
    if (++literal_changes_ < patience) return;
    auto text = [](const Tensor& t) {
      return t.numel() == 1 && !is_complex(t.dtype()) ? fmt::format("{}", t.item()) : to_string(t.type());
    };
    fail<StateError>("compile",
                     "a Python number keeps changing: expected the same value as before ({}), got {} at {} "
                     "(pass it as a tensor, or keep it in one)",
                     text(x), text(y), to_string(lit.source));
  }
  for (size_t i = 0; i < now.captured.size(); ++i) {
    const Recorder::Captured &old = last_->captured[i], &cur = now.captured[i];
    if (cur.argument || old.argument || cur.root.storage() == old.root.storage()) continue;
    if (++capture_changes_ < patience) return;
    fail<StateError>("compile",
                     "a tensor from outside is another one at every call: expected the same storage as before, "
                     "got a new {} at {} (make it once before, or pass it as an argument)",
                     to_string(cur.source.type()), to_string(cur.line));
  }
}

// ---- Executable --------------------------------------------------------------------------------------

namespace {
// Splitting the joined nodes let cheap rows be dropped; what is left of them joins again.
void join_where_it_fits(Graph& g, const PlanOptions& p) {
  Graph joined = g;
  if (epilogue_pass(joined) == 0) return;
  joined.verify("epilogue");
  if (Plan(joined, {.commits = p.commits}).peak_bytes() <= p.memory_limit) g = std::move(joined);
}
}  // namespace

// The estimate ignores gaps between buffers, so it is tightened a few times before the planner's refusal stands.
void fit_memory(Graph& g, const PlanOptions& p) {
  if (!p.memory_limit) return;
  int64_t peak = Plan(g, {.commits = p.commits}).peak_bytes();
  if (peak > p.memory_limit && split_epilogues(g)) {
    fuse_pass(g);
    peak = Plan(g, {.commits = p.commits}).peak_bytes();
  }
  for (double share : {1.0, 0.97, 0.94, 0.9, 0.85}) {
    if (peak <= p.memory_limit) return;
    Graph tried = g;
    double gaps = double(peak) / double(std::max<int64_t>(estimate_peak(g).bytes, 1));
    if (recompute_pass(tried, int64_t(double(p.memory_limit) * share / std::max(gaps, 1.0))) == 0) continue;
    tried.verify("recompute");
    peak = Plan(tried, {.commits = p.commits}).peak_bytes();
    if (peak <= p.memory_limit) {
      g = std::move(tried);
      join_where_it_fits(g, p);
      return;
    }
  }
}

Executable::Executable(Trace trace, const CompileOptions& options)
    : trace_(std::move(trace)), options_(options) {
  options_.interpret |= interpret_requested();
  commits_.assign(trace_.graph.outputs.size(), -1);
  for (size_t u = 0; u < trace_.updates.size(); ++u)
    commits_[size_t(trace_.n_outputs) + u] = trace_.updates[u].captured;
  if (Freezer::fits(trace_, options_)) {
    freezer_ = std::make_unique<Freezer>(trace_, options_);
    return;
  }
  lay_out_plain();
  agree();
}

Executable::~Executable() = default;

void Executable::lay_out_plain() {
  if (trace_.differentiable) {
    split();
  } else {
    forward_graph_ = trace_.graph;
    optimize(forward_graph_);
  }
  if (!options_.interpret) lay_out();
}

std::shared_ptr<const Plan> Executable::forward_plan() const {
  if (freezer_)
    if (const auto frozen = freezer_->current()) return frozen->plan();
  return forward_ ? forward_->shared_plan() : nullptr;
}

bool Executable::stale() const {
  return std::any_of(trace_.captured.begin(), trace_.captured.end(),
                     [](const auto& c) { return !c.argument && !(c.source.storage() == c.root.storage()); });
}

void Executable::lay_out() {
  PlanOptions p;
  p.memory_limit = options_.memory_limit;
  p.commits = commits_;
  fit_memory(forward_graph_, p);
  forward_ = std::make_unique<RunPool>(std::make_shared<Plan>(forward_graph_, p));
  if (trace_.differentiable) {
    p.commits.clear();
    backward_ = std::make_unique<RunPool>(std::make_shared<Plan>(backward_graph_, p));
  }
}

// Ranks that are to meet in this program have the same one, laid out in the same way.
void Executable::agree() const {
  const std::vector<Node>& nodes = trace_.graph.nodes;
  if (std::none_of(nodes.begin(), nodes.end(), [](const Node& n) { return collective_world(n) > 1; })) return;
  const std::shared_ptr<Communicator> c = current_communicator();
  if (!c) return;  // the first collective says so
  c->agree("program", trace_.graph.hash());
  auto [a, b] = forward_graph_.hash();
  for (const RunPool* pool : {forward_.get(), backward_.get()})
    if (pool) {
      const auto [x, y] = pool->plan().hash();
      a = mix(a, x), b = mix(b, y);
    }
  c->agree("plan", {a, b});
}

// Differentiates the forward graph by running it dry through apply() with the tape on, then cuts the
// recording where the backward pass begins.
void Executable::split() {
  const Graph& f = trace_.graph;
  Recorder rec;
  ContextScope scope;
  context() = Context{.grad_enabled = true, .dry = true, .recorder = &rec};
  Tensors ins;
  for (size_t i = 0; i < f.inputs.size(); ++i) {
    Tensor t = stand_in(f.values[size_t(f.inputs[i])].type);
    t.set_requires_grad(trace_.wants_grad[i]);
    rec.add_argument(t);
    ins.push_back(t);
  }
  // Arrays of numbers stay constants, as single ones do; captured, they would stand among the inputs.
  for (const auto& [v, t] : f.constants)
    if (!(t.storage()->is_literal() && t.rank() == 0)) rec.bind(t, rec.graph().add_constant(t, f.values[size_t(v)].type.device));
  Tensors outs = interpret(f, ins);
  int n_forward = int(rec.graph().nodes.size());
  Tensors roots, seeds, wanted;
  for (int k = 0; k < trace_.n_outputs; ++k)
    if (outs[size_t(k)].requires_grad()) {
      seeded_.push_back(k);
      roots.push_back(outs[size_t(k)]);
      seeds.push_back(stand_in(outs[size_t(k)].type()));
      rec.add_argument(seeds.back());
    }
  for (size_t i = 0; i < ins.size(); ++i)
    if (trace_.wants_grad[i]) {
      grad_inputs_.push_back(int(i));
      wanted.push_back(ins[i]);
    }
  context().grad_enabled = false;
  Tensors grads = grad(roots, wanted, seeds, {.retain_graph = true}, true);
  for (size_t k = 0; k < grads.size(); ++k)
    if (!grads[k].defined()) grads[k] = apply(op("full"), {Tensor::scalar(0, wanted[k].dtype(), wanted[k].device())}, {wanted[k].shape()});
  std::vector<ValueId> out_values, grad_values;
  for (const Tensor& t : outs) out_values.push_back(rec.value_of(t));
  for (const Tensor& t : grads) grad_values.push_back(rec.value_of(t));
  Graph joint = rec.finish({});
  if (joint.inputs.size() != f.inputs.size() + seeds.size())
    fail<StateError>("compile", "a constant is kept on another device: expected {} inputs of forward and backward, got {}",
                     f.inputs.size() + seeds.size(), joint.inputs.size());

  // What backward reads of forward: values made there, and graph inputs.
  int n_nodes = int(joint.nodes.size());
  size_t n_inputs = f.inputs.size();
  std::vector<char> is_read(joint.values.size(), 0);
  for (int i = n_forward; i < n_nodes; ++i)
    for (ValueId v : joint.nodes[size_t(i)].in)
      if (v != no_value) is_read[size_t(v)] = 1;
  for (ValueId v : grad_values) is_read[size_t(v)] = 1;
  std::vector<ValueId> saved, bin;
  for (size_t v = 0; v < joint.values.size(); ++v) {
    int p = joint.values[v].producer;
    if (is_read[v] && p >= 0 && p < n_forward) saved.push_back(ValueId(v));
  }
  n_saved_ = int(saved.size());
  bin = saved;
  for (size_t i = 0; i < n_inputs; ++i)
    if (is_read[size_t(joint.inputs[i])]) {
      saved_inputs_.push_back(int(i));
      bin.push_back(joint.inputs[i]);
    }
  for (size_t s = 0; s < seeds.size(); ++s) bin.push_back(joint.inputs[n_inputs + s]);
  std::vector<ValueId> fin(joint.inputs.begin(), joint.inputs.begin() + int64_t(n_inputs)), fout = out_values;
  fout.insert(fout.end(), saved.begin(), saved.end());
  forward_graph_ = slice_graph(joint, 0, n_forward, fin, fout);
  backward_graph_ = slice_graph(joint, n_forward, n_nodes, bin, grad_values);
  commits_.resize(fout.size(), -1);
  context() = Context{.grad_enabled = false};
  optimize(forward_graph_);
  optimize(backward_graph_);
}

Tensors Executable::run_forward(std::span<const Tensor> inputs) {
  if (freezer_) {
    if (const auto frozen = freezer_->choose()) return (*frozen)(inputs);
    std::lock_guard lock(laying_out_);
    if (!laid_out_) {
      ContextScope scope;
      context() = Context{.grad_enabled = false};
      lay_out_plain();
      laid_out_ = true;
    }
  }
  if (!options_.interpret) return (*forward_)(inputs);
  NoGrad off;
  Tensors all = interpret(forward_graph_, inputs), out;
  for (size_t k = 0; k < all.size(); ++k)
    if (commits_[k] < 0) out.push_back(all[k]);
  InterruptShield commit;
  for (size_t k = 0; k < all.size(); ++k)
    if (commits_[k] >= 0) apply_into(op("copy"), {all[k]}, {}, inputs[size_t(commits_[k])]);
  return out;
}

Tensors Executable::operator()(std::span<const Tensor> arguments) {
  Tensors inputs;
  for (const auto& c : trace_.captured) {
    if (!c.argument) {
      inputs.push_back(c.root);
      continue;
    }
    if (c.argument_index >= int(arguments.size()))
      fail<ValueError>("compile", "too few arguments: expected more than {}, got {}", c.argument_index,
                       arguments.size());
    const Tensor& a = arguments[size_t(c.argument_index)];
    inputs.push_back(a.shape() == c.root.shape() ? a.detach() : a);
  }
  Tensors all = run_forward(inputs);
  for (const auto& u : trace_.updates) inputs[size_t(u.captured)].storage()->bump_version({});
  Tensors out(all.begin(), all.begin() + trace_.n_outputs);
  if (!trace_.differentiable || !context().grad_enabled) return out;

  Tensors sources, targets;
  for (int i : grad_inputs_) {
    const auto& c = trace_.captured[size_t(i)];
    sources.push_back(c.argument ? arguments[size_t(c.argument_index)] : c.source);
  }
  Tensors saved(all.begin() + trace_.n_outputs, all.end());
  for (int i : saved_inputs_) saved.push_back(inputs[size_t(i)]);
  std::vector<uint32_t> versions;
  for (const Tensor& t : saved) versions.push_back(t.storage()->version());
  for (int k : seeded_) targets.push_back(out[size_t(k)]);
  auto backward = [this, self = shared_from_this(), saved, versions](std::span<const Tensor> grads) {
    for (size_t i = 0; i < saved.size(); ++i)
      if (saved[i].storage()->version() != versions[i])
        fail<StateError>("compile", "saved tensor {} was overwritten before backward: expected version {}, got {} "
                                    "(overwritten at {})", i, versions[i], saved[i].storage()->version(),
                         to_string(saved[i].storage()->last_write()));
    if (context().grad_enabled)
      fail<StateError>("compile", "second derivative of a compiled module: expected create_graph=False, got True "
                                  "(call the module uncompiled)");
    Tensors in = saved;
    for (size_t s = 0; s < seeded_.size(); ++s) {
      const Tensor& g = grads[s];
      const TensorType& want = trace_.graph.values[size_t(trace_.graph.outputs[size_t(seeded_[s])])].type;
      in.push_back(g.defined() ? g : apply(op("full"), {Tensor::scalar(0, want.dtype, want.device)}, {want.shape}));
    }
    if (backward_) return (*backward_)(in);
    return interpret(backward_graph_, in);
  };
  attach_custom(sources, targets, backward, {});
  return out;
}

void Executable::trim() {
  if (freezer_)
    if (const auto frozen = freezer_->current()) frozen->trim();
  std::lock_guard lock(laying_out_);
  if (forward_) forward_->trim();
  if (backward_) backward_->trim();
}

}  // namespace suan
