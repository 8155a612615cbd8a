// Where gradient rules meet one another or an optimizer: the same bits from less work.
#include "core/pass.h"

namespace suan {
namespace {

// The node that made a value, when it is of the given op.
const Node* producer(const Graph& g, ValueId v, const OpDef& def) {
  int p = g.values[size_t(v)].producer;
  return p >= 0 && g.nodes[size_t(p)].op == &def ? &g.nodes[size_t(p)] : nullptr;
}

// relu_grad(max_pool_grad(g, where), y), with `where` from max_pool(y): the masking moves to the pooled side,
// which is smaller. Every gradient lands where y equals the pooled value, so both masks decide alike.
bool mask_before_unpooling(Rebuild& b, const Graph& g, const Node& n, const std::vector<int>& uses) {
  static const OpDef &relu_grad = op("relu_grad"), &unpool = op("max_pool_grad"), &pool = op("max_pool");
  if (n.op != &relu_grad) return false;
  const Node* spread = producer(g, n.in[0], unpool);
  if (!spread || uses[size_t(n.in[0])] != 1) return false;
  const Node* pooled = producer(g, spread->in[1], pool);
  if (!pooled || pooled->in[0] != n.in[1] || pooled->out[1] != spread->in[1]) return false;
  const TensorType &small = g.values[size_t(spread->in[0])].type, &large = g.values[size_t(n.out[0])].type;
  if (!(small == g.values[size_t(pooled->out[0])].type)) return false;
  int mask = b.to.append_typed(relu_grad, {b[spread->in[0]], b[pooled->out[0]]}, n.attrs, {&small, 1}, n.source);
  int k = b.to.append_typed(unpool, {b.to.nodes[size_t(mask)].out[0], b[spread->in[1]]}, spread->attrs,
                            {&large, 1}, spread->source);
  b.replace(n.out[0], b.to.nodes[size_t(k)].out[0]);
  return true;
}

// adamw_step with a gradient scaled by a number (clipping): the step multiplies as it reads. Narrow gradients
// would lose the rounding between.
bool scale_in_step(Rebuild& b, const Graph& g, const Node& n, const std::vector<int>& uses) {
  static const OpDef &step = op("adamw_step"), &mul = op("mul");
  constexpr size_t grad = 1, grad_scale = 6;
  if (n.op != &step || (n.in.size() > grad_scale && n.in[grad_scale] != no_value)) return false;
  const Node* scaled = producer(g, n.in[grad], mul);
  if (!scaled || uses[size_t(n.in[grad])] != 1) return false;
  const TensorType &type = g.values[size_t(n.in[grad])].type, &number = g.values[size_t(scaled->in[1])].type;
  if (!number.shape.empty() || (type.dtype != DType::f32 && type.dtype != DType::f64)) return false;
  Node with = n;
  with.in.resize(grad_scale + 1, no_value);
  with.in[grad] = scaled->in[0];
  with.in[grad_scale] = scaled->in[1];
  b.copy(with);
  return true;
}

}  // namespace

int rewrite_pass(Graph& g) {
  const std::vector<int> uses = g.use_counts();
  Rebuild b(g);
  int n = 0;
  for (const Node& node : g.nodes) {
    if (mask_before_unpooling(b, g, node, uses) || scale_in_step(b, g, node, uses)) ++n;
    else b.copy(node);
  }
  g = b.finish();
  return n;
}

}  // namespace suan
