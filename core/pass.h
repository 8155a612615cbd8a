// Passes over a Graph. Each returns how many rewrites it made and keeps every bit of the result; verify()
// runs after each. Options that change bits are not here: they are numeric options of their own.
#pragma once

#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/apply.h"
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
int fold_open_pass(Graph& g);   // the same, but constants of open sizes stay nodes
int cse_pass(Graph& g);     // equal nodes merge, except random, effect, updating and opaque ones
int dce_pass(Graph& g);     // nodes nobody reads leave, except effects
int accumulate_pass(Graph& g);  // x + embedding_grad(...) adds into x
int rewrite_pass(Graph& g); // gradient rules meeting one another: the same bits from less memory
int fuse_pass(Graph& g);    // element-wise neighbours become one fused_elementwise node
int epilogue_pass(Graph& g);  // element-wise nodes join the product, convolution or norm they follow

// Constants made from constants, by the passes below: one per model, however many shapes it is planned for. What is made
// of something made here is known by the first constant and the way from it, so that steps between need not be kept.
class ConstantCache {
 public:
  // `make` owns what it reads: it may be called later, and in a dry context, where it has to give the type alone.
  template <class F>
  Tensor find(const Tensor& from, const std::string& what, F&& make) {
    // Of which part of the storage, too: views of it are constants as well.
    const std::string made_of = fmt::format("{} of {} {} from {}", what, to_string(from.type()), to_string(from.strides()), from.offset());
    Key key{from.storage()->id(), made_of};
    if (auto it = origin_.find(key.first); it != origin_.end()) key = {it->second.first, it->second.second + '\n' + made_of};
    Tensor& made = made_[key];
    if (!made.defined() && kept) made = kept(key.first, key.second, make);
    const bool fresh = !made.defined();
    if (fresh) {
      ContextScope scope;
      context() = Context{.grad_enabled = false};
      made = make();
      if (packed) packed(from, key.first);
    }
    if (fresh || kept) {
      if (made.storage()->id() != from.storage()->id()) origin_[made.storage()->id()] = key;
    }
    return made;
  }
  // Told each time, so that what was read can leave memory: what something was made from, and the storage that comes from.
  std::function<void(const Tensor& from, uint64_t first)> packed;
  // What an earlier process made of a storage, on a way that names all steps; undefined where it is not known.
  std::function<Tensor(uint64_t storage, const std::string& way, const std::function<Tensor()>& make)> kept;
  template <class F>
  void for_each(F&& f) const {   // (storage, way, tensor)
    for (const auto& [key, t] : made_)
      if (t.defined()) f(key.first, key.second, t);
  }
  // What only the cache holds goes: steps on the way, constants of programs that are gone.
  void drop_unused() {
    for (auto it = made_.begin(); it != made_.end();) {
      const Tensor& t = it->second;
      const bool used = t.defined() && (t.ref()->use_count() > 1 || t.storage()->use_count() > 1);
      if (t.defined() && !used) origin_.erase(t.storage()->id());
      it = used ? std::next(it) : made_.erase(it);
    }
  }
  // What was made of a storage that has changed since.
  void forget(uint64_t storage) {
    for (auto it = made_.lower_bound({storage, {}}); it != made_.end() && it->first.first == storage; it = made_.erase(it))
      if (it->second.defined()) origin_.erase(it->second.storage()->id());
  }

 private:
  using Key = std::pair<uint64_t, std::string>;   // a storage, and what is made of it
  std::map<Key, Tensor> made_;
  std::map<uint64_t, Key> origin_;                // by storage of what was made
};
// For ConstantCache: a step on the way to what plans read. It is written when it is read and can be dropped again
// (Storage::drop) once what reads it is packed. `write` gives the same each time.
Tensor written_when_read(const TensorType& type, std::function<void(const Tensor& into)> write);

// Convolutions with constant weights and what lies between them in blocks of channels. Keeps every bit if `exact`;
// else 3×3 convolutions become conv_winograd where weights are few enough. With `pairs` all that becomes bfloat16, on
// processors that are fast at it. Sizes that decide are noted in `compared`.
using Compared = std::vector<std::pair<int64_t, int64_t>>;   // see OpenProgram::Sample
struct LayoutOptions {
  bool exact = true, pairs = false;
  Compared* compared = nullptr;
};
int layout_pass(Graph& g, ConstantCache& cache, const LayoutOptions& options = {});
// Products with constant weights, which lie in panels then. Keeps every bit if `exact`.
int panels_pass(Graph& g, ConstantCache& cache, bool exact);
// What multiplies and shifts the channels of such a convolution (batch norm) goes into its weights. Changes bits.
int fold_scales_pass(Graph& g, ConstantCache& cache);
// Convolutions that are products, and products of one weight that can be one. Changes bits.
int products_pass(Graph& g, ConstantCache& cache);
// Quantised graphs as arithmetic of 8-bit integers. exact: only what keeps every bit.
int quantized_pass(Graph& g, ConstantCache& cache, bool exact);
// Products of 8-bit integers: scaled where they are made, their constant weights packed. Keeps every bit.
int int8_pass(Graph& g, ConstantCache& cache);
// Chains of plain operators become the ops they spell out (core/patterns.cpp); counts by rule go into `found`.
// Changes bits.
int patterns_pass(Graph& g, std::map<const char*, int>& found, bool open_sizes = false);
int split_epilogues(Graph& g);  // the inverse: cheap rows can then be dropped and made again

struct PassInfo {
  const char* name;
  int (*run)(Graph&);
};
// In the order they run.
const std::vector<PassInfo>& optimization_passes();

struct OptimizeOptions {
  ConstantCache* constants = nullptr;  // given: quantized_pass, int8_pass, layout_pass and panels_pass run, after cse
  bool exact = true;                   // false: patterns_pass, fold_scales_pass and products_pass run too, and layout_pass rounds elsewhere
  bool pairs = false;                  // layout_pass makes convolutions for bfloat16
  bool open_sizes = false;             // a sample of an OpenProgram: fold_open_pass
  Compared* compared = nullptr;        // of such a sample
};

struct PassCounts {
  std::vector<std::pair<const char*, int>> rewrites;
  std::map<const char*, int> patterns;   // by rule of patterns_pass
};
// Runs them all, with verify() after each.
PassCounts optimize(Graph& g, const OptimizeOptions& options = {});

// The number of ranks that a collective was made for; 0 where the node is none.
int64_t collective_world(const Node& n);

bool mergeable(const OpDef& op);  // pure: equal inputs give equal outputs and nothing else happens

}  // namespace suan
