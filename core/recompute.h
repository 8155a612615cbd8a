// Recompute: values that wait across the memory peak are dropped and made again just before their next
// reader, cheapest first, until the graph fits. The bits stay: the same kernels run on the same inputs.
#pragma once

#include "core/graph.h"

namespace suan {

// Bytes alive at the highest point, kernels' scratch included; views are free.
struct PeakEstimate {
  int64_t bytes = 0;
  int node = 0;
};
PeakEstimate estimate_peak(const Graph& g);

// What a graph's nodes do, in bytes moved; an operation counts as an eighth of a byte. For comparing graphs.
double estimate_work(const Graph& g);

// Rewrites g to stay within `limit` bytes if it can; returns how many nodes were repeated.
int recompute_pass(Graph& g, int64_t limit);

}  // namespace suan
