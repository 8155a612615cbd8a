// fused_epilogue: a product, convolution, norm or softmax and the element-wise rows that follow it, as one
// node. Made by the epilogue pass; its kernel runs the rows on each tile of the first op's result while the
// tile is in cache, and gives the bits that the ops give one by one.
#include "core/apply.h"
#include "core/graph.h"

namespace suan {
namespace {

std::vector<TensorType> infer(const InferContext& c) {
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
}

Tensors compose(const ComposeContext& c) { return interpret(*c.attrs.graph(0), c.in); }

Cost cost(const InferContext& c) {
  const Graph& g = *c.attrs.graph(0);
  double flops = 0;
  for (const Node& n : g.nodes) {
    if (n.op->cost) {
      std::vector<const TensorType*> in;
      for (ValueId v : n.in) in.push_back(v == no_value ? nullptr : &g.values[size_t(v)].type);
      flops += n.op->cost({*n.op, in, n.attrs}).flops;
    } else if (n.op->flags & op_elementwise) {
      flops += double(numel(g.values[size_t(n.out[0])].type.shape));
    }
  }
  return {flops, 0};
}

// y = linear(x, w) and gelu_tanh(y) - z.
std::vector<Sample> samples() {
  std::vector<Sample> list;
  for (DType t : {DType::f32, DType::bf16}) {
    auto body = std::make_shared<Graph>();
    const ValueId x = body->add_input({t, {5, 8}, {}}), w = body->add_input({t, {70, 8}, {}}),
                  z = body->add_input({t, {70}, {}});
    auto add = [&](const char* name, std::vector<ValueId> in) {
      const int node = body->append(op(name), std::move(in), {});
      return body->nodes[size_t(node)].out[0];
    };
    const ValueId y = add("linear", {x, w});
    body->outputs = {y, add("sub", {add("gelu_tanh", {y}), z})};
    auto input = [&](Shape s) {
      SampleInput in{s};
      in.dtype = t;
      return in;
    };
    list.push_back({{input({5, 8}), input({70, 8}), input({70})}, {GraphPtr(body)}, "linear"});
  }
  return list;
}

}  // namespace

OpDef op_def_fused_epilogue() {
  OpDef d{.name = "fused_epilogue",
          .doc = "Runs `body`, a graph whose first node may hand its result on tile by tile and whose other "
                 "nodes are element-wise rows over that result. Equal bit for bit to its nodes run one by "
                 "one.",
          .inputs = {{"inputs", stored_types, Arity::variadic, 0}}};
  d.attrs = {{"body", AttrKind::graph}};
  d.infer = infer;
  d.compose = compose;
  d.cost = cost;
  d.samples = samples;
  return d;
}

}  // namespace suan
