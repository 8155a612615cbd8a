// Program: an optimised Graph. Plan: a Program laid out: prepared kernels, arena offsets, peak memory known
// before anything runs; immutable, shared by threads. Run: one execution context of a Plan.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/dispatch.h"
#include "core/graph.h"

namespace suan {

struct PlanOptions {
  int64_t memory_limit = 0;          // bytes for arena and outputs; 0: none
  // Output k of the graph replaces the content of input `commits[k]` once everything else has run; -1: returned.
  std::vector<int> commits;
  bool commit_early = false;         // a committed value may be made in its input's memory before the end
  bool own_outputs = false;          // returned outputs never share memory
};

// Where a value's bytes are.
enum class Home : uint8_t { none, arena, input, constant, output };

struct Buffer {
  Home home = Home::none;
  int index = 0;             // input, constant or output number
  int64_t offset = 0;        // bytes into the arena
  int64_t bytes = 0;
  int first = 0, last = 0;   // steps that need it, for arena buffers
  ValueId value = no_value;  // who it was made for
};

struct Operand {
  int buffer = -1;           // -1: absent
  int64_t offset = 0;        // bytes into the buffer
};

struct Step {
  int node = -1;                       // of the program's graph; -1 for copies the planner added
  Prepared prepared;
  std::vector<Operand> in, out;
  int workspace = -1;                  // buffer
  bool host = false;                   // runs the op's definition on tensors over the buffers
  bool beside = false;                 // a collective that may run beside the steps after it
  int waits = 0;                       // so many of those, from the first one on, are done before this step
};

class Plan {
 public:
  Plan(Graph graph, const PlanOptions& options);

  const Graph& graph() const { return graph_; }
  Device device() const { return device_; }
  int64_t arena_bytes() const { return arena_bytes_; }
  int64_t output_bytes() const { return output_bytes_; }
  int64_t constant_bytes() const { return constant_bytes_; }
  // What a call takes beyond its inputs.
  int64_t peak_bytes() const { return arena_bytes_ + output_bytes_; }
  const std::vector<Step>& steps() const { return steps_; }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  const std::vector<int>& commits() const { return options_.commits; }
  // Of what ranks must have in common: the graph, and which collectives run beside which steps.
  std::pair<uint64_t, uint64_t> hash() const;
  // The arena buffers alive at the highest point, largest first.
  std::vector<const Buffer*> peak_holders() const;

 private:
  friend class Run;
  friend Tensors run_once(const Plan&, std::vector<Ref<Storage>>);
  // Runs one step over buffers that begin at `base`; in and out have room for its pointers.
  void run_step(const Step& s, std::byte* const* base, const void** in, void** out) const;
  void point(const Step& s, std::byte* const* base, const void** in, void** out) const;
  struct Place {
    int buffer = -1;
    Layout layout;          // offset in elements into the buffer
  };
  // A value that is only laid out anew by a copy or cat is made where that would put it.
  struct Target {
    ValueId sink = no_value;
    Layout layout;          // in elements of the sink's buffer
  };
  void find_device();
  void place_values();
  void find_targets();
  bool find_target(const Node& sink, size_t part, const Layout& into);
  bool reads_strided(ValueId v) const;
  bool add_sink(const Node& n);
  bool shared(ValueId v, int buffer, int node) const;
  void add_node(int i);
  void add_view(const Node& n);
  Operand use(const Place& p, DType t) const;
  Place copied(const Place& p, DType t);
  bool commits_to(ValueId v, const Buffer& b) const;  // v is what input b becomes
  int new_buffer(Home home, int index, int64_t bytes, ValueId value);
  void finish_outputs();
  void place_waits();
  void lay_out();

