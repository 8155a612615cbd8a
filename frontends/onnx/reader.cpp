// A model file into a Model: names become slots, operators builders, functions graphs of their own.
#include "frontends/onnx/reader.h"

#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <climits>

#include "frontends/onnx/model.h"
#include "frontends/onnx/wire.h"
#include "onnx-ml.pb.h"

namespace suan::onnx {
namespace {

using ::onnx::AttributeProto;
using ::onnx::FunctionProto;
using ::onnx::GraphProto;
using ::onnx::NodeProto;
using ::onnx::TypeProto;

constexpr int max_nodes = 200'000, max_calls = 32;

using Opsets = std::map<std::string, int64_t>;
using AttrMap = std::map<std::string, Attribute, std::less<>>;

std::string plain_domain(const std::string& d) { return d == "ai.onnx" ? "" : d; }

template <class Imports>
Opsets opsets_of(const Imports& imports) {
  Opsets out;
  for (const auto& o : imports) out[plain_domain(o.domain())] = o.version();
  return out;
}

// Names of one graph. What is not found here is captured from around.
struct Scope {
  Graph& graph;
  Scope* parent = nullptr;
  std::map<std::string, int, std::less<>> slots;

  int define(const std::string& name) {
    if (!slots.emplace(name, graph.n_slots).second)
      fail<ValueError>("onnx", "value defined twice: expected one producer, got another for '{}'", name);
    return graph.n_slots++;
  }
  int find(const std::string& name) {
    if (auto it = slots.find(name); it != slots.end()) return it->second;
    int outside = parent ? parent->find(name) : -1;
    if (outside < 0) return -1;
    graph.captures.emplace_back(outside, graph.n_slots);
    return slots[name] = graph.n_slots++;
  }
};

class Importer {
 public:
  Importer(TensorReader& tensors, const ::onnx::ModelProto& proto) : tensors_(tensors), proto_(proto) {
    for (const FunctionProto& f : proto.functions())
      functions_[plain_domain(f.domain()) + "." + f.name() + "." + f.overload()] = &f;
  }
  void graph(Graph& g, const GraphProto& p, const Opsets& opsets, Scope* parent, const std::vector<Cut>* cuts,
             std::string_view bytes, const AttrMap* arguments);
  std::map<std::string, int> counts;

