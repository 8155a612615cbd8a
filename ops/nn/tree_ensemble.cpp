// tree_ensemble: decision trees over the features of each row, their leaves' weights summed by target.
#include "ops/api.h"

namespace suan {
namespace {

enum { x, nodes, thresholds, roots, leaf_start, leaf_target, leaf_weight };

std::vector<TensorType> infer(const InferContext& c) {
  const int64_t n = c.attrs.integer(0);
  const std::string& how = c.attrs.string(1);
  if (how != "sum" && how != "average" && how != "min" && how != "max")
    c.fail<ValueError>("unknown aggregate: expected sum, average, min or max, got '{}'", how);
  if (n < 1) c.fail<ValueError>("wrong number of targets: expected 1 or more, got {}", n);
  if (c.shape(x).size() != 2) c.fail<ShapeError>("expected x [rows, features], got {}", to_string(c.shape(x)));
  if (c.shape(nodes).size() != 2 || c.shape(nodes)[1] != 4 || !(c.shape(thresholds) == Shape{c.shape(nodes)[0]}))
    c.fail<ShapeError>("nodes do not fit: expected [n, 4] and [n] thresholds, got {} and {}", to_string(c.shape(nodes)),
                       to_string(c.shape(thresholds)));
  if (c.shape(roots).size() != 1 || c.shape(leaf_start).size() != 1 || c.shape(leaf_start)[0] < 1 ||
      c.shape(leaf_target).size() != 1 || !(c.shape(leaf_weight) == c.shape(leaf_target)))
    c.fail<ShapeError>("leaves do not fit: expected [trees], [leaves + 1], [weights] and [weights], got {}, {}, {} and {}",
                       to_string(c.shape(roots)), to_string(c.shape(leaf_start)), to_string(c.shape(leaf_target)),
                       to_string(c.shape(leaf_weight)));
  return {{c.dtype(x), {c.shape(x)[0], n}, c[x].device}};
}

}  // namespace

OpDef op_def_tree_ensemble() {
  constexpr DTypeSet real = dtype_bit(DType::f32) | dtype_bit(DType::f64), index = dtype_bit(DType::i32);
  return {.name = "tree_ensemble",
          .doc = "Decision trees over x [rows, features]: [rows, n_targets]. A row of nodes [n, 4] holds a feature, a mode "
                 "(0 to 5: <=, <, >=, >, ==, != the node's threshold; 8 more where NaN takes the first branch) and the nodes "
                 "where it holds and where not, both further down; with mode 7 it is a leaf, whose number comes first. "
                 "Leaf k gives leaf_weight[i] to leaf_target[i] for i from leaf_start[k] to leaf_start[k + 1]. Each of the "
                 "trees, which begin at roots, gives one leaf; targets that none of them has are 0. Indices out of range are "
                 "an IndexError.",
          .inputs = {{"x", real}, {"nodes", index, Arity::required, 2}, {"thresholds", real}, {"roots", index, Arity::required, 2},
                     {"leaf_start", index, Arity::required, 2}, {"leaf_target", index, Arity::required, 2}, {"leaf_weight", real}},
          .attrs = {{"n_targets", AttrKind::integer}, {"aggregate", AttrKind::string, std::string("sum")}},
          .infer = infer,
          .no_grad = "trees are constant between their thresholds"};
}

}  // namespace suan
