// Graph construction, invariants, printing, hashing and the reference interpreter.
#include "core/graph.h"

#include <algorithm>
#include <cstring>

#include "core/apply.h"
#include "core/backend.h"
#include "core/dispatch.h"
#include "core/hash.h"
#include "core/hooks.h"
#include "core/interrupt.h"

namespace suan {

ValueId Graph::add_input(const TensorType& type) {
  values.push_back({type});
  inputs.push_back(ValueId(values.size()) - 1);
  return inputs.back();
}

ValueId Graph::add_constant(const Tensor& value, Device device) {
  values.push_back({{value.dtype(), value.shape(), device}});
  ValueId id = ValueId(values.size()) - 1;
  constants.emplace(id, value);
  return id;
}

int Graph::append(const OpDef& def, std::vector<ValueId> in, const Attrs& given, SourceMark source) {
  std::vector<const TensorType*> types;
  for (ValueId v : in) types.push_back(v == no_value ? nullptr : &values[size_t(v)].type);
  std::vector<Attr> filled = given.values();
  for (size_t i = filled.size(); i < def.attrs.size(); ++i) filled.push_back(def.attrs[i].fallback);
  Attrs attrs(std::move(filled));
  std::vector<TensorType> out = infer_types(def, types, attrs);
  return append_typed(def, std::move(in), attrs, out, source);
}

int Graph::append_typed(const OpDef& def, std::vector<ValueId> in, const Attrs& attrs,
                        std::span<const TensorType> out, SourceMark source) {
  Node n{&def, attrs, std::move(in), {}, source};
  int index = int(nodes.size());
  for (size_t k = 0; k < out.size(); ++k) {
    values.push_back({out[k], index, int32_t(k)});
    n.out.push_back(ValueId(values.size()) - 1);
  }
  nodes.push_back(std::move(n));
  return index;
}

std::vector<int> Graph::use_counts() const {
  std::vector<int> n(values.size(), 0);
  for (const Node& node : nodes)
    for (ValueId v : node.in)
      if (v != no_value) ++n[size_t(v)];
  for (ValueId v : outputs) ++n[size_t(v)];
  return n;
}

void Graph::verify(std::string_view after) const {
  auto broken = [&]<class... A>(fmt::format_string<A...> what, A&&... a) {
    fail<InternalError>("graph", "invariant broken after {}: {}", after,
                        fmt::format(what, std::forward<A>(a)...));
  };
  std::vector<char> defined(values.size(), 0);
  auto define = [&](ValueId v, const char* what) {
    if (v < 0 || size_t(v) >= values.size()) broken("{} %{} does not exist", what, v);
    if (defined[size_t(v)]) broken("%{} defined twice", v);
    defined[size_t(v)] = 1;
  };
  for (ValueId v : inputs) {
    define(v, "input");
    if (values[size_t(v)].producer != -1) broken("input %{} has a producer", v);
  }
  for (const auto& [v, t] : constants) {
    define(v, "constant");
    const TensorType& want = values[size_t(v)].type;
    if (!(t.type() == TensorType{want.dtype, want.shape, {}})) broken("constant %{} is not of its type", v);
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& n = nodes[i];
    if (!n.op) broken("node {} has no op", i);
    std::vector<const TensorType*> types;
    for (ValueId v : n.in) {
      if (v == no_value) { types.push_back(nullptr); continue; }
      if (v < 0 || size_t(v) >= values.size() || !defined[size_t(v)])
        broken("{} (node {}) reads %{} before it is made", n.op->name, i, v);
      types.push_back(&values[size_t(v)].type);
    }
    for (size_t k = 0; k < n.out.size(); ++k) {
      define(n.out[k], "output");
      const Value& v = values[size_t(n.out[k])];
      if (v.producer != int(i) || v.port != int(k)) broken("%{} names another producer", n.out[k]);
    }
    if (!n.op->infer) continue;
    std::vector<TensorType> out = n.op->infer(InferContext{*n.op, types, n.attrs});
    if (out.size() != n.out.size()) broken("{} (node {}) has {} outputs, not {}", n.op->name, i,
                                           n.out.size(), out.size());
    for (size_t k = 0; k < out.size(); ++k) {
      const TensorType& t = values[size_t(n.out[k])].type;
      bool dynamic = std::any_of(out[k].shape.begin(), out[k].shape.end(), [](int64_t d) { return d < 0; });
      if (!dynamic && !(out[k] == t))
        broken("{} (node {}) makes {}, %{} is {}", n.op->name, i, to_string(out[k]), n.out[k], to_string(t));
    }
  }
  for (ValueId v : outputs)
    if (v < 0 || size_t(v) >= values.size() || !defined[size_t(v)]) broken("output %{} is never made", v);
}

std::string Graph::print() const {
  std::string s = "graph(";
  for (size_t i = 0; i < inputs.size(); ++i)
    s += fmt::format("{}%{}: {}", i ? ", " : "", inputs[i], to_string(values[size_t(inputs[i])].type));
  s += ")\n";
  for (const auto& [v, t] : constants) {
    s += fmt::format("  %{} = constant {}", v, to_string(t.type()));
    if (t.numel() == 1 && !is_complex(t.dtype())) s += fmt::format(" {}", t.item());
    s += "\n";
  }
  for (const Node& n : nodes) {
    s += "  ";
    for (size_t k = 0; k < n.out.size(); ++k)
      s += fmt::format("{}%{}: {}", k ? ", " : "", n.out[k], to_string(values[size_t(n.out[k])].type));
    s += " = " + n.op->name + "(";
    for (size_t k = 0; k < n.in.size(); ++k)
      s += (k ? ", " : "") + (n.in[k] == no_value ? std::string("none") : fmt::format("%{}", n.in[k]));
    for (int k = 0; k < n.attrs.size(); ++k)
      if (n.attrs.has(k)) s += fmt::format(", {}={}", n.op->attrs[size_t(k)].name, to_string(n.attrs[k]));
    s += ")";
    if (n.source) s += "  # " + to_string(n.source);
    s += "\n";
  }
  s += "  return ";
  for (size_t i = 0; i < outputs.size(); ++i) s += fmt::format("{}%{}", i ? ", " : "", outputs[i]);
  return s + "\n";
}

namespace {
uint64_t hash_bytes(const Tensor& t, uint64_t h) {
  const std::byte* p = t.raw();
  int64_t n = t.type().bytes(), i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t w;
    std::memcpy(&w, p + i, 8);
    h = mix(h, w);
  }
  for (; i < n; ++i) h = mix(h, uint64_t(p[i]));
  return h;
}
uint64_t hash_type(const TensorType& t, uint64_t h) {
  h = mix(h, uint64_t(t.dtype) | uint64_t(t.device.type) << 8 | uint64_t(t.device.index) << 16);
  for (int64_t d : t.shape) h = mix(h, uint64_t(d));
  return mix(h, uint64_t(t.shape.size()));
}
}  // namespace

