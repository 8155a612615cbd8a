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
    std::vector<char> may_train;
    const auto add = [&](int slot, const Value& v, bool may) {
      at[slot] = initializers.size();
      slots.push_back(slot);
      initializers.push_back({g.names[size_t(slot)], v, Role::constant});
      may_train.push_back(may && v.is_tensor() && is_floating(v.tensor().dtype()) && item_size(v.tensor().dtype()) > 1);
    };
    for (const auto& [slot, v] : g.constants) add(slot, v, v.is_tensor() && v.tensor().rank() > 0);
    for (const Node& n : g.nodes)
      if (const Value* v = given_by(n)) add(n.out[0], *v, v->tensor().numel() > 1);
    std::vector<char> seen(initializers.size());
    const auto use = [&](int slot, Role role) {
      const auto it = at.find(slot);
      if (it == at.end() || !may_train[it->second]) return;
      Role& r = initializers[it->second].role;
      r = !seen[it->second] || r == role ? role : Role::constant;   // a setting to one reader stays one
      seen[it->second] = 1;
    };
    for (const Node& n : g.nodes) {
      for (size_t i = 0; i < n.in.size(); ++i)
        if (n.in[i] >= 0) use(n.in[i], role_in(n, int(i)));
      const size_t given = size_t(std::count_if(n.in.begin(), n.in.end(), [](int s) { return s >= 0; }));
      for (size_t i = given; i < n.reads.size(); ++i) use(n.reads[i], Role::weight);   // by sub-graphs
    }
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
