// What the data-parallel pass knows of a recorded step before it changes anything: what depends on the batch,
// what follows the gradients, and which tensors a rank may hold a part of.
#pragma once

#include <map>
#include <set>

#include "core/compile.h"
#include "distributed/data_parallel.h"

namespace suan::distributed {

// An all_reduce that marks a parameter's gradient.
bool is_gradient(const Node& n);

// A parameter used in several places gets its gradient in as many pieces, each marked: sums of marked pieces
// become marked sums.
void merge_gradients(Trace& t);

// fixed: of parameters and state alone; batch: also of the arguments, one value a shard; reduced: of
// gradients over all ranks.
enum class Kind : uint8_t { fixed, batch, reduced };

class RecordedStep {
 public:
  // ValueError or StateError naming what cannot be done in parallel.
  RecordedStep(const Trace& t, const ParallelOptions& o);

 protected:
  struct Gradient {
    const Node* node = nullptr;
    int64_t n = 0;                      // elements
  };

  template <class E = StateError, class... A>
  [[noreturn]] void refuse(const Node* n, fmt::format_string<A...> text, A&&... a) const {
    std::string s = fmt::format(text, std::forward<A>(a)...);
    if (n) s += fmt::format(" ('{}' at {})", n->op->name, to_string(n->source));
    throw E(fmt::format("[data_parallel] {}", s));
  }

  const TensorType& type(ValueId v) const { return g_.values[size_t(v)].type; }
  Kind kind(ValueId v) const { return v == no_value ? Kind::fixed : kind_[size_t(v)]; }

  const Trace& t_;
  const Graph& g_;
  const ParallelOptions o_;
  const int local_, stage_;             // shards of this rank; the stage, 0 where there is one rank
  std::vector<Kind> kind_, kind_of_node_;
  std::map<ValueId, Gradient> gradients_;
  std::set<ValueId> like_;              // reduced gradients, and what numbers made of them
  std::set<ValueId> part_of_;           // graph inputs of which the program holds a part
  std::vector<int> sharded_;            // the same as captured tensors

 private:
  void classify();
  void find_sharded();
  int captured_of(ValueId v) const;
};

}  // namespace suan::distributed
