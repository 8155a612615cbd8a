// Tree ensembles of ai.onnx.ml as the op tree_ensemble: nodes sorted so that children come after their parents, which
// also finds cycles; every index is checked here.
#include <cmath>
#include <map>

#include "frontends/onnx/learning.h"

namespace suan::onnx {
namespace {

using namespace ops;

constexpr int leaf_mode = 7, missing_bit = 8;

struct Branch {
  int64_t feature = 0, yes = 0, no = 0;   // yes and no: other branches; of a leaf, its number under feature
  int mode = leaf_mode;
  double threshold = 0;
};
struct LeafWeight {
  int64_t target;
  double weight;
};

// The operands of tree_ensemble after x.
struct Forest {
  Tensor nodes, thresholds, roots, leaf_start, leaf_target, leaf_weight;
  std::vector<char> given;   // by target: some leaf has it
  bool all_positive = true;
  int64_t targets = 0;
};

Forest lay_out(Call& c, const std::vector<Branch>& branches, const std::vector<int64_t>& roots,
               const std::vector<std::vector<LeafWeight>>& leaves, int64_t targets, DType t) {
  const int64_t n = int64_t(branches.size());
  if (n >= INT32_MAX || targets < 1 || targets > longest_axis)
    c.fail<ValueError>("trees out of range: expected less than 2^31 nodes and 1 to {} targets, got {} and {}", longest_axis, n, targets);
  auto inside = [&](int64_t i) {
    if (i < 0 || i >= n) c.fail<IndexError>("node out of range: expected 0 to {}, got {}", n - 1, i);
    return size_t(i);
  };
  // Depth first; a node is finished after all below it, so the reverse of that order has parents first.
  enum : char { fresh, open, finished };
  std::vector<char> state(size_t(n), fresh);
  std::vector<size_t> order, path;
  std::vector<int64_t> beginnings(roots);   // and all others: a cycle that no root leads to is one, too
  for (int64_t i = 0; i < n; ++i) beginnings.push_back(i);
  for (int64_t from : beginnings) {
    path.push_back(inside(from));
    while (!path.empty()) {
      const size_t at = path.back();
      const Branch& b = branches[at];
      if (state[at] == finished) {
        path.pop_back();
      } else if (state[at] == open || b.mode == leaf_mode) {
        state[at] = finished;
        order.push_back(at);
        path.pop_back();
      } else {
        state[at] = open;
        for (int64_t child : {b.no, b.yes}) {
          const size_t k = inside(child);
          if (state[k] == open) c.fail<ValueError>("tree has a cycle: expected every branch to end, got node {} again", k);
          if (state[k] == fresh) path.push_back(k);
        }
      }
    }
  }
  std::vector<int64_t> place(size_t(n), 0);
  for (size_t i = 0; i < order.size(); ++i) place[order[order.size() - 1 - i]] = int64_t(i);
  std::vector<int64_t> rows, starts{0}, leaf_targets, at_roots;
  std::vector<double> thresholds, weights;
  for (size_t i = order.size(); i-- > 0;) {
    const Branch& b = branches[order[i]];
    const bool leaf = b.mode == leaf_mode;
    if (b.feature < 0 || b.feature > INT32_MAX || (leaf && b.feature >= int64_t(leaves.size())))
      c.fail<IndexError>("feature or leaf out of range: expected 0 or more, got {}", b.feature);
    rows.insert(rows.end(), {b.feature, b.mode, leaf ? 0 : place[size_t(b.yes)], leaf ? 0 : place[size_t(b.no)]});
    thresholds.push_back(b.threshold);
  }
  Forest f;
  f.targets = targets;
  f.given.assign(size_t(targets), 0);
  for (const auto& leaf : leaves) {
    for (const LeafWeight& w : leaf) {
      if (w.target < 0 || w.target >= targets) c.fail<IndexError>("target out of range: expected 0 to {}, got {}", targets - 1, w.target);
      f.given[size_t(w.target)] = 1;
      f.all_positive = f.all_positive && w.weight >= 0;
      leaf_targets.push_back(w.target);
      weights.push_back(w.weight);
    }
    starts.push_back(int64_t(leaf_targets.size()));
  }
  for (int64_t root : roots) at_roots.push_back(place[size_t(root)]);
  auto index = [](const std::vector<int64_t>& v, Shape s) { return Eval::eagerly([&] { return cast(make_ints(v, s), DType::i32); }); };
  auto real = [&](const std::vector<double>& v) { return make_reals(v, Shape{int64_t(v.size())}, t); };
  f.nodes = index(rows, {int64_t(order.size()), 4});
  f.thresholds = real(thresholds);
  f.roots = index(at_roots, {int64_t(roots.size())});
  f.leaf_start = index(starts, {int64_t(starts.size())});
  f.leaf_target = index(leaf_targets, {int64_t(leaf_targets.size())});
  f.leaf_weight = real(weights);
  return f;
}

Tensor run(Call&, const Forest& f, const Tensor& x, const std::string& aggregate) {
  return apply(SUAN_OP("tree_ensemble"), {x, f.nodes, f.thresholds, f.roots, f.leaf_start, f.leaf_target, f.leaf_weight},
               {f.targets, aggregate});
}

// An attribute of numbers, or its form as a tensor, where the model may keep doubles.
std::vector<double> reals_or_tensor(Call& c, const std::string& name) {
  if (const Attribute* a = c.attr(name + "_as_tensor"))
    if (const Value* v = std::get_if<Value>(&a->data); v && v->is_tensor()) return read_reals(v->tensor());
  return c.reals(name, std::vector<double>{});
}
std::vector<double> tensor_attr(Call& c, const char* name) {
  const Attribute* a = c.attr(name);
  const Value* v = a ? std::get_if<Value>(&a->data) : nullptr;
  if (!v || !v->is_tensor()) c.fail<ValueError>("missing attribute: expected a tensor '{}'", name);
  return read_reals(v->tensor());
}
template <class T>
void need_size(Call& c, const char* name, const std::vector<T>& v, size_t n, bool optional = false) {
  if (v.size() != n && !(optional && v.empty())) c.fail<ValueError>("lists differ in length: expected {} in '{}', got {}", n, name, v.size());
}

// Versions 1 and 3: nodes are known by a tree and a number in it; `prefix` is "target" or "class".
Forest read_numbered(Call& c, const std::string& prefix, int64_t targets, DType t) {
  const std::vector<int64_t> tree = c.ints("nodes_treeids"), id = c.ints("nodes_nodeids"), feature = c.ints("nodes_featureids"),
                             yes = c.ints("nodes_truenodeids"), no = c.ints("nodes_falsenodeids"),
                             missing = c.ints("nodes_missing_value_tracks_true", std::vector<int64_t>{});
  const std::vector<double> value = reals_or_tensor(c, "nodes_values");
  const std::vector<std::string> mode = c.texts("nodes_modes");
  const size_t n = tree.size();
  need_size(c, "nodes_nodeids", id, n);
  need_size(c, "nodes_featureids", feature, n);
  need_size(c, "nodes_truenodeids", yes, n);
  need_size(c, "nodes_falsenodeids", no, n);
  need_size(c, "nodes_modes", mode, n);
  need_size(c, "nodes_values", value, n);
  need_size(c, "nodes_missing_value_tracks_true", missing, n, true);
  std::map<std::pair<int64_t, int64_t>, int64_t> at;
  for (size_t i = 0; i < n; ++i)
    if (!at.emplace(std::pair(tree[i], id[i]), int64_t(i)).second)
      c.fail<ValueError>("node twice: expected distinct numbers in a tree, got {} of tree {} again", id[i], tree[i]);
  auto find = [&](int64_t in_tree, int64_t number) {
    auto it = at.find({in_tree, number});
    if (it == at.end()) c.fail<IndexError>("node out of range: expected one of tree {}, got {}", in_tree, number);
    return it->second;
  };
  static const std::map<std::string, int, std::less<>> modes = {{"BRANCH_LEQ", 0}, {"BRANCH_LT", 1}, {"BRANCH_GTE", 2}, {"BRANCH_GT", 3},
                                                               {"BRANCH_EQ", 4},  {"BRANCH_NEQ", 5}, {"LEAF", leaf_mode}};
  std::vector<Branch> branches(n);
  std::vector<char> child(n, 0);
  int64_t n_leaves = 0;
  for (size_t i = 0; i < n; ++i) {
    auto m = modes.find(mode[i]);
    if (m == modes.end()) c.fail<ValueError>("unknown mode: expected BRANCH_LEQ, _LT, _GTE, _GT, _EQ, _NEQ or LEAF, got '{}'", mode[i]);
    Branch& b = branches[i];
    b.mode = m->second;
    if (b.mode == leaf_mode) {
      b.feature = n_leaves++;
      continue;
    }
    b.feature = feature[i];
    b.threshold = value[i];
    b.yes = find(tree[i], yes[i]);
    b.no = find(tree[i], no[i]);
    child[size_t(b.yes)] = child[size_t(b.no)] = 1;
    if (!missing.empty() && missing[i]) b.mode |= missing_bit;
  }
  std::vector<int64_t> roots;
  std::map<int64_t, char> rooted;
  for (size_t i = 0; i < n; ++i)
    if (!child[i] && !rooted[tree[i]]) {
      rooted[tree[i]] = 1;
      roots.push_back(int64_t(i));
    }
  for (size_t i = 0; i < n; ++i)
    if (!rooted[tree[i]]) c.fail<ValueError>("tree has a cycle: expected a node that is no other's branch in tree {}, got none", tree[i]);
  const std::vector<int64_t> of_tree = c.ints(prefix + "_treeids"), of_node = c.ints(prefix + "_nodeids"), ids = c.ints(prefix + "_ids");
  const std::vector<double> weight = reals_or_tensor(c, prefix + "_weights");
  need_size(c, (prefix + "_nodeids").c_str(), of_node, of_tree.size());
  need_size(c, (prefix + "_ids").c_str(), ids, of_tree.size());
  need_size(c, (prefix + "_weights").c_str(), weight, of_tree.size());
  std::vector<std::vector<LeafWeight>> leaves(static_cast<size_t>(n_leaves));
  for (size_t k = 0; k < of_tree.size(); ++k) {
    const Branch& b = branches[size_t(find(of_tree[k], of_node[k]))];
    if (b.mode != leaf_mode) c.fail<ValueError>("weight of no leaf: expected a leaf, got node {} of tree {}", of_node[k], of_tree[k]);
    leaves[size_t(b.feature)].push_back({ids[k], weight[k]});
  }
  return lay_out(c, branches, roots, leaves, targets, t);
}

// Version 5: interior nodes and leaves by position; a node of mode 6 asks for one of several values, which is a chain
// of questions for each.
Forest read_listed(Call& c, int64_t targets, DType t) {
  const std::vector<int64_t> roots = c.ints("tree_roots"), feature = c.ints("nodes_featureids"), yes = c.ints("nodes_truenodeids"),
                             no = c.ints("nodes_falsenodeids"), yes_leaf = c.ints("nodes_trueleafs"), no_leaf = c.ints("nodes_falseleafs"),
                             missing = c.ints("nodes_missing_value_tracks_true", std::vector<int64_t>{}), target = c.ints("leaf_targetids");
  const std::vector<double> split = tensor_attr(c, "nodes_splits"), weight = tensor_attr(c, "leaf_weights"), mode = tensor_attr(c, "nodes_modes");
  const std::vector<double> members = c.has_attr("membership_values") ? tensor_attr(c, "membership_values") : std::vector<double>{};
  const size_t n = feature.size();
  need_size(c, "nodes_truenodeids", yes, n);
  need_size(c, "nodes_falsenodeids", no, n);
  need_size(c, "nodes_trueleafs", yes_leaf, n);
  need_size(c, "nodes_falseleafs", no_leaf, n);
  need_size(c, "nodes_splits", split, n);
  need_size(c, "nodes_modes", mode, n);
  need_size(c, "nodes_missing_value_tracks_true", missing, n, true);
  need_size(c, "leaf_weights", weight, target.size());
  std::vector<Branch> branches(n);
  std::vector<std::vector<LeafWeight>> leaves;
  for (size_t k = 0; k < target.size(); ++k) {
    leaves.push_back({{target[k], weight[k]}});
    branches.push_back({.feature = int64_t(k)});
  }
  auto child = [&](int64_t i, bool leaf) {
    const int64_t size = int64_t(leaf ? target.size() : n);
    if (i < 0 || i >= size) c.fail<IndexError>("{} out of range: expected 0 to {}, got {}", leaf ? "leaf" : "node", size - 1, i);
    return leaf ? int64_t(n) + i : i;
  };
  size_t next_member = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!(mode[i] >= 0 && mode[i] <= 6)) c.fail<ValueError>("unknown mode: expected 0 to 6, got {}", mode[i]);
    const int flags = !missing.empty() && missing[i] ? missing_bit : 0;
    Branch b{feature[i], child(yes[i], yes_leaf[i]), child(no[i], no_leaf[i]), int(mode[i]) | flags, split[i]};
    if (int(mode[i]) != 6) {
      branches[i] = b;
      continue;
    }
    std::vector<double> set;
    while (next_member < members.size() && !std::isnan(members[next_member])) set.push_back(members[next_member++]);
    if (next_member++ >= members.size()) c.fail<ValueError>("membership_values too short: expected NaN after each node's values, got the end");
    b.mode = 4 | flags;
    if (set.empty()) set.push_back(NAN);   // nothing equals it
    const int64_t otherwise = b.no;
    size_t at = i;
    for (size_t k = 0; k < set.size(); ++k) {
      b.threshold = set[k];
      b.no = k + 1 < set.size() ? int64_t(branches.size()) : otherwise;
      branches[at] = b;
      at = branches.size();
      if (k + 1 < set.size()) branches.emplace_back();
    }
  }
  return lay_out(c, branches, roots, leaves, targets, t);
}

