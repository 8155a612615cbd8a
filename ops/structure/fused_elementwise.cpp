// fused_elementwise: a group of scalar rows as one node. Made by the fusion pass; its kernel keeps the
// values between the rows in cache, and gives the bits that the rows give one by one.
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
  for (const Node& n : g.nodes) flops += double(numel(g.values[size_t(n.out[0])].type.shape));
  return {flops, 0};
}

// tanh(x * y + z) with z a row, and x * y as a second output.
std::vector<Sample> samples() {
  std::vector<Sample> list;
  for (DType t : {DType::f32, DType::bf16}) {
    auto body = std::make_shared<Graph>();
    const TensorType full{t, {5, 70}, {}}, line{t, {70}, {}};
    const ValueId x = body->add_input(full), y = body->add_input(full), z = body->add_input(line);
    auto add = [&](const char* name, std::vector<ValueId> in) {
      const int node = body->append_typed(op(name), std::move(in), {}, {&full, 1});
      return body->nodes[size_t(node)].out[0];
    };
    const ValueId product = add("mul", {x, y});
    body->outputs = {add("tanh", {add("add", {product, z})}), product};
    auto input = [&](Shape s) {
      SampleInput in{s};
      in.dtype = t;
      return in;
    };
    list.push_back({{input({5, 70}), input({5, 70}), input({70})}, {GraphPtr(body)}, "two outputs"});
  }
  return list;
}

}  // namespace

OpDef op_def_fused_elementwise() {
  OpDef d{.name = "fused_elementwise",
          .doc = "Runs `body`, a graph of element-wise rows whose outputs share one shape, in one pass "
                 "over memory. Equal bit for bit to its rows run one by one.",
          .inputs = {{"inputs", stored_types, Arity::variadic, 0}}};
  d.attrs = {{"body", AttrKind::graph}};
  d.infer = infer;
  d.compose = compose;
  d.cost = cost;
  d.samples = samples;
  return d;
}

}  // namespace suan
