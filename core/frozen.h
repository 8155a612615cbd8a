// A compiled call whose captured tensors are taken as constants, so that weights can be packed: convolutions in blocks,
// products in panels, batch norms inside the weights before them. Each such tensor is known by its storage and version. A
// call that finds another version takes the tensors as they are; a tensor becomes constant (again) once so many calls in a
// row found it unchanged: 1, and twice as many each time that it changed before it had served 16 calls. What can be written
// to unseen (core/exports.h) never does.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "core/compile.h"
#include "core/pass.h"

namespace suan {

// The content of a storage, as far as it can be known: its version, and its last export.
struct Version {
  Ref<Storage> storage;
  uint32_t writes = 0;
  uint64_t exported = 0;
  bool now() const;            // what it is still
};

// Packed weights: one set for all signatures of a function.
class FrozenWeights {
 public:
  // Runs the passes over a graph, some of whose constants are the content of these storages.
  void optimize(Graph& g, std::span<const Version> from, bool exact);
  void drop_unused();

 private:
  std::mutex mutex_;
  ConstantCache made_;
  std::map<uint64_t, std::pair<uint32_t, uint64_t>> versions_;   // by storage: of what made_ was made from
};

// One program; it holds while its tensors are what they were.
class Frozen {
 public:
  Tensors operator()(std::span<const Tensor> inputs) const;   // the trace's, all of them
  std::shared_ptr<const Plan> plan() const { return pool_ ? pool_->shared_plan() : nullptr; }
  void trim() { if (pool_) pool_->trim(); }

 private:
  friend class Freezer;
  bool holds() const;
  Graph graph_;                        // for SUAN_INTERPRET=1
  std::vector<int> inputs_, commits_;  // that stay inputs, by graph input of the trace; commits of these
  std::vector<Version> watched_;
  mutable std::atomic<uint64_t> exports_{0};   // up to these, none of the watched
  std::unique_ptr<RunPool> pool_;
};

class Freezer {
 public:
  // Whether a recording is one whose tensors may be constants.
  static bool fits(const Trace& trace, const CompileOptions& options);
  Freezer(const Trace& trace, const CompileOptions& options);
  ~Freezer();
  Freezer(const Freezer&) = delete;
  // The program for a call now. Null: the tensors are to be taken as they are.
  std::shared_ptr<Frozen> choose();
  std::shared_ptr<Frozen> current() const;
  struct Stats {
    size_t frozen = 0, exported = 0;   // tensors that are constants now; that can be written to unseen
    uint64_t programs = 0;             // made so far
    int64_t packed_bytes = 0;          // of constants that are no captured tensor's own memory
  };
  Stats stats() const;

 private:
  struct Candidate {
    int captured;
    Version version;
    int calm;       // calls in a row that found it unchanged
    int needed;     // so many before it becomes a constant
    bool frozen;
  };
  std::shared_ptr<Frozen> make();
  const Trace& trace_;
  CompileOptions options_;
  std::shared_ptr<FrozenWeights> weights_;
  mutable std::mutex mutex_;
  std::vector<Candidate> candidates_;
  std::shared_ptr<Frozen> frozen_;
  int n_open_ = 0;               // candidates that the program takes as they are
  int served_ = 0;               // calls of the program
  uint64_t programs_ = 0;
};

}  // namespace suan
