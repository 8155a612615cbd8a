// loop: a counted sub-graph with carried values.
#include "core/apply.h"
#include "core/graph.h"

namespace suan {

OpDef op_def_loop() {
  OpDef d{.name = "loop",
          .doc = "Runs `body` `trips` times (a 0-d int64). The body takes (iteration, carried…, captured…) and "
                 "gives (carried…); `carried` says how many. The outputs are the last carried values.",
          .inputs = {{"trips", dtype_bit(DType::i64), Arity::required, 0},
                     {"inputs", moved_types, Arity::variadic, 0}}};
  d.attrs = {{"body", AttrKind::graph}, {"carried", AttrKind::integer}};
  d.flags = op_region;
  d.infer = [](const InferContext& c) {
    const Graph& g = *c.attrs.graph(0);
    size_t n = size_t(c.attrs.integer(1));
    if (!c.shape(0).empty()) c.fail<ShapeError>("trips is not a scalar: expected 0-d, got {}", to_string(c.shape(0)));
    if (c.in.size() != g.inputs.size() || n + 1 > c.in.size())
      c.fail<TypeError>("wrong number of inputs: expected {} with {} carried, got {}", g.inputs.size(), n,
                        c.in.size());
    if (g.outputs.size() != n)
      c.fail<TypeError>("body gives the wrong number of values: expected {}, got {}", n, g.outputs.size());
    std::vector<TensorType> out;
    for (size_t i = 0; i < g.inputs.size(); ++i) {
      const TensorType& want = g.values[size_t(g.inputs[i])].type;
      if (!(*c.in[i] == want))
        c.fail<TypeError>("input {} does not fit the body: expected {}, got {}", i, to_string(want),
                          to_string(*c.in[i]));
      if (i >= 1 && i <= n) {
        if (!(g.values[size_t(g.outputs[i - 1])].type == want))
          c.fail<TypeError>("carried value {} changes type: expected {}, got {}", i - 1, to_string(want),
                            to_string(g.values[size_t(g.outputs[i - 1])].type));
        out.push_back(want);
      }
    }
    return out;
  };
  d.compose = [](const ComposeContext& c) {
    int64_t trips = c[0].item_int();
    size_t n = size_t(c.attrs.integer(1));
    Tensors in(c.in.begin(), c.in.end());
    for (int64_t i = 0; i < trips; ++i) {
      in[0] = Tensor::scalar_int(i, DType::i64, c[0].device());
      Tensors next = interpret(*c.attrs.graph(0), in);
      for (size_t k = 0; k < n; ++k) in[k + 1] = next[k];
    }
    return Tensors(in.begin() + 1, in.begin() + 1 + int64_t(n));
  };
  return d;
}

}  // namespace suan
