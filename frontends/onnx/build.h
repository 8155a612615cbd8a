// What a builder of one ONNX operator sees. Builders write in Suan's ops; whether these run at once, or are
// recorded for a plan, is the business of the caller (eval.h).
#pragma once

#include <functional>
#include <unordered_set>

#include "frontends/onnx/model.h"
#include "ops/api.h"

namespace suan {
class ConstantCache;
struct Graph;
}  // namespace suan

namespace suan::onnx {

// A builder asked for the content of a value that only exists when the plan runs.
struct NeedsData {
  std::string node;
};

// A model is recorded at sample sizes, and something in it does not follow from sizes in the way it has to
// (core/open_program.h): it is recorded for each size instead.
struct NotOpen {};

class Eval;

class Call {
 public:
  Call(const Node& n, std::vector<Value> in, Eval& eval, const std::vector<Value>& env)
      : node(n), in(std::move(in)), eval(eval), env(env) {}
  const Node& node;
  std::vector<Value> in;
  Eval& eval;
  const std::vector<Value>& env;       // slots of the graph around, for sub-graphs

  int n_in() const { return int(in.size()); }
  bool has(int i) const { return i < n_in() && !in[size_t(i)].absent(); }
  const Tensor& operator[](int i) const;                 // TypeError unless a tensor is there
  Tensor optional(int i) const { return has(i) ? (*this)[i] : Tensor(); }
  const Value& value(int i) const;
  const Strings& strings(int i) const;
  const Sequence& sequence(int i) const;

  bool has_attr(std::string_view name) const { return attr(name) != nullptr; }
  int64_t integer(std::string_view name, std::optional<int64_t> fallback = {}) const;
  double real(std::string_view name, std::optional<double> fallback = {}) const;
  std::string string(std::string_view name, std::optional<std::string> fallback = {}) const;
  std::vector<int64_t> ints(std::string_view name, std::optional<std::vector<int64_t>> fallback = {}) const;
  std::vector<double> reals(std::string_view name, std::optional<std::vector<double>> fallback = {}) const;
  std::vector<std::string> texts(std::string_view name, std::optional<std::vector<std::string>> fallback = {}) const;
  const Graph& graph(std::string_view name) const;
  const Attribute* attr(std::string_view name) const;
  int version() const { return node.version; }

  // Content, which must not wait for a plan.
  const Tensor& concrete(int i) const;
  std::vector<int64_t> host_ints(int i) const;
  std::vector<double> host_reals(int i) const;
  int64_t host_int(int i) const;                         // of one element
  double host_real(int i) const;
  int axis(int64_t a, int rank) const {
    if (rank == 0) fail<ShapeError>("no axis in one number: expected 1 or more dimensions, got none");
    return normalize_axis(node.op, a, rank);
  }
  int axis_attr(int64_t fallback, int rank) const { return axis(integer("axis", fallback), rank); }

  // a < b, where one may be a size. Builders that decide something by more than equal sizes ask here.
  bool less(int64_t a, int64_t b) const;

  // make() of this node's attributes, made once and kept with the model.
  template <class T, class F>
  std::shared_ptr<const T> prepared(F&& make) const {
    std::lock_guard lock(node.prepared->mutex);
    if (!node.prepared->value) node.prepared->value = std::make_shared<const T>(make());
    return std::static_pointer_cast<const T>(node.prepared->value);
  }

  // Runs a sub-graph of this node with the captured values of now.
  std::vector<Value> run(const Graph& g, std::vector<Value> inputs) const;

  template <class E = ValueError, class... A>
  [[noreturn]] void fail(fmt::format_string<A...> text, A&&... a) const {
    throw E(fmt::format("[{}] {} (node '{}')", node.op, fmt::format(text, std::forward<A>(a)...), node.name));
  }
};

// Runs graphs node by node: recording dry values, computing what is known.
class Eval {
 public:
  // With `compared`, sizes stay open: comparisons of sizes are noted there, and NotOpen is thrown where an
  // operator does more with sizes than OpenProgram allows.
  using Compared = std::vector<std::pair<int64_t, int64_t>>;
  explicit Eval(bool tracing, Compared* compared = nullptr) : tracing_(tracing), compared_(compared) {}
  // Recorded nodes get the names of the model's nodes they come from, for profiles.
  Eval&& naming(bool on) && {
    naming_ = on;
    return std::move(*this);
  }
  // The values of the outermost graph are kept there, by slot, also when an error ends the run.
  Eval&& keeping(std::vector<Value>* values) && {
    kept_ = values;
    return std::move(*this);
  }
  std::vector<Value> run(const Graph& g, std::vector<Value> inputs, const std::vector<Value>* outside);
  // For training: what follows from the inputs runs in the caller's context, on its tape and in its recording; what
  // follows from constants and shapes alone is computed outside of both. Nothing is kept for later calls.
  struct Training {
    Tensor dropout;   // state of the generator that nodes of Dropout draw from; undefined: they pass their input on
  };
  explicit Eval(Training t) : tracing_(false), compared_(nullptr), training_(std::move(t)) {}
  bool tracing() const { return tracing_; }
  Tensor dropout_state() const { return training_ ? training_->dropout : Tensor(); }
  bool open_sizes() const { return compared_; }
  // A sub-graph is about to run for the next trip of a loop. Throws NeedsData where a recording grows too long by it.
  void note_unrolled(const Node& loop, const Graph& body);
  void note_compared(int64_t a, int64_t b) const {
    if (compared_) compared_->emplace_back(a, b);
  }
  // Runs f as eager code, whatever is recorded around.
  template <class F>
  static auto eagerly(F&& f) {
    ContextScope scope;
    context() = Context{.grad_enabled = false, .inference = true};
    return f();
  }

