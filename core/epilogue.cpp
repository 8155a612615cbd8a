// Epilogue fusion. An element-wise node, or a fused group of them, joins the node whose result it follows
// when that one's kernel hands its result on tile by tile: products, convolutions, norms, softmax. The rows
// then read a tile that is still in cache; every value is rounded as before, so the bits stay.
#include <algorithm>

#include "core/apply.h"
#include "core/dispatch.h"
#include "core/pass.h"

namespace suan {
namespace {

constexpr size_t max_inputs = 20;
constexpr size_t max_outputs = 8;

// A joined node: the first op ("anchor"), perhaps a reshape of its result, and the rows after it.
struct Join {
  int anchor = -1, reshape = -1, rows = -1;  // nodes of the graph
  GraphPtr body;
  std::vector<ValueId> in, out;              // values of the graph
};

class Joiner {
 public:
  explicit Joiner(const Graph& g)
      : g_(g), place_(g.nodes.size()), taken_(g.nodes.size(), 0), readers_(g.values.size()),
        is_output_(g.values.size(), 0) {
    for (size_t i = 0; i < g.nodes.size(); ++i) {
      place_[i] = int(i);
      for (ValueId v : g.nodes[i].in)
        if (v != no_value) readers_[size_t(v)].push_back(int(i));
    }
    for (ValueId v : g.outputs) is_output_[size_t(v)] = 1;
  }

  void find() {
    for (int i = 0; i < int(g_.nodes.size()); ++i) {
      if (!is_rows(g_.nodes[size_t(i)])) continue;
      // The latest producer first: its result is the one most likely to be in cache.
      std::vector<ValueId> candidates;
      for (ValueId v : g_.nodes[size_t(i)].in)
        if (v != no_value && g_.values[size_t(v)].producer >= 0) candidates.push_back(v);
      std::sort(candidates.begin(), candidates.end(), [](ValueId a, ValueId b) { return a > b; });
      for (ValueId v : candidates)
        if (try_join(i, v)) break;
    }
  }

  int rewrite(Graph& out) {
    Rebuild b(g_);
    std::vector<std::vector<int>> late(g_.nodes.size());  // views that wait for a moved anchor
    std::vector<int> waits(g_.values.size(), -1);         // by value: the join that makes it
    for (int i = 0; i < int(g_.nodes.size()); ++i) {
      const Node& n = g_.nodes[size_t(i)];
      if (taken_[size_t(i)]) {
        for (ValueId v : n.out) waits[size_t(v)] = place_[size_t(i)];
        continue;
      }
      auto join = std::find_if(joins_.begin(), joins_.end(), [&](const Join& j) { return j.rows == i; });
      if (join == joins_.end()) {
        const int wait = n.op->view ? waits[size_t(n.in[0])] : -1;
        if (wait > i) {
          late[size_t(wait)].push_back(i);
          for (ValueId v : n.out) waits[size_t(v)] = wait;
        } else {
          b.copy(n);
        }
        continue;
      }
      std::vector<TensorType> types;
      for (ValueId v : join->out) types.push_back(g_.values[size_t(v)].type);
      int k = b.to.append_typed(op("fused_epilogue"), b.mapped(join->in), {join->body}, types, n.source);
      for (size_t j = 0; j < join->out.size(); ++j) b.replace(join->out[j], b.to.nodes[size_t(k)].out[j]);
      for (int view : late[size_t(i)]) b.copy(g_.nodes[size_t(view)]);
    }
    out = b.finish();
    return int(joins_.size());
  }

 private:
  static bool is_rows(const Node& n) {
    static const OpDef& fused = op("fused_elementwise");
    return n.op == &fused || ((n.op->flags & op_elementwise) && n.out.size() == 1 && mergeable(*n.op));
  }

  // Where the first node that needs v stands, views counting as their readers; `rows` may read `own`.
  int first_reader(ValueId v, int rows, ValueId own) const {
    int first = int(g_.nodes.size());
    for (int r : readers_[size_t(v)]) {
      if (r == rows && v == own) continue;
      const Node& n = g_.nodes[size_t(r)];
      first = std::min(first, n.op->view && !taken_[size_t(r)] ? first_reader(n.out[0], rows, own)
                                                                : place_[size_t(r)]);
    }
    return first;
  }

  bool try_join(int rows, ValueId v) {
    static const OpDef& reshape = op("reshape");
    const Node& n = g_.nodes[size_t(rows)];
    const Shape& shape = g_.values[size_t(n.out[0])].type.shape;
    if (!(g_.values[size_t(v)].type.shape == shape)) return false;
    Join join{g_.values[size_t(v)].producer, -1, rows, nullptr, {}, {}};
    ValueId result = v;
    if (g_.nodes[size_t(join.anchor)].op == &reshape) {
      join.reshape = join.anchor;
      result = g_.nodes[size_t(join.reshape)].in[0];
      join.anchor = g_.values[size_t(result)].producer;
      if (join.anchor < 0) return false;
    }
    const Node& anchor = g_.nodes[size_t(join.anchor)];
    static const OpDef& joined = op("fused_epilogue");
    if (taken_[size_t(join.anchor)] || anchor.out[0] != result || anchor.op->view || is_rows(anchor) ||
        anchor.op == &joined || !mergeable(*anchor.op))
      return false;
    // The joined node stands where the rows stood: nobody else may need the anchor before.
    for (ValueId o : anchor.out)
      if (first_reader(o, rows, v) <= rows) return false;
    build(join, v, result);
    if (join.in.size() > max_inputs || join.out.size() > max_outputs || !supported(join)) return false;
    taken_[size_t(join.anchor)] = 1;
    place_[size_t(join.anchor)] = rows;
    if (join.reshape >= 0 && !needed(v, rows)) {
      taken_[size_t(join.reshape)] = 1;
      place_[size_t(join.reshape)] = rows;
    }
    joins_.push_back(std::move(join));
    return true;
  }