DType tree_dtype(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }
std::string aggregate_of(Call& c) {
  const std::string how = c.string("aggregate_function", "SUM");
  if (how == "SUM") return "sum";
  if (how == "AVERAGE") return "average";
  if (how == "MIN") return "min";
  if (how == "MAX") return "max";
  c.fail<ValueError>("unknown aggregate_function: expected AVERAGE, SUM, MIN or MAX, got '{}'", how);
}
// By target, or one for all; empty where the model gives none.
Tensor base_of(Call& c, int64_t n, DType t) {
  const std::vector<double> base = reals_or_tensor(c, "base_values");
  if (base.empty()) return {};
  if (int64_t(base.size()) != n && base.size() != 1) c.fail<ShapeError>("wrong number of base_values: expected {}, got {}", n, base.size());
  return make_reals(base, Shape{int64_t(base.size())}, t);
}

Values build_regressor(Call& c) {
  const DType t = tree_dtype(c[0]);
  const Tensor x = features_of(c, c[0], t);
  const int64_t n = c.integer("n_targets", 1);
  auto f = c.prepared<Forest>([&] { return read_numbered(c, "target", n, t); });
  Tensor y = run(c, *f, x, aggregate_of(c));
  if (const Tensor base = base_of(c, n, t)) y = y + base;
  return {transformed(c, cast(y, DType::f32), c.string("post_transform", "NONE"))};
}

