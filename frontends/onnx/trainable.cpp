// Initializers that training may change, and calls that are given them.
#include "frontends/onnx/trainable.h"

#include <algorithm>
#include <set>
#include <unordered_set>

#include "frontends/onnx/build.h"

namespace suan::onnx {
namespace {

// Inputs that are settings rather than weights, though they may be floating tensors: the running statistics of a
// batch norm, scales and regions of a resize, and so on.
const std::map<std::string_view, std::set<int>> settings = {
    {"BatchNormalization", {3, 4}}, {"Clip", {1, 2}},           {"DequantizeLinear", {1, 2}}, {"Dropout", {1, 2}},
    {"OneHot", {1, 2}},             {"Pad", {1, 2, 3}},         {"Pow", {1}},                 {"QuantizeLinear", {1, 2}},
    {"Range", {0, 1, 2}},           {"Resize", {1, 2, 3}},      {"RoiAlign", {1, 2}},         {"TopK", {1}},
    {"Upsample", {1}},              {"ConstantOfShape", {0}},   {"Tile", {1}},                {"Expand", {1}},
    {"NonMaxSuppression", {2, 3, 4}}};

bool trains(const Node& n, size_t input, const Tensor& t) {
  auto it = settings.find(n.op);
  if (it != settings.end() && it->second.count(int(input))) return false;
  return t.numel() > 1 || n.op == "PRelu";
}

}  // namespace

struct TrainableModel::State {
  Model model;
  std::vector<Initializer> initializers;
  std::vector<int> slots;   // by initializer
  size_t n_inputs = 0;

  void list() {
    Graph& g = model.graph;
    n_inputs = g.in.size();
    std::unordered_set<int> weights;
    std::map<int, Tensor> floating;
    for (const auto& [slot, v] : g.constants)
      if (v.is_tensor() && is_floating(v.tensor().dtype())) floating[slot] = v.tensor();
    for (const Node& n : g.nodes) {
      const std::vector<int>& read = n.reads;   // inputs that are there, then what sub-graphs read
      size_t input = 0;
      for (int slot : n.in) {
        auto it = floating.find(slot);
        if (it != floating.end() && trains(n, input, it->second)) weights.insert(slot);
        ++input;
      }
      const size_t given = size_t(std::count_if(n.in.begin(), n.in.end(), [](int s) { return s >= 0; }));
      for (size_t i = given; i < read.size(); ++i)
        if (auto it = floating.find(read[i]); it != floating.end() && it->second.numel() > 1) weights.insert(read[i]);
    }
    for (size_t i = 0; i < g.initializers.size(); ++i) {
      const auto& [slot, v] = g.constants[i];
      initializers.push_back({g.initializers[i], v, weights.count(slot) > 0});
      slots.push_back(slot);
    }
  }
};

TrainableModel::TrainableModel(const std::filesystem::path& path) : state_(std::make_unique<State>()) {
  state_->model = read_model(path);
  state_->list();
}
TrainableModel::TrainableModel(std::string_view bytes) : state_(std::make_unique<State>()) {
  state_->model = read_model(bytes);
  state_->list();
}
TrainableModel::~TrainableModel() = default;

const std::vector<Port>& TrainableModel::inputs() const { return state_->model.graph.inputs; }
const std::vector<Port>& TrainableModel::outputs() const { return state_->model.graph.outputs; }
const std::vector<Initializer>& TrainableModel::initializers() const { return state_->initializers; }

void TrainableModel::open(const std::vector<int>& which) {
  State& s = *state_;
  Graph& g = s.model.graph;
  if (g.in.size() != s.n_inputs) fail<StateError>("onnx", "weights are open already: expected one call of open, got two");
  std::set<int> open;
  for (int i : which) {
    if (i < 0 || size_t(i) >= s.slots.size() || !open.insert(s.slots[size_t(i)]).second)
      fail<ValueError>("onnx", "unknown initializer: expected different positions below {}, got {}", s.slots.size(), i);
    g.in.push_back(s.slots[size_t(i)]);
  }
  std::erase_if(g.constants, [&](const auto& c) { return open.count(c.first) > 0; });
  fold_constants(g);
}

std::vector<Value> TrainableModel::run(std::vector<Value> inputs, std::vector<Value> weights) const {
  const State& s = *state_;
  if (inputs.size() > s.n_inputs)
    fail<ValueError>("onnx", "too many inputs: expected {}, got {}", s.n_inputs, inputs.size());
  if (weights.size() != s.model.graph.in.size() - s.n_inputs)
    fail<ValueError>("onnx", "wrong number of weights: expected {}, got {}", s.model.graph.in.size() - s.n_inputs, weights.size());
  inputs.resize(s.n_inputs);
  std::move(weights.begin(), weights.end(), std::back_inserter(inputs));
  try {
    return Eval(Eval::Training{}).run(s.model.graph, std::move(inputs), nullptr);
  } catch (const NeedsData& e) {
    fail<StateError>("onnx", "node '{}' reads values: expected one that a recording can hold, got one that depends on data "
                             "(call the module outside of suan.compile)", e.node);
  }
}

}  // namespace suan::onnx