  // Whether anything but that node reads v.
  bool needed(ValueId v, int without) const {
    return is_output_[size_t(v)] || std::any_of(readers_[size_t(v)].begin(), readers_[size_t(v)].end(),
                                                [&](int r) { return r != without; });
  }

  void build(Join& join, ValueId v, ValueId result) const {
    const Node &anchor = g_.nodes[size_t(join.anchor)], &rows = g_.nodes[size_t(join.rows)];
    auto body = std::make_shared<Graph>();
    std::vector<std::pair<ValueId, ValueId>> known;   // value of the graph, value of the body
    auto inner = [&](ValueId u) {
      if (u == no_value) return no_value;
      for (auto [outside, inside] : known)
        if (outside == u) return inside;
      ValueId inside = body->add_input(g_.values[size_t(u)].type);
      known.push_back({u, inside});
      join.in.push_back(u);
      return inside;
    };
    auto copy = [&](const Node& n) {
      std::vector<ValueId> in;
      std::vector<TensorType> types;
      for (ValueId u : n.in) in.push_back(inner(u));
      for (ValueId u : n.out) types.push_back(g_.values[size_t(u)].type);
      int k = body->append_typed(*n.op, in, n.attrs, types, n.source);
      for (size_t j = 0; j < n.out.size(); ++j)
        known.push_back({n.out[j], body->nodes[size_t(k)].out[j]});
    };
    copy(anchor);
    if (join.reshape >= 0) copy(g_.nodes[size_t(join.reshape)]);
    const bool reshape_stays = join.reshape >= 0 && needed(v, join.rows);
    for (ValueId o : anchor.out) {
      bool leaves = is_output_[size_t(o)] || (o == result && reshape_stays);
      for (int r : readers_[size_t(o)]) leaves |= r != join.rows && r != join.reshape;
      if (!leaves) continue;
      body->outputs.push_back(inner(o));
      join.out.push_back(o);
    }
    if (rows.op->flags & op_elementwise) {
      copy(rows);
      body->outputs.push_back(inner(rows.out[0]));
    } else {
      const Graph& group = *rows.attrs.graph(0);
      std::vector<ValueId> at(group.values.size(), no_value);
      for (size_t k = 0; k < group.inputs.size(); ++k) at[size_t(group.inputs[k])] = inner(rows.in[k]);
      for (const Node& n : group.nodes) {
        std::vector<ValueId> in;
        for (ValueId u : n.in) in.push_back(u == no_value ? no_value : at[size_t(u)]);
        int k = body->append_typed(*n.op, in, n.attrs, {&group.values[size_t(n.out[0])].type, 1}, n.source);
        at[size_t(n.out[0])] = body->nodes[size_t(k)].out[0];
      }
      for (ValueId u : group.outputs) body->outputs.push_back(at[size_t(u)]);
    }
    join.out.insert(join.out.end(), rows.out.begin(), rows.out.end());
    join.body = std::move(body);
  }

  // The kernel itself says whether the first op hands tiles on and which operands its rows may have.
  bool supported(const Join& join) const {
    std::vector<TensorType> in, out;
    for (ValueId v : join.in) in.push_back(g_.values[size_t(v)].type);
    for (ValueId v : join.out) out.push_back(g_.values[size_t(v)].type);
    return kernel_takes(op("fused_epilogue"), Attrs{join.body}, in, out);
  }

  const Graph& g_;
  std::vector<int> place_;                  // by node: where it will stand
  std::vector<char> taken_;                 // by node: inside a join that stands elsewhere
  std::vector<std::vector<int>> readers_;   // by value
  std::vector<char> is_output_;
  std::vector<Join> joins_;
};

}  // namespace

int split_epilogues(Graph& g) {
  static const OpDef& joined = op("fused_epilogue");
  Rebuild b(g);
  int n_split = 0;
  for (const Node& n : g.nodes) {
    if (n.op != &joined) { b.copy(n); continue; }
    const Graph& body = *n.attrs.graph(0);
    std::vector<ValueId> at(body.values.size(), no_value);
    for (size_t k = 0; k < body.inputs.size(); ++k) at[size_t(body.inputs[k])] = b[n.in[k]];
    for (const Node& m : body.nodes) {
      std::vector<ValueId> in;
      std::vector<TensorType> types;
      for (ValueId v : m.in) in.push_back(v == no_value ? no_value : at[size_t(v)]);
      for (ValueId v : m.out) types.push_back(body.values[size_t(v)].type);
      int k = b.to.append_typed(*m.op, in, m.attrs, types, m.source);
      for (size_t j = 0; j < m.out.size(); ++j) at[size_t(m.out[j])] = b.to.nodes[size_t(k)].out[j];
    }
    for (size_t j = 0; j < n.out.size(); ++j) b.replace(n.out[j], at[size_t(body.outputs[j])]);
    ++n_split;
  }
  g = b.finish();
  return n_split;
}

int epilogue_pass(Graph& g) {
  Joiner j(g);
  j.find();
  Graph out;
  int n = j.rewrite(out);
  g = std::move(out);
  return n;
}

}  // namespace suan