  Graph graph_;
  PlanOptions options_;
  Device device_;                       // of every value
  std::vector<Place> place_;            // by value
  // While the plan is made:
  std::vector<int> last_use_;           // by value: last node that reads it (nodes.size() for outputs)
  std::unordered_map<ValueId, Target> target_;   // of few values
  std::vector<int> sink_;               // by value: the buffer that parts of it are already in, or -1
  std::vector<Buffer> buffers_;
  std::vector<Step> steps_;
  struct Result { int output; int buffer = -1; int64_t offset = 0; Layout layout; int alias_input = -1; };
  std::vector<Result> results_;         // returned outputs
  std::vector<Tensor> constants_;
  std::vector<int> output_buffers_;
  int64_t arena_bytes_ = 0, output_bytes_ = 0, constant_bytes_ = 0;
  uint64_t n_kernels_ = 0;                    // steps that are kernels of nodes
  size_t most_in_ = 0, most_out_ = 0;         // operands of a step
  std::vector<int> by_first_, by_last_;       // buffers in the order they begin and end
};

// Arenas that plans have in common: each call takes the smallest idle one that is large enough. There are as many as calls
// ran at once, whatever the number of plans, and each grows to what the largest call needed.
class ArenaPool {
 public:
  Ref<Storage> take(Device device, int64_t bytes);
  void give(Ref<Storage> arena);
  void trim();

 private:
  std::mutex mutex_;
  std::vector<Ref<Storage>> idle_;
};

// One arena and the pointer tables of one call; not for two threads at once.
class Run {
 public:
  // Without `arenas` the arena is the Run's own, from the beginning to the end of its life.
  explicit Run(std::shared_ptr<const Plan> plan, std::shared_ptr<ArenaPool> arenas = nullptr);
  ~Run();
  Run(const Run&) = delete;
  // Inputs in the graph's order, contiguous and of the planned types. Returns the outputs that are not commits.
  // A call that throws (an index out of range, Ctrl-C) leaves captured state as it was, up to the last steps,
  // which only commit and are not interrupted.
  // `into`, if not empty: by returned output, a contiguous tensor of its type that it is written to and is then
  // returned, or nothing. It shares memory with no other operand. Only for plans whose outputs are their own.
  Tensors operator()(std::span<const Tensor> inputs, std::span<const Tensor> into = {});

 private:
  // A committed input that is written before the last steps: kept to be put back.
  struct Early { int step; int buffer; int64_t at; };
  void find_early_commits();
  void point_at_arena();
  void run_steps();
  // A device that can keep work as one unit gets the steps from the second call on, when kernels are loaded. The unit
  // holds addresses: an input that moves is copied to a place of its own first, as are results afterwards.
  bool capturable() const;
  void replay_unit(std::span<std::byte* const> results);

  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<ArenaPool> arenas_;
  Ref<Storage> arena_;                  // none between calls where it is lent
  std::byte* arena_base_ = nullptr;     // that base_ points into
  std::vector<std::byte*> base_;        // by buffer
  std::vector<const void*> in_;
  std::vector<void*> out_;
  std::vector<Early> early_;            // by step
  Ref<Storage> kept_;                   // what early_ overwrote
  int commits_from_ = 0;                // first step that is not given up any more
  bool captures_ = false, warm_ = false;
  void* unit_ = nullptr;                // the device's
  std::vector<std::byte*> captured_at_; // by buffer: addresses in the unit
  std::vector<Ref<Storage>> own_;       // by buffer: a place of the Run's own
};

// One call without an arena: a buffer is allocated for its first step and given back after its last one, and an
// input is let go after its last step. Inputs are whole storages. Memory stays as low as an interpreter's.
Tensors run_once(const Plan& plan, std::vector<Ref<Storage>> inputs);

// Runs of one plan, lent to callers one each.
class RunPool {
 public:
  explicit RunPool(std::shared_ptr<const Plan> plan, std::shared_ptr<ArenaPool> arenas = nullptr)
      : plan_(std::move(plan)), arenas_(std::move(arenas)) {}
  Tensors operator()(std::span<const Tensor> inputs, std::span<const Tensor> into = {});
  const Plan& plan() const { return *plan_; }
  const std::shared_ptr<const Plan>& shared_plan() const { return plan_; }
  void trim();

 private:
  Tensors watched(std::span<const Tensor> inputs, std::span<const Tensor> into) const;
  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<ArenaPool> arenas_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Run>> idle_;
};

struct ReplayCounters { std::atomic<uint64_t> plans{0}, replays{0}, captures{0}, unit_replays{0}; };
ReplayCounters& replay_counters();

}  // namespace suan
