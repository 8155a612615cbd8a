// Accumulation in place: x + embedding_grad(g, index) becomes one node that adds into x, so that the second
// dense gradient of a tied embedding never exists. The node rounds as the two steps do.
#include "core/apply.h"
#include "core/pass.h"

namespace suan {

int accumulate_pass(Graph& g) {
  static const OpDef &add = op("add"), &rows = op("embedding_grad"), &both = op("embedding_grad_add");
  const std::vector<int> uses = g.use_counts();
  // By node: the operand of this add that an embedding_grad read by nobody else made, or -1.
  std::vector<int> operand(g.nodes.size(), -1);
  std::vector<char> gone(g.nodes.size(), 0);
  int n = 0;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& node = g.nodes[i];
    if (node.op != &add || !find_kernel(both, g.values[size_t(node.out[0])].type.device)) continue;
    const Shape& shape = g.values[size_t(node.out[0])].type.shape;
    for (int k : {1, 0}) {
      const Value& v = g.values[size_t(node.in[size_t(k)])];
      if (v.producer < 0 || g.nodes[size_t(v.producer)].op != &rows || uses[size_t(node.in[size_t(k)])] != 1 ||
          !(g.values[size_t(node.in[size_t(1 - k)])].type.shape == shape) || !(v.type.shape == shape))
        continue;
      operand[i] = k;
      gone[size_t(v.producer)] = 1;
      ++n;
      break;
    }
  }
  if (n == 0) return 0;
  Rebuild b(g);
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& node = g.nodes[i];
    if (gone[i]) continue;
    if (operand[i] < 0) {
      b.copy(node);
      continue;
    }
    const Node& sum = g.nodes[size_t(g.values[size_t(node.in[size_t(operand[i])])].producer)];
    const TensorType& type = g.values[size_t(node.out[0])].type;
    int k = b.to.append_typed(both, {b[node.in[size_t(1 - operand[i])]], b[sum.in[0]], b[sum.in[1]]}, {},
                              {&type, 1}, sum.source);
    b.replace(node.out[0], b.to.nodes[size_t(k)].out[0]);
  }
  g = b.finish();
  return n;
}

}  // namespace suan
