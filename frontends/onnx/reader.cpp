// A model file into a Model: names become slots, operators builders, functions graphs of their own.
#include "frontends/onnx/reader.h"

#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <climits>
#include <set>
#include <unordered_map>

#include "core/allocator.h"
#include "frontends/onnx/build.h"
#include "frontends/onnx/check.h"
#include "frontends/onnx/wire.h"

namespace suan::onnx {
namespace {

using ::onnx::AttributeProto;
using ::onnx::FunctionProto;
using ::onnx::GraphProto;
using ::onnx::NodeProto;
using ::onnx::TypeProto;

constexpr int max_nodes = 200'000, max_calls = 32;
constexpr int64_t least_fold_bytes = 64 << 20, least_sparse_bytes = 256 << 20;
constexpr int64_t max_extra_items = 1 << 24;   // names and numbers beyond those that the file holds

using AttrMap = std::map<std::string, Attribute, std::less<>>;

// Names of one graph. What is not found here is captured from around.
struct Scope {
  Graph& graph;
  Scope* parent = nullptr;
  std::map<std::string, int, std::less<>> slots;

  bool visible(const std::string& name) const { return slots.count(name) || (parent && parent->visible(name)); }
  // Inputs may hide a value around them; results may not.
  int define(const std::string& name, bool may_hide = false) {
    if (!slots.emplace(name, graph.n_slots).second || (!may_hide && parent && parent->visible(name)))
      fail<ValueError>("onnx", "value defined twice: expected one producer, got another for '{}'", name);
    graph.names.push_back(name);
    return graph.n_slots++;
  }
  int find(const std::string& name) {
    if (auto it = slots.find(name); it != slots.end()) return it->second;
    int outside = parent ? parent->find(name) : -1;
    if (outside < 0) return -1;
    graph.captures.emplace_back(outside, graph.n_slots);
    graph.names.push_back(name);
    return slots[name] = graph.n_slots++;
  }
};

class Importer {
 public:
  // `bytes`: the model with what was cut out of `proto`.
  Importer(TensorReader& tensors, const ::onnx::ModelProto& proto, std::string_view bytes, int64_t memory_limit, const Given& given)
      : tensors_(tensors), proto_(proto), bytes_(bytes), given_(given) {
    for (const FunctionProto& f : proto.functions())
      if (!functions_.emplace(plain_domain(f.domain()) + "." + f.name() + "." + f.overload(), &f).second)
        fail<ValueError>("onnx", "function '{}' is defined twice: expected one body, got another", f.name());
    items_left_ = max_extra_items + int64_t(proto.ByteSizeLong());
    sparse_left_ = std::min(memory_limit, std::max(least_sparse_bytes, 64 * int64_t(proto.ByteSizeLong())));
  }
  void graph(Graph& g, const GraphProto& p, const Opsets& opsets, Scope* parent, const Cuts* cuts, const AttrMap* arguments);
  std::map<std::string, int> counts;
  std::vector<Port> defaults;
  std::vector<int> default_slots;

