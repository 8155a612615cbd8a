// Plans of eager backward passes. A pass is described in words: ops, attributes, types, edges, which saved
// values share memory, which leaves have a gradient already. A description seen three times is recorded dry
// and planned; from then on equal passes bind their saved values in tape order and replay.
#pragma once

#include "core/tape.h"

namespace suan {

class Recorder;

// A backward pass before it runs: nodes in walking order and the gradients that enter the tape.
struct BackwardPass {
  std::span<const Ref<TapeNode>> nodes;
  std::span<const std::pair<Edge, Tensor>> seeds;
  bool retain_graph = false;
};

// Replays the pass if it has a plan or earns one now; false: it has to be interpreted. `walk` interprets the
// pass dry and tells for each node whether a gradient reached it.
bool replay_backward(const BackwardPass& pass, const std::function<std::vector<char>()>& walk);

struct BackwardPlanCounters { uint64_t plans = 0, replays = 0, kept = 0; };
BackwardPlanCounters& backward_plan_counters();  // of this thread

}  // namespace suan
