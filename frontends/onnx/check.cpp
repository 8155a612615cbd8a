// Models against ONNX's rules. ValueError or TypeError, naming the node.
#include "frontends/onnx/check.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <unordered_map>

namespace suan::onnx {
namespace {

using ::onnx::AttributeProto;
using ::onnx::NodeProto;

constexpr int newest_ir = 14;   // of schema/onnx-ml.proto

struct OperatorFacts {
  const char* domain;
  const char* name;
  int since;
  const char* inputs;    // s: needed, o: may be left out, v: any number from here on
  int least_inputs;
  const char* outputs;
  int least_outputs;
  const char* attrs;     // "name=letter", with ! before the letter where it is needed
};
#include "frontends/onnx/schema/operators.inc"

// The facts of the newest version at or below `version`; null for operators of others.
const OperatorFacts* facts_of(const std::string& domain, const std::string& name, int version) {
  const auto before = [&](const OperatorFacts& f) {
    const int d = std::strcmp(f.domain, domain.c_str());
    const int n = d ? d : std::strcmp(f.name, name.c_str());
    return n ? n < 0 : f.since <= version;
  };
  const OperatorFacts* end = std::partition_point(std::begin(operator_facts), std::end(operator_facts), before);
  if (end == std::begin(operator_facts)) return nullptr;
  const OperatorFacts& f = end[-1];
  return f.domain == domain && f.name == name ? &f : nullptr;
}

template <class E = ValueError, class... A>
[[noreturn]] void bad(const Node& n, fmt::format_string<A...> text, A&&... a) {
  throw E(fmt::format("[onnx] {} (node '{}', {})", fmt::format(text, std::forward<A>(a)...), n.name, n.op));
}

std::string_view kind_of(char letter) {
  switch (letter) {
    case 'i': return "an integer";
    case 'f': return "a float";
    case 's': return "a string";
    case 't': return "a tensor";
    case 'g': return "a graph";
    case 'p': return "a type";
    case 'x': return "a sparse tensor";
    case 'I': return "a list of integers";
    case 'F': return "a list of floats";
    case 'S': return "a list of strings";
    case 'T': return "a list of tensors";
    case 'G': return "a list of graphs";
    default: return "another kind";
  }
}
char letter_of(AttributeProto::AttributeType t) {
  switch (t) {
    case AttributeProto::INT: return 'i';
    case AttributeProto::FLOAT: return 'f';
    case AttributeProto::STRING: return 's';
    case AttributeProto::TENSOR: return 't';
    case AttributeProto::GRAPH: return 'g';
    case AttributeProto::TYPE_PROTO: return 'p';
    case AttributeProto::SPARSE_TENSOR: return 'x';
    case AttributeProto::INTS: return 'I';
    case AttributeProto::FLOATS: return 'F';
    case AttributeProto::STRINGS: return 'S';
    case AttributeProto::TENSORS: return 'T';
    case AttributeProto::GRAPHS: return 'G';
    case AttributeProto::TYPE_PROTOS: return 'P';
    case AttributeProto::SPARSE_TENSORS: return 'X';
    default: return 0;
  }
}

// One value at most, in the field that its type names. Some writers leave out fields that hold nothing.
void check_value(const AttributeProto& a, const Node& n) {
  const std::pair<char, bool> fields[] = {
      {'i', a.has_i()}, {'f', a.has_f()}, {'s', a.has_s()}, {'t', a.has_t()}, {'g', a.has_g()}, {'p', a.has_tp()},
      {'x', a.has_sparse_tensor()}, {'I', a.ints_size() > 0}, {'F', a.floats_size() > 0}, {'S', a.strings_size() > 0},
      {'T', a.tensors_size() > 0}, {'G', a.graphs_size() > 0}, {'P', a.type_protos_size() > 0},
      {'X', a.sparse_tensors_size() > 0}};
  const auto set = std::count_if(std::begin(fields), std::end(fields), [](const auto& f) { return f.second; });
  if (set > 1) bad(n, "attribute '{}' is ambiguous: expected one value, got {}", a.name(), set);
  const char type = letter_of(a.type());
  if (!type) bad<TypeError>(n, "attribute '{}' has no type: expected one, got {}", a.name(), int(a.type()));
  for (const auto& [letter, there] : fields)
    if (there && letter != type)
      bad<TypeError>(n, "attribute '{}' has another value than its type: expected {}, got {}", a.name(), kind_of(type), kind_of(letter));
  if (!set && std::strchr("tgpx", type)) bad(n, "attribute '{}' is empty: expected {}, got none", a.name(), kind_of(type));
}

// "name=letter": the letter, with its ! before it; empty when the list does not name it.
std::string_view listed(std::string_view attrs, std::string_view name) {
  for (size_t at = 0; at < attrs.size();) {
    const size_t end = std::min(attrs.find(' ', at), attrs.size());
    const std::string_view one = attrs.substr(at, end - at);
    if (one.starts_with(name) && one.size() > name.size() && one[name.size()] == '=') return one.substr(name.size() + 1);
    at = end + 1;
  }
  return {};
}

void check_count(const Node& n, const char* what, const char* params, int least, int got) {
  const int length = int(std::strlen(params));
  const bool any = length && params[length - 1] == 'v';
  if (got >= least && (any || got <= length)) return;
  const std::string want = any              ? fmt::format("{} or more", least)
                           : least == length ? std::to_string(least)
                                             : fmt::format("{} to {}", least, length);
  bad(n, "wrong number of {}: expected {}, got {}", what, want, got);
}

std::string kind_text(const Port& p) {
  return p.kind == Port::Kind::tensor     ? std::string(name(p.dtype))
         : p.kind == Port::Kind::strings  ? "strings"
         : p.kind == Port::Kind::sequence ? "a sequence"
         : p.kind == Port::Kind::optional ? "an optional"
                                          : "an unknown type";
}
bool unlike(const Port& a, const Port& b) {
  if (a.kind == Port::Kind::unknown || b.kind == Port::Kind::unknown) return false;
  return a.kind != b.kind || (a.kind == Port::Kind::tensor && a.dtype != b.dtype);
}

const Graph* graph_of(const Node& n, std::string_view name) {
  auto it = n.attrs.find(name);
  if (it == n.attrs.end()) return nullptr;
  auto g = std::get_if<std::shared_ptr<const Graph>>(&it->second.data);
  return g ? g->get() : nullptr;
}

void expect(const Node& n, const char* graph, const char* what, size_t want, size_t got) {
  if (want != got)
    bad<TypeError>(n, "{} does not fit: expected {} {}{}, got {}", graph, want, what, want == 1 ? "" : "s", got);
}
void expect_type(const Node& n, const char* graph, const char* what, const Port& p, DType want) {
  if (p.kind != Port::Kind::unknown && (p.kind != Port::Kind::tensor || p.dtype != want))
    bad<TypeError>(n, "{} does not fit: expected its {} to be {}, got {}", graph, what, name(want), kind_text(p));
}

}  // namespace

std::string plain_domain(const std::string& d) { return d == "ai.onnx" ? "" : d; }

Opsets opsets_of(const google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto>& imports) {
  Opsets out;
  for (const auto& o : imports) {
    const std::string domain = plain_domain(o.domain()), shown = domain.empty() ? "ai.onnx" : domain;
    const auto known = std::find_if(std::begin(newest_opsets), std::end(newest_opsets), [&](const auto& n) { return n.domain == domain; });
    const int64_t newest = known == std::end(newest_opsets) ? INT32_MAX : known->version;
    if (o.version() < 1 || o.version() > newest)
      fail<ValueError>("onnx", "unknown opset of {}: expected 1 to {}, got {}", shown, newest, o.version());
    const auto [it, fresh] = out.emplace(domain, o.version());
    if (it->second != o.version())
      fail<ValueError>("onnx", "opset of {} imported twice: expected version {} again, got {}", shown, it->second, o.version());
  }
  return out;
}

void check_versions(const ::onnx::ModelProto& model, const Opsets& opsets) {
  if (!model.has_ir_version()) fail<ValueError>("onnx", "no IR version: expected one, got none");
  if (model.ir_version() < 1 || model.ir_version() > newest_ir)
    fail<ValueError>("onnx", "unknown IR version: expected at most {}, got {}", newest_ir, model.ir_version());
  if (opsets.empty() && model.ir_version() >= 3)
    fail<ValueError>("onnx", "no operator set: expected an opset import, got none in IR version {}", model.ir_version());
}

void check_node(const NodeProto& p, const Node& n, bool in_function) {
  std::set<std::string_view> names;
  const OperatorFacts* f = facts_of(n.domain, n.op, n.version);
  for (const AttributeProto& a : p.attribute()) {
    if (!names.insert(a.name()).second) bad(n, "attribute '{}' is said twice: expected it once, got it again", a.name());
    if (!a.ref_attr_name().empty()) {
      if (!in_function)
        bad(n, "attribute '{}' refers to one of a function: expected a value outside functions, got '{}'", a.name(), a.ref_attr_name());
    } else {
      check_value(a, n);
    }
    if (!f || a.name().starts_with("__")) continue;   // private ones are nobody's business
    const std::string_view want = listed(f->attrs, a.name());
    if (want.empty())
      bad(n, "unknown attribute '{}': expected {}, got it in opset {}", a.name(),
          *f->attrs ? fmt::format("one of {}", f->attrs) : "none", n.version);
    const char got = letter_of(a.type());
    if (got != want.back() && (got || a.ref_attr_name().empty()))
      bad<TypeError>(n, "attribute '{}' has another type: expected {}, got {}", a.name(), kind_of(want.back()), kind_of(got));
  }
  if (!f) return;
  check_count(n, "inputs", f->inputs, f->least_inputs, p.input_size());
  check_count(n, "outputs", f->outputs, f->least_outputs, p.output_size());
  for (int i = 0; i < p.input_size() && f->inputs[i] && f->inputs[i] != 'v'; ++i)
    if (f->inputs[i] == 's' && p.input(i).empty()) bad(n, "input {} is left out: expected a value, got none", i);
  for (std::string_view rest = f->attrs; !rest.empty();) {
    const size_t end = std::min(rest.find(' '), rest.size());
    const std::string_view one = rest.substr(0, end);
    const size_t equal = one.find('=');
    if (one[equal + 1] == '!' && !names.count(one.substr(0, equal)))
      bad(n, "missing attribute: expected '{}', got none", one.substr(0, equal));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

void check_sub_graphs(const Node& n) {
  if (!n.domain.empty()) return;
  if (n.op == "If") {
    const Graph *a = graph_of(n, "then_branch"), *b = graph_of(n, "else_branch");
    if (!a || !b) return;
    for (auto [name, g] : {std::pair("then_branch", a), std::pair("else_branch", b)}) {
      expect(n, name, "input", 0, g->in.size());
      expect(n, name, "output", n.out.size(), g->out.size());
    }
    for (size_t k = 0; k < n.out.size(); ++k)
      if (unlike(a->outputs[k], b->outputs[k]))
        bad<TypeError>(n, "branches differ in output {}: expected {} as in then_branch, got {}", k, kind_text(a->outputs[k]),
                       kind_text(b->outputs[k]));
    return;
  }
  const Graph* body = graph_of(n, "body");
  if (!body) return;
  size_t carried = 0, first_in = 0, first_out = 0;
  if (n.op == "Loop") {
    carried = n.in.size() - 2;
    first_in = 2;
    first_out = 1;
    expect(n, "body", "input", n.in.size(), body->in.size());
    expect(n, "body", "output", n.out.size() + 1, body->out.size());
    if (n.out.size() < carried) expect(n, "body", "carried value", n.out.size(), carried);
    expect_type(n, "body", "trip number", body->inputs[0], DType::i64);
    expect_type(n, "body", "condition", body->inputs[1], DType::boolean);
    expect_type(n, "body", "next condition", body->outputs[0], DType::boolean);
  } else if (n.op == "Scan") {
    const size_t before = n.version < 9 ? 1 : 0, values = n.in.size() - before;
    auto it = n.attrs.find("num_scan_inputs");
    const int64_t* scanned = it == n.attrs.end() ? nullptr : std::get_if<int64_t>(&it->second.data);
    if (!scanned) return;
    if (*scanned < 1 || uint64_t(*scanned) > values)
      bad(n, "num_scan_inputs out of range: expected 1 to {}, got {}", values, *scanned);
    carried = values - size_t(*scanned);
    expect(n, "body", "input", values, body->in.size());
    expect(n, "body", "output", n.out.size(), body->out.size());
    if (n.out.size() < carried) expect(n, "body", "carried value", n.out.size(), carried);
  } else if (n.op == "SequenceMap") {
    expect(n, "body", "input", n.in.size(), body->in.size());
    expect(n, "body", "output", n.out.size(), body->out.size());
  }
  for (size_t k = 0; k < carried; ++k) {
    const Port &in = body->inputs[first_in + k], &out = body->outputs[first_out + k];
    if (in.kind != Port::Kind::optional && unlike(in, out))   // an optional may come back as what it holds
      bad<TypeError>(n, "body does not fit: expected '{}' to come back as {}, got {} in '{}'", in.name, kind_text(in), kind_text(out),
                     out.name);
  }
}

void check_declared(const Port& p, const Value& v, const char* what, bool sizes) {
  const auto wrong = [&](const std::string& want) {
    suan::fail<TypeError>("onnx", "{} '{}' is not as declared: expected {}, got {}", what, p.name, want, describe(v));
  };
  if (p.kind == Port::Kind::strings && !v.is_strings()) wrong("strings");
  if (p.kind == Port::Kind::sequence && !v.is_sequence()) wrong("a sequence");
  if (p.kind != Port::Kind::tensor) return;
  if (!v.is_tensor() || v.tensor().dtype() != p.dtype) wrong(std::string(name(p.dtype)));
  if (!sizes || !p.has_shape) return;
  const Shape& s = v.tensor().shape();
  bool fits = s.size() == int(p.dims.size());
  for (int i = 0; fits && i < s.size(); ++i) fits = p.dims[size_t(i)] < 0 || p.dims[size_t(i)] == s[i];
  if (!fits) wrong(fmt::format("a shape of [{}]", fmt::join(p.dims, ", ")));
}

void fail_unknown(const google::protobuf::RepeatedPtrField<NodeProto>& nodes, int reader, const std::string& value) {
  const NodeProto& r = nodes[reader];
  const auto named = [](const NodeProto& n) { return n.name().empty() && n.output_size() ? n.output(0) : n.name(); };
  std::unordered_map<std::string_view, int> made_by;
  for (int i = nodes.size(); i-- > reader;)
    for (const std::string& o : nodes[i].output()) made_by[o] = i;
  const auto maker = made_by.find(value);
  if (maker == made_by.end())
    fail<ValueError>("onnx", "unknown value: expected the name of an earlier one, got '{}' as an input of {} '{}'", value,
                     r.op_type(), named(r));
  // Back from the maker: does it need the reader?
  std::vector<int> open{maker->second};
  std::set<int> seen{maker->second};
  while (!open.empty()) {
    const int i = open.back();
    open.pop_back();
    if (i == reader)
      fail<ValueError>("onnx", "nodes form a cycle: expected none, got '{}' read by {} '{}', which it is made from", value,
                       r.op_type(), named(r));
    for (const std::string& in : nodes[i].input())
      if (auto m = made_by.find(in); m != made_by.end() && seen.insert(m->second).second) open.push_back(m->second);
  }
  fail<ValueError>("onnx", "nodes are not sorted: expected '{}' before {} '{}' reads it, got it later from '{}'", value, r.op_type(),
                   named(r), named(nodes[maker->second]));
}

}  // namespace suan::onnx
