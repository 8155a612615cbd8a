// if: one of two sub-graphs, chosen by a 0-d bool at run time.
#include "core/apply.h"
#include "core/graph.h"

namespace suan {

OpDef op_def_if() {
  OpDef d{.name = "if",
          .doc = "Runs `then_body` when the 0-d bool `condition` is true, else `else_body`; both take the same "
                 "captured inputs and give outputs of the same types. Gradients flow through the taken branch.",
          .inputs = {{"condition", bool_type, Arity::required, 0}, {"inputs", moved_types, Arity::variadic, 0}}};
  d.attrs = {{"then_body", AttrKind::graph}, {"else_body", AttrKind::graph}};
  d.flags = op_region;
  d.infer = [](const InferContext& c) {
    if (!c.shape(0).empty())
      c.fail<ShapeError>("condition is not a scalar: expected 0-d, got {}", to_string(c.shape(0)));
    std::vector<TensorType> out[2];
    for (int b = 0; b < 2; ++b) {
      const Graph& g = *c.attrs.graph(b);
      if (c.in.size() != g.inputs.size() + 1)
        c.fail<TypeError>("wrong number of captures: expected {}, got {}", g.inputs.size(), c.in.size() - 1);
      for (size_t i = 0; i < g.inputs.size(); ++i)
        if (!(*c.in[i + 1] == g.values[size_t(g.inputs[i])].type))
          c.fail<TypeError>("capture {} does not fit: expected {}, got {}", i,
                            to_string(g.values[size_t(g.inputs[i])].type), to_string(*c.in[i + 1]));
      for (ValueId v : g.outputs) out[b].push_back(g.values[size_t(v)].type);
    }
    if (!(out[0] == out[1])) c.fail<TypeError>("branches differ: expected equal output types, got {} and {} outputs",
                                               out[0].size(), out[1].size());
    return out[0];
  };
  d.compose = [](const ComposeContext& c) {
    int branch = c[0].item_int() ? 0 : 1;
    return interpret(*c.attrs.graph(branch), c.in.subspan(1));
  };
  return d;
}

}  // namespace suan
