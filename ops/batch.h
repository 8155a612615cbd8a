// vmap: a graph recorded for one example, run for a whole batch. A value that depends on the batch carries it as
// its first axis; the others are computed once. Each node goes through apply(), so that what comes out has a
// history, or is part of a recording around.
#pragma once

#include <string>
#include <vector>

#include "core/graph.h"

namespace suan {

struct Batched {
  Tensor value;
  bool batched = false;  // value's first axis is the batch
};

// One node where at least one input is batched. Types are those of one example.
struct BatchCall {
  const OpDef& op;
  const Attrs& attrs;
  int64_t size;  // of the batch
  std::vector<Batched> in;
  std::vector<TensorType> in_types, out_types;

  bool has(int i) const { return i < int(in.size()) && in[size_t(i)].value.defined(); }
  bool batched(int i) const { return has(i) && in[size_t(i)].batched; }
  int rank(int i) const { return in_types[size_t(i)].shape.size(); }
  const Tensor& value(int i) const { return in[size_t(i)].value; }
  // Input i with a batch axis, repeated if it has none; undefined when absent.
  Tensor whole(int i) const;
  // The same with axes of size 1 behind the batch until the example's rank is `rank`.
  Tensor lifted(int i, int rank) const;
};

// Gives the outputs, each with the batch as its first axis; any shape with the right elements in order will do.
using BatchRule = Tensors (*)(const BatchCall&);
// From the op's family where the table shows it, else by name. Null: none.
BatchRule find_batch_rule(const BatchCall& c);

enum class BatchRandom : uint8_t { refuse, same, different };

struct BatchOptions {
  int64_t size = 0;
  BatchRandom random = BatchRandom::refuse;
  const std::vector<uint64_t>* tracked = nullptr;  // Recorder::tracked(); null: gradients flow everywhere
};

struct BatchResult {
  std::vector<Batched> outputs;       // of the graph
  std::vector<std::string> one_by_one;  // ops without a rule, which ran once per example
};
BatchResult run_batched(const Graph& g, std::span<const Batched> inputs, const BatchOptions& options);

// How far a generator state that the graph advances has to go on for the draws of the other examples; 0 when
// randomness is not "different". states: by graph input, whether it is such a state.
struct BatchDraws {
  int64_t more = 0;
  std::vector<bool> states;
};
BatchDraws batch_draws(const Graph& g, const BatchOptions& options);
// state, {seed, offset}, `counters` further on.
Tensor advanced(const Tensor& state, int64_t counters);

}  // namespace suan
