// Initializers that training may change, and calls that are given them.
#include "frontends/onnx/trainable.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "frontends/onnx/build.h"
#include "frontends/onnx/check.h"

namespace suan::onnx {
namespace {

using Role = Initializer::Role;

// Inputs that are settings rather than weights, though they may be floating tensors.
const std::map<std::string_view, std::set<int>> settings = {
    {"AffineGrid", {1}},        {"Clip", {1, 2}},      {"ConstantOfShape", {0}}, {"CumSum", {1}},
    {"Dropout", {1, 2}},        {"Expand", {1}},       {"NonMaxSuppression", {0, 1, 2, 3, 4}},
    {"OneHot", {1, 2}},         {"Pad", {1, 2, 3}},    {"Range", {0, 1, 2}},     {"Resize", {1, 2, 3}},
    {"RoiAlign", {1, 2}},       {"STFT", {1, 2, 3}},   {"Tile", {1}},            {"TopK", {1}},
    {"Upsample", {1}},          {"MaxRoiPool", {1}},   {"Pow", {1}},             {"Multinomial", {0}}};

// What int8 and int4 models multiply by belongs to their integers, which are not trained.
bool quantises(const Node& n) {
  for (const char* part : {"Quant", "QLinear", "QAttention", "QGemm", "Integer", "NBits"})
    if (n.op.find(part) != std::string::npos) return true;
  return false;
}

// What one use of a floating tensor says of it.
Role role_in(const Node& n, int input) {
  if (n.domain.empty() && n.op == "BatchNormalization" && input >= 3) return Role::statistics;
  if (quantises(n) || n.domain == "ai.onnx.ml") return Role::constant;
  const auto it = settings.find(n.op);
  return n.domain.empty() && it != settings.end() && it->second.count(input) ? Role::constant : Role::weight;
}

const Value* given_by(const Node& n) {
  if (!n.domain.empty() || n.op != "Constant" || n.out.size() != 1 || n.out[0] < 0) return nullptr;
  const auto it = n.attrs.find("value");
  const Value* v = it == n.attrs.end() ? nullptr : std::get_if<Value>(&it->second.data);
  return v && v->is_tensor() ? v : nullptr;
}

bool is_wide_float(const Value& v) {
  return v.is_tensor() && is_floating(v.tensor().dtype()) && item_size(v.tensor().dtype()) > 1;
}

using Body = std::shared_ptr<const Graph>;
Body* body_in(Node& n, Attribute& a) {   // not those that the reader made
  return n.domain == "ai.onnx.preview.training" ? nullptr : std::get_if<Body>(&a.data);
}

struct Found {
  int slot;
  Value value;
  std::string where;
  bool by_node;   // of Constant
};

// The tensors that a graph holds. Floating ones of graphs inside it come to stand in it, captured by those.
std::vector<Found> take_out(Graph& g, const std::string& where) {
  std::vector<Found> all;
  for (const auto& [slot, v] : g.constants) all.push_back({slot, v, where, false});
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    Node& n = g.nodes[i];
    if (const Value* v = given_by(n)) all.push_back({n.out[0], *v, where, true});
    for (auto& [name, attribute] : n.attrs) {
      Body* body = body_in(n, attribute);
      if (!body) continue;
      auto inside = std::make_shared<Graph>(**body);
      for (Found& f : take_out(*inside, fmt::format("{}{}:{}/", where, i, name))) {
        if (!is_wide_float(f.value)) continue;
        const int slot = g.n_slots++;
        g.names.push_back(inside->names[size_t(f.slot)]);
        std::erase_if(inside->constants, [&](const auto& c) { return c.first == f.slot; });
        std::erase_if(inside->nodes, [&](const Node& m) { return given_by(m) && m.out[0] == f.slot; });
        inside->captures.emplace_back(slot, f.slot);
        n.reads.push_back(slot);
        all.push_back({slot, std::move(f.value), std::move(f.where), f.by_node});
      }
      *body = std::move(inside);
    }
  }
  return all;
}

// What the readers of each slot, here and inside, say of it.
void find_roles(const Graph& g, const std::unordered_map<int, size_t>& at, std::vector<std::optional<Role>>& roles) {
  for (const Node& n : g.nodes) {
    for (size_t i = 0; i < n.in.size(); ++i)
      if (const auto it = at.find(n.in[i]); it != at.end()) {
        std::optional<Role>& r = roles[it->second];
        const Role role = role_in(n, int(i));
        r = !r || *r == role ? role : Role::constant;   // a setting to one reader stays one
      }
    for (const auto& [name, a] : n.attrs)
      if (const auto body = std::get_if<Body>(&a.data)) {
        std::unordered_map<int, size_t> inside;
        for (auto [from, to] : (*body)->captures)
          if (const auto it = at.find(from); it != at.end()) inside[to] = it->second;
        if (!inside.empty()) find_roles(**body, inside, roles);
      }
  }
}

}  // namespace

