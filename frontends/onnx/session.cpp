// Sessions: a plan for each set of input types, or node by node where data decides what happens.
#include "frontends/onnx/session.h"

#include <atomic>
#include <list>
#include <map>
#include <mutex>

#include "core/compile.h"
#include "core/pass.h"
#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

struct Planned {
  std::vector<TensorType> types;          // of the inputs
  std::unique_ptr<RunPool> pool;          // null when the whole answer is known from the types
  std::vector<Value> known;               // outputs that the types alone decide
  std::vector<int> from_plan;             // outputs that the plan gives, in its order
  suan::Graph graph;                      // kept only for SUAN_INTERPRET=1
};

// Inputs that are whole tensors, as the recorder's arguments are.
Tensor stand_in(const TensorType& t) {
  return Tensor::over(Storage::dry(t.device, t.bytes()), Layout(t.shape), t.dtype);
}

// Weights were met as captured tensors: they never change, so they are constants.
void captured_to_constants(suan::Graph& g, const std::vector<Recorder::Captured>& captured) {
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < captured.size(); ++i)
    if (captured[i].argument) inputs.push_back(captured[i].input);
    else g.constants[captured[i].input] = captured[i].root;
  g.inputs = std::move(inputs);
}

}  // namespace

struct Session::State {
  Model model;
  SessionOptions options;
  std::mutex mutex;                                       // of what follows
  std::list<std::shared_ptr<Planned>> plans;              // last used first
  ConstantCache constants;                                // packed weights
  bool stepwise = false;                                  // data decides: nothing can be planned
  std::string stepwise_node;
  std::atomic<uint64_t> translated{0}, replayed{0}, stepped{0};

  std::shared_ptr<Planned> plan(const std::vector<TensorType>& types);
  std::shared_ptr<Planned> kept();
  std::shared_ptr<Planned> translate(const std::vector<TensorType>& types);
};

std::shared_ptr<Planned> Session::State::translate(const std::vector<TensorType>& types) {
  auto planned = std::make_shared<Planned>();
  planned->types = types;
  std::vector<Value> in, out;
  Recorder recorder;
  {
    ContextScope scope;
    context() = Context{.grad_enabled = false, .dry = true, .recorder = &recorder};
    for (const TensorType& t : types) {
      in.push_back(stand_in(t));
      recorder.add_argument(in.back().tensor());
    }
    out = Eval(true).run(model.graph, in, nullptr);
  }
  Tensors planned_outputs;
  for (Value& v : out) {
    if (!is_concrete(v) && !v.is_tensor()) throw NeedsData{"a sequence among the outputs"};
    if (v.is_tensor() && v.tensor().is_dry()) {
      planned->from_plan.push_back(int(planned->known.size()));
      planned_outputs.push_back(v.tensor());
      planned->known.emplace_back();
    } else {
      planned->known.push_back(v);
    }
  }
  ++translated;
  if (planned_outputs.empty()) return planned;
  suan::Graph g = recorder.finish(planned_outputs);
  captured_to_constants(g, recorder.captured());
  optimize(g, {.constants = &constants, .exact = options.exact});
  if (interpret_requested()) planned->graph = g;
  PlanOptions plan_options{.commits = std::vector<int>(g.outputs.size(), -1), .own_outputs = true};
  planned->pool = std::make_unique<RunPool>(std::make_shared<const Plan>(std::move(g), plan_options));
  return planned;
}

// The plan just used. Arenas wait for the next call with the last few shapes only.
std::shared_ptr<Planned> Session::State::kept() {
  constexpr size_t with_arenas = 4;
  size_t k = 0;
  for (const std::shared_ptr<Planned>& p : plans)
    if (k++ >= with_arenas && p->pool) p->pool->trim();
  return plans.front();
}

std::shared_ptr<Planned> Session::State::plan(const std::vector<TensorType>& types) {
  std::lock_guard lock(mutex);
  for (auto it = plans.begin(); it != plans.end(); ++it)
    if ((*it)->types == types) {
      plans.splice(plans.begin(), plans, it);
      return kept();
    }
  if (stepwise) return nullptr;
  try {
    plans.push_front(translate(types));
  } catch (const NeedsData& e) {
    stepwise = true;
    stepwise_node = e.node;
    return nullptr;
  }
  while (plans.size() > std::max<size_t>(options.max_plans, 1)) plans.pop_back();
  return kept();
}