 private:
  void node(Scope& scope, const NodeProto& p, const Opsets& opsets, const AttrMap* arguments);
  Attribute attribute(const AttributeProto& a, Scope& scope, const Opsets& opsets, const AttrMap* arguments, Node& n);
  std::shared_ptr<const Graph> function(const FunctionProto& f, const AttrMap& given);
  TensorReader& tensors_;
  const ::onnx::ModelProto& proto_;
  std::map<std::string, const FunctionProto*> functions_;
  int nodes_ = 0, calls_ = 0;
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

Port port_of(const ::onnx::ValueInfoProto& v) {
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
      p.dims.push_back(d.has_dim_value() && d.dim_value() >= 0 ? d.dim_value() : -1);
      p.dim_names.push_back(d.dim_param());
      p.dim_denotations.push_back(d.denotation());
    }
  } else if (t.has_sequence_type()) {
    p.kind = Port::Kind::sequence;
  } else if (t.has_optional_type()) {
    p.kind = Port::Kind::optional;
  } else if (t.has_map_type() || t.has_sparse_tensor_type()) {
    fail<TypeError>("onnx", "unsupported type of '{}': expected a tensor, a sequence or an optional, got a map or sparse tensor",
                    v.name());
  }
  return p;
}

void Importer::graph(Graph& g, const GraphProto& p, const Opsets& opsets, Scope* parent, const std::vector<Cut>* cuts,
                     std::string_view bytes, const AttrMap* arguments) {
  Scope scope{g, parent, {}};
  if (p.sparse_initializer_size())
    fail<TypeError>("onnx", "unsupported sparse initializer: expected dense ones, got '{}'", p.sparse_initializer(0).values().name());
  for (int i = 0; i < p.initializer_size(); ++i) {
    const auto& t = p.initializer(i);
    std::string_view raw;
    if (cuts && (*cuts)[size_t(i)].bytes) raw = bytes.substr((*cuts)[size_t(i)].offset, (*cuts)[size_t(i)].bytes);
    g.constants.emplace_back(scope.define(t.name()), tensors_.read(t, raw));
  }
  for (const auto& v : p.input()) {
    if (scope.slots.count(v.name())) continue;  // an initializer's declaration
    g.inputs.push_back(port_of(v));
    g.in.push_back(scope.define(v.name()));
  }
  for (const NodeProto& n : p.node()) node(scope, n, opsets, arguments);
  for (const auto& v : p.output()) {
    g.outputs.push_back(port_of(v));
    int slot = v.name().empty() ? -1 : scope.find(v.name());
    if (slot < 0) fail<ValueError>("onnx", "graph output '{}': expected a value some node makes, got none", v.name());
    g.out.push_back(slot);
  }
  find_last_reads(g);
}

void Importer::node(Scope& scope, const NodeProto& p, const Opsets& opsets, const AttrMap* arguments) {
  if (++nodes_ > max_nodes) fail<ValueError>("onnx", "too many nodes: expected at most {}, got more", max_nodes);
  Node n;
  n.name = p.name().empty() && p.output_size() ? p.output(0) : p.name();
  n.op = p.op_type();
  n.domain = plain_domain(p.domain());
  for (const AttributeProto& a : p.attribute()) {
    if (!a.ref_attr_name().empty()) {  // of the function around; left out where the call left it out
      auto it = arguments ? arguments->find(a.ref_attr_name()) : AttrMap::const_iterator{};
      if (!arguments || it == arguments->end()) continue;
      if (std::holds_alternative<std::shared_ptr<const Graph>>(it->second.data))
        fail<TypeError>("onnx", "unsupported graph as a function's attribute: expected numbers, strings or a tensor, got '{}'",
                        a.name());
      n.attrs[a.name()] = it->second;
      continue;
    }
    n.attrs[a.name()] = attribute(a, scope, opsets, arguments, n);
  }
  for (const std::string& name : p.input()) {
    int slot = name.empty() ? -1 : scope.find(name);
    if (!name.empty() && slot < 0)
      fail<ValueError>("onnx", "unknown value: expected the name of an earlier one, got '{}' as an input of {} '{}'", name, n.op,
                       n.name);
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
    auto v = opsets.find(n.domain);
    n.version = v == opsets.end() ? 1 : int(std::min<int64_t>(v->second, 1 << 20));
    n.build = find_builder(n.domain, n.op, n.version);
    if (!n.build)
      fail<TypeError>("onnx", "unsupported operator: expected one that `suan inspect --supported` lists, got {}{} of opset {} "
                              "(node '{}')", n.domain.empty() ? "" : n.domain + ".", n.op, n.version, n.name);
  }
  for (const auto& [name, a] : n.attrs)
    if (auto g = std::get_if<std::shared_ptr<const Graph>>(&a.data))
      for (auto [outside, inside] : (*g)->captures) n.reads.push_back(outside);
  n.random = n.op.starts_with("Random") || n.op == "Bernoulli" || n.op == "Multinomial" || n.op == "Dropout";
  for (const std::string& name : p.output()) n.out.push_back(name.empty() ? -1 : scope.define(name));
  scope.graph.nodes.push_back(std::move(n));
}

Attribute Importer::attribute(const AttributeProto& a, Scope& scope, const Opsets& opsets, const AttrMap* arguments, Node& n) {
  switch (a.type()) {
    case AttributeProto::INT: return {int64_t(a.i())};
    case AttributeProto::FLOAT: return {double(a.f())};
    case AttributeProto::STRING: return {a.s()};
    case AttributeProto::INTS: return {std::vector<int64_t>(a.ints().begin(), a.ints().end())};
    case AttributeProto::FLOATS: return {std::vector<double>(a.floats().begin(), a.floats().end())};
    case AttributeProto::STRINGS: return {std::vector<std::string>(a.strings().begin(), a.strings().end())};
    case AttributeProto::TENSOR: return {tensors_.read(a.t())};
    case AttributeProto::GRAPH: {
      auto g = std::make_shared<Graph>();
      graph(*g, a.g(), opsets, &scope, nullptr, {}, arguments);
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
  if (calls_ >= max_calls)
    fail<ValueError>("onnx", "functions call one another too deeply: expected at most {} levels, got more at '{}'", max_calls,
                     f.name());
  ++calls_;
  auto g = std::make_shared<Graph>();
  Scope scope{*g, nullptr, {}};
  Opsets opsets = opsets_of(f.opset_import());
  AttrMap arguments = given;
  Node unused;
  for (const AttributeProto& a : f.attribute_proto())
    if (!arguments.count(a.name())) arguments[a.name()] = attribute(a, scope, opsets, nullptr, unused);
  for (const std::string& name : f.input()) g->in.push_back(scope.define(name));
  for (const NodeProto& n : f.node()) node(scope, n, opsets, &arguments);
  for (const std::string& name : f.output()) {
    int slot = scope.find(name);
    if (slot < 0) fail<ValueError>("onnx", "function '{}': expected a value for output '{}', got none", f.name(), name);
    g->out.push_back(slot);
  }
  find_last_reads(*g);
  --calls_;
  return g;
}

Model parse(std::string_view bytes, std::shared_ptr<MappedFile> file, const std::filesystem::path& folder) {
  Skeleton skeleton = cut_weights(bytes);
  ::onnx::ModelProto proto;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(skeleton.bytes.data()), int(std::min<size_t>(skeleton.bytes.size(), INT_MAX)));
  in.SetRecursionLimit(100);
  if (skeleton.bytes.size() > INT_MAX || !proto.ParseFromCodedStream(&in) || !in.ConsumedEntireMessage() || !proto.has_graph())
    fail<ValueError>("onnx", "not a model: expected an ONNX ModelProto with a graph, got {} bytes that are none", bytes.size());
  Model m;
  Metadata& meta = m.meta;
  meta = {proto.ir_version(), proto.model_version(), opsets_of(proto.opset_import()), proto.producer_name(),
          proto.producer_version(), proto.domain(), proto.doc_string(), proto.graph().name(), proto.graph().doc_string(), {}};
  for (const auto& p : proto.metadata_props()) meta.custom[p.key()] = p.value();
  if (meta.opsets.empty()) meta.opsets[""] = 1;
  TensorReader tensors(bytes, std::move(file), folder);
  Importer importer(tensors, proto);
  importer.graph(m.graph, proto.graph(), meta.opsets, nullptr, &skeleton.cuts, bytes, nullptr);
  m.op_counts = std::move(importer.counts);
  m.weight_bytes = tensors.counted().all;
  m.mapped_bytes = tensors.counted().mapped;
  return m;
}

}  // namespace

Model read_model(const std::filesystem::path& path) {
  auto file = std::make_shared<MappedFile>(path);
  return parse(file->bytes(), file, path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}
Model read_model(std::string_view bytes) { return parse(bytes, nullptr, {}); }

}  // namespace suan::onnx