 private:
  // What a node of an open recording does with sizes: nothing; compute others, one of two or a quotient; compare
  // some; take them as data, or make a value of such sizes, which only a plan can do.
  enum class Sized : uint8_t { no, computes, chooses, divides, compares, among_data, makes };
  Sized follows_sizes(const Node& n, const std::vector<char>& sized, bool known) const;
  void compare(const Value& a, const Value& b) const;

  void name_from(size_t first, const Node& n) const;
  // Of training: the value follows from the inputs.
  bool flows(const Value& v) const;
  void note_flowing(const Value& v);

  bool tracing_, naming_ = false;
  Compared* compared_;
  std::vector<Value>* kept_ = nullptr;
  std::optional<Training> training_;
  std::unordered_set<uint64_t> flowing_;   // storages of what follows from the inputs
  int depth_ = 0;
  int64_t unrolled_ = 0;
};

// Of a node that only moves (or compares for equality) elements, some of which are strings: `build` is called with
// int64 tensors in their place, outside of any recording.
bool moves_strings(const Node& n, const Values& in);
Values move_strings(const Node& n, const Values& in, const std::function<Values(Values)>& build);

// Where a builder lists positions along an axis, a model may not ask for more.
inline constexpr int64_t longest_axis = int64_t(1) << 26;

// ONNX's own operator of that name and version on the same operands, for one that only adds to it.
Values as_onnx(Call& c, const char* op, int version);

// Whole values of numbers for builders; constants in a recording.
Tensor make_ints(const std::vector<int64_t>& v);                         // 1-d int64
Tensor make_ints(const std::vector<int64_t>& v, const Shape& shape);
Tensor make_reals(const std::vector<double>& v, const Shape& shape, DType t);
Tensor scalar_like(double v, const Tensor& x);
// x where the condition holds, else y; of complex numbers, too, which ops::where does not know.
Tensor select(const Tensor& condition, const Tensor& x, const Tensor& y);
std::vector<double> read_reals(const Tensor& t);      // concrete, any number type
std::vector<int64_t> read_ints(const Tensor& t);
Value cast_value(Call& c, const Value& v, int onnx_type);        // as Cast with the node's attributes
Tensor cast_narrow(const Tensor& x, DType to, bool saturate);   // saturate: floats of 8 bits stay finite
Dims to_dims(const Call& c, const std::vector<int64_t>& v);              // ShapeError past eight
// A one-element tensor of any rank as 0-d.
Tensor as_scalar(const Call& c, const Tensor& t);
Tensor flatten_to(const Tensor& x, std::initializer_list<int64_t> shape);

// Nodes that read constants only run once, for all shapes. What takes more than `bytes`, and what has graphs of its own
// (loops may be long), is left to the call. Errors name the node.
void fold_constants(Graph& g, int64_t bytes);

// Products, convolutions and attention take bfloat16 operands and give float32; casts of weights are cached.
void narrow_products(suan::Graph& g, ConstantCache& cache);

// Tables, one for each file of builders.
std::vector<Mapping> elementwise_ops();
std::vector<Mapping> cast_ops();
std::vector<Mapping> shape_ops();
std::vector<Mapping> index_ops();
std::vector<Mapping> reduce_ops();
std::vector<Mapping> nn_ops();
std::vector<Mapping> recurrent_ops();
std::vector<Mapping> quant_ops();
std::vector<Mapping> loss_ops();
std::vector<Mapping> control_ops();
std::vector<Mapping> text_ops();
std::vector<Mapping> learning_ops();
std::vector<Mapping> tree_ops();
std::vector<Mapping> training_ops();
std::vector<Mapping> attention_ops();
std::vector<Mapping> contrib_ops();
std::vector<Mapping> contrib_attention_ops();
std::vector<Mapping> contrib_quantized_ops();
std::vector<Mapping> vision_ops();
std::vector<Mapping> signal_ops();
std::vector<Mapping> random_ops();
std::vector<Mapping> ngram_ops();

}  // namespace suan::onnx
