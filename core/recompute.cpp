// One threshold, in seconds of work per byte freed, is raised step by step; at each the graph is rewritten
// around its current peak until that fits or nothing more can be dropped.
#include "core/recompute.h"

#include <algorithm>

#include "core/dispatch.h"
#include "core/pass.h"

namespace suan {
namespace {

constexpr size_t max_chain = 8;       // nodes run again to get one value back: what is dropped needs neighbours that stay
constexpr double flops_per_byte = 8;  // machine balance: how many flops cost as much as moving one byte

struct Lives {
  std::vector<ValueId> root;     // the value whose buffer a value reads
  std::vector<int> last;         // by root: last reading node
};

Lives lives(const Graph& g) {
  Lives l;
  l.root.resize(g.values.size());
  l.last.assign(g.values.size(), -1);
  for (size_t v = 0; v < g.values.size(); ++v) l.root[v] = ValueId(v);
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& n = g.nodes[i];
    if (n.op->view) l.root[size_t(n.out[0])] = l.root[size_t(n.in[0])];
    for (size_t k = 0; k < n.out.size(); ++k)
      if (const int j = updated_input(*n.op, k, n.in.size(), n.out.size()); j >= 0 && n.in[size_t(j)] != no_value)
        l.root[size_t(n.out[k])] = l.root[size_t(n.in[size_t(j)])];
  }
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    for (ValueId v : g.nodes[i].in)
      if (v != no_value) l.last[size_t(l.root[size_t(v)])] = int(i);
    for (ValueId v : g.nodes[i].out) {
      int& last = l.last[size_t(l.root[size_t(v)])];
      last = std::max(last, int(i));
    }
  }
  for (ValueId v : g.outputs) l.last[size_t(l.root[size_t(v)])] = int(g.nodes.size());
  return l;
}

double work(const Graph& g, const Node& n) {
  std::vector<const TensorType*> types;
  double bytes = 0;
  for (ValueId v : n.in) {
    types.push_back(v == no_value ? nullptr : &g.values[size_t(v)].type);
    if (v != no_value) bytes += double(types.back()->bytes());
  }
  for (ValueId v : n.out) bytes += double(g.values[size_t(v)].type.bytes());
  Cost c = n.op->cost ? n.op->cost(InferContext{*n.op, types, n.attrs}) : Cost{};
  return bytes + c.flops / flops_per_byte;
}

// Scratch that the node's kernel asks for, with contiguous inputs.
int64_t workspace(const Graph& g, const Node& n) {
  if (n.op->view) return 0;
  std::vector<Layout> layouts, out_layouts;
  std::vector<DType> dtypes;
  std::vector<bool> present;
  std::vector<TensorType> out;
  for (ValueId v : n.in) {
    present.push_back(v != no_value);
    layouts.push_back(v == no_value ? Layout{} : Layout(g.values[size_t(v)].type.shape));
    dtypes.push_back(v == no_value ? DType::f32 : g.values[size_t(v)].type.dtype);
  }
  for (ValueId v : n.out) {
    out.push_back(g.values[size_t(v)].type);
    out_layouts.emplace_back(out.back().shape);
  }
  Device device = out.empty() ? Device{} : out[0].device;
  return select_kernel(*n.op, n.attrs, device, layouts, dtypes, present, out, out_layouts).prepared.workspace;
}

bool repeatable(const OpDef& def) {
  return !(def.flags & (op_effect | op_opaque | op_region)) && def.updates.empty();
}

// Rewrites around one point. Returns the number of repeated nodes.
class Rewriter {
 public:
  Rewriter(const Graph& g, int at, double threshold)
      : g_(g), b_(g), lives_(lives(g)), at_(at), again_(g.values.size(), no_value) {
    choose(threshold);
  }

  int run(Graph& out) {
    if (!any_) return 0;
    for (size_t i = 0; i < g_.nodes.size(); ++i) {
      const Node& n = g_.nodes[i];
      if (int(i) <= at_) { b_.copy(n); continue; }
      Node late = n;
      std::vector<TensorType> types;
      for (ValueId v : n.out) types.push_back(g_.values[size_t(v)].type);
      for (ValueId& v : late.in) v = v == no_value ? no_value : current(v);
      int k = b_.to.append_typed(*n.op, late.in, n.attrs, types, n.source);
      for (size_t j = 0; j < n.out.size(); ++j) b_.replace(n.out[j], b_.to.nodes[size_t(k)].out[j]);
    }
    out = b_.finish();
    return repeated_;
  }

 private:
  bool crosses(ValueId v) const {
    ValueId r = lives_.root[size_t(v)];
    return g_.values[size_t(r)].producer <= at_ && lives_.last[size_t(r)] > at_;
  }
  bool dropped(ValueId v) const { return drop_[size_t(lives_.root[size_t(v)])]; }

  // Collects what has to run again for node i: itself, and what made those of its inputs that are gone by
  // then or dropped. False when one of them must not run twice or they are too many.
  bool chain(int i, std::vector<int>& nodes) const {
    if (std::find(nodes.begin(), nodes.end(), i) != nodes.end()) return true;
    const Node& n = g_.nodes[size_t(i)];
    if (!repeatable(*n.op) || nodes.size() == max_chain) return false;
    nodes.push_back(i);
    for (ValueId v : n.in) {
      if (v == no_value || g_.values[size_t(lives_.root[size_t(v)])].producer < 0) continue;
      if (crosses(v) && !dropped(v)) continue;
      if (!chain(g_.values[size_t(v)].producer, nodes)) return false;
    }
    return true;
  }