struct TrainableModel::State {
  Model model;
  int64_t memory_limit = 0;
  std::vector<Initializer> initializers;
  std::vector<int> slots;   // by initializer
  size_t n_inputs = 0;
  bool opened = false;

  template <class Source>
  void load(const Source& source) {
    memory_limit = free_memory() / 4 * 3;
    model = read_model(source, memory_limit, false);
    list();
  }

  // Numbers without a dimension are settings more often than not, and so is a Constant of one number.
  void list() {
    Graph& g = model.graph;
    n_inputs = g.in.size();
    std::unordered_map<int, size_t> at;
    for (Found& f : take_out(g, "")) {
      const bool may = is_wide_float(f.value) && (f.by_node ? f.value.tensor().numel() > 1 : f.value.tensor().rank() > 0);
      if (may) at[f.slot] = initializers.size();
      slots.push_back(f.slot);
      if (!f.where.empty() && is_wide_float(f.value)) g.constants.emplace_back(f.slot, f.value);
      initializers.push_back({g.names[size_t(f.slot)], std::move(f.where), std::move(f.value), Role::constant});
    }
    std::vector<std::optional<Role>> roles(initializers.size());
    find_roles(g, at, roles);
    for (size_t i = 0; i < roles.size(); ++i) initializers[i].role = roles[i].value_or(Role::constant);
  }
};

TrainableModel::TrainableModel(const std::filesystem::path& path) : state_(std::make_unique<State>()) { state_->load(path); }
TrainableModel::TrainableModel(std::string_view bytes) : state_(std::make_unique<State>()) { state_->load(bytes); }
TrainableModel::~TrainableModel() = default;

const std::vector<Port>& TrainableModel::inputs() const { return state_->model.graph.inputs; }
const std::vector<Port>& TrainableModel::outputs() const { return state_->model.graph.outputs; }
const std::vector<Initializer>& TrainableModel::initializers() const { return state_->initializers; }

void TrainableModel::open(const std::vector<int>& which) {
  State& s = *state_;
  Graph& g = s.model.graph;
  if (s.opened) fail<StateError>("onnx", "weights are open already: expected one call of open, got two");
  s.opened = true;
  std::set<int> open;
  for (int i : which) {
    if (i < 0 || size_t(i) >= s.slots.size() || !open.insert(s.slots[size_t(i)]).second)
      fail<ValueError>("onnx", "unknown initializer: expected different positions below {}, got {}", s.slots.size(), i);
    g.in.push_back(s.slots[size_t(i)]);
  }
  std::erase_if(g.constants, [&](const auto& c) { return open.count(c.first) > 0; });
  std::erase_if(g.nodes, [&](const Node& n) { return given_by(n) && open.count(n.out[0]) > 0; });
  fold_constants(g, fold_bytes(s.model, s.memory_limit));
}

std::vector<Value> TrainableModel::run(std::vector<Value> inputs, std::span<const Tensor> weights, Tensor dropout) const {
  const Graph& g = state_->model.graph;
  const size_t n = state_->n_inputs;
  if (inputs.size() > n) fail<ValueError>("onnx", "too many inputs: expected {}, got {}", n, inputs.size());
  if (weights.size() != g.in.size() - n)
    fail<ValueError>("onnx", "wrong number of weights: expected {}, got {}", g.in.size() - n, weights.size());
  inputs.resize(n);
  for (size_t i = 0; i < n; ++i) check_input(g.inputs[i], inputs[i]);
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  try {
    return Eval(Eval::Training{std::move(dropout)}).run(g, std::move(inputs), nullptr);
  } catch (const NeedsData& e) {
    fail<StateError>("onnx", "node '{}' reads values: expected one that a recording can hold, got one that depends on data "
                             "(call the module outside of suan.compile)", e.node);
  }
}

}  // namespace suan::onnx
