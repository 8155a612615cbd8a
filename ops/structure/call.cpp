// call: runs a sub-graph. What a compiled module is under eager autograd.
#include "core/apply.h"
#include "core/graph.h"

namespace suan {

OpDef op_def_call() {
  OpDef d{.name = "call",
          .doc = "Runs the sub-graph `body` on the inputs; every captured value is an explicit input. "
                 "Gradients go through the body.",
          .inputs = {{"inputs", moved_types, Arity::variadic, 0}}};
  d.attrs = {{"body", AttrKind::graph}};
  d.flags = op_region;
  d.infer = [](const InferContext& c) {
    const Graph& g = *c.attrs.graph(0);
    if (c.in.size() != g.inputs.size())
      c.fail<TypeError>("wrong number of inputs: expected {}, got {}", g.inputs.size(), c.in.size());
    for (size_t i = 0; i < g.inputs.size(); ++i)
      if (!(*c.in[i] == g.values[size_t(g.inputs[i])].type))
        c.fail<TypeError>("input {} does not fit the body: expected {}, got {}", i,
                          to_string(g.values[size_t(g.inputs[i])].type), to_string(*c.in[i]));
    std::vector<TensorType> out;
    for (ValueId v : g.outputs) out.push_back(g.values[size_t(v)].type);
    return out;
  };
  d.compose = [](const ComposeContext& c) { return interpret(*c.attrs.graph(0), c.in); };
  return d;
}

}  // namespace suan