  // Costs nothing more: a view, or made again for another value already.
  bool runs_again(int i) const {
    const Node& n = g_.nodes[size_t(i)];
    return n.op->view || std::any_of(n.out.begin(), n.out.end(), [&](ValueId v) { return dropped(v); });
  }

  void choose(double threshold) {
    drop_.assign(g_.values.size(), 0);
    std::vector<char> pinned(g_.values.size(), 0);
    for (ValueId v : g_.outputs) pinned[size_t(lives_.root[size_t(v)])] = 1;
    for (size_t i = 0; i < g_.nodes.size() && int(i) < at_; ++i) {
      const Node& n = g_.nodes[i];
      if (n.op->view) continue;
      double freed = 0;
      for (ValueId v : n.out)
        if (crosses(v) && !pinned[size_t(v)]) freed += double(g_.values[size_t(v)].type.bytes());
      if (freed == 0) continue;
      std::vector<int> again;
      if (!chain(int(i), again)) continue;
      double cost = 0;
      for (int k : again)
        if (!runs_again(k)) cost += work(g_, g_.nodes[size_t(k)]);
      if (cost > threshold * freed) continue;
      for (int k : again)
        for (ValueId v : g_.nodes[size_t(k)].out)
          if (!crosses(v)) drop_[size_t(lives_.root[size_t(v)])] = 1;
      for (ValueId v : n.out)
        if (crosses(v) && !pinned[size_t(v)]) { drop_[size_t(v)] = 1; any_ = true; }
    }
  }

  ValueId current(ValueId v) {
    int p = g_.values[size_t(v)].producer;
    if (p < 0 || p > at_ || !dropped(v)) return b_[v];
    if (again_[size_t(v)] != no_value) return again_[size_t(v)];
    const Node& n = g_.nodes[size_t(p)];
    std::vector<ValueId> in;
    for (ValueId u : n.in) in.push_back(u == no_value ? no_value : current(u));
    std::vector<TensorType> types;
    for (ValueId u : n.out) types.push_back(g_.values[size_t(u)].type);
    int k = b_.to.append_typed(*n.op, in, n.attrs, types, n.source);
    for (size_t j = 0; j < n.out.size(); ++j)
      if (dropped(n.out[j])) again_[size_t(n.out[j])] = b_.to.nodes[size_t(k)].out[j];
    ++repeated_;
    return again_[size_t(v)];
  }

  const Graph& g_;
  Rebuild b_;
  Lives lives_;
  int at_;
  bool any_ = false;
  int repeated_ = 0;
  std::vector<char> drop_;
  std::vector<ValueId> again_;
};

}  // namespace

PeakEstimate estimate_peak(const Graph& g) {
  Lives l = lives(g);
  std::vector<int64_t> free_at(g.nodes.size() + 1, 0);
  PeakEstimate best;
  int64_t now = 0;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    for (ValueId v : g.nodes[i].out) {
      if (l.root[size_t(v)] != v) continue;
      int64_t bytes = g.values[size_t(v)].type.bytes();
      now += bytes;
      free_at[size_t(std::min<int>(l.last[size_t(v)], int(g.nodes.size())))] += bytes;
    }
    // An element-wise node writes over an input that ends here.
    int64_t reused = 0;
    if (g.nodes[i].op->flags & op_elementwise || g.nodes[i].op->name == "fused_elementwise")
      for (ValueId v : g.nodes[i].in) {
        if (v == no_value) continue;
        size_t r = size_t(l.root[size_t(v)]);
        bool same = g.values[r].type.bytes() == g.values[size_t(g.nodes[i].out[0])].type.bytes();
        if (same && l.last[r] == int(i) && g.values[r].producer >= 0) {
          reused = g.values[r].type.bytes();
          break;
        }
      }
    int64_t with_scratch = now - reused + workspace(g, g.nodes[i]);
    if (with_scratch > best.bytes) best = {with_scratch, int(i)};
    now -= free_at[i];
  }
  return best;
}

double estimate_work(const Graph& g) {
  double all = 0;
  for (const Node& n : g.nodes)
    if (!n.op->view) all += work(g, n);
  return all;
}

int recompute_pass(Graph& g, int64_t limit) {
  if (estimate_peak(g).bytes <= limit) return 0;
  constexpr int rounds_per_threshold = 12;
  Graph best = g;
  int best_repeated = 0;
  for (double threshold = 4; threshold < 1e6; threshold *= 2) {
    Graph now = g;
    int repeated = 0;
    for (int round = 0; round < rounds_per_threshold; ++round) {
      PeakEstimate peak = estimate_peak(now);
      if (peak.bytes <= limit) {
        g = std::move(now);
        return repeated;
      }
      Graph next;
      Rewriter r(now, peak.node, threshold);
      int n = r.run(next);
      if (n == 0 || estimate_peak(next).bytes >= peak.bytes) break;
      repeated += n;
      now = std::move(next);
    }
    if (estimate_peak(now).bytes < estimate_peak(best).bytes) {
      best = std::move(now);
      best_repeated = repeated;
    }
  }
  g = std::move(best);  // the planner says what is still missing
  return best_repeated;
}

}  // namespace suan
