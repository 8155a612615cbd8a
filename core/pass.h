// Passes over a Graph. Each returns how many rewrites it made and keeps every bit of the result; verify()
// runs after each. Options that change bits are not here: they are numeric options of their own.
#pragma once

#include <string>
#include <vector>

#include "core/graph.h"

namespace suan {

// Copies a graph node by node with values renamed; a pass decides per node what to append instead.
class Rebuild {
 public:
  explicit Rebuild(const Graph& from);
  ValueId operator[](ValueId old) const { return old == no_value ? no_value : map_[size_t(old)]; }
  void replace(ValueId old, ValueId now) { map_[size_t(old)] = now; }
  void copy(const Node& n);
  std::vector<ValueId> mapped(const std::vector<ValueId>& v) const;
  Graph finish();
  Graph to;

 private:
  const Graph& from_;
  std::vector<ValueId> map_;
};

int fold_pass(Graph& g);    // constant inputs -> constants; views of views; identities that keep bits
int cse_pass(Graph& g);     // equal nodes merge, except random, effect, updating and opaque ones
int dce_pass(Graph& g);     // nodes nobody reads leave, except effects
int accumulate_pass(Graph& g);  // x + embedding_grad(...) adds into x
int rewrite_pass(Graph& g); // gradient rules meeting one another: the same bits from less memory
int fuse_pass(Graph& g);    // element-wise neighbours become one fused_elementwise node
int epilogue_pass(Graph& g);  // element-wise nodes join the product, convolution or norm they follow
int split_epilogues(Graph& g);  // the inverse: cheap rows can then be dropped and made again

struct PassInfo {
  const char* name;
  int (*run)(Graph&);
};
// In the order they run.
const std::vector<PassInfo>& optimization_passes();

struct PassCounts {
  std::vector<std::pair<const char*, int>> rewrites;
};
// Runs them all, with verify() after each.
PassCounts optimize(Graph& g);

// The number of ranks that a collective was made for; 0 where the node is none.
int64_t collective_world(const Node& n);

bool mergeable(const OpDef& op);  // pure: equal inputs give equal outputs and nothing else happens

}  // namespace suan
