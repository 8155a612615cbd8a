// Data parallelism and ZeRO as a pass over a recorded training step.
//
// The recording is of one shard of the global batch, with every parameter's gradient passing through an
// all_reduce marked `gradient`. The pass runs the batch's part once for each of this rank's shards, adds their
// gradients in a tree over all shards of all ranks, and shards what follows:
//   stage 0  gradients are all-reduced; every rank does the whole optimizer step
//   stage 1  optimizer state is sharded: gradients are reduce-scattered, each rank updates its part of every
//            parameter, and parameters are gathered
//   stage 2  the same program: a scattered gradient takes 1/N of the memory, and nothing is gained by keeping it
//   stage 3  parameters are sharded too: gathered shortly before they are read and dropped after it
// (Rajbhandari et al. 2020). Gradient norms are summed through as many chunks as there are shards. So with a
// fixed number of shards, every bit is the same for all stages and all numbers of ranks.
#pragma once

#include "core/compile.h"

namespace suan::distributed {

struct ParallelOptions {
  int rank = 0, world = 1;
  int shards = 1;                     // of the global batch: a power of two, a multiple of world
  int stage = 0;
  int64_t bucket_bytes = 1 << 20;     // gradients and parameters that travel together
};

struct ParallelStep {
  Trace trace;                        // takes this rank's whole batch
  std::vector<int> sharded;           // captured tensors of which the program holds this rank's part only
};

void check_options(const ParallelOptions& options);  // ValueError

// Changes nothing outside. ValueError or StateError naming what cannot be done in parallel.
ParallelStep parallelize(const Trace& recorded, const ParallelOptions& options);

// Elements of a rank's part of a tensor of n elements: whole chunks, the last ones padded with zeros.
int64_t part_size(int64_t n, const ParallelOptions& options);

// Gives the program this rank's part of every sharded tensor: flat, in memory of its own. Returns the tensors
// with their parts; adopt_parts makes each tensor that part, which frees what it was.
std::vector<std::pair<Tensor, Tensor>> cut_captured(ParallelStep& step, const ParallelOptions& options);
void adopt_parts(std::span<const std::pair<Tensor, Tensor>> cut);

}  // namespace suan::distributed
