// Element-wise fusion. Neighbouring rows of one shape become one node whose kernel keeps intermediate tiles
// in the L1 cache; every value is still rounded to its own dtype, so the bits stay.
#include <algorithm>

#include "core/apply.h"
#include "core/dispatch.h"
#include "core/pass.h"

namespace suan {
namespace {

constexpr size_t max_body_nodes = 48;
constexpr size_t max_body_inputs = 20;
constexpr size_t max_body_outputs = 8;

struct Group {
  std::vector<int> nodes;   // ascending
};

class Fuser {
 public:
  explicit Fuser(const Graph& g) : g_(g), group_(g.nodes.size(), -1), readers_(g.values.size()) {
    for (size_t i = 0; i < g.nodes.size(); ++i)
      for (ValueId v : g.nodes[i].in)
        if (v != no_value) readers_[size_t(v)].push_back(int(i));
    is_output_.resize(g.values.size());
    for (ValueId v : g.outputs) is_output_[size_t(v)] = 1;
  }

  // Grows groups forwards: a node joins its producers' groups when nothing outside reads them before it.
  void grow() {
    for (int i = 0; i < int(g_.nodes.size()); ++i) {
      if (!fusable(i)) continue;
      int own = new_group(i);
      for (ValueId v : g_.nodes[size_t(i)].in) {
        if (v == no_value) continue;
        int p = g_.values[size_t(v)].producer;
        if (p < 0 || group_[size_t(p)] < 0 || group_[size_t(p)] == own) continue;
        int other = group_[size_t(p)];
        if (can_merge(own, other)) merge(own, other);
      }
    }
  }

  int rewrite(Graph& out) {
    Rebuild b(g_);
    int n = 0;
    for (int i = 0; i < int(g_.nodes.size()); ++i) {
      int k = group_[size_t(i)];
      if (k < 0 || groups_[size_t(k)].nodes.size() < 2) { b.copy(g_.nodes[size_t(i)]); continue; }
      if (groups_[size_t(k)].nodes.back() != i) continue;
      n += emit(b, groups_[size_t(k)]);
    }
    out = b.finish();
    return n;
  }

 private:
  bool fusable(int i) const {
    const Node& n = g_.nodes[size_t(i)];
    return (n.op->flags & op_elementwise) && n.out.size() == 1 && mergeable(*n.op);
  }
  int new_group(int i) {
    groups_.push_back({{i}});
    group_[size_t(i)] = int(groups_.size()) - 1;
    return group_[size_t(i)];
  }
  const Shape& shape(const Group& g) const {
    return g_.values[size_t(g_.nodes[size_t(g.nodes[0])].out[0])].type.shape;
  }

  bool can_merge(int own, int other) const {
    const Group &a = groups_[size_t(own)], &b = groups_[size_t(other)];
    if (!(shape(a) == shape(b))) return false;
    if (a.nodes.size() + b.nodes.size() > max_body_nodes) return false;
    std::vector<int> nodes = a.nodes;
    nodes.insert(nodes.end(), b.nodes.begin(), b.nodes.end());
    int last = *std::max_element(nodes.begin(), nodes.end());
    // The group runs where its last node stands: no outside reader may come earlier.
    std::vector<ValueId> ins;
    size_t outs = 0;
    for (int i : nodes) {
      ValueId out = g_.nodes[size_t(i)].out[0];
      bool leaves = is_output_[size_t(out)];
      for (int r : readers_[size_t(out)]) {
        if (std::find(nodes.begin(), nodes.end(), r) != nodes.end()) continue;
        leaves = true;
        if (position(r) < last) return false;
      }
      outs += leaves;
      for (ValueId v : g_.nodes[size_t(i)].in) {
        if (v == no_value) continue;
        int p = g_.values[size_t(v)].producer;
        if (std::find(nodes.begin(), nodes.end(), p) != nodes.end()) continue;
        // An input made by a group must be ready: that group stands before this one.
        if (p >= 0 && position(p) > last) return false;
        if (std::find(ins.begin(), ins.end(), v) == ins.end()) ins.push_back(v);
      }
    }
    return ins.size() <= max_body_inputs && outs <= max_body_outputs;
  }

  int position(int node) const {
    int k = group_[size_t(node)];
    return k < 0 ? node : groups_[size_t(k)].nodes.back();
  }

  void merge(int own, int other) {
    Group &a = groups_[size_t(own)], &b = groups_[size_t(other)];
    for (int i : b.nodes) group_[size_t(i)] = own;
    a.nodes.insert(a.nodes.end(), b.nodes.begin(), b.nodes.end());
    std::sort(a.nodes.begin(), a.nodes.end());
    b.nodes.clear();
  }

  bool emit(Rebuild& b, const Group& group) const {
    auto body = std::make_shared<Graph>();
    std::vector<ValueId> inner(g_.values.size(), no_value), ins, outs;
    auto inside = [&](int node) {
      return node >= 0 && std::binary_search(group.nodes.begin(), group.nodes.end(), node);
    };
    for (int i : group.nodes)
      for (ValueId v : g_.nodes[size_t(i)].in)
        if (v != no_value && !inside(g_.values[size_t(v)].producer) && inner[size_t(v)] == no_value) {
          inner[size_t(v)] = body->add_input(g_.values[size_t(v)].type);
          ins.push_back(b[v]);
        }
    std::vector<TensorType> types;
    SourceMark source;
    for (int i : group.nodes) {
      const Node& n = g_.nodes[size_t(i)];
      std::vector<ValueId> in;
      for (ValueId v : n.in) in.push_back(v == no_value ? no_value : inner[size_t(v)]);
      const TensorType& type = g_.values[size_t(n.out[0])].type;
      int k = body->append_typed(*n.op, in, n.attrs, {&type, 1}, n.source);
      inner[size_t(n.out[0])] = body->nodes[size_t(k)].out[0];
      bool leaves = is_output_[size_t(n.out[0])];
      for (int r : readers_[size_t(n.out[0])]) leaves |= !inside(r);
      if (leaves) {
        body->outputs.push_back(inner[size_t(n.out[0])]);
        outs.push_back(n.out[0]);
        types.push_back(type);
      }
      source = n.source;
    }
    if (!supported(body)) {  // they run one by one, where the group would
      for (int i : group.nodes) b.copy(g_.nodes[size_t(i)]);
      return false;
    }
    int k = b.to.append_typed(op("fused_elementwise"), ins, {GraphPtr(body)}, types, source);
    for (size_t j = 0; j < outs.size(); ++j) b.replace(outs[j], b.to.nodes[size_t(k)].out[j]);
    return true;
  }

  // On the CPU a body that is no program runs by its definition; another device may have no such kernel at all.
  static bool supported(const GraphPtr& body) {
    static const OpDef& fused = op("fused_elementwise");
    const Device device = body->values[size_t(body->outputs[0])].type.device;
    if (device.is_cpu()) return true;
    std::vector<TensorType> in, out;
    for (ValueId v : body->inputs) in.push_back(body->values[size_t(v)].type);
    for (ValueId v : body->outputs) out.push_back(body->values[size_t(v)].type);
    return kernel_takes(fused, Attrs{body}, in, out);
  }

  const Graph& g_;
  std::vector<int> group_;
  std::vector<std::vector<int>> readers_;
  std::vector<char> is_output_;
  std::vector<Group> groups_;
};

}  // namespace

int fuse_pass(Graph& g) {
  Fuser f(g);
  f.grow();
  Graph out;
  int n = f.rewrite(out);
  g = std::move(out);
  return n;
}

}  // namespace suan