Values build_ensemble(Call& c) {
  const DType t = tree_dtype(c[0]);
  const Tensor x = features_of(c, c[0], t);
  static constexpr const char* aggregates[] = {"average", "sum", "min", "max"};
  static constexpr const char* transforms[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  const int64_t how = c.integer("aggregate_function", 1), after = c.integer("post_transform", 0);
  if (how < 0 || how > 3 || after < 0 || after > 4)
    c.fail<ValueError>("unknown aggregate_function or post_transform: expected 0 to 3 and 0 to 4, got {} and {}", how, after);
  auto f = c.prepared<Forest>([&] { return read_listed(c, c.integer("n_targets", 1), t); });
  return {cast(transformed(c, run(c, *f, x, aggregates[how]), transforms[after]), c[0].dtype())};
}

// Two classes and one score: the second class's. Where no weight is negative it is a probability, else its sign decides.
Values build_classifier(Call& c) {
  const DType t = tree_dtype(c[0]);
  const Tensor x = features_of(c, c[0], t);
  const Labels labels = labels_of(c, "classlabels_int64s");
  const int64_t n = labels.size();
  if (n < 1) c.fail<ValueError>("missing attribute: expected classlabels_int64s or classlabels_strings, got none");
  const std::string how = c.string("post_transform", "NONE");
  auto f = c.prepared<Forest>([&] { return read_numbered(c, "class", n, t); });
  const Tensor base = base_of(c, n, t);
  Tensor scores = run(c, *f, x, "sum");
  int64_t n_given = 0, only = 0;
  for (int64_t k = 0; k < n; ++k)
    if (f->given[size_t(k)]) {
      ++n_given;
      only = k;
    }
  if (n > 2 || (n == 2 && n_given == 2)) {
    if (base) scores = scores + base;
    scores = cast(scores, DType::f32);
    const Tensor at = apply(SUAN_OP("argmax"), {scores}, {int64_t(1), false});
    return {pick(c, labels, at), transformed(c, scores, how)};
  }
  Tensor score = slice(scores, 1, only, only + 1);
  if (base) score = score + slice(base, 0, base.dim(0) - 1, base.dim(0));
  score = cast(score, DType::f32);
  const Tensor flat = reshape(score, {score.dim(0)});
  const Tensor positive = cast(gt(flat, number(f->all_positive && n == 2 ? 0.5 : 0, flat)), DType::i64);
  if (n == 1) {
    if (!labels.texts.empty()) c.fail<ValueError>("wrong number of labels: expected 2, got 1");
    return {positive, transformed(c, score, how)};
  }
  Tensor both;
  if (how == "PROBIT") both = transformed(c, score, how);
  else if (f->all_positive) both = apply(SUAN_OP("cat"), {1.0 - score, score}, {int64_t(1)});
  else both = transformed(c, apply(SUAN_OP("cat"), {-score, score}, {int64_t(1)}), how);
  return {pick(c, labels, positive), both};
}

}  // namespace

std::vector<Mapping> tree_ops() {
  return {
      {"ai.onnx.ml.TreeEnsemble", 5, build_ensemble},
      {"ai.onnx.ml.TreeEnsembleClassifier", 1, build_classifier},
      {"ai.onnx.ml.TreeEnsembleRegressor", 1, build_regressor},
  };
}

}  // namespace suan::onnx
