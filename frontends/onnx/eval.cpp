// Running graphs node by node. What is known is computed at once; what is not is recorded.
#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "core/allocator.h"
#include "core/interrupt.h"
#include "core/node_mark.h"
#include "core/record.h"
#include "frontends/onnx/build.h"
#include "frontends/onnx/check.h"

namespace suan::onnx {

// ---- operands and attributes -------------------------------------------------------------------------

const Value& Call::value(int i) const {
  if (!has(i)) fail<TypeError>("missing input {}: expected {} or more, got {}", i, i + 1, n_in());
  return in[size_t(i)];
}
const Tensor& Call::operator[](int i) const {
  const Value& v = value(i);
  if (!v.is_tensor()) fail<TypeError>("input {} is no tensor: expected one, got {}", i, describe(v));
  return v.tensor();
}
const Strings& Call::strings(int i) const {
  const Value& v = value(i);
  if (!v.is_strings()) fail<TypeError>("input {} holds no strings: expected some, got {}", i, describe(v));
  return v.strings();
}
const Sequence& Call::sequence(int i) const {
  const Value& v = value(i);
  if (!v.is_sequence()) fail<TypeError>("input {} is no sequence: expected one, got {}", i, describe(v));
  return v.sequence();
}

const Attribute* Call::attr(std::string_view name) const {
  auto it = node.attrs.find(name);
  return it == node.attrs.end() ? nullptr : &it->second;
}
namespace {
template <class T>
T get(const Call& c, std::string_view name, const std::optional<T>& fallback) {
  const Attribute* a = c.attr(name);
  if (!a) {
    if (fallback) return *fallback;
    c.fail<ValueError>("missing attribute: expected '{}'", name);
  }
  if (auto v = std::get_if<T>(&a->data)) return *v;
  c.fail<TypeError>("attribute '{}' has another type than expected", name);
}
}  // namespace
int64_t Call::integer(std::string_view name, std::optional<int64_t> f) const { return get(*this, name, f); }
double Call::real(std::string_view name, std::optional<double> f) const { return get(*this, name, f); }
std::string Call::string(std::string_view name, std::optional<std::string> f) const { return get(*this, name, f); }
std::vector<int64_t> Call::ints(std::string_view name, std::optional<std::vector<int64_t>> f) const { return get(*this, name, f); }
std::vector<double> Call::reals(std::string_view name, std::optional<std::vector<double>> f) const { return get(*this, name, f); }
std::vector<std::string> Call::texts(std::string_view name, std::optional<std::vector<std::string>> f) const {
  return get(*this, name, f);
}
const Graph& Call::graph(std::string_view name) const {
  return *get<std::shared_ptr<const Graph>>(*this, name, std::nullopt);
}

const Tensor& Call::concrete(int i) const {
  const Tensor& t = (*this)[i];
  if (t.is_dry()) throw NeedsData{node.name};
  if (t.requires_grad())   // its gradient would be lost
    fail<TypeError>("input {} is read as numbers: expected a constant, got {} with a gradient", i, to_string(t.type()));
  return t;
}

std::vector<int64_t> read_ints(const Tensor& t) {
  return Eval::eagerly([&] {
    Tensor c = ops::contiguous(ops::cast(t, DType::i64));
    const int64_t* p = c.numel() ? c.data<int64_t>() : nullptr;
    return std::vector<int64_t>(p, p + c.numel());
  });
}
std::vector<double> read_reals(const Tensor& t) {
  return Eval::eagerly([&] {
    Tensor c = ops::contiguous(ops::cast(t, DType::f64));
    const double* p = c.numel() ? c.data<double>() : nullptr;
    return std::vector<double>(p, p + c.numel());
  });
}
std::vector<int64_t> Call::host_ints(int i) const { return read_ints(concrete(i)); }
std::vector<double> Call::host_reals(int i) const { return read_reals(concrete(i)); }
int64_t Call::host_int(int i) const {
  if (concrete(i).numel() != 1) fail<ShapeError>("input {}: expected one number, got {}", i, to_string((*this)[i].type()));
  return host_ints(i)[0];
}
double Call::host_real(int i) const {
  if (concrete(i).numel() != 1) fail<ShapeError>("input {}: expected one number, got {}", i, to_string((*this)[i].type()));
  return host_reals(i)[0];
}

bool Call::less(int64_t a, int64_t b) const {
  eval.note_compared(a, b);
  return a < b;
}

std::vector<Value> Call::run(const Graph& g, std::vector<Value> inputs) const {
  return eval.run(g, std::move(inputs), &env);
}

namespace {
// In a recording of the caller's, numbers made anew by each call are constants.
Tensor as_numbers(Tensor t) {
  if (context().recorder && !t.is_dry()) context().recorder->note_numbers(t);
  return t;
}
}  // namespace

Tensor make_ints(const std::vector<int64_t>& v, const Shape& shape) {
  return as_numbers(Tensor::from<int64_t>(v, shape));
}
Tensor make_ints(const std::vector<int64_t>& v) { return make_ints(v, Shape{int64_t(v.size())}); }
Tensor make_reals(const std::vector<double>& v, const Shape& shape, DType t) {
  return as_numbers(Eval::eagerly([&] { return ops::cast(Tensor::from<double>(v, shape), t); }));
}
Tensor scalar_like(double v, const Tensor& x) {
  return is_floating(x.dtype()) || is_complex(x.dtype()) ? Tensor::scalar(v, x.dtype()) : Tensor::scalar_int(int64_t(v), x.dtype());
}
Tensor select(const Tensor& condition, const Tensor& x, const Tensor& y) {
  if (!is_complex(x.dtype()) || x.dtype() != y.dtype()) return ops::where(condition, x, y);
  const Shape s = broadcast("where", condition.shape(), broadcast("where", x.shape(), y.shape()));
  Shape one = s;
  one.insert(0, 1);
  const Tensor both = apply(SUAN_OP("stack"), {ops::expand(y, s), ops::expand(x, s)}, {int64_t(0)});
  const Tensor which = ops::cast(ops::expand(condition, s), DType::i64);
  return ops::reshape(apply(SUAN_OP("gather"), {both, ops::reshape(which, one)}, {int64_t(0)}), s);
}
Dims to_dims(const Call& c, const std::vector<int64_t>& v) {
  if (v.size() > size_t(max_rank)) c.fail<ShapeError>("too many dimensions: expected at most {}, got {}", max_rank, v.size());
  return Dims(std::span<const int64_t>(v));
}
Tensor as_scalar(const Call& c, const Tensor& t) {
  if (t.numel() != 1) c.fail<ShapeError>("expected one number, got {}", to_string(t.type()));
  return t.rank() ? ops::reshape(t, {}) : t;
}

// ---- running -------------------------------------------------------------------------------------------

namespace {

// A known value owns its whole storage, as a recording's constants do.
Value settled(Value v) {
  if (!v.is_tensor() || v.tensor().is_dry()) return v;
  const Tensor& t = v.tensor();
  if (t.offset() == 0 && t.is_contiguous() && t.type().bytes() == t.storage()->bytes()) return v;
  return Eval::eagerly([&]() -> Value {
    if (!t.is_contiguous() || t.numel() == 0) return ops::copy(t);
    t.storage()->keep();   // its address is held
    return Tensor::over(Storage::external({}, t.raw(), t.type().bytes(), [keep = t.storage()] {}), Layout(t.shape()),
                        t.dtype());
  });
}

// What an open recording may hold. The sizes of results are integers that OpenProgram finds formulas for, or finds
// none (those of a strided convolution in an open direction).
using Names = std::unordered_set<std::string_view>;
bool among(const Names& names, const Node& n) { return names.count(n.op); }
const Names open_operators = {
    "Abs", "Add", "And", "Attention", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape",
    "Conv", "Cos", "CumSum", "DequantizeLinear", "Div",
    "DynamicQuantizeLinear", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "GRU", "Gather", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsNaN",
    "LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "MatMulInteger", "Max", "MaxPool", "Min",
    "Mul", "Neg", "Not", "Or", "Pow", "QLinearMatMul", "QuantizeLinear", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu",
    "Reshape", "RotaryEmbedding", "Shape", "Sigmoid", "Sign", "SimplifiedLayerNormalization", "Sin", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub",
    "Tanh", "Transpose", "Trilu", "Unsqueeze", "Where"};
const Names open_contrib = {"Attention", "BiasGelu", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "EmbedLayerNormalization", "FastGelu", "FusedGemm", "FusedMatMul", "Gelu",
                            "MatMulIntegerToFloat", "MultiHeadAttention", "QuickGelu", "RotaryEmbedding", "SkipLayerNormalization",
                            "SkipSimplifiedLayerNormalization"};
// Of the first, such that may compute with sizes,
const Names size_arithmetic = {"Add", "Cast", "Concat", "Div",   "Gather",  "Identity", "Max",       "Min",
                               "Mul", "Neg",  "Reshape", "Slice", "Squeeze", "Sub",      "Transpose", "Unsqueeze",
                               "Where"};
// such that compare sizes (the greater of two follows a formula as long as it stays the greater),
const Names comparisons = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min"};
// such that take them as any other data,
const Names of_data = {"Add",  "Concat",      "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
                       "Max",  "LessOrEqual", "Min", "Mul",   "Pow",     "Sub",            "Where"};
// and such whose results have the sizes that they are given.
const Names size_makers = {"ConstantOfShape", "Expand", "Range", "Reshape", "Slice"};

// Integers computed from sizes as a value of the program: ranges of one, whose bounds are attributes.
Value as_data(const Value& v) {
  const Tensor& t = v.tensor();
  Tensors each;
  for (int64_t i : read_ints(t))
    each.push_back(apply(SUAN_OP("arange"), {}, {double(i), double(i + 1), 1.0, t.dtype()}));
  if (each.empty()) throw NotOpen{};
  const Tensor flat = each.size() == 1 ? each[0] : apply(SUAN_OP("cat"), each, {int64_t(0)});
  return ops::reshape(flat, t.shape());
}

// The same graph constant, with a content that nobody knows while recording.
Value undisclosed(const Value& v) {
  if (!v.is_tensor() || v.tensor().is_dry()) return v;
  const Tensor& t = v.tensor();
  Tensor s = Tensor::over(Storage::dry(t.device(), t.type().bytes()), Layout(t.shape()), t.dtype());
  context().recorder->bind(s, context().recorder->value_of(t));
  return s;
}

}  // namespace

// `sized`: slots whose content, a few integers, was computed from sizes. `known`: the node can be computed now.
Eval::Sized Eval::follows_sizes(const Node& n, const std::vector<char>& sized, bool known) const {
  const auto is_sized = [&](int slot) { return slot >= 0 && sized[size_t(slot)]; };
  const bool listed = n.domain.empty() ? among(open_operators, n) : n.domain == "com.microsoft" && among(open_contrib, n);
  if (!listed || !n.build || n.reads.size() > n.in.size()) throw NotOpen{};
  if (!n.domain.empty()) {   // names of the lists below mean ONNX's own
    if (std::any_of(n.in.begin(), n.in.end(), is_sized)) throw NotOpen{};
    return Sized::no;
  }
  if (n.op == "Shape") return known ? Sized::no : Sized::computes;
  if (std::none_of(n.in.begin(), n.in.end(), is_sized)) return Sized::no;
  const bool first = is_sized(n.in[0]), others = std::any_of(n.in.begin() + 1, n.in.end(), is_sized);
  if (among(size_makers, n) && (others || n.op == "ConstantOfShape" || n.op == "Range")) {
    if (first && n.op != "ConstantOfShape" && n.op != "Range") throw NotOpen{};
    return Sized::makes;
  }
  if (!known) {
    if (!among(of_data, n)) throw NotOpen{};
    return Sized::among_data;
  }
  if (among(comparisons, n) && n.in.size() == 2)
    return n.op == "Max" || n.op == "Min" ? Sized::chooses : Sized::compares;
  const bool selects = (n.op == "Gather" && others) || (n.op == "Where" && first);
  if (n.op == "Div") return Sized::divides;
  if (!among(size_arithmetic, n) || selects || n.op == "Max" || n.op == "Min") throw NotOpen{};
  return Sized::computes;
}

// Those of a sub-graph or a function have theirs already.
void Eval::name_from(size_t first, const Node& n) const {
  std::vector<suan::Node>& nodes = context().recorder->graph().nodes;
  for (size_t i = first; i < nodes.size(); ++i)
    if (!nodes[i].source || !is_named(nodes[i].source)) nodes[i].source = named_mark(n.name);
}

// Notes how the elements of two known values compare.
void Eval::compare(const Value& a, const Value& b) const {
  if (!a.is_tensor() || !b.is_tensor()) throw NotOpen{};
  const auto [x, y] = eagerly([&] {
    const Shape s = broadcast("onnx", a.tensor().shape(), b.tensor().shape());
    return std::pair(read_ints(ops::expand(a.tensor(), s)), read_ints(ops::expand(b.tensor(), s)));
  });
  for (size_t i = 0; i < x.size(); ++i) {
    note_compared(x[i], y[i]);
    note_compared(y[i], x[i]);
  }
}

namespace {

// Which node: the engine's message names its own op, which may be another. Once is enough, at the innermost.
[[noreturn]] void rethrow_at(const Error& e, const Graph& g, const Node& n, const std::vector<Value>& env) {
  std::string text = e.what();
  const std::string own = fmt::format(" (node '{}')", n.name);   // as builders put it
  if (text.ends_with(own)) text.resize(text.size() - own.size());
  else if (text.find("(node '") != std::string::npos) throw;
  constexpr size_t most_inputs = 8;
  std::string inputs;
  for (size_t k = 0; k < std::min(n.in.size(), most_inputs); ++k) {
    const int slot = n.in[k];
    if (slot >= 0) inputs += fmt::format("{} {}: {}", inputs.empty() ? ";" : ",", g.names[size_t(slot)], describe(env[size_t(slot)]));
  }
  rethrow(e, fmt::format("{} (node '{}', {}{})", text, n.name, n.op, inputs));
}

}  // namespace

bool Eval::flows(const Value& v) const {
  if (v.is_tensor()) return flowing_.count(v.tensor().storage()->id());
  return v.is_sequence() && std::any_of(v.sequence().begin(), v.sequence().end(), [&](const Value& item) { return flows(item); });
}
void Eval::note_flowing(const Value& v) {
  if (v.is_tensor()) flowing_.insert(v.tensor().storage()->id());
  if (v.is_sequence())
    for (const Value& item : v.sequence()) note_flowing(item);
}

namespace {

// A gradient that a node would drop without a word. Steps, comparisons and positions have none to give.
void check_gradient(const Node& n, const std::vector<Value>& out) {
  static const Names flat = {"Ceil", "EyeLike", "Floor", "Round", "Sign", "RandomNormalLike", "RandomUniformLike"};
  if (n.body || among(flat, n)) return;
  bool lost = n.op.find("Quantize") != std::string::npos || n.op.find("Integer") != std::string::npos || n.op.starts_with("QLinear");
  for (const Value& v : out) {
    if (!v.is_tensor()) return;
    if (v.tensor().requires_grad()) return;
    lost = lost || is_floating(v.tensor().dtype());
  }
  if (lost)
    fail<TypeError>(n.op, "no gradient: expected an operator that has one after what is trained, got this one (freeze what comes "
                          "before it by requires_grad_(False), or call under suan.no_grad())");
}

bool wants_gradient(const std::vector<Value>& in) {
  return context().grad_enabled && std::any_of(in.begin(), in.end(), [](const Value& v) {
           return v.is_tensor() && is_floating(v.tensor().dtype()) && v.tensor().requires_grad();
         });
}

}  // namespace

void Eval::note_unrolled(const Node& loop, const Graph& body) {
  constexpr int64_t most_unrolled = 20'000;   // nodes
  check_interrupt();
  if (tracing_ && (unrolled_ += int64_t(body.nodes.size()) + 1) > most_unrolled) throw NeedsData{loop.name};
}

std::vector<Value> Eval::run(const Graph& g, std::vector<Value> inputs, const std::vector<Value>* outside) {
  constexpr int deepest = 128;
  if (depth_ >= deepest) fail<ValueError>("onnx", "graphs nest too deeply: expected at most {} levels", deepest);
  struct Depth {
    int& d;
    explicit Depth(int& d) : d(++d) {}
    ~Depth() { --d; }
  } level(depth_);
  if (inputs.size() > g.in.size())
    fail<ValueError>("onnx", "too many values for a graph: expected {}, got {}", g.in.size(), inputs.size());
  std::vector<Value> own, &env = kept_ && depth_ == 1 ? *kept_ : own;
  env.assign(size_t(g.n_slots), {});
  for (const auto& [slot, v] : g.constants) env[size_t(slot)] = v;
  if (training_ && depth_ == 1)
    for (const Value& v : inputs) note_flowing(v);
  for (size_t i = 0; i < inputs.size(); ++i) env[size_t(g.in[i])] = std::move(inputs[i]);
  for (auto [from, to] : g.captures) env[size_t(to)] = (*outside)[size_t(from)];
  std::vector<char> sized(compared_ ? size_t(g.n_slots) : 0);
  for (const Node& n : g.nodes) {
    check_interrupt();
    std::vector<Value> in;
    in.reserve(n.in.size());
    bool known = !n.random && !n.weights;
    for (int slot : n.in) in.push_back(slot < 0 ? Value() : env[size_t(slot)]);
    if (tracing_)
      for (int slot : n.reads) known = known && is_concrete(env[size_t(slot)]);
    const bool of_sizes = training_ && n.domain.empty() && (n.op == "Shape" || n.op == "Size");
    if (training_)
      for (int slot : n.reads) known = known && (of_sizes || !flows(env[size_t(slot)]));
    const bool outside_tape = training_ && known, gradient = training_ && !known && wants_gradient(in);
    Sized how = Sized::no;
    if (compared_) {
      how = follows_sizes(n, sized, known);
      if (how == Sized::compares || how == Sized::chooses) compare(in[0], in[1]);
      // A quotient with an integer factor has the same rest at all sizes of one sign.
      if (how == Sized::divides) compare(in[0], Tensor::scalar_int(0, DType::i64));
      if (how == Sized::among_data)
        for (size_t k = 0; k < in.size(); ++k)
          if (n.in[k] >= 0 && sized[size_t(n.in[k])]) in[k] = as_data(in[k]);
      if (how == Sized::makes) {
        known = false;
        if (n.op != "ConstantOfShape" && n.op != "Range") in[0] = undisclosed(in[0]);
      }
    }
    auto build = [&](std::vector<Value> operands) {
      if (n.body) return run(*n.body, std::move(operands), nullptr);
      auto call = [&](std::vector<Value> values) {
        Call c(n, std::move(values), *this, env);
        return n.build(c);
      };
      return moves_strings(n, operands) ? move_strings(n, operands, call) : call(std::move(operands));
    };
    // What is known and large is the plan's business, whose peak is known before anything of that size is asked for.
    auto known_now = [&] {
      constexpr int64_t most_known = 256 << 20;   // bytes
      try {
        return eagerly([&] {
          const MemoryBudget budget(most_known);
          std::vector<Value> made = build(in);
          for (Value& v : made) v = settled(std::move(v));
          return made;
        });
      } catch (const OutOfMemory&) {
        if (compared_) throw NotOpen{};
      }
      std::vector<Value> made = build(std::move(in));
      for (const Value& v : made)
        if (v.is_tensor()) require_memory(v.tensor().type().bytes());
      return made;
    };
    const bool naming = naming_ && context().recorder;
    const size_t recorded = naming ? context().recorder->graph().nodes.size() : 0;
    std::vector<Value> out;
    try {
      out = (tracing_ || outside_tape) && known ? known_now() : build(std::move(in));
      if (gradient) check_gradient(n, out);
      if (training_)
        for (const Value& v : out) {
          if (!known) note_flowing(v);
          else if (context().recorder && v.is_tensor()) context().recorder->note_numbers(v.tensor());
        }
      if (naming) name_from(recorded, n);
      if (out.size() < n.out.size())
        for (size_t k = out.size(); k < n.out.size(); ++k)
          if (n.out[k] >= 0)
            fail<TypeError>(n.op, "unsupported output: expected at most {}, got one more wanted", out.size());
      for (const auto& [k, port] : n.declared) check_declared(port, out[size_t(k)], "value");
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {
      rethrow_at(e, g, n, env);
    }
    for (size_t k = 0; k < n.out.size(); ++k)
      if (n.out[k] >= 0) {
        Value& v = env[size_t(n.out[k])] = tracing_ ? settled(std::move(out[k])) : std::move(out[k]);
        if (!compared_) continue;
        const bool counts = (how == Sized::computes || how == Sized::chooses || how == Sized::divides) && is_concrete(v);
        if (counts && !(v.is_tensor() && is_integer(v.tensor().dtype()))) throw NotOpen{};  // rounds
        sized[size_t(n.out[k])] = counts;
      }
    if (&env == &own)
      for (int slot : n.last_read) env[size_t(slot)] = Value();
  }
  std::vector<Value> result;
  for (int slot : g.out) {
    if (compared_ && sized[size_t(slot)]) throw NotOpen{};
    result.push_back(env[size_t(slot)]);
  }
  return result;
}

// ---- before the first call -----------------------------------------------------------------------------

void find_last_reads(Graph& g) {
  std::vector<int> last(size_t(g.n_slots), -1);
  for (size_t i = 0; i < g.nodes.size(); ++i)
    for (int slot : g.nodes[i].reads) last[size_t(slot)] = int(i);
  for (int slot : g.out) last[size_t(slot)] = -1;
  for (Node& n : g.nodes) n.last_read.clear();
  for (size_t slot = 0; slot < last.size(); ++slot)
    if (last[slot] >= 0) g.nodes[size_t(last[slot])].last_read.push_back(int(slot));
}

namespace {
// Marks what makes constant 8-bit weights real for products and convolutions alone.
void find_weights(Graph& g) {
  std::unordered_map<int, Node*> made;
  std::unordered_map<int, const Value*> constants;
  for (const auto& [slot, v] : g.constants) constants[slot] = &v;
  for (Node& n : g.nodes) {
    if (n.op != "DequantizeLinear" || n.in.size() < 2 || n.reads.size() > n.in.size() || n.out.size() != 1) continue;
    const auto x = constants.find(n.in[0]);
    if (x == constants.end() || !x->second->is_tensor() || n.attrs.count("block_size")) continue;
    const DType t = x->second->tensor().dtype();
    if (x->second->tensor().rank() < 2 || (t != DType::u8 && t != DType::i8)) continue;
    n.weights = true;
    made[n.out[0]] = &n;
  }
  for (const Node& n : g.nodes)
    for (size_t i = 0; i < n.reads.size(); ++i) {
      const auto it = made.find(n.reads[i]);
      if (it == made.end()) continue;
      const bool product = n.domain.empty() && (n.op == "Conv" || n.op == "MatMul" || n.op == "Gemm");
      if (!product || n.in.size() < 2 || n.in[1] != n.reads[i] || n.in[0] == n.reads[i]) it->second->weights = false;
    }
  for (int slot : g.out)
    if (const auto it = made.find(slot); it != made.end()) it->second->weights = false;
}
}  // namespace

void fold_constants(Graph& g, int64_t bytes) {
  find_weights(g);
  const MemoryBudget budget(bytes);
  // Files of a few bytes may ask for hours. A model gets a second, and more the larger its weights are (`bytes` follows
  // them); what is not done then is left to the call, which has a timeout of its own.
  const CallLimit limit(nullptr, 1 + double(bytes) / 1.6e9);
  bool in_time = true;
  std::unordered_map<int, Value> known(g.constants.begin(), g.constants.end());
  std::vector<Value> env(static_cast<size_t>(g.n_slots));
  for (const auto& [slot, v] : known) env[size_t(slot)] = v;
  std::vector<Node> left;
  for (Node& n : g.nodes) {
    bool foldable = in_time && !n.random && !n.weights && !n.body;
    for (const auto& [name, a] : n.attrs) foldable = foldable && !std::holds_alternative<std::shared_ptr<const Graph>>(a.data);
    for (int slot : n.reads) foldable = foldable && known.count(slot);
    if (foldable) try {
        std::vector<Value> in;
        for (int slot : n.in) in.push_back(slot < 0 ? Value() : env[size_t(slot)]);
        Eval eval(false);
        std::vector<Value> out = Eval::eagerly([&] {
          Call c(n, std::move(in), eval, env);
          return n.build(c);
        });
        if (out.size() >= n.out.size()) {
          for (size_t k = 0; k < n.out.size(); ++k)
            if (n.out[k] >= 0) known[n.out[k]] = env[size_t(n.out[k])] = settled(std::move(out[k]));
          continue;
        }
      } catch (const OutOfMemory&) {   // left to the call, whose budget is larger
      } catch (const TimedOut&) {
        in_time = false;
      } catch (const Interrupted&) {
        throw;
      } catch (const Error& e) {
        rethrow_at(e, g, n, env);
      }
    left.push_back(std::move(n));
  }
  g.nodes = std::move(left);
  std::vector<char> read(size_t(g.n_slots), 0);
  for (const Node& n : g.nodes)
    for (int slot : n.reads) read[size_t(slot)] = 1;
  for (int slot : g.out) read[size_t(slot)] = 1;
  g.constants.clear();
  for (auto& [slot, v] : known)
    if (read[size_t(slot)]) g.constants.emplace_back(slot, v);
  find_last_reads(g);
}

// ---- the table -----------------------------------------------------------------------------------------

namespace {

struct Table {
  std::unordered_map<std::string, std::vector<Mapping>> by_name;  // oldest first
  Table() {
    for (auto list : {elementwise_ops, cast_ops, shape_ops, index_ops, reduce_ops, nn_ops, recurrent_ops,
                      quant_ops, loss_ops, control_ops, text_ops, learning_ops, tree_ops, training_ops,
                      attention_ops, contrib_ops, contrib_attention_ops, contrib_quantized_ops, vision_ops, signal_ops, random_ops,
                      ngram_ops})
      for (const Mapping& m : list()) by_name[m.name].push_back(m);
    for (auto& [name, list] : by_name)
      std::sort(list.begin(), list.end(), [](const Mapping& a, const Mapping& b) { return a.since < b.since; });
  }
};
const Table& table() {
  static const Table t;
  return t;
}

}  // namespace

// "domain.Name" for other domains than ONNX's own.
Builder find_builder(std::string_view domain, std::string_view name, int version) {
  std::string key = domain.empty() ? std::string(name) : fmt::format("{}.{}", domain, name);
  auto it = table().by_name.find(key);
  if (it == table().by_name.end()) return nullptr;
  Builder found = nullptr;
  for (const Mapping& m : it->second)
    if (m.since <= version) found = m.build;
  return found;
}

std::vector<SupportedOp> supported_ops() {
  std::vector<SupportedOp> out;
  for (const auto& [name, list] : table().by_name)
    for (const Mapping& m : list) {
      size_t dot = name.rfind('.');
      out.push_back({dot == std::string::npos ? "" : name.substr(0, dot), dot == std::string::npos ? name : name.substr(dot + 1),
                     m.since});
    }
  std::sort(out.begin(), out.end(), [](const SupportedOp& a, const SupportedOp& b) {
    return std::tie(a.domain, a.name, a.since) < std::tie(b.domain, b.name, b.since);
  });
  return out;
}

}  // namespace suan::onnx