Session::Session(const std::filesystem::path& path, const SessionOptions& options)
    : state_(std::make_unique<State>()) {
  state_->model = read_model(path);
  state_->options = options;
  fold_constants(state_->model.graph);
}
Session::Session(std::string_view bytes, const SessionOptions& options) : state_(std::make_unique<State>()) {
  state_->model = read_model(bytes);
  state_->options = options;
  fold_constants(state_->model.graph);
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;

const std::vector<Port>& Session::inputs() const { return state_->model.graph.inputs; }
const std::vector<Port>& Session::outputs() const { return state_->model.graph.outputs; }

namespace {

void check_input(const Port& p, const Value& v) {
  auto bad = [&](const std::string& want) {
    suan::fail<TypeError>("onnx", "input '{}' does not fit: expected {}, got {}", p.name, want, onnx::describe(v));
  };
  if (p.kind == Port::Kind::tensor) {
    if (!v.is_tensor()) bad("a tensor of " + std::string(name(p.dtype)));
    const Tensor& t = v.tensor();
    if (t.dtype() != p.dtype) bad("a tensor of " + std::string(name(p.dtype)));
    if (!p.has_shape) return;
    if (t.rank() != int(p.dims.size())) bad(fmt::format("{} dimensions", p.dims.size()));
    for (int i = 0; i < t.rank(); ++i)
      if (p.dims[size_t(i)] >= 0 && t.dim(i) != p.dims[size_t(i)])
        suan::fail<ShapeError>("onnx", "input '{}' does not fit: expected {} in dimension {}, got {}", p.name, p.dims[size_t(i)], i,
                               to_string(t.type()));
  }
  if (p.kind == Port::Kind::strings && !v.is_strings()) bad("strings");
  if (p.kind == Port::Kind::sequence && !v.is_sequence()) bad("a sequence");
}

}  // namespace

std::vector<Value> Session::run(std::span<const Value> inputs) const {
  State& s = *state_;
  const Graph& g = s.model.graph;
  if (inputs.size() > g.inputs.size())
    fail<ValueError>("onnx", "too many inputs: expected {}, got {}", g.inputs.size(), inputs.size());
  std::vector<Value> in(inputs.begin(), inputs.end());
  in.resize(g.inputs.size());
  bool plannable = true;
  std::vector<TensorType> types;
  Tensors tensors;
  for (size_t i = 0; i < in.size(); ++i) {
    check_input(g.inputs[i], in[i]);
    plannable = plannable && in[i].is_tensor();
    if (!plannable) continue;
    types.push_back(in[i].tensor().type());
    tensors.push_back(in[i].tensor());
  }
  ContextScope scope;
  context() = Context{.grad_enabled = false, .inference = true};
  std::shared_ptr<Planned> p = plannable ? s.plan(types) : nullptr;
  if (!p) {
    ++s.stepped;
    std::vector<Value> out = Eval(false).run(g, in, nullptr);
    for (Value& v : out)  // a view of an input would change with it
      if (v.is_tensor()) v = ops::copy(v.tensor());
    return out;
  }
  ++s.replayed;
  std::vector<Value> out = p->known;
  Tensors made;
  if (p->pool) made = interpret_requested() ? interpret(p->graph, tensors) : (*p->pool)(tensors);
  for (Value& v : out)
    if (v.is_tensor()) v = ops::copy(v.tensor());
  for (size_t k = 0; k < made.size(); ++k) out[size_t(p->from_plan[k])] = made[k];
  return out;
}

SessionStats Session::stats() const {
  State& s = *state_;
  std::lock_guard lock(s.mutex);
  return {s.plans.size(), s.translated, s.replayed, s.stepped, s.model.weight_bytes, s.model.mapped_bytes};
}

std::vector<std::pair<std::string, int>> Session::operators() const {
  return {state_->model.op_counts.begin(), state_->model.op_counts.end()};
}

namespace {
std::string port_text(const Port& p) {
  std::string kind = p.kind == Port::Kind::tensor     ? std::string(name(p.dtype))
                     : p.kind == Port::Kind::strings  ? "string"
                     : p.kind == Port::Kind::sequence ? "sequence"
                     : p.kind == Port::Kind::optional ? "optional"
                                                      : "?";
  if (!p.has_shape) return fmt::format("{}: {}", p.name, kind);
  std::string dims;
  for (size_t i = 0; i < p.dims.size(); ++i)
    dims += (i ? ", " : "") + (p.dims[i] >= 0              ? std::to_string(p.dims[i])
                               : p.dim_names[i].empty() ? std::string("?")
                                                        : p.dim_names[i]);
  return fmt::format("{}: {} [{}]", p.name, kind, dims);
}
}  // namespace

std::string Session::describe() const {
  const Model& m = state_->model;
  std::string out = fmt::format("ir version {}, made by {}\n", m.ir_version, m.producer.empty() ? "?" : m.producer);
  for (const auto& [domain, version] : m.opsets) out += fmt::format("opset {}{}\n", domain.empty() ? "" : domain + " ", version);
  for (const Port& p : m.graph.inputs) out += "input  " + port_text(p) + "\n";
  for (const Port& p : m.graph.outputs) out += "output " + port_text(p) + "\n";
  out += fmt::format("weights {} bytes, {} of them in place\n", m.weight_bytes, m.mapped_bytes);
  int total = 0;
  for (const auto& [op, n] : m.op_counts) total += n;
  out += fmt::format("{} nodes\n", total);
  for (const auto& [op, n] : m.op_counts) out += fmt::format("  {:5} {}\n", n, op);
  return out;
}

}  // namespace suan::onnx