 private:
  using Ports = std::map<std::string, Port, std::less<>>;
  void node(Scope& scope, const NodeProto& p, const Opsets& opsets, const AttrMap* arguments, const Ports& declared, const Cuts* cuts, int index);
  void nodes(Scope& scope, const google::protobuf::RepeatedPtrField<NodeProto>& list, const Opsets& opsets,
             const AttrMap* arguments, const Ports& declared, const Cuts* cuts = nullptr);
  Value tensor(const ::onnx::TensorProto& t, std::string_view raw = {}) try {
    return tensors_.read(t, raw);
  } catch (const Error& e) {
    const std::string named = fmt::format("'{}'", t.name());
    if (t.name().empty() || std::string_view(e.what()).find(named) != std::string_view::npos) throw;
    rethrow(e, fmt::format("{} (tensor {})", e.what(), named));
  }
  Value initializer(const ::onnx::TensorProto& t, std::string_view raw, bool outermost) {
    const auto it = outermost ? given_.find(t.name()) : given_.end();
    if (it == given_.end()) return tensor(t, raw);
    const Tensor& have = it->second;
    if (is_string_type(t.data_type())) fail<TypeError>("onnx", "given initializer '{}' does not fit: expected strings, got {}", t.name(), to_string(have.type()));
    TensorType want{dtype_of_onnx(t.data_type()), {}, {}};
    if (t.dims_size() > max_rank) fail<ShapeError>("onnx", "too many dimensions of '{}': expected at most {}, got {}", t.name(), max_rank, t.dims_size());
    bool fits = have.dtype() == want.dtype && have.rank() == t.dims_size();
    for (int i = 0; fits && i < t.dims_size(); ++i) fits = have.dim(i) == t.dims(i);
    if (!fits) {
      std::string dims;
      for (int64_t d : t.dims()) dims += (dims.empty() ? "" : "x") + std::to_string(d);
      fail<ShapeError>("onnx", "given initializer '{}' does not fit: expected {} of [{}], got {}", t.name(), name(want.dtype), dims, to_string(have.type()));
    }
    return Eval::eagerly([&] { return ops::contiguous(have); });
  }
  Value sparse(const ::onnx::SparseTensorProto& t) {
    const MemoryBudget budget(sparse_left_);
    Value dense = tensors_.read_sparse(t);
    sparse_left_ -= dense.tensor().type().bytes();
    return dense;
  }
  void count_nodes(int64_t n) {
    if ((nodes_ += n) > max_nodes) fail<ValueError>("onnx", "too many nodes: expected at most {}, got more", max_nodes);
  }
  // Calls of functions repeat what stands once in the file: what they make of it is counted.
  void spend(int64_t items) {
    if ((items_left_ -= items) < 0)
      fail<ValueError>("onnx", "functions make the model too large: expected at most {} names and numbers beyond its own, got more",
                       max_extra_items);
  }
  Attribute attribute(const AttributeProto& a, Scope& scope, const Opsets& opsets, const AttrMap* arguments, Node& n,
                      std::string_view raw = {}, const Cuts* inner = nullptr);
  std::shared_ptr<const Graph> function(const FunctionProto& f, const AttrMap& given);
  std::string_view cut_out(const Cut& c) const { return c.bytes ? bytes_.substr(c.offset, c.bytes) : std::string_view(); }
  TensorReader& tensors_;
  const ::onnx::ModelProto& proto_;
  std::string_view bytes_;
  const Given& given_;
  std::map<std::string, const FunctionProto*> functions_;
  std::set<const FunctionProto*> active_;
  std::unordered_map<const void*, Value> read_;   // attributes of functions, for their next call
  std::map<const FunctionProto*, std::pair<std::shared_ptr<const Graph>, int64_t>> made_;   // and its nodes
  int64_t nodes_ = 0;
  int64_t items_left_ = 0;
  int64_t sparse_left_ = 0;   // bytes that sparse tensors may still take as dense ones
};

// The names that ONNX Runtime prints.
std::string element_text(int elem) {
  static const char* const names[] = {"undefined", "float",   "uint8",      "int8",           "uint16",     "int16",
                                      "int32",     "int64",   "string",     "bool",           "float16",    "double",
                                      "uint32",    "uint64",  "complex64",  "complex128",     "bfloat16",   "float8e4m3fn",
                                      "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1",
                                      "float8e8m0", "uint2", "int2"};
  return elem >= 0 && elem < int(std::size(names)) ? names[elem] : std::to_string(elem);
}
std::string type_text(const TypeProto& t, int depth = 0) {
  constexpr int deepest = 32;
  if (depth > deepest) fail<ValueError>("onnx", "types nest too deeply: expected at most {} levels", deepest);
  if (t.has_tensor_type()) return "tensor(" + element_text(t.tensor_type().elem_type()) + ")";
  if (t.has_sparse_tensor_type()) return "sparse_tensor(" + element_text(t.sparse_tensor_type().elem_type()) + ")";
  if (t.has_sequence_type()) return "seq(" + type_text(t.sequence_type().elem_type(), depth + 1) + ")";
  if (t.has_optional_type()) return "optional(" + type_text(t.optional_type().elem_type(), depth + 1) + ")";
  if (t.has_map_type())
    return "map(" + element_text(t.map_type().key_type()) + "," + type_text(t.map_type().value_type(), depth + 1) + ")";
  return "undefined";
}

void cut_differentiated(Scope& scope, Node& n);

Port port_of(const ::onnx::ValueInfoProto& v) try {
  Port p;
  p.name = v.name();
  const TypeProto& t = v.type();
  p.type = type_text(t);
  if (t.has_tensor_type()) {
    const int elem = t.tensor_type().elem_type();
    p.kind = is_string_type(elem) ? Port::Kind::strings : Port::Kind::tensor;
    if (elem == 0) p.kind = Port::Kind::unknown;
    if (p.kind == Port::Kind::tensor) p.dtype = dtype_of_onnx(elem);
    p.has_shape = t.tensor_type().has_shape();
    for (const auto& d : t.tensor_type().shape().dim()) {
      if (d.dim_value() < -1)   // some exporters write -1 for one that is not known
        fail<ShapeError>("onnx", "negative dimension of '{}': expected 0 or more, got {}", v.name(), d.dim_value());
      p.dims.push_back(d.has_dim_value() && d.dim_value() >= 0 ? d.dim_value() : -1);
      p.dim_names.push_back(d.dim_param());
      p.dim_denotations.push_back(d.denotation());
    }
  } else if (t.has_sequence_type()) {
    p.kind = Port::Kind::sequence;
  } else if (t.has_optional_type()) {
    p.kind = Port::Kind::optional;
  } else if (t.has_map_type()) {
    p.kind = Port::Kind::map;
  } else if (t.has_sparse_tensor_type()) {
    fail<TypeError>("onnx", "unsupported type of '{}': expected a tensor, a sequence, a map or an optional, got a sparse tensor",
                    v.name());
  }
  return p;
} catch (const TypeError& e) {
  if (std::string_view(e.what()).find('\'' + v.name() + '\'') != std::string_view::npos) throw;
  throw TypeError(fmt::format("{} (value '{}')", e.what(), v.name()));
}

int64_t items_of(const Attribute& a) {
  return std::visit([](const auto& v) -> int64_t {
    if constexpr (requires { v.size(); }) return int64_t(v.size());
    else return 1;
  }, a.data);
}

void Importer::graph(Graph& g, const GraphProto& p, const Opsets& opsets, Scope* parent, const Cuts* cuts, const AttrMap* arguments) {
  Scope scope{g, parent, {}};
  for (int i = 0; i < p.initializer_size(); ++i) {
    const auto& t = p.initializer(i);
    if (t.name().empty()) fail<ValueError>("onnx", "initializer {} has no name: expected one, got none", i);
    std::string_view raw;
    if (cuts) raw = cut_out(cuts->initializers[size_t(i)]);
    g.constants.emplace_back(scope.define(t.name()), initializer(t, raw, !parent));
  }
  for (const auto& t : p.sparse_initializer()) {
    if (t.values().name().empty()) fail<ValueError>("onnx", "sparse initializer has no name: expected one of its values, got none");
    g.constants.emplace_back(scope.define(t.values().name()), sparse(t));
  }
  std::set<std::string_view> seen;
  for (const auto& v : p.input()) {
    if (!seen.insert(v.name()).second || v.name().empty())
      fail<ValueError>("onnx", "input named twice or not at all: expected a name of its own, got '{}'", v.name());
    Port port = port_of(v);
    if (auto it = scope.slots.find(v.name()); it != scope.slots.end()) {  // an initializer's declaration
      check_declared(port, g.constants[size_t(it->second)].second, "initializer", true);
      if (parent) continue;
      defaults.push_back(std::move(port));
      default_slots.push_back(it->second);
      continue;
    }
    if (!parent && (v.type().value_case() == TypeProto::VALUE_NOT_SET || (v.type().has_tensor_type() && !v.type().tensor_type().elem_type())))
      fail<TypeError>("onnx", "input '{}' has no type: expected one, got none", v.name());
    g.inputs.push_back(std::move(port));
    g.in.push_back(scope.define(v.name(), true));
  }
  Ports declared;
  for (const auto& v : p.value_info()) declared.emplace(v.name(), port_of(v));
  for (const auto& v : p.output()) declared.insert_or_assign(v.name(), port_of(v));
  nodes(scope, p.node(), opsets, arguments, declared, cuts);
  for (const auto& v : p.output()) {
    g.outputs.push_back(declared.find(v.name())->second);
    int slot = v.name().empty() ? -1 : scope.find(v.name());
    if (slot < 0) fail<ValueError>("onnx", "graph output '{}': expected a value some node makes, got none", v.name());
    g.out.push_back(slot);
  }
  find_last_reads(g);
}

void Importer::nodes(Scope& scope, const google::protobuf::RepeatedPtrField<NodeProto>& list, const Opsets& opsets,
                     const AttrMap* arguments, const Ports& declared, const Cuts* cuts) {
  for (int i = 0; i < list.size(); ++i) {
    for (const std::string& name : list[i].input())
      if (!name.empty() && scope.find(name) < 0) fail_unknown(list, i, name);
    node(scope, list[i], opsets, arguments, declared, cuts, i);
  }
}

void Importer::node(Scope& scope, const NodeProto& p, const Opsets& opsets, const AttrMap* arguments, const Ports& declared,
                    const Cuts* cuts, int index) {
  spend(1 + p.input_size() + p.output_size());
  count_nodes(1);
  Node n;
  n.name = p.name().empty() && p.output_size() ? p.output(0) : p.name();
  n.op = p.op_type();
  n.domain = plain_domain(p.domain());
  const auto imported = opsets.find(n.domain);
  if (imported != opsets.end()) n.version = int(std::min<int64_t>(imported->second, 1 << 20));
  else
    fail<ValueError>("onnx", "operator set not imported: expected an import of domain '{}', got none (node '{}', {})", n.domain,
                     n.name, n.op);
  check_node(p, n, arguments);
  for (int k = 0; k < p.attribute_size(); ++k) {
    const AttributeProto& a = p.attribute(k);
    if (!a.ref_attr_name().empty()) {  // of the function around; left out where the call left it out
      auto it = arguments ? arguments->find(a.ref_attr_name()) : AttrMap::const_iterator{};
      if (!arguments || it == arguments->end()) continue;
      if (std::holds_alternative<std::shared_ptr<const Graph>>(it->second.data))
        fail<TypeError>("onnx", "unsupported graph as a function's attribute: expected numbers, strings or a tensor, got '{}'",
                        a.name());
      spend(items_of(it->second));
      n.attrs[a.name()] = it->second;
      continue;
    }
    std::string_view raw;
    const Cuts* inner = nullptr;
    if (cuts) {
      if (auto it = cuts->of_nodes.find({index, k}); it != cuts->of_nodes.end()) raw = cut_out(it->second);
      if (auto it = cuts->of_graphs.find({index, k}); it != cuts->of_graphs.end()) inner = it->second.get();
    }
    n.attrs[a.name()] = attribute(a, scope, opsets, arguments, n, raw, inner);
  }
  for (const std::string& name : p.input()) {
    const int slot = name.empty() ? -1 : scope.find(name);
    n.in.push_back(slot);
    if (slot >= 0) n.reads.push_back(slot);
  }
  auto f = functions_.find(n.domain + "." + n.op + "." + p.overload());
  if (f != functions_.end()) {
    const FunctionProto& body = *f->second;
    if (p.input_size() > body.input_size() || p.output_size() > body.output_size())
      fail<ValueError>("onnx", "call of function '{}': expected at most {} inputs and {} outputs, got {} and {}", n.op,
                       body.input_size(), body.output_size(), p.input_size(), p.output_size());
    n.body = function(body, n.attrs);
  } else {
    ++counts[(n.domain.empty() ? "" : n.domain + ".") + n.op];
    n.build = find_builder(n.domain, n.op, n.version);
    if (!n.build)
      fail<TypeError>("onnx", "unsupported operator: expected one that `suan inspect --supported` lists, got {}{} of opset {} "
                              "(node '{}')", n.domain.empty() ? "" : n.domain + ".", n.op, n.version, n.name);
  }
  if (n.domain == "ai.onnx.preview.training" && n.op == "Gradient") cut_differentiated(scope, n);
  for (const auto& [name, a] : n.attrs)
    if (auto g = std::get_if<std::shared_ptr<const Graph>>(&a.data))
      for (auto [outside, inside] : (*g)->captures) n.reads.push_back(outside);
  n.random = n.op.starts_with("Random") || n.op == "Bernoulli" || n.op == "Multinomial" || n.op == "Dropout";
  for (const std::string& name : p.output()) {
    n.out.push_back(name.empty() ? -1 : scope.define(name));
    if (auto it = declared.find(name); it != declared.end() && it->second.kind != Port::Kind::unknown)
      n.declared.emplace_back(int(n.out.size()) - 1, it->second);
  }
  check_sub_graphs(n);
  scope.graph.nodes.push_back(std::move(n));
}

// Gradient names tensors of the graph around: y as a function of xs and zs becomes its sub-graph "body".
void cut_differentiated(Scope& scope, Node& n) {
  auto fail_with = [&](const char* what, const std::string& name) {
    fail<ValueError>("Gradient", "{}, got '{}' (node '{}')", what, name, n.name);
  };
  auto list = [&](const char* name) {
    auto it = n.attrs.find(name);
    auto v = it == n.attrs.end() ? nullptr : std::get_if<std::vector<std::string>>(&it->second.data);
    return v ? *v : std::vector<std::string>{};
  };
  auto slot_of = [&](const std::string& name) {
    auto it = scope.slots.find(name);
    if (it == scope.slots.end()) fail_with("unknown value: expected the name of an earlier one of this graph", name);
    return it->second;
  };
  auto y_name = n.attrs.find("y");
  if (y_name == n.attrs.end() || !std::get_if<std::string>(&y_name->second.data)) fail_with("missing attribute: expected a name", "y");
  const int y = slot_of(std::get<std::string>(y_name->second.data));
  std::vector<std::string> names = list("xs");
  for (std::string& z : list("zs")) names.push_back(std::move(z));
  if (names.size() != n.in.size() || list("xs").size() < n.out.size())
    fail_with("inputs do not fit: expected one for each of xs and zs, and at most an output for each of xs", std::to_string(n.in.size()));
  auto g = std::make_shared<Graph>();
  std::map<int, int> inside;                    // slot around -> slot in the body
  std::vector<char> follows(size_t(scope.graph.n_slots), 0), given = follows, wanted = follows;
  for (const std::string& name : names) {
    const int slot = slot_of(name);
    if (given[size_t(slot)]) fail_with("value twice: expected distinct xs and zs", name);
    given[size_t(slot)] = follows[size_t(slot)] = 1;
    inside[slot] = g->n_slots;
    g->in.push_back(g->n_slots++);
    g->inputs.emplace_back().name = name;
  }
  const std::vector<Node>& nodes = scope.graph.nodes;
  for (const Node& m : nodes)
    if (std::any_of(m.reads.begin(), m.reads.end(), [&](int s) { return follows[size_t(s)]; }))
      for (int s : m.out)
        if (s >= 0) follows[size_t(s)] = 1;
  if (!follows[size_t(y)]) fail_with("y does not follow from xs and zs: expected a value that does", std::get<std::string>(y_name->second.data));
  wanted[size_t(y)] = 1;
  std::vector<const Node*> chosen;
  for (size_t i = nodes.size(); i-- > 0;) {
    const Node& m = nodes[i];
    const bool makes = std::any_of(m.out.begin(), m.out.end(), [&](int s) { return s >= 0 && wanted[size_t(s)] && follows[size_t(s)] && !given[size_t(s)]; });
    if (!makes) continue;
    chosen.push_back(&m);
    for (int s : m.reads) wanted[size_t(s)] = 1;
  }
  auto slot_inside = [&](int s) {
    auto [it, fresh] = inside.try_emplace(s, g->n_slots);
    if (fresh) g->captures.emplace_back(s, g->n_slots++);
    return it->second;
  };
  for (auto it = chosen.rbegin(); it != chosen.rend(); ++it) {
    Node m = **it;
    for (int& s : m.in)
      if (s >= 0) s = slot_inside(s);
    for (int& s : m.reads) s = slot_inside(s);
    for (auto& [name, a] : m.attrs)
      if (auto sub = std::get_if<std::shared_ptr<const Graph>>(&a.data)) {
        auto copy = std::make_shared<Graph>(**sub);
        for (auto& [outside, in] : copy->captures) outside = slot_inside(outside);
        *sub = std::move(copy);
      }
    for (int& s : m.out)
      if (s >= 0) s = given[size_t(s)] ? -1 : inside.try_emplace(s, g->n_slots++).first->second;
    g->nodes.push_back(std::move(m));
  }
  g->out.push_back(slot_inside(y));
  g->outputs.emplace_back().name = std::get<std::string>(y_name->second.data);
  find_last_reads(*g);
  n.attrs["body"] = {std::shared_ptr<const Graph>(std::move(g))};
}

Attribute Importer::attribute(const AttributeProto& a, Scope& scope, const Opsets& opsets, const AttrMap* arguments, Node& n,
                              std::string_view raw, const Cuts* inner) {
  spend(a.ints_size() + a.floats_size() + a.strings_size() + int64_t(a.s().size()));
  switch (a.type()) {
    case AttributeProto::INT: return {int64_t(a.i())};
    case AttributeProto::FLOAT: return {double(a.f())};
    case AttributeProto::STRING: return {a.s()};
    case AttributeProto::INTS: return {std::vector<int64_t>(a.ints().begin(), a.ints().end())};
    case AttributeProto::FLOATS: return {std::vector<double>(a.floats().begin(), a.floats().end())};
    case AttributeProto::STRINGS: return {std::vector<std::string>(a.strings().begin(), a.strings().end())};
    case AttributeProto::TENSOR: {
      if (active_.empty()) return {tensor(a.t(), raw)};
      auto [it, fresh] = read_.try_emplace(&a.t());
      if (fresh) it->second = tensor(a.t());
      return {it->second};
    }
    case AttributeProto::SPARSE_TENSOR: {
      if (active_.empty()) return {sparse(a.sparse_tensor())};
      auto [it, fresh] = read_.try_emplace(&a.sparse_tensor());
      if (fresh) it->second = sparse(a.sparse_tensor());
      return {it->second};
    }
    case AttributeProto::GRAPH: {
      auto g = std::make_shared<Graph>();
      graph(*g, a.g(), opsets, &scope, inner, arguments);
      return {std::shared_ptr<const Graph>(std::move(g))};
    }
    case AttributeProto::TYPE_PROTO: {
      const TypeProto& t = a.tp();
      const TypeProto& e = t.has_optional_type() ? t.optional_type().elem_type() : t;
      return {int64_t(e.has_sequence_type() ? -1 : e.tensor_type().elem_type())};
    }
    default:
      fail<TypeError>("onnx", "unsupported attribute: expected numbers, strings, a tensor or a graph, got '{}' of {} '{}'", a.name(),
                      n.op, n.name);
  }
}

std::shared_ptr<const Graph> Importer::function(const FunctionProto& f, const AttrMap& given) {
  // Without attributes every call means the same graph; it counts as often as it is called.
  if (auto it = made_.find(&f); given.empty() && it != made_.end()) {
    count_nodes(it->second.second);
    return it->second.first;
  }
  const int64_t nodes_before = nodes_;
  if (int(active_.size()) >= max_calls)
    fail<ValueError>("onnx", "functions call one another too deeply: expected at most {} levels, got more at '{}'", max_calls,
                     f.name());
  if (!active_.insert(&f).second)
    fail<ValueError>("onnx", "function '{}' calls itself: expected no recursion, got it after {} calls", f.name(), active_.size());
  auto g = std::make_shared<Graph>();
  Scope scope{*g, nullptr, {}};
  const Opsets opsets = opsets_of(f.opset_import());
  AttrMap arguments = given;
  Node unused;
  for (const AttributeProto& a : f.attribute_proto())
    if (!arguments.count(a.name())) arguments[a.name()] = attribute(a, scope, opsets, nullptr, unused);
  for (const std::string& name : f.input()) g->in.push_back(scope.define(name));
  Ports declared;
  nodes(scope, f.node(), opsets, &arguments, declared);
  for (const std::string& name : f.output()) {
    int slot = scope.find(name);
    if (slot < 0) fail<ValueError>("onnx", "function '{}': expected a value for output '{}', got none", f.name(), name);
    g->out.push_back(slot);
  }
  find_last_reads(*g);
  active_.erase(&f);
  if (given.empty()) made_.emplace(&f, std::pair(g, nodes_ - nodes_before));
  return g;
}

// What a file says comes back in messages: on one line, and not all of it.
std::string one_line(std::string text) {
  constexpr size_t most = 2000;
  if (text.size() > most) text.replace(most / 2, text.size() - most, " ... ");
  for (char& c : text)
    if (uint8_t(c) < 32 || c == 127) c = '?';
  return text;
}

Model parse(std::string_view bytes, std::shared_ptr<MappedFile> file, const std::filesystem::path& folder, int64_t memory_limit,
            bool fold, const Given& given) {
  Skeleton skeleton = cut_weights(bytes);
  ::onnx::ModelProto proto;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(skeleton.bytes.data()), int(std::min<size_t>(skeleton.bytes.size(), INT_MAX)));
  in.SetRecursionLimit(100);
  if (skeleton.bytes.size() > INT_MAX || !proto.ParseFromCodedStream(&in) || !in.ConsumedEntireMessage() || !proto.has_graph())
    fail<ValueError>("onnx", "not a model: expected an ONNX ModelProto with a graph, got {} bytes that are none", bytes.size());
  std::string().swap(skeleton.bytes);   // now in the message
  if (file) file->let_go(bytes);
  Model m;
  Metadata& meta = m.meta;
  meta = {proto.ir_version(), proto.model_version(), opsets_of(proto.opset_import()), proto.producer_name(),
          proto.producer_version(), proto.domain(), proto.doc_string(), proto.graph().name(), proto.graph().doc_string(), {}};
  for (const auto& p : proto.metadata_props()) meta.custom[p.key()] = p.value();
  check_versions(proto, meta.opsets);
  if (meta.opsets.empty()) meta.opsets[""] = 1;
  TensorReader tensors(bytes, std::move(file), folder);
  for (const auto& [name, t] : given)
    if (std::none_of(proto.graph().initializer().begin(), proto.graph().initializer().end(), [&](const auto& p) { return p.name() == name; }))
      fail<ValueError>("onnx", "no initializer '{}': expected the name of one to be replaced, got another", name);
  Importer importer(tensors, proto, bytes, memory_limit, given);
  importer.graph(m.graph, proto.graph(), meta.opsets, nullptr, &skeleton.cuts, nullptr);
  m.op_counts = std::move(importer.counts);
  m.weight_bytes = tensors.counted().all;
  m.mapped_bytes = tensors.counted().mapped;
  m.mapped = std::make_shared<std::vector<MappedWeight>>(std::move(tensors.mapped()));
  m.deferred = std::move(tensors.deferred());
  m.files = tensors.files();
  if (fold && !importer.defaults.empty()) {
    m.defaults = std::move(importer.defaults);
    m.default_slots = std::move(importer.default_slots);
    m.unfolded = std::make_shared<const Graph>(m.graph);
  }
  for (const auto& [slot, value] : m.graph.constants) m.initializers.push_back(slot);
  if (fold) fold_constants(m.graph, fold_bytes(m, memory_limit));
  return m;
}

}  // namespace

