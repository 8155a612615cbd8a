// A plan as Python data, for pages that show it.
#include <nanobind/stl/string.h>

#include "core/plan.h"
#include "python/bindings/binding.h"

namespace suan::py {
namespace {

double flops_of(const Graph& g, const Node& n) {
  if (!n.op->cost) return 0;
  std::vector<const TensorType*> types;
  for (ValueId v : n.in) types.push_back(v == no_value ? nullptr : &g.values[size_t(v)].type);
  return n.op->cost(InferContext{*n.op, types, n.attrs}).flops;
}

nb::list ids(const std::vector<ValueId>& list) {
  nb::list out;
  for (ValueId v : list)
    if (v != no_value) out.append(v);
  return out;
}

std::string line_of(const Node& n) { return n.source ? to_string(n.source) : ""; }

// Of a fused node: (op, line) of its parts.
nb::list parts_of(const Node& n) {
  nb::list parts;
  for (int i = 0; i < n.attrs.size(); ++i)
    if (auto* g = std::get_if<GraphPtr>(&n.attrs[i]); g && *g)
      for (const Node& inner : (*g)->nodes) parts.append(nb::make_tuple(inner.op->name, line_of(inner)));
  return parts;
}

std::string attrs_of(const Node& n) {
  std::string text;
  for (int i = 0; i < n.attrs.size() && size_t(i) < n.op->attrs.size(); ++i)
    if (n.attrs.has(i) && !std::holds_alternative<GraphPtr>(n.attrs[i]))
      text += fmt::format("{}{}={}", text.empty() ? "" : ", ", n.op->attrs[size_t(i)].name, to_string(n.attrs[i]));
  return text;
}

}  // namespace

nb::dict plan_facts(const Plan& plan) {
  const Graph& g = plan.graph();
  nb::list values, nodes, steps, buffers;
  for (const Value& v : g.values) values.append(nb::make_tuple(to_string(v.type), v.type.bytes()));
  for (const Node& n : g.nodes)
    nodes.append(nb::make_tuple(n.op->name, parts_of(n), attrs_of(n), line_of(n), ids(n.in), ids(n.out),
                                flops_of(g, n), n.op->view != nullptr));
  for (const Step& s : plan.steps())
    steps.append(nb::make_tuple(s.node, s.host, s.workspace < 0 ? int64_t(0) : plan.buffers()[size_t(s.workspace)].bytes));
  static constexpr const char* homes[] = {"none", "arena", "input", "constant", "output"};
  for (const Buffer& b : plan.buffers())
    buffers.append(nb::make_tuple(homes[int(b.home)], b.offset, b.bytes, b.first, b.last, b.value));
  nb::dict d;
  d["values"] = values;      // (type, bytes)
  d["nodes"] = nodes;        // (op, parts, attributes, line, inputs, outputs, flops, is a view)
  d["inputs"] = ids(g.inputs);
  d["outputs"] = ids(g.outputs);
  nb::list constants;
  for (const auto& [v, t] : g.constants) constants.append(v);
  d["constants"] = constants;
  d["steps"] = steps;        // (node or -1, by definition, bytes of scratch)
  d["buffers"] = buffers;    // (home, offset, bytes, first step, last step, value)
  d["arena_bytes"] = plan.arena_bytes();
  d["output_bytes"] = plan.output_bytes();
  d["constant_bytes"] = plan.constant_bytes();
  return d;
}

}  // namespace suan::py
