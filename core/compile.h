// suan.compile: a function is recorded until two consecutive recordings agree, constants included; then it
// replays as one plan. A recording whose outputs still carry gradient history becomes two programs,
// forward and backward, joined to eager autograd as one node.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "core/allocator.h"
#include "core/apply.h"
#include "core/plan.h"
#include "core/record.h"

namespace suan {

// One recording, ready to be compared and compiled.
struct Trace {
  Graph graph;
  std::vector<Recorder::Captured> captured;   // all graph inputs, arguments first
  std::vector<Recorder::Update> updates;      // graph outputs after the returned ones
  std::vector<Recorder::Literal> literals;
  std::vector<bool> wants_grad;               // by graph input
  int n_outputs = 0;
  bool differentiable = false;                // a returned output carries history
  bool without_gradients = false;             // recorded where nothing could get one
  std::vector<uint32_t> versions;             // by graph input: of its storage, at the recording before
};

class Freezer;
class FrozenWeights;

struct CompileOptions {
  int64_t memory_limit = 0;
  // Without gradients, captured tensors that do not change may be taken as constants (core/frozen.h): weights are packed, a
  // second time in memory. Not beside a memory_limit. From C++, writes through Tensor::data() are not seen.
  bool freeze = false;
  bool exact = false;      // then keeps every bit: no Winograd, no Strassen, no batch norms inside weights, no patterns
  std::shared_ptr<FrozenWeights> weights = nullptr;   // shared by the signatures of a function
  bool interpret = false;  // replay through the interpreter instead of a plan (SUAN_INTERPRET=1)
};

// A compiled signature. Lives as long as a call's results may still ask it for gradients.
class Executable : public std::enable_shared_from_this<Executable> {
 public:
  static std::shared_ptr<Executable> make(Trace trace, const CompileOptions& options) {
    return std::shared_ptr<Executable>(new Executable(std::move(trace), options));
  }
  ~Executable();
  // Arguments in recording order. Returned outputs; captured state is changed at the end of the plan.
  Tensors operator()(std::span<const Tensor> arguments);
  const Trace& trace() const { return trace_; }
  // The plans last run; null before, and with SUAN_INTERPRET=1.
  std::shared_ptr<const Plan> forward_plan() const;
  std::shared_ptr<const Plan> backward_plan() const { return backward_ ? backward_->shared_plan() : nullptr; }
  const Freezer* freezer() const { return freezer_.get(); }
  bool stale() const;  // a captured tensor has got another storage since: the recording does not hold
  void trim();

 private:
  Executable(Trace trace, const CompileOptions& options);
  void split();
  void lay_out();
  void lay_out_plain();
  void agree() const;
  Tensors run_forward(std::span<const Tensor> inputs);

  Trace trace_;
  CompileOptions options_;
  Graph forward_graph_, backward_graph_;      // optimised; what the interpreter runs
  std::vector<int> commits_;
  std::unique_ptr<RunPool> forward_, backward_;
  std::unique_ptr<Freezer> freezer_;
  std::mutex laying_out_;                     // forward_, where there is a freezer: made when first needed
  bool laid_out_ = false;
  // Backward inputs: forward outputs past the returned ones, graph inputs, then seeds.
  int n_saved_ = 0;
  std::vector<int> saved_inputs_;             // graph inputs the backward program reads
  std::vector<int> seeded_;                   // returned outputs that take a gradient
  std::vector<int> grad_inputs_;              // graph inputs that receive one
};

// Collects recordings of one function for one signature until they agree.
class Tracer {
 public:
  explicit Tracer(const CompileOptions& options) : options_(options) {}
  ~Tracer() { abandon(); }
  bool ready() const { return bool(executable_); }
  Executable& executable() { return *executable_; }

  // Installs the recorder in this thread's context; finish() or abandon() takes it out. The first call is
  // computed as it is recorded; later ones are recorded dry, so that no call needs more memory than the plan.
  void start(std::span<const Tensor> arguments);
  // The call's results: `outputs` themselves when they were computed, else what the recording computes. The
  // function is ready once this recording agrees with the one before.
  Tensors finish(std::span<const Tensor> outputs);
  void abandon();
  void set_freeze(bool on) { options_.freeze = on; }  // before the recording that makes it ready
  int recordings() const { return recordings_; }
  const Graph& last_graph() const { return last_->graph; }  // of the latest recording, while not ready

 private:
  void explain_difference(const Trace& now);
  void stop();
  CompileOptions options_;
  std::unique_ptr<Recorder> recorder_;
  Tensors arguments_;  // of the call being recorded
  std::optional<NoMappedCache> frugal_;  // while a call is both recorded and computed
  std::unique_ptr<ContextScope> scope_;
  std::optional<Trace> last_;
  std::shared_ptr<Executable> executable_;
  int recordings_ = 0, literal_changes_ = 0, shape_changes_ = 0, capture_changes_ = 0;
};

// Trades time for space in an optimised graph until its plan fits options.memory_limit, if it can.
void fit_memory(Graph& g, const PlanOptions& options);

bool interpret_requested();  // SUAN_INTERPRET=1 in the environment

}  // namespace suan