namespace {
// Names and strings of a file may be any bytes; messages are UTF-8.
bool is_utf8(std::string_view s) {
  for (size_t i = 0; i < s.size();) {
    const uint8_t lead = uint8_t(s[i++]);
    const int more = lead < 0x80 ? 0 : lead < 0xc2 ? -1 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : -1;
    if (more < 0 || i + size_t(more) > s.size()) return false;
    uint32_t code = more ? lead & (0x3f >> more) : lead;
    for (int k = 0; k < more; ++k, ++i) {
      if ((uint8_t(s[i]) & 0xc0) != 0x80) return false;
      code = code << 6 | (uint8_t(s[i]) & 0x3f);
    }
    if ((more == 2 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) || (more == 3 && (code < 0x10000 || code > 0x10ffff))) return false;
  }
  return true;
}
}  // namespace

void rethrow(const Error& e, const std::string& given) {
  std::string text = given;
  if (!is_utf8(text))
    for (char& c : text)
      if (uint8_t(c) >= 128) c = '?';
  if (dynamic_cast<const ShapeError*>(&e)) throw ShapeError(text);
  if (dynamic_cast<const ValueError*>(&e)) throw ValueError(text);
  if (dynamic_cast<const TypeError*>(&e)) throw TypeError(text);
  if (dynamic_cast<const IndexError*>(&e)) throw IndexError(text);
  if (dynamic_cast<const IoError*>(&e)) throw IoError(text);
  if (dynamic_cast<const OutOfMemory*>(&e)) throw OutOfMemory(text);
  throw;
}

int64_t fold_bytes(const Model& m, int64_t memory_limit) {
  return std::min(memory_limit, std::max(least_fold_bytes, 16 * m.weight_bytes));
}

Model read_model(const std::filesystem::path& path, int64_t memory_limit, bool fold, const Given& given) {
  auto file = std::make_shared<MappedFile>(path);
  try {
    return parse(file->bytes(), file, path.has_parent_path() ? path.parent_path() : std::filesystem::path("."), memory_limit, fold,
                 given);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    rethrow(e, one_line(fmt::format("{} (file '{}')", e.what(), path.string())));
  }
}
Model read_model(std::string_view bytes, int64_t memory_limit, bool fold, const Given& given) try {
  return parse(bytes, nullptr, {}, memory_limit, fold, given);
} catch (const Interrupted&) {
  throw;
} catch (const Error& e) {
  rethrow(e, one_line(e.what()));
}

}  // namespace suan::onnx