std::pair<uint64_t, uint64_t> Graph::hash() const {
  auto run = [&](uint64_t h) {
    for (ValueId v : inputs) h = hash_type(values[size_t(v)].type, mix(h, uint64_t(v)));
    for (const auto& [v, t] : constants) h = hash_bytes(t, hash_type(t.type(), mix(h, uint64_t(v))));
    for (const Node& n : nodes) {
      h = mix(h, std::hash<std::string>{}(n.op->name));
      h = mix(h, n.attrs.hash());
      for (ValueId v : n.in) h = mix(h, uint64_t(v));
      for (ValueId v : n.out) h = hash_type(values[size_t(v)].type, mix(h, uint64_t(v)));
    }
    for (ValueId v : outputs) h = mix(h, uint64_t(v));
    return h;
  };
  return {run(0x243f6a8885a308d3ull), run(0x13198a2e03707344ull)};
}

bool Graph::operator==(const Graph& o) const {
  if (inputs != o.inputs || outputs != o.outputs || values.size() != o.values.size() ||
      nodes.size() != o.nodes.size() || constants.size() != o.constants.size())
    return false;
  for (size_t i = 0; i < values.size(); ++i)
    if (!(values[i].type == o.values[i].type)) return false;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node &a = nodes[i], &b = o.nodes[i];
    if (a.op != b.op || a.in != b.in || a.out != b.out || !(a.attrs == b.attrs)) return false;
  }
  for (auto i = constants.begin(), j = o.constants.begin(); i != constants.end(); ++i, ++j)
    if (i->first != j->first || !(i->second.type() == j->second.type()) ||
        std::memcmp(i->second.raw(), j->second.raw(), size_t(i->second.type().bytes())) != 0)
      return false;
  return true;
}

Tensors interpret(const Graph& g, std::span<const Tensor> inputs) {
  if (inputs.size() != g.inputs.size())
    fail<ValueError>("interpret", "wrong number of inputs: expected {}, got {}", g.inputs.size(), inputs.size());
  Tensors at(g.values.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& want = g.values[size_t(g.inputs[i])].type;
    if (!inputs[i].defined() || !(inputs[i].type() == want))
      fail<TypeError>("interpret", "input {} does not fit: expected {}, got {}", i, to_string(want),
                      inputs[i].defined() ? to_string(inputs[i].type()) : "none");
    at[size_t(g.inputs[i])] = inputs[i];
  }
  for (const auto& [v, t] : g.constants) at[size_t(v)] = constant_on(t, g.values[size_t(v)].type.device);
  std::vector<int> uses = g.use_counts();
  for (const Node& n : g.nodes) {
    check_interrupt();
    ResultSource from(n.source);
    Tensors in;
    for (size_t k = 0; k < n.in.size(); ++k) {
      ValueId v = n.in[k];
      in.push_back(v == no_value ? Tensor() : at[size_t(v)]);
    }
    // An op that updates its input must not change a value that somebody else still reads.
    for (size_t k = 0; k < n.out.size(); ++k)
      if (const int j = updated_input(*n.op, k, n.in.size(), n.out.size()); j >= 0 && in[size_t(j)].defined())
        in[size_t(j)] = apply(op("copy"), {in[size_t(j)]});
    for (ValueId v : n.in)
      if (v != no_value && --uses[size_t(v)] == 0) at[size_t(v)] = Tensor();
    Tensors out = apply_all(*n.op, in, n.attrs);
    for (size_t k = 0; k < n.out.size(); ++k)
      if (uses[size_t(n.out[k])] > 0) at[size_t(n.out[k])] = out[k];
  }
  Tensors result;
  for (ValueId v : g.outputs) result.push_back(at[size_t(v)]);
  return result;
}

}  // namespace suan
